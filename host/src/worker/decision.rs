//! What happens to a job whose attempt failed: a pure function of the failure, the times and one random number.

use std::time::Duration;

use plugin_abi::PluginError;

use crate::{
    config::Retry,
    plugin::{generation::CallError, routes::NoRoute},
    queue::backoff::{Decision, RetryPolicy},
    store::StoreError,
};

/// Reason of the dead letter of a job that ran out of time.
pub const GAVE_UP: &str = "gave_up";
/// Reason of the dead letter of a job whose tenant was gone.
pub const TENANT_REMOVED: &str = "tenant_removed";

/// How long a ticket may stay invisible after its job entered the queue, in milliseconds. Tools send webhooks before
/// they show the ticket.
pub const SHOWN_WITHIN_MS: i64 = 10 * 60_000;
/// How long the tool may still report a ticket as open after its job entered the queue, in milliseconds. Some tools
/// report a solution before they store it (Jira's post functions).
pub const SOLVED_WITHIN_MS: i64 = 60_000;

/// Wait of a job that found no free lane, or whose plugin was just being replaced; milliseconds.
const SHORTLY_MS: i64 = 1_000;
/// Wait of a job that was claimed just as its plugin or tenant went away, in milliseconds. Until that is back, none of
/// the tenant's jobs are claimed.
const AWAY_MS: i64 = 5_000;

/// Why an attempt did not end the job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The tenant does not exist any more.
    #[error("the tenant was removed")]
    TenantRemoved,
    /// An operator has disabled the tenant.
    #[error("the tenant is disabled")]
    TenantDisabled,
    /// An operator has paused the jobs of the tenant, or of all tenants.
    #[error("the tenant's jobs are paused")]
    Paused,
    /// Nothing serves the job's tool type.
    #[error(transparent)]
    NoRoute(#[from] NoRoute),
    /// The tool has refused the tenant's credential repeatedly, and it is not this job's turn to try.
    #[error("the tool refuses the tenant's credential")]
    CredentialRefused {
        /// When the next job may try, milliseconds since the epoch.
        until_ms: i64,
    },
    /// The plugin did not get the ticket.
    #[error("getting the ticket failed: {}", said(.0))]
    Fetch(CallError),
    /// The plugin did not post the note.
    #[error("posting the note failed: {}", said(.0))]
    Post(CallError),
    /// The tool does not have the ticket.
    #[error("the tool does not have the ticket")]
    NoTicket,
    /// The webhook reported the ticket as solved, but the tool does not yet.
    #[error("the tool does not say yet that the ticket is solved")]
    NotSolvedYet,
    /// The tool did not accept the note.
    #[error("the tool did not take the note")]
    NotTaken,
    /// Another claim has taken the job.
    #[error("the lease was lost")]
    LeaseLost,
    /// The store could not be written while the lease lasted.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The error's text. In a job it is the host that is not authentic to the tool, not a sender to the host.
fn said(error: &CallError) -> String {
    match error {
        CallError::Plugin(PluginError::Authentication(message)) => format!(
            "the tool refused the tenant's credential: {message}; renew it: plugin-ctl tenant rotate-secret ID NAME @FILE"
        ),
        other => other.to_string(),
    }
}

impl Failure {
    /// The failure as a word for programs: in logs, metrics and with the job.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TenantRemoved => TENANT_REMOVED,
            Self::TenantDisabled => "tenant_disabled",
            Self::Paused => "paused",
            Self::NoRoute(_) => "no_plugin",
            Self::CredentialRefused { .. } => "credential_refused",
            Self::Fetch(error) | Self::Post(error) => error.code(),
            Self::NoTicket => "not_found",
            Self::NotSolvedYet => "not_solved",
            Self::NotTaken => "not_taken",
            Self::LeaseLost => "lease_lost",
            Self::Store(_) => "store",
        }
    }

    /// The step of the attempt that failed.
    pub fn operation(&self) -> &'static str {
        match self {
            Self::Fetch(_) | Self::NoTicket | Self::NotSolvedYet => "get",
            Self::Post(_) | Self::NotTaken => "update",
            Self::Store(_) | Self::LeaseLost => "store",
            Self::TenantRemoved
            | Self::TenantDisabled
            | Self::Paused
            | Self::NoRoute(_)
            | Self::CredentialRefused { .. } => "claim",
        }
    }

    /// Whether the tool has said that it did not do what it was asked.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::NotTaken => true,
            Self::Fetch(error) | Self::Post(error) => matches!(error, CallError::Plugin(PluginError::RateLimit { .. })),
            _ => false,
        }
    }
}

/// What happens to the job next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another attempt at this time, milliseconds since the epoch.
    RetryAt(i64),
    /// The job waits until this time as if it had not been claimed, milliseconds since the epoch.
    PostponeUntil(i64),
    /// The job becomes a dead letter. The reason is one of a few fixed words.
    Bury(&'static str),
    /// Nothing: another claim has the job, or it falls due when its lease ends.
    Leave,
}

/// A failed attempt.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// When the job was accepted or, if it was a dead letter, put back; milliseconds since the epoch.
    pub queued_ms: i64,
    /// When it failed, milliseconds since the epoch.
    pub failed_ms: i64,
}

/// Decides what happens next. `random` is uniform in `0.0..1.0`.
pub fn decide(failure: &Failure, attempt: Attempt, retry: &Retry, random: f64) -> Next {
    let postpone = |wait_ms: i64| Next::PostponeUntil(attempt.failed_ms.saturating_add(wait_ms));
    let again = |retry_after: Option<Duration>| {
        let retry_after_ms = retry_after.map(millis);
        match policy(retry).next(attempt.number, attempt.queued_ms, attempt.failed_ms, retry_after_ms, random) {
            Decision::RetryAt(at_ms) => Next::RetryAt(at_ms),
            Decision::GiveUp => Next::Bury(GAVE_UP),
        }
    };
    // The last attempt happens exactly at the end.
    let until = |age_ms: i64| {
        let wait_ms = policy(retry).wait_ms(attempt.number, random);
        let last_ms = attempt.queued_ms.saturating_add(age_ms).max(attempt.failed_ms);
        Next::RetryAt(attempt.failed_ms.saturating_add(wait_ms).min(last_ms))
    };
    let until_shown = || {
        let is_over = attempt.failed_ms >= attempt.queued_ms.saturating_add(SHOWN_WITHIN_MS);
        if is_over { Next::Bury(failure.kind()) } else { until(SHOWN_WITHIN_MS) }
    };
    match failure {
        Failure::LeaseLost | Failure::Store(_) => Next::Leave,
        Failure::TenantRemoved => Next::Bury(failure.kind()),
        Failure::TenantDisabled | Failure::Paused | Failure::NoRoute(_) => postpone(AWAY_MS),
        Failure::CredentialRefused { until_ms } => Next::PostponeUntil(*until_ms),
        Failure::NotTaken => again(None),
        Failure::NotSolvedYet => until(SOLVED_WITHIN_MS),
        Failure::NoTicket
        | Failure::Fetch(CallError::Plugin(PluginError::NotFound(_) | PluginError::Authentication(_))) => until_shown(),
        Failure::Fetch(error) | Failure::Post(error) => match error {
            CallError::ShutOut(_) => postpone(AWAY_MS),
            CallError::Saturated | CallError::Closed | CallError::Plugin(PluginError::Cancelled) => {
                postpone(SHORTLY_MS)
            }
            CallError::Plugin(PluginError::RateLimit { retry_after, .. }) => again(*retry_after),
            CallError::Plugin(error) if is_permanent(error, &retry.statuses) => Next::Bury(failure.kind()),
            CallError::Plugin(_)
            | CallError::InvalidReply(_)
            | CallError::Overrun(_)
            | CallError::HeldUp(_)
            | CallError::Lost => again(None),
        },
    }
}

/// Whether the same call would fail the same way until somebody changes something. Among the tool's answers, that is a
/// 4xx that the operator's settings do not list as transient.
fn is_permanent(error: &PluginError, transient: &[u16]) -> bool {
    match error {
        PluginError::Authentication(_)
        | PluginError::Configuration(_)
        | PluginError::Validation(_)
        | PluginError::Malformed(_)
        | PluginError::NotFound(_) => true,
        PluginError::Api { status: Some(status), .. } => (400..500).contains(status) && !transient.contains(status),
        _ => false,
    }
}

/// The configured waits between attempts.
pub(super) fn policy(retry: &Retry) -> RetryPolicy {
    RetryPolicy {
        base_ms: millis(retry.base),
        multiplier: retry.multiplier,
        max_ms: millis(retry.max),
        jitter: retry.jitter,
        give_up_ms: millis(retry.give_up),
    }
}

/// The duration in milliseconds, capped at the maximum.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Next::{Bury, Leave, PostponeUntil, RetryAt};

    const HOUR_MS: i64 = 3_600_000;
    const NOW_MS: i64 = 1_000_000;

    fn retry() -> Retry {
        Retry {
            base: Duration::from_secs(2),
            multiplier: 2.0,
            max: Duration::from_secs(900),
            jitter: 0.0,
            give_up: Duration::from_secs(24 * 3_600),
            statuses: vec![408, 429, 500, 503],
        }
    }

    fn next(failure: &Failure, number: u32, queued_ms: i64) -> Next {
        decide(failure, Attempt { number, queued_ms, failed_ms: NOW_MS }, &retry(), 0.5)
    }

    fn api(status: Option<u16>) -> PluginError {
        PluginError::Api { status, message: "no".to_owned() }
    }

    #[test]
    fn what_a_plugin_says_decides() {
        let text = || "why".to_owned();
        let limited = |seconds: Option<u64>| PluginError::RateLimit {
            retry_after: seconds.map(Duration::from_secs),
            message: text(),
        };
        let soon = RetryAt(NOW_MS + 2_000);
        for (error, of_get, of_update) in [
            (PluginError::Authentication(text()), soon, Bury("authentication")),
            (PluginError::NotFound(text()), soon, Bury("not_found")),
            (PluginError::Configuration(text()), Bury("configuration"), Bury("configuration")),
            (PluginError::field("id", "missing"), Bury("validation"), Bury("validation")),
            (PluginError::Malformed(text()), Bury("malformed"), Bury("malformed")),
            (api(Some(400)), Bury("api"), Bury("api")),
            (api(Some(422)), Bury("api"), Bury("api")),
            (api(Some(499)), Bury("api"), Bury("api")),
            (api(Some(408)), soon, soon),
            (api(Some(429)), soon, soon),
            (api(Some(500)), soon, soon),
            (api(Some(501)), soon, soon),
            (api(Some(302)), soon, soon),
            (api(None), soon, soon),
            (limited(None), soon, soon),
            (limited(Some(1)), soon, soon),
            (limited(Some(3_600)), RetryAt(NOW_MS + HOUR_MS), RetryAt(NOW_MS + HOUR_MS)),
            (limited(Some(u64::MAX)), Bury(GAVE_UP), Bury(GAVE_UP)),
            (PluginError::Panicked { message: text(), location: text() }, soon, soon),
            (PluginError::Cancelled, PostponeUntil(NOW_MS + SHORTLY_MS), PostponeUntil(NOW_MS + SHORTLY_MS)),
        ] {
            let failed = CallError::Plugin(error.clone());
            assert_eq!(next(&Failure::Fetch(failed.clone()), 1, NOW_MS), of_get, "get_ticket: {error:?}");
            assert_eq!(next(&Failure::Post(failed), 1, NOW_MS), of_update, "update_ticket: {error:?}");
        }
    }

    #[test]
    fn a_ticket_has_ten_minutes_to_be_shown() {
        let said = |error| Failure::Fetch(CallError::Plugin(error));
        let by_ms = |age_ms: i64| NOW_MS - age_ms + SHOWN_WITHIN_MS;
        for (failure, reason) in [
            (Failure::NoTicket, "not_found"),
            (said(PluginError::NotFound(String::new())), "not_found"),
            (said(PluginError::Authentication(String::new())), "authentication"),
        ] {
            for (number, age_ms, expected) in [
                (1, 0, RetryAt(NOW_MS + 2_000)),
                (2, 2_000, RetryAt(NOW_MS + 4_000)),
                (8, 254_000, RetryAt(NOW_MS + 256_000)),
                // The last attempt happens when the time is over.
                (9, 510_000, RetryAt(by_ms(510_000))),
                (1, SHOWN_WITHIN_MS - 1, RetryAt(by_ms(SHOWN_WITHIN_MS - 1))),
                (10, SHOWN_WITHIN_MS, Bury(reason)),
                (1, HOUR_MS, Bury(reason)),
                // The clock was set back.
                (1, -HOUR_MS, RetryAt(NOW_MS + 2_000)),
            ] {
                assert_eq!(next(&failure, number, NOW_MS - age_ms), expected, "{failure:?} {number} {age_ms}");
            }
            // With any setting of an operator, the attempt comes within the ten minutes.
            let retry = Retry { base: Duration::from_secs(900), give_up: Duration::from_secs(900), ..retry() };
            let attempt = Attempt { number: 1, queued_ms: NOW_MS, failed_ms: NOW_MS };
            assert_eq!(decide(&failure, attempt, &retry, 0.5), RetryAt(by_ms(0)), "{failure:?}");
        }
    }

    /// Each failure, so that a new one does not compile before it is added here and in the page.
    fn codes() -> Vec<&'static str> {
        let text = || "why".to_owned();
        let plugins = [
            PluginError::Malformed(text()),
            PluginError::field("id", "missing"),
            api(None),
            PluginError::Authentication(text()),
            PluginError::RateLimit { retry_after: None, message: text() },
            PluginError::Configuration(text()),
            PluginError::NotFound(text()),
            PluginError::Cancelled,
            PluginError::Panicked { message: text(), location: text() },
        ];
        let calls = [
            CallError::InvalidReply(text()),
            CallError::Overrun(Duration::ZERO),
            CallError::HeldUp(Duration::ZERO),
            CallError::Saturated,
            CallError::ShutOut("panics"),
            CallError::Closed,
            CallError::Lost,
        ];
        let failures = [
            Failure::TenantRemoved,
            Failure::TenantDisabled,
            Failure::Paused,
            NoRoute::Missing.into(),
            Failure::CredentialRefused { until_ms: 0 },
            Failure::NoTicket,
            Failure::NotSolvedYet,
            Failure::NotTaken,
            Failure::LeaseLost,
            StoreError::Closed { file: "x".into() }.into(),
        ];
        for failure in &failures {
            match failure {
                Failure::TenantRemoved
                | Failure::TenantDisabled
                | Failure::Paused
                | Failure::NoRoute(_)
                | Failure::CredentialRefused { .. }
                | Failure::Fetch(_)
                | Failure::Post(_)
                | Failure::NoTicket
                | Failure::NotSolvedYet
                | Failure::NotTaken
                | Failure::LeaseLost
                | Failure::Store(_) => {}
            }
        }
        let of_calls = plugins.into_iter().map(CallError::Plugin).chain(calls);
        let mut codes: Vec<_> =
            failures.into_iter().chain(of_calls.map(Failure::Fetch)).map(|failure| failure.kind()).collect();
        codes.extend(["host_ended", "unreadable"]);
        codes.sort_unstable();
        codes.dedup();
        codes
    }

    #[test]
    fn the_page_of_job_errors_has_every_code() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/job-errors.md");
        let page = std::fs::read_to_string(page).unwrap();
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let mut listed: Vec<_> = rows.collect();
        listed.sort_unstable();
        assert_eq!(listed, codes());
    }

    #[test]
    fn a_refused_credential_is_said_to_whoever_can_renew_it() {
        let refused = Failure::Fetch(CallError::Plugin(PluginError::Authentication("Jira answered 401".to_owned())));
        assert_eq!(
            refused.to_string(),
            "getting the ticket failed: the tool refused the tenant's credential: Jira answered 401; renew it: plugin-ctl \
             tenant rotate-secret ID NAME @FILE"
        );
    }

    #[test]
    fn what_else_can_happen_decides() {
        for (failure, expected) in [
            (Failure::TenantRemoved, Bury(TENANT_REMOVED)),
            (Failure::TenantDisabled, PostponeUntil(NOW_MS + AWAY_MS)),
            (Failure::Paused, PostponeUntil(NOW_MS + AWAY_MS)),
            (NoRoute::Missing.into(), PostponeUntil(NOW_MS + AWAY_MS)),
            (NoRoute::Quarantined.into(), PostponeUntil(NOW_MS + AWAY_MS)),
            (NoRoute::Disabled.into(), PostponeUntil(NOW_MS + AWAY_MS)),
            (Failure::CredentialRefused { until_ms: NOW_MS + 7 }, PostponeUntil(NOW_MS + 7)),
            (Failure::NotTaken, RetryAt(NOW_MS + 2_000)),
            (Failure::NotSolvedYet, RetryAt(NOW_MS + 2_000)),
            (Failure::Fetch(CallError::Saturated), PostponeUntil(NOW_MS + SHORTLY_MS)),
            (Failure::Fetch(CallError::Closed), PostponeUntil(NOW_MS + SHORTLY_MS)),
            (Failure::Fetch(CallError::Overrun(Duration::from_secs(60))), RetryAt(NOW_MS + 2_000)),
            (Failure::Fetch(CallError::HeldUp(Duration::from_secs(60))), RetryAt(NOW_MS + 2_000)),
            (Failure::Post(CallError::InvalidReply("short".to_owned())), RetryAt(NOW_MS + 2_000)),
            (Failure::Fetch(CallError::Lost), RetryAt(NOW_MS + 2_000)),
            (Failure::LeaseLost, Leave),
            (StoreError::Closed { file: "x".into() }.into(), Leave),
        ] {
            assert_eq!(next(&failure, 1, NOW_MS), expected, "{failure:?}");
        }
    }

    #[test]
    fn waits_grow_and_end_with_the_age_of_the_job_but_only_attempts_count() {
        let old_ms = NOW_MS - 24 * HOUR_MS;
        for (failure, number, queued_ms, expected) in [
            (Failure::NotTaken, 3, NOW_MS, RetryAt(NOW_MS + 8_000)),
            (Failure::NotSolvedYet, 9, NOW_MS, RetryAt(NOW_MS + SOLVED_WITHIN_MS)),
            (Failure::NotSolvedYet, 9, NOW_MS - HOUR_MS, RetryAt(NOW_MS)),
            (Failure::NotTaken, 3, old_ms + 8_001, RetryAt(NOW_MS + 8_000)),
            (Failure::NotTaken, 3, old_ms + 8_000, Bury(GAVE_UP)),
            (NoRoute::Missing.into(), 3, old_ms, PostponeUntil(NOW_MS + AWAY_MS)),
            (Failure::Fetch(CallError::Saturated), 3, old_ms, PostponeUntil(NOW_MS + SHORTLY_MS)),
        ] {
            assert_eq!(next(&failure, number, queued_ms), expected, "{failure:?} {queued_ms}");
        }
    }
}
