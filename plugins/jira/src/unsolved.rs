//! Ends of an issue that solve nothing: by the name of its resolution, or of its status.
//!
//! | Name | What Jira says of it |
//! |---|---|
//! | Won't Do, Won't Fix | this issue won't be actioned; will never be fixed |
//! | Duplicate | the problem is a duplicate of an existing issue |
//! | Cannot Reproduce | all attempts at reproducing this issue failed |
//! | Incomplete | the problem is not completely described |
//! | Declined, Rejected | this issue was not approved |
//! | Cancelled, Canceled, Withdrawn | work has stopped, or is not wanted any more |
//! | Failed | what was planned did not succeed |
//! | Known Error | its cause is known and there is a workaround, but it has not been resolved yet (ITIL) |
//!
//! The names are those that new sites have, or had
//! (<https://support.atlassian.com/jira-cloud-administration/docs/what-are-issue-statuses-priorities-and-resolutions/>), and
//! others that mean the same. "Hardware failure" and "Software failure" name what was mended: such an issue is solved.

use plugin_abi::payload::says_one_of;

const NAMES: [&str; 29] = [
    "wont do",
    "wontdo",
    "will not do",
    "wont fix",
    "wontfix",
    "will not fix",
    "duplicate",
    "duplicated",
    "merged",
    "cannot reproduce",
    "cant reproduce",
    "not reproducible",
    "incomplete",
    "declined",
    "denied",
    "rejected",
    "cancelled",
    "canceled",
    "withdrawn",
    "failed",
    "known error",
    "invalid",
    "not a bug",
    "obsolete",
    "abandoned",
    "deferred",
    "no response",
    "spam",
    "unresolved",
];

/// Whether a resolution or a status of this name ends an issue without a solution.
pub(crate) fn is_end(name: &str) -> bool {
    says_one_of(name, &NAMES)
}
