//! How far a request has come: what its id, its status and its times say.

use plugin_abi::{payload, payload::Scalar, serde::Deserialize, time::Duration};

use super::{EventWord, end::solves_nothing, json::Part};

/// A request that was changed less than this after its creation was only finished by the tool's own rules, which touch
/// it in the first moments: it is new.
const UNTOUCHED_MAX: Duration = Duration::SECOND;

/// Those fields of a request that tell which one it is and what happened to it. What cannot be understood is left out.
#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
pub(super) struct Course<'a> {
    #[serde(borrow)]
    pub(super) id: Scalar<'a>,
    #[serde(borrow)]
    pub(super) status: Part<'a>,
    #[serde(borrow)]
    closure_info: payload::Part<'a, Closure<'a>>,
    /// As a template may write it.
    #[serde(borrow)]
    closure_code: Part<'a>,
    #[serde(borrow)]
    pub(super) created_time: Part<'a>,
    #[serde(borrow)]
    pub(super) last_updated_time: Part<'a>,
    #[serde(borrow)]
    pub(super) resolved_time: Part<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Closure<'a> {
    #[serde(borrow)]
    closure_code: Part<'a>,
}

/// How a request is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End<'c> {
    /// With a solution.
    Solved,
    /// With none, for the reason that the closure code or the status names.
    Unsolved(&'c str),
}

impl Course<'_> {
    /// What happened, where nobody says it: a solved request was resolved just now, one that was not changed since its
    /// creation (or does not say) is new, and any other was changed. Templates of triggers that fire on changes of solved
    /// requests should therefore say `"event"` themselves.
    pub(super) fn guess(&self) -> EventWord {
        match (self.end(), self.created_time.time(), self.last_updated_time.time()) {
            (Some(End::Solved), _, _) => EventWord::Resolved,
            (Some(End::Unsolved(_)), _, _) => EventWord::Updated,
            (None, Some(created), Some(updated)) if updated - created >= UNTOUCHED_MAX => EventWord::Updated,
            (None, _, _) => EventWord::Created,
        }
    }

    /// How it ended; `None` while it is under way, and when nobody can know.
    pub(super) fn end(&self) -> Option<End<'_>> {
        if self.is_in_progress() {
            return None;
        }
        let labels = || [self.status.name(), self.internal_name()].into_iter().flatten();
        if let Some(label) = labels().find(|label| solves_nothing(label)) {
            return Some(End::Unsolved(label));
        }
        // By the status's name; or by what stays the same when a site renames it.
        let is_over = labels().any(|name| name.eq_ignore_ascii_case("resolved") || name.eq_ignore_ascii_case("closed"))
            || self.in_progress() == Some(false) && self.resolved_time.time().is_some();
        let code = self.closure_code().filter(|code| is_over && solves_nothing(code));
        code.map(End::Unsolved).or(is_over.then_some(End::Solved))
    }

    /// Whether the status says that it is under way; after a reopening too, when time and code of its end are still there.
    pub(super) fn is_in_progress(&self) -> bool {
        self.in_progress() == Some(true)
    }

    fn in_progress(&self) -> Option<bool> {
        self.status.object()?.in_progress.flag()
    }

    fn internal_name(&self) -> Option<&str> {
        self.status.object()?.internal_name.text()
    }

    fn closure_code(&self) -> Option<&str> {
        let info = self.closure_info.object();
        info.and_then(|info| info.closure_code.name()).or_else(|| self.closure_code.name())
    }
}
