//! `tenant …`: adds, shows, changes and removes tenants.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use super::{
    Shown,
    args::{AddTenant, OneTenant, TenantCommand},
    client::Client,
    console::Console,
    failure::Failure,
    layout::Layout,
    secret::{GivenSecret, SecretReader},
    table::{Columns, Row, cell, number, state, table},
};
use crate::{
    admin::wire::{NewTenant, Problem, Secrets, Tenant},
    tenant::EnhanceOn,
};

mod export;
mod import;
mod names;
mod removal;
mod secret;
mod shown;
mod try_out;
mod update;

use shown::one;
pub(super) use shown::state_of;

/// Calls `client` after it has read what was typed, so that a wrong file is reported even if no host runs.
pub(super) fn run(
    command: TenantCommand,
    client: impl FnOnce() -> Result<Client, Failure>,
    console: &Console,
) -> Result<Shown, Failure> {
    match command {
        TenantCommand::Add(given) => add(given, client, console),
        TenantCommand::Update(given) => update::run(given, &mut SecretReader::new(io::stdin()), client, console),
        TenantCommand::List => {
            let tenants: Vec<Tenant> = client()?.get("/v1/tenants")?;
            Ok(Shown::new(list_text(&tenants, console.layout()), &tenants))
        }
        TenantCommand::Show { id } => Ok(one(&client()?.get(&format!("/v1/tenants/{id}"))?)),
        TenantCommand::Enable(about) => set(&client()?, &about, "enable"),
        TenantCommand::Disable(about) => set(&client()?, &about, "disable"),
        TenantCommand::Pause(about) => set(&client()?, &about, "pause"),
        TenantCommand::Resume(about) => set(&client()?, &about, "resume"),
        TenantCommand::Remove(given) => removal::remove(&client()?, &given, console),
        TenantCommand::Erase { about, yes } => removal::erase(&client()?, &about, yes, console),
        TenantCommand::RotateSecret { about, name, value, grace, force } => {
            let rotation = secret::Rotation { about, name, grace_s: grace, force };
            secret::rotate(rotation, &value, client, console)
        }
        TenantCommand::RemoveSecret { about, name, yes } => secret::remove(&client()?, &about, &name, yes, console),
        TenantCommand::Export { id } => export::run(&client()?, id.as_ref()),
        TenantCommand::Import { file, why } => import::run(&file, &why, client, console),
        TenantCommand::Try(given) => try_out::run(&given, client),
    }
}

fn add(
    given: AddTenant,
    client: impl FnOnce() -> Result<Client, Failure>,
    console: &Console,
) -> Result<Shown, Failure> {
    let (why, force) = (given.why.clone(), given.options.force);
    let tenant = new_tenant(given, &mut SecretReader::new(io::stdin()), console)?;
    let client = client()?;
    names::Named::by_new(&tenant).check(&client, console, force)?;
    let added: Vec<Tenant> = client.post(&why.on("/v1/tenants"), &[tenant])?;
    let nothing = || {
        let problem = Problem::new("BAD_ANSWER", "the host does not say what it added");
        Failure::failed(problem.mend("plugin-ctl tenant list shows whether it was added"))
    };
    Ok(one(added.first().ok_or_else(nothing)?))
}

/// Sends a request without a body; `verb` is its route.
fn set(client: &Client, about: &OneTenant, verb: &str) -> Result<Shown, Failure> {
    let path = about.why.on(format!("/v1/tenants/{}/{verb}", about.id));
    Ok(one(&client.post(&path, &())?))
}

fn new_tenant(given: AddTenant, reader: &mut SecretReader<impl Read>, console: &Console) -> Result<NewTenant, Failure> {
    let AddTenant { id, tool_type, base_url, options, why: _ } = given;
    Ok(NewTenant {
        id: id.to_string(),
        tool_type: tool_type.map(|tool_type| tool_type.to_string()),
        base_url,
        settings: settings(&options.settings)?,
        secrets: secrets(&options.secrets, reader, console)?,
        allow_origins: options.allow_origins,
        allow_from: options.allow_from,
        replay_window_s: options.replay_window,
        replay_ahead_s: options.replay_ahead,
        enhance_on: options.enhance_on.map(events),
        enabled: None,
    })
}

/// Reads `--set KEY=VALUE`, each key once.
fn settings(given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut settings = BTreeMap::new();
    for setting in given {
        let (name, value) = setting.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
            Failure::usage(Problem::new("USAGE", format!("--set {setting:?} is not of the form KEY=VALUE")))
        })?;
        if settings.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(twice("--set", name));
        }
    }
    Ok(settings)
}

/// Reads `--secret NAME=VALUE`, each name once.
fn secrets(given: &[GivenSecret], reader: &mut SecretReader<impl Read>, console: &Console) -> Result<Secrets, Failure> {
    let mut secrets = Secrets::default();
    for secret in given {
        let (name, read) = reader.named(secret)?;
        let text = read.taken(&name, console);
        if secrets.0.insert(name.clone(), text).is_some() {
            return Err(twice("--secret", &name));
        }
    }
    Ok(secrets)
}

fn twice(option: &str, name: &str) -> Failure {
    Failure::usage(Problem::new("USAGE", format!("{option} {name} is given twice")))
}

/// The events' names in requests.
fn events(events: impl IntoIterator<Item = EnhanceOn>) -> Vec<String> {
    events.into_iter().map(|event| event.as_str().to_owned()).collect()
}

pub(super) fn counted(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A number of jobs: `1 job`, `2 jobs`.
pub(super) fn count(jobs: u64) -> String {
    counted(jobs, "job")
}

/// How many secrets the tenant has, counting each name once.
fn newest(tenant: &Tenant) -> usize {
    newest_secrets(tenant).count()
}

/// The names of the tenant's secrets. A replaced secret that is still valid does not count again.
fn newest_secrets(tenant: &Tenant) -> impl Iterator<Item = &str> {
    tenant.secrets.iter().filter(|secret| secret.expires_at.is_none()).map(|secret| secret.name.as_str())
}

/// The headings of `tenant list`.
pub(super) const COLUMNS: Columns =
    Columns { short: &["TENANT", "STATE", "TOOL TYPE", "SECRETS", "BASE URL"], wide: &[], below: None };

pub(super) fn list_text(tenants: &[Tenant], layout: &Layout) -> String {
    if tenants.is_empty() {
        return "There are no tenants. Add one: plugin-ctl tenant add ID --base-url URL\n".to_owned();
    }
    let rows = tenants.iter().map(|tenant| Row {
        short: vec![
            cell(Some(&tenant.id)),
            state(state_of(tenant)),
            cell(Some(&tenant.tool_type)),
            number(newest(tenant)),
            cell(Some(&tenant.base_url)),
        ],
        wide: Vec::new(),
        below: None,
    });
    table(&COLUMNS, rows, layout)
}

#[cfg(test)]
mod tests;
