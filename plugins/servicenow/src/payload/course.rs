//! How far a record has come: what its state, its close code and its times say.

use plugin_abi::{serde::Deserialize, time::Duration};

use super::{
    column::Column,
    event::EventWord,
    state::{self, State},
};

/// A record that was changed less than this after its creation was only finished by the tool's own rules, which touch it
/// in the first moments: it is new.
const UNTOUCHED_MAX: Duration = Duration::seconds(2);

/// Those columns that tell which record it is and what happened to it. What cannot be understood says nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
pub(super) struct Course<'a> {
    #[serde(borrow)]
    pub(super) sys_id: Column<'a>,
    #[serde(borrow)]
    pub(super) number: Column<'a>,
    #[serde(borrow)]
    pub(super) state: Column<'a>,
    #[serde(borrow)]
    pub(super) close_code: Column<'a>,
    #[serde(borrow)]
    pub(super) sys_created_on: Column<'a>,
    #[serde(borrow)]
    pub(super) sys_updated_on: Column<'a>,
    #[serde(borrow)]
    pub(super) sys_mod_count: Column<'a>,
}

impl Course<'_> {
    /// Whether it says nothing at all, as `previous` of a record that was inserted.
    pub(super) fn is_empty(&self) -> bool {
        let columns = [
            &self.sys_id,
            &self.number,
            &self.state,
            &self.close_code,
            &self.sys_created_on,
            &self.sys_updated_on,
            &self.sys_mod_count,
        ];
        columns.into_iter().all(|column| column.words().is_none())
    }

    /// How far it is, as far as its state is known.
    pub(super) fn standing(&self) -> Option<State> {
        match state_of(&self.state) {
            Some(State::Solved) if self.has_code_of_no_solution() => Some(State::Unsolved),
            state => state,
        }
    }

    /// Whether it is solved; `None` when it says no state at all.
    pub(super) fn is_solved(&self) -> Option<bool> {
        self.state.words().map(|_| self.standing() == Some(State::Solved))
    }

    /// Whether it has ended without a solution, when somebody says that it has ended.
    pub(super) fn solves_nothing(&self) -> bool {
        self.standing() == Some(State::Unsolved) || self.has_code_of_no_solution()
    }

    /// Whether its close code names an end that solves nothing.
    pub(super) fn has_code_of_no_solution(&self) -> bool {
        self.close_code.texts().any(|code| state::solves_nothing(&code))
    }

    /// What happened, where nobody says it: a solved record was resolved just now, one that was not changed since its
    /// creation (or does not say) is new, and any other was changed. Rules that run on changes of solved records should
    /// therefore say `event` themselves.
    pub(super) fn guess(&self) -> EventWord {
        match self.standing() {
            Some(State::Solved) => return EventWord::Resolved,
            Some(State::Unsolved) => return EventWord::Updated,
            Some(State::Open) | None => {}
        }
        match (self.sys_mod_count.stored().number(), self.sys_created_on.time(), self.sys_updated_on.time()) {
            (Some(0), _, _) => EventWord::Created,
            (_, Some(created), Some(updated)) if updated - created >= UNTOUCHED_MAX => EventWord::Updated,
            _ => EventWord::Created,
        }
    }
}

/// The state in a column: what its label says, else its value.
fn state_of(column: &Column<'_>) -> Option<State> {
    column.texts().find_map(|text| State::of(&text))
}

/// A state alone, as it was before a change: scripts send it under several names.
#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
pub(super) struct Before<'a> {
    #[serde(borrow)]
    pub(super) previous_state: Column<'a>,
    #[serde(borrow, rename = "previousState")]
    pub(super) previous_state_of_rules: Column<'a>,
    #[serde(borrow)]
    pub(super) old_state: Column<'a>,
    #[serde(borrow, rename = "oldState")]
    pub(super) old_state_of_rules: Column<'a>,
}

impl Before<'_> {
    /// Whether the record was solved; `None` when that state is not there.
    pub(super) fn was_solved(&self) -> Option<bool> {
        let states = [&self.previous_state, &self.previous_state_of_rules, &self.old_state, &self.old_state_of_rules];
        let state = states.into_iter().find(|state| state.words().is_some())?;
        Some(state_of(state) == Some(State::Solved))
    }
}
