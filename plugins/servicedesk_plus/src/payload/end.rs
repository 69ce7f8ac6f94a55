//! Ends that solve nothing: a request is over, and how it ended helps nobody with another one.

use plugin_abi::payload::says_one_of;

/// What closure codes and statuses say of such ends. Both are lists that each site changes; these are the names that the
/// vendor and its users give them:
///
/// | Names | Source |
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
    "duplicate request",
    "duplicate ticket",
    "duplicated",
    "failed",
    "invalid",
    "merged",
    "moved",
    "no resolution",
    "no response",
    "no solution",
    "not reproducible",
    "not solved",
    "postponed",
    "rejected",
    "spam",
    "task not defined",
    "unable to reproduce",
    "unresolved",
    "unsolved",
    "withdrawn",
    "wont do",
    "wont fix",
];

/// Whether a closure code or a status names such an end.
pub(super) fn solves_nothing(label: &str) -> bool {
    says_one_of(label, SOLVES_NOTHING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_known_by_their_names() {
        for label in [
            "Cancelled",
            "canceled",
            "Cancelled by requester",
            "Duplicate Request",
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
