//! What is known of a status by its name alone: where Jira does not say its category. Sites name their statuses themselves;
//! these are those of new sites, and others that mean the same.
//!
//! <https://support.atlassian.com/jira-cloud-administration/docs/what-are-issue-statuses-priorities-and-resolutions/>

const DONE: [&str; 11] = [
    "done",
    "resolved",
    "closed",
    "completed",
    "complete",
    "solved",
    "fixed",
    "finished",
    "fulfilled",
    "verified",
    "archived",
];

const OPEN: [&str; 15] = [
    "to do",
    "open",
    "new",
    "reopened",
    "backlog",
    "selected for development",
    "in progress",
    "work in progress",
    "waiting for support",
    "waiting for customer",
    "waiting for approval",
    "pending",
    "escalated",
    "in review",
    "under investigation",
];

/// Whether nothing is left to do in this status.
pub(super) fn is_done(name: &str) -> bool {
    is_one_of(name, &DONE)
}

/// Whether something is left to do in it.
pub(super) fn is_open(name: &str) -> bool {
    is_one_of(name, &OPEN)
}

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|candidate| candidate.eq_ignore_ascii_case(name.trim()))
}
