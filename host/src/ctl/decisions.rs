//! `rollback`, `pin`, `unpin`, `disable`, `enable`: sends an operator's decision about a plugin, and shows what serves
//! then.

use super::{Shown, args::Decision, client::Client, console::Console, failure::Failure, plugins::state_after};
use crate::admin::wire::{Pin, Reason, Reloaded};

/// Sends a decision without further parameters; `verb` is its route.
pub(super) fn decide(client: &Client, console: &Console, verb: &str, about: Decision) -> Result<Shown, Failure> {
    let Decision { tool_type, reason } = about;
    let outcome: Vec<Reloaded> = client.post(&format!("/v1/plugins/{tool_type}/{verb}"), &Reason { reason })?;
    state_after(client, console, &outcome, Some(&tool_type))
}

pub(super) fn pin(client: &Client, console: &Console, about: Decision, to: String) -> Result<Shown, Failure> {
    let Decision { tool_type, reason } = about;
    let outcome: Vec<Reloaded> = client.post(&format!("/v1/plugins/{tool_type}/pin"), &Pin { to, reason })?;
    state_after(client, console, &outcome, Some(&tool_type))
}
