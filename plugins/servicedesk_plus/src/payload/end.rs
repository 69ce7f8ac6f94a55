//! Ends that solve nothing: a request is over, and how it ended helps nobody with another one.

use plugin_abi::payload::names_any;

/// What closure codes and statuses say of such ends. Both are lists that each site changes; these are the names that the
/// vendor and its users give them:
///
/// | Phrases | Source |
/// |---|---|
/// | cancelled, rejected, unresolved | what a closure code is for: <https://www.manageengine.com/products/service-desk/sdpod-v3-api/admin/closure_code.html>, <https://www.manageengine.com/products/service-desk/help/adminguide/configurations/helpdesk/request_closure_code.html> |
/// | failed, moved, postponed, unable to reproduce | the codes that an installation begins with |
/// | cancelled | the status of that name, which ends a request without a solution: <https://www.manageengine.com/products/service-desk/help/adminguide/configurations/helpdesk/configuring-status.html> |
/// | duplicate, merged, withdrawn, declined and the rest | what sites add |
const SOLVES_NOTHING: &[&str] = &[
    "abandoned",
    "canceled",
    "cancelled",
    "cannot reproduce",
    "declined",
    "duplicate",
    "duplicated",
    "merged",
    "no resolution",
    "no response",
    "no solution",
    "not reproducible",
    "not resolved",
    "not solved",
    "postponed",
    "rejected",
    "spam",
    "task not defined",
    "unable to reproduce",
    "unresolved",
    "unsolved",
    "withdrawn",
    "won t do",
    "won t fix",
];

/// Those that must be the whole name: in a longer one they may name a cause ("failed disk replaced").
const SOLVES_NOTHING_ALONE: &[&str] = &["failed", "invalid", "moved"];

/// Whether a closure code or a status names such an end.
pub(super) fn solves_nothing(label: &str) -> bool {
    names_any(label, SOLVES_NOTHING) || SOLVES_NOTHING_ALONE.iter().any(|name| name.eq_ignore_ascii_case(label.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_by_their_words() {
        for label in [
            "Cancelled",
            "canceled",
            "Cancelled by requester",
            "Duplicate",
            "Closed - duplicate of another request",
            "Unable to Reproduce",
            "REJECTED",
            "Merged",
            "Not solved",
            "Won't fix",
            " Failed ",
        ] {
            assert!(solves_nothing(label), "{label}");
        }
        for label in [
            "Success",
            "Resolved",
            "Closed",
            "Workaround",
            "Failed disk replaced",
            "Open",
            "Onhold",
            "Deduplicated",
            "",
            "-",
        ] {
            assert!(!solves_nothing(label), "{label}");
        }
    }
}
