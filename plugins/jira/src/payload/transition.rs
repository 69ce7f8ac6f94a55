//! A workflow's own webhook, called by a post function: `{"transition", "issue", "timestamp", …}`, the issue as it was
//! **before** the transition. So only the transition says what happens, and of its statuses no more than their names is known.

use plugin_abi::{payload::Scalar, serde::Deserialize};

use super::{Happened, issue::Fields, status};
use crate::unsolved;

#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
pub(super) struct Transition<'a> {
    #[serde(borrow, rename = "transitionName")]
    name: Scalar<'a>,
    #[serde(borrow)]
    from_status: Scalar<'a>,
    #[serde(borrow)]
    to_status: Scalar<'a>,
}

impl Transition<'_> {
    /// What it makes of an issue that was so before. Where a status has a name of the site's own, that may be no more than a
    /// change.
    pub(super) fn happened(&self, before: Option<&Fields<'_>>) -> Happened {
        let name = text(&self.name).to_ascii_lowercase();
        let (from, to) = (text(&self.from_status), text(&self.to_status));
        let was_done = status::is_done(from) || (before.is_some_and(Fields::is_done) && status::is_open(to));
        if status::is_done(to) {
            Happened::Resolved
        } else if unsolved::is_end(to) {
            Happened::Updated
        } else if name == "create" || name == "create issue" || (from.is_empty() && !to.is_empty()) {
            Happened::Created
        } else if was_done || name.starts_with("reopen") || name.starts_with("re-open") {
            Happened::Reopened
        } else {
            Happened::Updated
        }
    }
}

fn text<'s>(value: &'s Scalar<'_>) -> &'s str {
    value.text().unwrap_or_default().trim()
}
