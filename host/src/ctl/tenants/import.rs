//! `tenant import`: adds tenants from a file, with their secrets or, from `export` and `show --json`, with the names
//! only.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read},
    path::Path,
};

use plugin_abi::json::Json;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{export, list_text, newest_secrets};
use crate::{
    admin::{
        ADMIN_BODY_BYTES_MAX,
        wire::{NewTenant, Problem, Tenant},
    },
    ctl::{
        Shown,
        args::Why,
        client::Client,
        console::Console,
        failure::Failure,
        secret::{invisible_ends, invisible_warning},
    },
};

/// The field with the secrets.
const SECRETS: &str = "secrets";
/// A field that only `show --json` and `list --json` write.
const OF_SHOW: &str = "live_jobs";

/// A tenant to add, and the names of its secrets whose texts are not in the file. With any of those it is added
/// disabled: its webhooks would be refused, and its jobs would fail.
#[derive(Debug)]
pub(super) struct Imported {
    pub(super) tenant: NewTenant,
    pub(super) missing: Vec<String>,
}

/// A tenant that was added, and the secrets that it lacks.
#[derive(Serialize)]
struct Added<'a> {
    #[serde(flatten)]
    tenant: &'a Tenant,
    missing_secrets: &'a [String],
}

pub(super) fn run(
    file: &Path,
    why: &Why,
    client: impl FnOnce() -> Result<Client, Failure>,
    console: &Console,
) -> Result<Shown, Failure> {
    let imported = read(file)?;
    warn_of_invisible_ends(&imported, console);
    let (tenants, missing): (Vec<_>, Vec<_>) =
        imported.into_iter().map(|Imported { tenant, missing }| (tenant, missing)).unzip();
    let added: Vec<Tenant> = client()?.post(&why.on("/v1/tenants"), &tenants)?;
    let mut text = list_text(&added, console.layout());
    let added = added.iter().zip(&missing).map(|(tenant, missing)| Added { tenant, missing_secrets: missing });
    let added: Vec<_> = added.collect();
    added.iter().filter(|added| !added.missing_secrets.is_empty()).for_each(|added| say_missing(&mut text, added));
    Ok(Shown::new(text, &added))
}

/// Says which secrets to set, and how.
fn say_missing(text: &mut String, added: &Added<'_>) {
    let (id, names) = (&added.tenant.id, added.missing_secrets);
    let given: String = names.iter().map(|name| format!(" --secret {name}=@FILE")).collect();
    writeln!(
        text,
        "\nTenant {id} is disabled: the file has no texts for its secrets ({}). Give them, and enable it:\n  \
         plugin-ctl tenant update {id}{given}\n  plugin-ctl tenant enable {id}",
        names.join(", ")
    )
    .expect("a String takes all that is written");
}

impl Imported {
    fn of_shown(tenant: &Tenant) -> Self {
        Self::without(export::new(tenant), newest_secrets(tenant).map(str::to_owned).collect())
    }

    fn without(tenant: NewTenant, missing: Vec<String>) -> Self {
        let enabled = if missing.is_empty() { tenant.enabled } else { Some(false) };
        Self { tenant: NewTenant { enabled, ..tenant }, missing }
    }
}

fn warn_of_invisible_ends(imported: &[Imported], console: &Console) {
    for Imported { tenant, .. } in imported {
        for (name, secret) in &tenant.secrets.0 {
            if let Some(ends) = invisible_ends(secret.expose()) {
                console.warn(&invisible_warning(&format!("tenant {}: secret {name}", tenant.id), &ends));
            }
        }
    }
}

/// Reads JSON lines or one JSON array. No error quotes the file, because it contains secrets.
fn read(file: &Path) -> Result<Vec<Imported>, Failure> {
    let unreadable = |why: String| {
        let problem = Problem {
            file: Some(file.display().to_string()),
            ..Problem::new("IMPORT_UNREADABLE", "the file cannot be imported")
        };
        let mend = "write one JSON object in each line, as docs/reference/cli.md shows, or one array of them";
        Failure::failed(problem.why(why).state("nothing was changed").mend(mend))
    };
    let mut bytes = Zeroizing::new(Vec::new());
    read_at_most(file, ADMIN_BODY_BYTES_MAX as u64 + 1, &mut bytes).map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() > ADMIN_BODY_BYTES_MAX {
        return Err(unreadable(format!("it has over {ADMIN_BODY_BYTES_MAX} bytes")));
    }
    parse(&bytes).map_err(unreadable)
}

/// Parses the file's text. PowerShell writes UTF-16, and some editors put a byte order mark before UTF-8.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Imported>, String> {
    Json::new(bytes, None).read(|bytes| {
        let text =
            str::from_utf8(bytes).map_err(|error| format!("it is no UTF-8 from byte {} on", error.valid_up_to()))?;
        lines(text)
    })
}

fn lines(text: &str) -> Result<Vec<Imported>, String> {
    if text.trim_start().starts_with('[') {
        let values: Vec<Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        return values.iter().zip(1..).map(|(value, n)| tenant(&format!("tenant {n}"), value)).collect();
    }
    // The form of `show --json`: one tenant in several lines.
    if let Ok(value @ Value::Object(_)) = serde_json::from_str(text) {
        return Ok(vec![tenant("line 1", &value)?]);
    }
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    lines
        .map(|(line, n)| {
            let place = format!("line {n}");
            // Only the column, because the error's own line is that of the piece.
            let value = serde_json::from_str(line)
                .map_err(|error| format!("{place}, column {}: this is no JSON", error.column()))?;
            tenant(&place, &value)
        })
        .collect()
}

fn tenant(place: &str, value: &Value) -> Result<Imported, String> {
    if !value.is_object() {
        return Err(format!("{place}: a tenant is a JSON object"));
    }
    if value.to_string().contains(char::REPLACEMENT_CHARACTER) {
        // A secret with this character would match nothing.
        return Err(format!("{place}: a character cannot be read; save the file as UTF-8"));
    }
    if value.get(OF_SHOW).is_some() {
        return read_as::<Tenant>(place, value).map(|tenant| Imported::of_shown(&tenant));
    }
    let Some(Value::Array(names)) = value.get(SECRETS) else {
        return read_as(place, value).map(|tenant| Imported { tenant, missing: Vec::new() });
    };
    let names: Option<Vec<_>> = names.iter().map(|name| name.as_str().map(str::to_owned)).collect();
    let missing =
        names.ok_or_else(|| format!("{place}: secrets must be an object of names and texts, or a list of names"))?;
    let mut rest = value.clone();
    rest[SECRETS] = Value::Object(Map::new());
    read_as(place, &rest).map(|tenant| Imported::without(tenant, missing))
}

fn read_as<T: DeserializeOwned>(place: &str, value: &Value) -> Result<T, String> {
    T::deserialize(value).map_err(|_| match T::deserialize(&without_contents(value)) {
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

/// Reads at most `bytes_max` bytes of a file, or of standard input if it is `-`.
pub(super) fn read_at_most(file: &Path, bytes_max: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    if file == Path::new("-") {
        io::stdin().take(bytes_max).read_to_end(bytes)?;
    } else {
        File::open(file)?.take(bytes_max).read_to_end(bytes)?;
    }
    Ok(())
}
