//! The log's lines about requests to tools. A request that changes something has a line. A failed one is a warning, at most
//! once a minute for each tenant and status. All others are lines at `debug`.

use std::time::Duration;

use super::{Answer, Asked, Failure, millis};
use crate::{
    ids::{CorrelationId, JobId, TenantId},
    telemetry::seldom::SeldomBy,
    tenant::Tenant,
};

/// Minimum time between two warnings about one tenant and one status.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// Maximum number of tenants and statuses with separate warnings.
const KEYS_MAX: usize = 10_000;
/// Maximum length of a path in the log, in bytes.
const PATH_BYTES_MAX: usize = 256;
/// Lowest status of an answer to a request that has failed.
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
    /// What the caller does about a 401.
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

/// Writes the lines, and limits the warnings among them. Any thread.
pub(super) struct Lines(SeldomBy<(TenantId, Option<u16>)>);

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

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    /// A request with this method and path, made by a caller that does this about a 401.
    fn check<T>(method: &str, path: &str, unauthorized: Unauthorized, run: impl FnOnce(&Asked<'_>) -> T) -> T {
        let url = Url::parse(&format!("https://desk.example{path}")).unwrap();
        let correlation_id = CorrelationId::fresh();
        let clean = |text: &mut String| *text = text.replace("s3cret", "[secret]");
        let asker = Some(Asker { correlation_id: &correlation_id, job: None, unauthorized, clean: &clean });
        let (deadline, time_max) = (std::time::Instant::now(), Duration::ZERO);
        run(&Asked { method, url: &url, headers: Vec::new(), credential: None, body: None, time_max, deadline, asker })
    }

    #[test]
    fn a_search_without_a_hit_and_a_token_that_is_renewed_are_no_warnings() {
        use Unauthorized::{Fails, IsRetried};
        for (method, status, unauthorized, expected) in [
            ("GET", Some(404), Fails, true),
            ("POST", Some(404), Fails, false),
            ("GET", Some(401), IsRetried, true),
            ("GET", Some(401), Fails, false),
            ("GET", Some(500), IsRetried, false),
            ("GET", None, IsRetried, false),
        ] {
            let found = check(method, "/7", unauthorized, |asked| is_expected(asked, status));
            assert_eq!(found, expected, "{method} {status:?} {unauthorized:?}");
        }
    }

    #[test]
    fn a_path_is_told_cut_and_without_secrets() {
        for (given, expected) in [
            ("/tickets/7?key=s3cret", "/tickets/7".to_owned()),
            ("/bots/s3cret/notes", "/bots/[secret]/notes".to_owned()),
            (&format!("/{}s3cret", "x".repeat(PATH_BYTES_MAX - 3)), format!("/{}[s", "x".repeat(PATH_BYTES_MAX - 3))),
        ] {
            assert_eq!(check("GET", given, Unauthorized::Fails, path), expected);
        }
    }
}
