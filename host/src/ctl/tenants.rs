//! `tenant …`: adding, showing, changing and removing tenants.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::Path,
};

use plugin_abi::json::Json;
use serde::Deserialize as _;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    Shown,
    args::{AddTenant, TenantCommand},
    client::Client,
    console::Console,
    failure::Failure,
    layout::Layout,
    secret::{GivenSecret, SecretReader, invisible_ends, invisible_warning},
    table::{Columns, Row, cell, number, state, table},
};
use crate::{
    admin::{
        ADMIN_BODY_BYTES_MAX,
        wire::{Holdings, NewTenant, Problem, Remains, RemovedTenant, RotateSecret, Secrets, Tenant},
    },
    ids::TenantId,
    tenant::EnhanceOn,
};

mod shown;
mod update;

use shown::one;
pub(super) use shown::state_of;

/// `client` is asked for after what was typed has been read: a wrong file is told also when no host runs.
pub(super) fn run(
    command: TenantCommand,
    client: impl FnOnce() -> Result<Client, Failure>,
    console: &Console,
) -> Result<Shown, Failure> {
    match command {
        TenantCommand::Add(given) => {
            let tenant = new_tenant(given, &mut SecretReader::new(io::stdin()), console)?;
            let added: Vec<Tenant> = client()?.post("/v1/tenants", &[tenant])?;
            Ok(one(added.first().ok_or_else(|| {
                let problem = Problem::new("BAD_ANSWER", "the host does not say what it added");
                Failure::failed(problem.mend("plugin-ctl tenant list shows whether it was added"))
            })?))
        }
        TenantCommand::Update(given) => update::run(given, &mut SecretReader::new(io::stdin()), client, console),
        TenantCommand::List => {
            let tenants: Vec<Tenant> = client()?.get("/v1/tenants")?;
            Ok(Shown::new(list_text(&tenants, console.layout()), &tenants))
        }
        TenantCommand::Show { id } => Ok(one(&client()?.get(&format!("/v1/tenants/{id}"))?)),
        TenantCommand::Enable { id } => Ok(one(&client()?.post(&format!("/v1/tenants/{id}/enable"), &())?)),
        TenantCommand::Disable { id } => Ok(one(&client()?.post(&format!("/v1/tenants/{id}/disable"), &())?)),
        TenantCommand::Pause { id } => Ok(one(&client()?.post(&format!("/v1/tenants/{id}/pause"), &())?)),
        TenantCommand::Resume { id } => Ok(one(&client()?.post(&format!("/v1/tenants/{id}/resume"), &())?)),
        TenantCommand::Remove { id, keep, yes } => remove(&client()?, &id, keep, yes, console),
        TenantCommand::Erase { id, yes } => erase(&client()?, &id, yes, console),
        TenantCommand::RotateSecret { id, name, value, grace } => {
            let value = SecretReader::new(io::stdin()).value(&name, &value)?.taken(&name, console);
            crate::tenant::check_name(&name)
                .map_err(|error| Failure::usage(Problem::new("INVALID_TENANT", error.to_string())))?;
            let path = format!("/v1/tenants/{id}/secrets/{name}");
            Ok(one(&client()?.put(&path, &RotateSecret { value, grace_s: grace })?))
        }
        TenantCommand::Import { file } => {
            let tenants = read_import(&file)?;
            warn_of_invisible_ends(&tenants, console);
            let added: Vec<Tenant> = client()?.post("/v1/tenants", &tenants)?;
            Ok(Shown::new(list_text(&added, console.layout()), &added))
        }
    }
}

fn new_tenant(given: AddTenant, reader: &mut SecretReader<impl Read>, console: &Console) -> Result<NewTenant, Failure> {
    let AddTenant { id, tool_type, base_url, options } = given;
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
    })
}

/// `--set KEY=VALUE`, each key once.
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

/// `--secret NAME=VALUE`, each name once.
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

/// As they are written on the wire.
fn events(events: impl IntoIterator<Item = EnhanceOn>) -> Vec<String> {
    events.into_iter().map(|event| event.as_str().to_owned()).collect()
}

fn warn_of_invisible_ends(tenants: &[NewTenant], console: &Console) {
    for tenant in tenants {
        for (name, secret) in &tenant.secrets.0 {
            if let Some(ends) = invisible_ends(secret.expose()) {
                console.warn(&invisible_warning(&format!("tenant {}: secret {name}", tenant.id), &ends));
            }
        }
    }
}

fn remove(
    client: &Client,
    id: &TenantId,
    keep_days: Option<u32>,
    yes: bool,
    console: &Console,
) -> Result<Shown, Failure> {
    let tenant: Tenant = client.get(&format!("/v1/tenants/{id}"))?;
    let holdings: Holdings = client.get(&format!("/v1/tenants/{id}/holdings"))?;
    let (secrets, held) = (count_secrets(&tenant), held(&holdings));
    let question = match keep_days {
        None => format!("Remove tenant {id} with {secrets}, {held}? All of it is erased."),
        Some(days) => {
            format!("Remove tenant {id} with {secrets}, and keep for {}: {held}?", counted(days.into(), "day"))
        }
    };
    console.confirm(&question, yes)?;
    let query = keep_days.map(|days| format!("?keep_days={days}")).unwrap_or_default();
    let removed: RemovedTenant = client.delete(&format!("/v1/tenants/{id}{query}"))?;
    let held = self::held(&removed.holdings);
    let text = match &removed.kept_until {
        None => format!("Tenant {id} is removed, and what was stored for it is erased: {held}.\n"),
        Some(until) => format!("Tenant {id} is removed. Kept until {until}: {held}.\n"),
    };
    Ok(Shown::new(text, &removed))
}

fn erase(client: &Client, id: &TenantId, yes: bool, console: &Console) -> Result<Shown, Failure> {
    let path = format!("/v1/tenants/{id}/remains");
    let remains: Remains = client.get(&path)?;
    console.confirm(&format!("Erase what removed tenants left behind as {id}: {}?", held(&remains.holdings)), yes)?;
    let erased: Remains = client.delete(&path)?;
    Ok(Shown::new(format!("Erased what removed tenants left behind as {id}: {}.\n", held(&erased.holdings)), &erased))
}

/// `1 job, 2 dead letters, …`
fn held(holdings: &Holdings) -> String {
    let Holdings { jobs, dead_letters, solved_tickets, notes } = *holdings;
    [(jobs, "job"), (dead_letters, "dead letter"), (solved_tickets, "solved ticket"), (notes, "note")]
        .map(|(number, what)| counted(number, what))
        .join(", ")
}

pub(super) fn counted(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// `1 job`, `2 jobs`
pub(super) fn count(jobs: u64) -> String {
    counted(jobs, "job")
}

fn count_secrets(tenant: &Tenant) -> String {
    counted(newest(tenant) as u64, "secret")
}

/// Secrets by name: a replaced one that is still good is not another.
fn newest(tenant: &Tenant) -> usize {
    tenant.secrets.iter().filter(|secret| secret.expires_at.is_none()).count()
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

/// Reads JSON lines or one JSON array. No complaint quotes the file: it holds secrets.
fn read_import(file: &Path) -> Result<Vec<NewTenant>, Failure> {
    let unreadable = |why: String| {
        let problem = Problem {
            file: Some(file.display().to_string()),
            ..Problem::new("IMPORT_UNREADABLE", "the file cannot be imported")
        };
        let mend = "write one JSON object in each line, as docs/reference/cli.md shows, or one array of them";
        Failure::failed(problem.why(why).state("nothing was changed").mend(mend))
    };
    let mut bytes = Zeroizing::new(Vec::new());
    let read =
        |input: &mut dyn Read, bytes: &mut Vec<u8>| input.take(ADMIN_BODY_BYTES_MAX as u64 + 1).read_to_end(bytes);
    let outcome = if file == Path::new("-") {
        read(&mut io::stdin(), &mut bytes)
    } else {
        File::open(file).and_then(|mut file| read(&mut file, &mut bytes))
    };
    outcome.map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() > ADMIN_BODY_BYTES_MAX {
        return Err(unreadable(format!("it has over {ADMIN_BODY_BYTES_MAX} bytes")));
    }
    parse_import(&bytes).map_err(unreadable)
}

/// PowerShell writes UTF-16, and editors put a byte order mark before UTF-8.
fn parse_import(bytes: &[u8]) -> Result<Vec<NewTenant>, String> {
    Json::new(bytes, None).read(|bytes| {
        let text =
            str::from_utf8(bytes).map_err(|error| format!("it is no UTF-8 from byte {} on", error.valid_up_to()))?;
        import_of(text)
    })
}

fn import_of(text: &str) -> Result<Vec<NewTenant>, String> {
    if text.trim_start().starts_with('[') {
        let values: Vec<Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        return values.iter().zip(1..).map(|(value, n)| tenant(&format!("tenant {n}"), value)).collect();
    }
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    lines
        .map(|(line, n)| {
            let place = format!("line {n}");
            // Only the column: the error's own line is that of the piece.
            let value = serde_json::from_str(line)
                .map_err(|error| format!("{place}, column {}: this is no JSON", error.column()))?;
            tenant(&place, &value)
        })
        .collect()
}

fn tenant(place: &str, value: &Value) -> Result<NewTenant, String> {
    if !value.is_object() {
        return Err(format!("{place}: a tenant is a JSON object"));
    }
    if value.to_string().contains(char::REPLACEMENT_CHARACTER) {
        // A secret that holds one fits nothing.
        return Err(format!("{place}: a character cannot be read; save the file as UTF-8"));
    }
    NewTenant::deserialize(value).map_err(|_| match NewTenant::deserialize(&without_contents(value)) {
        Err(error) => format!("{place}: {error}"),
        Ok(_) => format!("{place}: a number is out of range"),
    })
}

/// The value with its texts and numbers replaced, so that an error about it quotes no secret.
fn without_contents(value: &Value) -> Value {
    match value {
        Value::String(_) => "…".into(),
        Value::Number(_) => 0.into(),
        Value::Array(items) => items.iter().map(without_contents).collect(),
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), without_contents(value))).collect(),
        Value::Null | Value::Bool(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests;
