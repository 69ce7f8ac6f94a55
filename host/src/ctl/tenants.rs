//! `tenant …`: adding, showing, changing and removing tenants.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use comfy_table::Cell;
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
    secret::{GivenSecret, ReadSecret, SecretReader},
    table::{cell, fields, number, state, table},
};
use crate::{
    admin::{
        ADMIN_BODY_BYTES_MAX,
        wire::{NewTenant, Problem, RemovedTenant, RotateSecret, Secret, Secrets, Tenant},
    },
    ids::TenantId,
};

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
            Ok(one(added
                .first()
                .ok_or_else(|| Failure::failed(Problem::new("BAD_ANSWER", "the host does not say what it added")))?))
        }
        TenantCommand::List => {
            let tenants: Vec<Tenant> = client()?.get("/v1/tenants")?;
            Ok(Shown::new(list_text(&tenants, console.color()), &tenants))
        }
        TenantCommand::Show { id } => Ok(one(&client()?.get(&format!("/v1/tenants/{id}"))?)),
        TenantCommand::Enable { id } => Ok(one(&client()?.post(&format!("/v1/tenants/{id}/enable"), &())?)),
        TenantCommand::Disable { id } => Ok(one(&client()?.post(&format!("/v1/tenants/{id}/disable"), &())?)),
        TenantCommand::Pause { id } => Ok(one(&client()?.post(&format!("/v1/tenants/{id}/pause"), &())?)),
        TenantCommand::Resume { id } => Ok(one(&client()?.post(&format!("/v1/tenants/{id}/resume"), &())?)),
        TenantCommand::Remove { id, yes } => remove(&client()?, &id, yes, console),
        TenantCommand::RotateSecret { id, name, value, grace } => {
            let value = secret(&name, &value, &mut SecretReader::new(io::stdin()), console)?;
            crate::tenant::check_name(&name)
                .map_err(|error| Failure::usage(Problem::new("INVALID_TENANT", error.to_string())))?;
            let path = format!("/v1/tenants/{id}/secrets/{name}");
            Ok(one(&client()?.put(&path, &RotateSecret { value, grace_s: grace })?))
        }
        TenantCommand::Import { file } => {
            let tenants = read_import(&file)?;
            let added: Vec<Tenant> = client()?.post("/v1/tenants", &tenants)?;
            Ok(Shown::new(list_text(&added, console.color()), &added))
        }
    }
}

fn new_tenant(given: AddTenant, reader: &mut SecretReader<impl Read>, console: &Console) -> Result<NewTenant, Failure> {
    let mut tenant = NewTenant {
        id: given.id.to_string(),
        tool_type: given.tool_type.map(|tool_type| tool_type.to_string()),
        base_url: given.base_url,
        secrets: Secrets::default(),
        settings: Default::default(),
        allow_origins: given.allow_origins,
        replay_window_s: given.replay_window,
        replay_ahead_s: given.replay_ahead,
        enhance_on: None,
    };
    let twice =
        |option: &str, name: &str| Failure::usage(Problem::new("USAGE", format!("{option} {name} is given twice")));
    for setting in &given.settings {
        let (name, value) = setting.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
            Failure::usage(Problem::new("USAGE", format!("--set {setting:?} is not of the form KEY=VALUE")))
        })?;
        if tenant.settings.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(twice("--set", name));
        }
    }
    for secret in &given.secrets {
        let (name, read) = reader.named(secret)?;
        let text = taken(&name, read, console);
        if tenant.secrets.0.insert(name.clone(), text).is_some() {
            return Err(twice("--secret", &name));
        }
    }
    Ok(tenant)
}

fn secret(
    name: &str,
    given: &GivenSecret,
    reader: &mut SecretReader<impl Read>,
    console: &Console,
) -> Result<Secret, Failure> {
    Ok(taken(name, reader.value(name, given)?, console))
}

fn taken(name: &str, read: ReadSecret, console: &Console) -> Secret {
    if read.exposed {
        console.warn(&format!(
            "secret {name} stands on the command line, where other users and the shell's history see it; \
             write {name}=@FILE or @- instead, and rotate it"
        ));
    }
    read.secret
}

fn remove(client: &Client, id: &TenantId, yes: bool, console: &Console) -> Result<Shown, Failure> {
    let tenant: Tenant = client.get(&format!("/v1/tenants/{id}"))?;
    let jobs = tenant.live_jobs.unwrap_or_default();
    let question = format!("Remove tenant {id} with {} and dead-letter {}?", secrets(&tenant), count(jobs));
    console.confirm(&question, yes)?;
    let removed: RemovedTenant = client.delete(&format!("/v1/tenants/{id}"))?;
    let text = format!("Tenant {id} is removed; {} dead-lettered.\n", were(removed.dead_lettered));
    Ok(Shown::new(text, &removed))
}

/// `1 job`, `2 jobs`
pub(super) fn count(jobs: u64) -> String {
    if jobs == 1 { "1 job".to_owned() } else { format!("{jobs} jobs") }
}

fn were(jobs: u64) -> String {
    format!("{} {}", count(jobs), if jobs == 1 { "was" } else { "were" })
}

fn secrets(tenant: &Tenant) -> String {
    let number = newest(tenant);
    if number == 1 { "1 secret".to_owned() } else { format!("{number} secrets") }
}

/// Secrets by name: a replaced one that is still good is not another.
fn newest(tenant: &Tenant) -> usize {
    tenant.secrets.iter().filter(|secret| secret.expires_at.is_none()).count()
}

fn state_of(tenant: &Tenant) -> &'static str {
    match tenant {
        Tenant { enabled: false, .. } => "disabled",
        Tenant { paused: true, .. } => "paused",
        _ => "enabled",
    }
}

fn list_text(tenants: &[Tenant], color: bool) -> String {
    if tenants.is_empty() {
        return "There are no tenants. Add one: plugin-ctl tenant add ID --base-url URL\n".to_owned();
    }
    let rows = tenants.iter().map(|tenant| -> Vec<Cell> {
        vec![
            cell(Some(&tenant.id)),
            state(state_of(tenant)),
            cell(Some(&tenant.tool_type)),
            cell(Some(&tenant.base_url)),
            number(newest(tenant)),
        ]
    });
    table(&["TENANT", "STATE", "TOOL TYPE", "BASE URL", "SECRETS"], rows, color)
}

fn one(tenant: &Tenant) -> Shown {
    let mut lines = vec![
        ("tenant", Some(tenant.id.clone())),
        ("state", Some(state_of(tenant).to_owned())),
        ("tool type", Some(tenant.tool_type.clone())),
        ("base URL", Some(tenant.base_url.clone())),
        ("webhooks", Some(format!("POST /webhooks/{}", tenant.id))),
        ("enhance on", Some(tenant.enhance_on.join(", "))),
        ("replay window", Some(format!("{} s, {} s ahead", tenant.replay_window_s, tenant.replay_ahead_s))),
        ("live jobs", tenant.live_jobs.map(|jobs| jobs.to_string())),
    ];
    lines.extend(tenant.allow_origins.iter().map(|origin| ("allowed", Some(origin.clone()))));
    lines.extend(tenant.settings.iter().map(|(name, value)| ("setting", Some(format!("{name} = {value}")))));
    for secret in &tenant.secrets {
        let until = secret.expires_at.as_ref().map(|at| format!(", replaced, good until {at}")).unwrap_or_default();
        let Some(oauth2) = &secret.oauth2 else {
            lines.push(("secret", Some(format!("{}, set {}{until}", secret.name, secret.created_at))));
            continue;
        };
        let kind = format!("{}, oauth2 ({}), set {}", secret.name, oauth2.grant, secret.created_at);
        let token = match (&oauth2.obtained_at, &oauth2.expires_at) {
            (Some(from), Some(until)) => format!("obtained {from}, good until {until}"),
            _ => "none obtained since the host was started".to_owned(),
        };
        let error = oauth2.last_error.as_ref().map(|error| format!("{}: {}", error.at, error.message));
        lines.extend([("secret", Some(kind)), ("  token URL", Some(oauth2.token_url.clone()))]);
        lines.extend([("  token", Some(token)), ("  last error", error)]);
    }
    Shown::new(fields(lines), tenant)
}

/// Reads JSON lines or one JSON array. No complaint quotes the file: it holds secrets.
fn read_import(file: &Path) -> Result<Vec<NewTenant>, Failure> {
    let unreadable = |why: String| {
        let problem = Problem {
            file: Some(file.display().to_string()),
            ..Problem::new("IMPORT_UNREADABLE", "the file cannot be imported")
        };
        Failure::failed(problem.why(why).state("nothing was changed"))
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
        // It may stand in a secret, which would never fit.
        return Err(format!("{place}: a character cannot be read; save the file as UTF-8"));
    }
    NewTenant::deserialize(value).map_err(|_| match NewTenant::deserialize(&without_contents(value)) {
        Err(error) => format!("{place}: {error}"),
        Ok(_) => format!("{place}: a number is out of range"),
    })
}

/// The same with other texts and numbers: what is wrong with it can be told.
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
