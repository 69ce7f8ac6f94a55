//! What the log says of requests to the tools: one line for each that changes something, and a warning when one fails, at
//! most once in a while for each tenant and kind of failure. All others are lines at `debug`.

use std::{fmt, time::Duration};

use super::{Answer, Asked, Failure, millis};
use crate::{
    ids::{CorrelationId, JobId, TenantId},
    telemetry::seldom::SeldomBy,
    tenant::Tenant,
};

/// Between two warnings about one tenant and one kind of failure.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// Tenants and kinds of failure that are kept apart at once.
const KEYS_MAX: usize = 10_000;
/// Most bytes of a path in the log.
const PATH_BYTES_MAX: usize = 256;
/// From this status on an answer says that the request has failed.
const FAILED_STATUS: u16 = 400;
const UNAUTHORIZED: u16 = 401;
const NOT_FOUND: u16 = 404;

/// On whose behalf a request is made, as the log knows it.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// The webhook's id.
    pub correlation_id: &'a CorrelationId,
    /// The job, of a job's call.
    pub job: Option<JobId>,
    /// Whether a 401 is the caller's to mend.
    pub unauthorized: Unauthorized,
    /// Takes the tenant's secrets out of a text.
    pub clean: &'a dyn Fn(&mut String),
}

/// What the caller does when the tool answers 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unauthorized {
    /// Nothing: the request has failed.
    Fails,
    /// It gets another access token and sends the request again.
    IsRetried,
}

/// When to warn of what. Any thread.
pub(super) struct Lines(SeldomBy<(TenantId, Option<u16>)>);

impl fmt::Debug for Asker<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Asker").field("correlation_id", &self.correlation_id).finish_non_exhaustive()
    }
}

impl Default for Lines {
    fn default() -> Self {
        Self(SeldomBy::new(TOLD_EVERY, KEYS_MAX))
    }
}

impl Lines {
    /// Writes the line of one request. Neither query nor headers nor body: a secret may stand there.
    pub(super) fn write(&self, tenant: &Tenant, asked: &Asked<'_>, answer: Result<&Answer, &Failure>, took: Duration) {
        let status = answer.map_or_else(Failure::status, |answer| Some(answer.status));
        let failed = answer.is_err() || status.is_some_and(|status| status >= FAILED_STATUS);
        let warning =
            if failed && !is_expected(asked, status) { self.0.due((tenant.id.clone(), status)) } else { None };
        let changes = !matches!(asked.method, "GET" | "HEAD");
        macro_rules! line {
            ($level:ident, $said:literal) => {
                tracing::$level!(
                    correlation_id = asked.asker.map(|asker| asker.correlation_id.as_str()),
                    job = asked.asker.and_then(|asker| asker.job).map(tracing::field::display),
                    tenant = %tenant.id,
                    tool_type = %tenant.tool_type,
                    platform = %tenant.tool_type,
                    method = asked.method,
                    host = asked.url.host_str().unwrap_or_default(),
                    path = path(asked),
                    status,
                    outcome = if failed { "failed" } else { "answered" },
                    duration_ms = millis(took),
                    left_out = warning.filter(|left_out| *left_out > 0),
                    $said
                )
            };
        }
        match (failed, changes) {
            (true, _) if warning.is_some() => line!(warn, "request to the tool failed"),
            (true, _) => line!(debug, "request to the tool failed"),
            (false, true) => line!(info, "request to the tool"),
            (false, false) => line!(debug, "request to the tool"),
        }
    }
}

/// Whether nothing is wrong although the tool refused the request.
fn is_expected(asked: &Asked<'_>, status: Option<u16>) -> bool {
    match status {
        // A ticket that is gone, or a search without a hit.
        Some(NOT_FOUND) => asked.method == "GET",
        Some(UNAUTHORIZED) => asked.asker.is_some_and(|asker| asker.unauthorized == Unauthorized::IsRetried),
        _ => false,
    }
}

/// The path without the tenant's secrets, and cut: a plugin may have put anything there.
fn path(asked: &Asked<'_>) -> String {
    let mut path = asked.url.path().to_owned();
    if let Some(asker) = asked.asker {
        (asker.clean)(&mut path);
    }
    // Not before: half a secret would not be known again.
    path.truncate(path.floor_char_boundary(PATH_BYTES_MAX));
    path
}
