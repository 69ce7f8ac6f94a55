//! Log lines about webhooks that make no job. Each tenant and kind of reason gets one line, and later another with the
//! number left out. At level `debug`, each webhook has a line.

use std::time::Duration;

use super::answer::BadRequest;
use crate::{
    ids::{CorrelationId, TenantId},
    ingest::{Receipt, Refused, Rejection, TICKET_ID_CHARS_MAX},
    plugin::redact,
    telemetry::seldom::SeldomBy,
    tenant::{Tenant, directory::TenantDirectory},
};

/// Minimum time between two lines about one tenant and one kind of reason.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// Maximum number of tenants and kinds of reasons that are tracked separately.
const KEYS_MAX: usize = 10_000;
/// The status of everything that is not authentic.
const UNAUTHORIZED: u16 = 401;
/// Lowest status that is not the sender's fault.
const SERVER_STATUS_MIN: u16 = 500;

/// Decides when to log what. Can be used on any thread.
#[derive(Debug)]
pub struct Tellings(SeldomBy<(Whose, &'static str)>);

/// The tenant that a line is about. Anybody can name unknown tenants, so all of those share one line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Whose {
    Tenant(TenantId),
    Nobody,
}

/// Why an authentic webhook makes no job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TakenNote {
    /// The webhook was delivered before.
    Duplicate,
    /// Its event needs no work.
    Ignored,
}

/// The refusal of a tenant's webhook.
pub(super) struct Told<'a> {
    pub(super) directory: &'a TenantDirectory,
    pub(super) tenant: &'a Tenant,
    pub(super) refused: &'a Refused,
    pub(super) status: u16,
    pub(super) code: &'static str,
    /// The reason in one line, without secrets.
    pub(super) reason: &'a str,
    pub(super) correlation_id: &'a CorrelationId,
    /// Whether the tenant begins to be refused. That is logged at once, as a warning.
    pub(super) begins: bool,
}

/// A ticket's id for the log. A sender can write anything there, so an id that no job can have is left out.
fn shown_ticket(directory: &TenantDirectory, tenant: &Tenant, id: Option<&str>) -> Option<String> {
    let mut id = id.filter(|id| id.chars().count() <= TICKET_ID_CHARS_MAX)?.to_owned();
    redact::clean_webhook_text(directory, tenant, &mut id);
    Some(id)
}

impl Default for Tellings {
    fn default() -> Self {
        Self(SeldomBy::new(TOLD_EVERY, KEYS_MAX))
    }
}

impl Tellings {
    /// Logs that an authentic webhook makes no job.
    pub(super) fn taken(
        &self,
        note: TakenNote,
        directory: &TenantDirectory,
        tenant: &Tenant,
        receipt: &Receipt,
        correlation_id: &CorrelationId,
    ) {
        let reason = receipt.status.as_str();
        let said = match note {
            TakenNote::Duplicate => "the webhook was delivered before and makes no second job",
            TakenNote::Ignored => "the webhook is authentic and makes no job: its event makes none for this tenant",
        };
        let Some(left_out) = self.0.due((Whose::Tenant(tenant.id.clone()), reason)) else { return };
        tracing::info!(
            %correlation_id,
            tenant = %tenant.id,
            tool_type = %tenant.tool_type,
            platform = %tenant.tool_type,
            event = receipt.event,
            ticket = shown_ticket(directory, tenant, receipt.ticket_id.as_deref()),
            reason,
            outcome = reason,
            left_out,
            "{said}{}",
            more(left_out)
        );
    }

    /// Logs that a tenant's webhook was refused.
    pub(super) fn refused(&self, told: &Told<'_>) {
        let Told { directory, tenant, refused, status, code, reason: why, correlation_id, begins } = *told;
        let (kind, operators) = match &refused.rejection {
            Rejection::NotAuthentic(why) => (why.kind, why.is_operators()),
            _ => (code, status >= SERVER_STATUS_MIN),
        };
        // All tenants share the store, so one line covers all of them.
        let is_everybodys = matches!(refused.rejection, Rejection::Store(_) | Rejection::StoreFull);
        let whose = if is_everybodys { Whose::Nobody } else { Whose::Tenant(tenant.id.clone()) };
        let due = self.0.due((whose, kind));
        let more = more(due.unwrap_or_default());
        let (id, event) = (&tenant.id, refused.event);
        let ticket = shown_ticket(directory, tenant, refused.ticket_id.as_deref());
        let operation = operation(&refused.rejection);
        macro_rules! line {
            ($level:ident, $($said:tt)*) => {
                tracing::$level!(
                    %correlation_id,
                    tenant = %id,
                    tool_type = %tenant.tool_type,
                    platform = %tenant.tool_type,
                    event,
                    ticket,
                    operation,
                    outcome = "refused",
                    reason = kind,
                    status,
                    left_out = due,
                    $($said)*
                )
            };
        }
        match () {
            () if begins => line!(warn, "the tenant's webhooks are refused: {why}{more}"),
            () if due.is_none() => line!(debug, "delivery not taken: {why}"),
            () if is_everybodys => {
                line!(warn, "webhooks of all tenants are refused with {status} and will be resent: {why}{more}");
            }
            () if status == 503 => {
                line!(warn, "webhooks of tenant {id} are refused with 503 and will be resent: {why}{more}");
            }
            () if operators => line!(warn, "webhooks of tenant {id} are refused with {status}: {why}{more}"),
            () => line!(info, "webhooks of tenant {id} are refused with {status}: {why}{more}"),
        }
    }

    /// Logs that a webhook named no known tenant. The name is left out, because it may be a secret in the wrong place.
    pub(super) fn unknown_tenant(&self, rejection: &Rejection, correlation_id: &CorrelationId) {
        let Rejection::NotAuthentic(why) = rejection else { return };
        let (reason, status) = (why.kind, UNAUTHORIZED);
        let Some(left_out) = self.0.due((Whose::Nobody, reason)) else {
            tracing::debug!(%correlation_id, reason, status, "delivery not taken: {why}");
            return;
        };
        let more = more(left_out);
        tracing::info!(
            %correlation_id, reason, operation = "route", outcome = "refused", status, left_out,
            "a webhook is refused with {status}: {why}{more}"
        );
    }

    /// Logs that a request never became a delivery.
    pub(super) fn not_taken(&self, route: &'static str, fault: &BadRequest, correlation_id: &CorrelationId) {
        let (status, reason) = fault.status_and_code();
        let status = status.as_u16();
        // Scanners request any path, so unknown paths and methods are no webhooks.
        let is_a_webhook = !matches!(fault, BadRequest::NotFound | BadRequest::Method(_));
        let due = is_a_webhook.then(|| self.0.due((Whose::Nobody, reason))).flatten();
        let Some(left_out) = due else {
            tracing::debug!(%correlation_id, route, reason, status, "request not taken: {fault}");
            return;
        };
        let more = more(left_out);
        if status >= SERVER_STATUS_MIN {
            tracing::warn!(%correlation_id, route, reason, status, outcome = "refused", left_out, "requests are refused with {status}: {fault}{more}");
        } else {
            tracing::info!(%correlation_id, route, reason, status, outcome = "refused", left_out, "a request is refused with {status}: {fault}{more}");
        }
    }
}

/// The step that refused the delivery.
fn operation(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::NotAuthentic(_) => "validate",
        Rejection::Malformed(_) | Rejection::Invalid(_) => "extract",
        Rejection::RateLimited => "charge",
        Rejection::NoRoute(_) => "route",
        Rejection::Plugin(_) => "receive",
        Rejection::Store(_) | Rejection::TenantFull | Rejection::StoreFull => "accept",
    }
}

/// The end of a line that counts the lines left out.
fn more(left_out: u64) -> String {
    if left_out == 0 { String::new() } else { format!(" (and {left_out} more since the last such line)") }
}
