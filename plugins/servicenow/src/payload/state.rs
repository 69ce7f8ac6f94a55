//! What states and close codes say of a record: whether it is under way, or solved, or over without a solution.

use plugin_abi::payload::says_one_of;

/// How far a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Under way, also after it was opened again.
    Open,
    /// Over, with a solution.
    Solved,
    /// Over, with none.
    Unsolved,
}

/// Values and labels of an incident's states: 1 New, 2 In Progress, 3 On Hold, 6 Resolved, 7 Closed, 8 Canceled
/// (<https://www.servicenow.com/docs/r/it-service-management/incident-management/c_IncidentManagementStateModel.html>).
/// Other tables have other values (3 is a closed case), so the label counts before the value, and 3 says nothing alone.
const OPEN: &[&str] = &["1", "2", "new", "open", "in progress", "work in progress", "on hold", "pending", "assigned"];
const SOLVED: &[&str] = &["6", "7", "resolved", "closed", "closed complete", "solved"];
const UNSOLVED: &[&str] = &["8"];

/// What close codes, and states of other tables, say of ends that solve nothing. Sites change these lists; whatever the
/// language, a close code's value is the English label that it once had:
///
/// | Names | Source |
/// |---|---|
/// | Duplicate, No resolution provided | the codes of today: <https://www.servicenow.com/community/incident-management-forum/need-closure-code-definitions-amp-best-practices/m-p/2594757> |
/// | Not Solved (Not Reproducible), Not Solved (Too Costly) | the codes of older instances: <https://docs.servicenow.com/bundle/helsinki-it-service-management/page/product/incident-management/reference/r_BestPracticeIncidentResolutionWorkflow.html> |
/// | Closed Incomplete, Closed Skipped | states of tasks, in the same discussion as the codes of today |
/// | Canceled | a state: <https://www.servicenow.com/docs/r/it-service-management/incident-management/resolve-and-close-an-incident.html> |
/// | the rest | what sites add |
///
/// Solutions are, by what they say: Solved …, Solution provided, Workaround provided, Resolved by …, Closed/Resolved by
/// Caller, Known error, User error.
const SOLVES_NOTHING: &[&str] = &[
    "abandoned",
    "canceled",
    "cancelled",
    "cannot reproduce",
    "declined",
    "duplicate",
    "duplicate incident",
    "duplicated",
    "incomplete",
    "merged",
    "merged with parent",
    "no resolution",
    "no resolution provided",
    "no solution",
    "not reproducible",
    "not solved",
    "rejected",
    "skipped",
    "spam",
    "unable to reproduce",
    "unresolved",
    "unsolved",
    "withdrawn",
    "wont fix",
];

impl State {
    /// What a value or a label says; `None` for one that nobody knows.
    pub(super) fn of(text: &str) -> Option<Self> {
        let is_among = |known: &[&str]| known.iter().any(|word| word.eq_ignore_ascii_case(text.trim()));
        if is_among(UNSOLVED) || solves_nothing(text) {
            Some(Self::Unsolved)
        } else if is_among(SOLVED) {
            Some(Self::Solved)
        } else {
            is_among(OPEN).then_some(Self::Open)
        }
    }
}

/// Whether a close code names an end that solves nothing.
pub(super) fn solves_nothing(code: &str) -> bool {
    says_one_of(code, SOLVES_NOTHING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_known_by_value_and_label() {
        for (text, expected) in [
            ("1", Some(State::Open)),
            ("In Progress", Some(State::Open)),
            (" 6 ", Some(State::Solved)),
            ("CLOSED", Some(State::Solved)),
            ("Closed Complete", Some(State::Solved)),
            ("8", Some(State::Unsolved)),
            ("Canceled", Some(State::Unsolved)),
            ("Closed Incomplete", Some(State::Unsolved)),
            ("Closed Skipped", Some(State::Unsolved)),
            ("3", None),
            ("106", None),
            ("Geschlossen", None),
            ("", None),
        ] {
            assert_eq!(State::of(text), expected, "{text}");
        }
    }

    #[test]
    fn close_codes_are_known_by_their_names() {
        for code in [
            "Duplicate",
            "Duplicate incident",
            "No resolution provided",
            "Not Solved (Not Reproducible)",
            "Not Solved (Too Costly)",
            "Cancelled by caller",
            "Withdrawn",
            "Merged with parent",
            "Won't Fix",
        ] {
            assert!(solves_nothing(code), "{code}");
        }
        for code in [
            "Solved (Work Around)",
            "Solved Remotely (Permanently)",
            "Closed/Resolved by Caller",
            "Resolved by problem",
            "Known error",
            "User error",
            "Solution provided",
            "",
        ] {
            assert!(!solves_nothing(code), "{code}");
        }
    }
}
