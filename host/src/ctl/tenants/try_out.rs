//! `tenant try`: sends a webhook from a file, and shows the answer of the tenant's plugin.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use time::format_description::well_known::Rfc3339;

use super::import::read_at_most;
use crate::{
    admin::{
        ADMIN_BODY_BYTES_MAX,
        wire::{Header, Metadata, Problem, Tried, Try},
    },
    ctl::{
        Shown,
        args::TryTenant,
        client::Client,
        failure::Failure,
        table::{Field, fields},
    },
};

/// Maximum size of the webhook's body, in bytes. It is sent in Base64.
const BODY_BYTES_MAX: usize = ADMIN_BODY_BYTES_MAX / 2;

pub(super) fn run(given: &TryTenant, client: impl FnOnce() -> Result<Client, Failure>) -> Result<Shown, Failure> {
    let request = request(given)?;
    let tried: Tried = client()?.post(&format!("/v1/tenants/{}/try", given.id), &request)?;
    Ok(Shown::new(fields(lines(&tried)), &tried))
}

fn request(given: &TryTenant) -> Result<Try, Failure> {
    let mut body = Vec::new();
    let read = read_at_most(&given.body, BODY_BYTES_MAX as u64 + 1, &mut body).map_err(|error| error.to_string());
    let bounded = read.and_then(|()| match body.len() {
        0..=BODY_BYTES_MAX => Ok(()),
        _ => Err(format!("it has over {BODY_BYTES_MAX} bytes")),
    });
    bounded.map_err(|why| {
        let problem = Problem::new("BODY_UNREADABLE", "the webhook's body cannot be read").why(why);
        let problem = problem.mend("check the path, and that you may read the file");
        Failure::failed(Problem { file: Some(given.body.display().to_string()), ..problem })
    })?;
    let at = given.at.map(|at| at.format(&Rfc3339)).transpose();
    let at = at.map_err(|error| Failure::usage(Problem::new("USAGE", format!("--at cannot be used: {error}"))))?;
    Ok(Try {
        body: STANDARD.encode(body),
        headers: given.headers.iter().map(|text| header(text)).collect::<Result<_, _>>()?,
        path: given.path.clone(),
        query: given.query.clone(),
        at,
    })
}

/// Parses `Name: value`, as HTTP writes it.
fn header(text: &str) -> Result<Header, Failure> {
    let (name, value) = text.split_once(':').filter(|(name, _)| !name.trim().is_empty()).ok_or_else(|| {
        Failure::usage(Problem::new("USAGE", format!("--header {text:?} is not of the form NAME: VALUE")))
    })?;
    Ok(Header { name: name.trim().to_owned(), value: value.trim().to_owned() })
}

fn lines(tried: &Tried) -> Vec<Field> {
    let looked = tried.version.as_ref().zip(tried.generation);
    let looked = looked.map(|(version, generation)| format!("{} {version}, generation {generation}", tried.tool_type));
    let mut lines = vec![
        ("tenant", Some(tried.tenant.clone())),
        ("plugin", Some(looked.unwrap_or_else(|| format!("none serves {} now", tried.tool_type)))),
        ("outcome", Some(outcome(tried))),
        ("reason", tried.reason.clone()),
    ];
    if let Some(metadata) = &tried.metadata {
        let note = (tried.outcome == "refused")
            .then(|| "what the plugin reads in it, although it would be refused".to_owned());
        lines.push(("read", note));
        lines.extend(read(metadata));
    }
    lines.push(("not read", tried.unread.clone()));
    lines.push(("kept", Some("nothing; it is counted nowhere".to_owned())));
    lines
}

fn outcome(tried: &Tried) -> String {
    let Tried { status, outcome, .. } = tried;
    match (&**outcome, &tried.job) {
        ("accepted", Some(job)) => {
            format!("{status} accepted as a job of kind {job}; or duplicate, if it was delivered before")
        }
        ("ignored", _) => format!("{status} ignored: an event of this kind makes no work for this tenant"),
        _ => format!("{status} {outcome}"),
    }
}

fn read(metadata: &Metadata) -> Vec<Field> {
    let Metadata { ticket_id, event, priority, .. } = metadata;
    let raw = metadata.raw_priority.as_ref().map(|raw| format!(" ({raw})")).unwrap_or_default();
    let read_back = "nothing but ticket and event are taken from it, the rest is read back from the tool";
    vec![
        ("ticket", Some(ticket_id.clone()).filter(|id| !id.is_empty())),
        ("event", Some(event.clone())),
        ("names tenant", metadata.tenant_id.clone()),
        ("subject", metadata.subject.clone()),
        ("description", metadata.description.clone()),
        ("priority", Some(format!("{priority}{raw}"))),
        ("created", metadata.created_at.clone()),
        ("occurred", metadata.occurred_at.clone()),
        ("delivery id", metadata.delivery_id.clone()),
        ("URL", metadata.url.clone()),
        ("resolution", metadata.resolution.clone()),
        ("resolved", metadata.resolved_at.clone()),
        ("tags", Some(metadata.tags.join(", ")).filter(|tags| !tags.is_empty())),
        ("read back", metadata.read_back.then(|| read_back.to_owned())),
    ]
}
