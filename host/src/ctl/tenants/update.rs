//! `tenant update`: makes one request of all changes, and asks first if live jobs would become dead letters.

use std::io::Read;

use super::{events, names, secrets, settings, shown};
use crate::{
    admin::wire::{ChangedTenant, Problem, TenantChange},
    ctl::{Shown, args::UpdateTenant, client::Client, console::Console, failure::Failure, secret::SecretReader},
};

/// The host's code for a change that needs permission to give up live jobs.
const LIVE_JOBS: &str = "LIVE_JOBS";

/// Calls `client` after it has read what was typed.
pub(super) fn run(
    given: UpdateTenant,
    reader: &mut SecretReader<impl Read>,
    client: impl FnOnce() -> Result<Client, Failure>,
    console: &Console,
) -> Result<Shown, Failure> {
    let shown = format!("/v1/tenants/{}", given.id);
    let (path, yes, force) = (given.why.on(&*shown), given.yes, given.options.force);
    let change = change(given, reader, console)?;
    let client = client()?;
    if let Some(named) = names::Named::by_change(&change, || client.get(&shown))? {
        named.check(&client, console, force)?;
    }
    let changed: ChangedTenant = match client.patch(&path, &change) {
        Err(refused) if refused.problem.code == LIVE_JOBS => {
            let question = format!("{}. Make them dead letters (tenant_changed)?", refused.problem.message);
            console.confirm(&question, yes)?;
            client.patch(&path, &TenantChange { dead_letter_jobs: true, ..change })?
        }
        outcome => outcome?,
    };
    Ok(shown::changed(&changed))
}

pub(super) fn change(
    given: UpdateTenant,
    reader: &mut SecretReader<impl Read>,
    console: &Console,
) -> Result<TenantChange, Failure> {
    let UpdateTenant { id, tool_type, base_url, options, unset, remove_origins, remove_from, yes, why: _ } = given;
    let is_nothing = options.secrets.is_empty()
        && options.settings.is_empty()
        && (options.allow_origins.is_empty() && options.allow_from.is_empty())
        && (unset.is_empty() && remove_origins.is_empty() && remove_from.is_empty())
        && (options.replay_window.is_none() && options.replay_ahead.is_none())
        && (tool_type.is_none() && base_url.is_none() && options.enhance_on.is_none());
    if is_nothing {
        let problem = Problem::new("USAGE", format!("nothing is named that is to change about tenant {id}")).mend(
            format!("name it, such as --set KEY=VALUE; see plugin-ctl tenant update --help, and tenant show {id}"),
        );
        return Err(Failure::usage(problem));
    }
    Ok(TenantChange {
        tool_type: tool_type.map(|tool_type| tool_type.to_string()),
        base_url,
        settings: settings(&options.settings)?,
        secrets: secrets(&options.secrets, reader, console)?,
        unset,
        allow_origins: options.allow_origins,
        remove_origins,
        allow_from: options.allow_from,
        remove_from,
        replay_window_s: options.replay_window,
        replay_ahead_s: options.replay_ahead,
        enhance_on: options.enhance_on.map(events),
        dead_letter_jobs: yes,
    })
}
