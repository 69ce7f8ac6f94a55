//! What happened, from all that may say it.

use plugin_abi::{
    payload::{Faults, Presence, Scalar},
    prelude::*,
};

use super::is_given;

/// What happened to a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventWord {
    Created,
    Updated,
    Resolved,
    Reopened,
    Other,
}

impl EventWord {
    /// What the address says that a webhook came to.
    pub(crate) fn of_route(webhook: &Webhook<'_>) -> Option<Self> {
        match webhook.route_event()? {
            Event::Created => Some(Self::Created),
            Event::Resolved { .. } => Some(Self::Resolved),
            _ => None,
        }
    }

    /// What a script says, whatever its case and with or without what it happened to: `created`, `incident_created`,
    /// `insert` (`current.operation()`).
    fn read(word: &str) -> Self {
        let word = word.trim().to_ascii_lowercase();
        let verb = word.rsplit(['_', '.', ' ', ':']).next().unwrap_or(&word);
        match verb {
            "created" | "create" | "inserted" | "insert" => Self::Created,
            "updated" | "update" => Self::Updated,
            "resolved" | "resolve" | "closed" | "close" => Self::Resolved,
            "reopened" | "reopen" | "re-opened" | "re-open" => Self::Reopened,
            _ => Self::Other,
        }
    }

    /// The change between two states of a record: whether it was solved before, and whether it is now. Where only one of
    /// them can be known, nothing is known but that it was changed.
    pub(super) fn of_change(was_solved: Option<bool>, is_solved: Option<bool>) -> Self {
        match (was_solved, is_solved) {
            (Some(false), Some(true)) => Self::Resolved,
            (Some(true), Some(false)) => Self::Reopened,
            _ => Self::Updated,
        }
    }

    /// What happened, where the body or its address says it. A change that ends a record or opens it again says it best: a
    /// script's word is often the same for every change (`update`, `state_changed`). Then the word counts, then any other
    /// change, then the address.
    pub(super) fn told(
        faults: &mut Faults,
        (field, word): (&str, &Scalar<'_>),
        change: Option<Self>,
        route: Option<Self>,
    ) -> Option<Self> {
        let word = if is_given(word) { faults.text(field, word, Presence::Optional) } else { None };
        let word = word.map(Self::read);
        match change {
            Some(Self::Resolved | Self::Reopened) => change,
            _ => word.or(change).or(route),
        }
    }

    /// As the host takes it; `resolved` is what is known of a solution.
    pub(super) fn event(self, resolved: impl FnOnce() -> Event) -> Event {
        match self {
            Self::Created => Event::Created,
            Self::Updated => Event::Updated,
            Self::Resolved => resolved(),
            Self::Reopened => Event::Reopened,
            Self::Other => Event::Other,
        }
    }
}
