//! Trial deliveries: the plugin processes them like any other, but nothing is stored or charged. Failures of the plugin
//! count as in any other call.

use std::sync::Arc;

use plugin_abi::types::TicketMetadata;

use super::{Delivery, Rejection, check_enabled, checked, kind_of_job, said};
use crate::{
    plugin::{
        generation::{CallError, Examined, InFlight, Verdict},
        routes::Routes,
    },
    queue::job::JobKind,
    tenant::Tenant,
};

/// The result of a trial delivery.
#[derive(Debug)]
pub struct Tried {
    /// The generation that read it; `None` if none did.
    pub by: Option<Examiner>,
    /// The job that it would make if it is not a duplicate; `Ok(None)` if its event needs no work.
    pub outcome: Result<Option<JobKind>, Rejection>,
    /// The plugin's reading of it, whether or not it is authentic.
    pub metadata: Option<TicketMetadata>,
    /// Why the plugin cannot read a delivery that is not authentic.
    pub unread: Option<CallError>,
}

/// The generation that read a delivery.
#[derive(Debug)]
pub struct Examiner {
    /// Its number.
    pub generation: u64,
    /// The plugin's version.
    pub version: semver::Version,
}

/// Hands a delivery to its tenant's plugin. The source, the tenant's rate and the room in the store are not checked,
/// because they depend on other deliveries.
pub async fn try_out(routes: &Routes, tenant: Arc<Tenant>, delivery: Delivery) -> Tried {
    let refused = |by, rejection| Tried { by, outcome: Err(rejection), metadata: None, unread: None };
    let plugin = match routes.enter(&tenant.tool_type) {
        Ok(plugin) => plugin,
        Err(no_route) => return refused(None, no_route.into()),
    };
    let by = Some(Examiner::of(&plugin));
    let webhook = Arc::new(delivery.for_tenant(Arc::clone(&tenant)));
    match plugin.examine(webhook).await {
        Ok(examined) => judge(by, examined, &tenant),
        Err(error) => refused(by, error.into()),
    }
}

fn judge(by: Option<Examiner>, Examined { verdict, unproven }: Examined, tenant: &Tenant) -> Tried {
    let (unproven, unread) = match unproven {
        Some(Ok(metadata)) => (Some(*metadata), None),
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    let proven = match &verdict {
        Verdict::Authentic(metadata) => Some(TicketMetadata::clone(metadata)),
        _ => None,
    };
    let outcome = check_enabled(tenant)
        .and_then(|()| said(verdict))
        .and_then(|metadata| checked(metadata, tenant))
        .map(|metadata| kind_of_job(&metadata, tenant));
    Tried { by, outcome, metadata: proven.or(unproven), unread }
}

impl Examiner {
    fn of(plugin: &InFlight) -> Self {
        Self { generation: plugin.number(), version: plugin.version().clone() }
    }
}
