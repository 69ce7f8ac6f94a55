//! What a vendor gives so that a case can make valid calls: `conformance.toml`, read once, with all its files.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use plugin_abi::{
    http::Response,
    time::{OffsetDateTime, format_description::well_known::Rfc3339},
    types::{Event, Ticket, TicketMetadata},
};
use serde::{Deserialize, Serialize};

use super::{signing::Sign, subject::Delivery};

/// The name under which it is looked for.
pub const FILE: &str = "conformance.toml";

/// The file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Given {
    /// The tenant's id.
    pub tenant: String,
    /// Where the tenant's tool would be.
    pub base_url: String,
    /// The path that webhooks come to.
    pub path: String,
    /// The tenant's settings.
    pub settings: BTreeMap<String, String>,
    /// The tenant's secrets: of tests, never real ones.
    pub secrets: BTreeMap<String, String>,
    /// Webhooks that the plugin takes.
    pub webhook: Vec<GivenWebhook>,
    /// A ticket that the tool has.
    pub ticket: Option<GivenTicket>,
    /// What the tool answers.
    pub answer: Vec<GivenAnswer>,
}

impl Default for Given {
    fn default() -> Self {
        Self {
            tenant: "acme".to_owned(),
            base_url: "https://desk.example".to_owned(),
            path: "/webhooks/acme".to_owned(),
            settings: BTreeMap::new(),
            secrets: BTreeMap::new(),
            webhook: Vec::new(),
            ticket: None,
            answer: Vec::new(),
        }
    }
}

/// A webhook that the plugin takes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GivenWebhook {
    /// What it is called in the report.
    pub name: String,
    /// The body, in a file beside this one,
    file: Option<PathBuf>,
    /// or here.
    body: Option<String>,
    #[serde(default)]
    query: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Settings besides those of the file, for this webhook.
    #[serde(default)]
    settings: BTreeMap<String, String>,
    /// How it is signed; without, its headers stand as they are.
    pub(super) sign: Option<Sign>,
    /// When it arrives (RFC 3339); without, now.
    received_at: Option<String>,
    /// What `extract_metadata` answers.
    #[serde(default)]
    pub expect: ExpectedMetadata,
}

/// What is compared of the metadata; what is not given is not compared.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectedMetadata {
    event: Option<String>,
    ticket_id: Option<String>,
    tenant_id: Option<String>,
    subject: Option<String>,
    description: Option<String>,
    priority: Option<String>,
    raw_priority: Option<String>,
    delivery_id: Option<String>,
    created_at: Option<String>,
    url: Option<String>,
    resolution: Option<String>,
}

/// A ticket that the tool has.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GivenTicket {
    /// Its id.
    pub id: String,
    /// What `get_ticket` answers.
    #[serde(default)]
    pub expect: ExpectedTicket,
}

/// What is compared of the ticket.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectedTicket {
    subject: Option<String>,
    description: Option<String>,
    status: Option<String>,
    priority: Option<String>,
    requester: Option<String>,
    resolution: Option<String>,
}

/// What the tool answers to some requests: the first that fits.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GivenAnswer {
    method: String,
    path: String,
    /// What the request's query holds, still percent-encoded.
    #[serde(default)]
    query: String,
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The body, in a file beside this one,
    file: Option<PathBuf>,
    /// or here.
    body: Option<String>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GivenFault {
    /// It, or a file that it names, cannot be read.
    #[error("{}: {fault}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        fault: io::Error,
    },
    /// It is not such a file.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// Something in it does not fit.
    #[error("{0}")]
    Wrong(String),
}

impl Given {
    /// Reads the file and all files that it names, which lie relative to it.
    ///
    /// # Errors
    /// What is wrong, with the line where it is one of the syntax.
    pub fn read(path: &Path) -> Result<Self, GivenFault> {
        let text = read(path)?;
        let mut given: Self = toml::from_str(&text)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for webhook in &mut given.webhook {
            load(&mut webhook.file, &mut webhook.body, folder)?;
            if webhook.body.is_none() {
                return Err(GivenFault::Wrong(format!("webhook {:?} needs file or body", webhook.name)));
            }
            webhook.time()?;
            let unknown = |secret: &&str| given.secrets.get(*secret).is_none_or(String::is_empty);
            if let Some(secret) = webhook.sign.as_ref().map(Sign::secret).filter(unknown) {
                let name = &webhook.name;
                let message = format!("webhook {name:?} is signed with {secret:?}, which is not under [secrets]");
                return Err(GivenFault::Wrong(message));
            }
        }
        for answer in &mut given.answer {
            load(&mut answer.file, &mut answer.body, folder)?;
        }
        Ok(given)
    }
}

fn read(path: &Path) -> Result<String, GivenFault> {
    fs::read_to_string(path).map_err(|fault| GivenFault::Unreadable { path: path.to_owned(), fault })
}

/// Reads the file that is named in place of a body.
fn load(file: &mut Option<PathBuf>, body: &mut Option<String>, folder: &Path) -> Result<(), GivenFault> {
    let Some(file) = file.take() else { return Ok(()) };
    match body.replace(read(&folder.join(&file))?) {
        None => Ok(()),
        Some(_) => Err(GivenFault::Wrong(format!("there is a body beside the file {}", file.display()))),
    }
}

impl GivenWebhook {
    /// As it arrives, signed with these secrets.
    pub(super) fn delivery(&self, given: &Given) -> Delivery {
        let mut delivery = Delivery {
            settings: given.settings.clone(),
            query: self.query.clone(),
            headers: self.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone().into())).collect(),
            body: self.body.clone().unwrap_or_default().into(),
            received_at: self.time().ok().flatten().unwrap_or_else(OffsetDateTime::now_utc),
        };
        delivery.settings.extend(self.settings.clone());
        if let Some(sign) = &self.sign {
            sign.add_to(&mut delivery, &given.secrets);
        }
        delivery
    }

    fn time(&self) -> Result<Option<OffsetDateTime>, GivenFault> {
        let Some(text) = &self.received_at else { return Ok(None) };
        OffsetDateTime::parse(text, &Rfc3339).map(Some).map_err(|fault| {
            GivenFault::Wrong(format!("webhook {:?}: received_at is {text:?}, no RFC 3339 time: {fault}", self.name))
        })
    }
}

impl GivenAnswer {
    pub(super) fn fits(&self, method: &str, path: &str, query: &str) -> bool {
        self.method.eq_ignore_ascii_case(method) && self.path == path && query.contains(&self.query)
    }

    pub(super) fn response(&self) -> Response {
        let mut headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect();
        if !headers.iter().any(|(name, _)| name == "content-type") {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        Response::new(self.status, headers, self.body.as_deref().unwrap_or_default())
    }
}

impl ExpectedMetadata {
    /// The first field that is not as expected, in a sentence.
    pub(super) fn difference(&self, found: &TicketMetadata) -> Option<String> {
        let (event, resolution) = match &found.event {
            Event::Created => ("created", None),
            Event::Updated => ("updated", None),
            Event::Resolved { resolution, .. } => ("resolved", resolution.as_deref()),
            Event::Reopened => ("reopened", None),
            _ => ("other", None),
        };
        let created_at = found.created_at.and_then(|at| at.format(&Rfc3339).ok());
        first_difference(&[
            ("event", &self.event, Some(event)),
            ("ticket_id", &self.ticket_id, Some(&found.ticket_id)),
            ("tenant_id", &self.tenant_id, found.tenant_id.as_deref()),
            ("subject", &self.subject, found.subject.as_deref()),
            ("description", &self.description, found.description.as_deref()),
            ("priority", &self.priority, Some(found.priority.as_str())),
            ("raw_priority", &self.raw_priority, found.raw_priority.as_deref()),
            ("delivery_id", &self.delivery_id, found.delivery_id.as_deref()),
            ("created_at", &self.created_at, created_at.as_deref()),
            ("url", &self.url, found.url.as_deref()),
            ("resolution", &self.resolution, resolution),
        ])
    }
}

impl ExpectedTicket {
    /// The first field that is not as expected, in a sentence.
    pub(super) fn difference(&self, found: &Ticket) -> Option<String> {
        first_difference(&[
            ("subject", &self.subject, found.subject.as_deref()),
            ("description", &self.description, found.description.as_deref()),
            ("status", &self.status, found.status.as_deref()),
            ("priority", &self.priority, Some(found.priority.as_str())),
            ("requester", &self.requester, found.requester.as_deref()),
            ("resolution", &self.resolution, found.resolution.as_deref()),
        ])
    }
}

fn first_difference(fields: &[(&str, &Option<String>, Option<&str>)]) -> Option<String> {
    let different = fields.iter().find(|(_, expected, found)| expected.is_some() && expected.as_deref() != *found)?;
    let (name, expected, found) = different;
    let expected = expected.as_deref().unwrap_or_default();
    Some(match found {
        Some(found) => format!("{name} is {found:?}, not {expected:?}"),
        None => format!("{name} is missing, {expected:?} is expected"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [secrets]
        webhook_secret = "s3cret-s3cret"
        [[webhook]]
        name = "created"
        body = '{"id":"7"}'
        sign = { scheme = "hub", header = "x-sig", secret = "webhook_secret" }
        expect = { ticket_id = "7", event = "created" }
        [[answer]]
        method = "GET"
        path = "/api/tickets/7"
        status = 200
        body = "{}"
    "#;

    fn read(text: &str) -> Result<Given, GivenFault> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        fs::write(&path, text).unwrap();
        Given::read(&path)
    }

    #[test]
    fn what_is_given_becomes_deliveries_and_answers() {
        let given = read(GOOD).unwrap();
        let delivery = given.webhook[0].delivery(&given);
        assert_eq!(delivery.body, br#"{"id":"7"}"#);
        assert!(delivery.headers.iter().any(|(name, value)| name == "x-sig" && value.starts_with(b"sha256=")));
        let answer = &given.answer[0];
        assert!(answer.fits("get", "/api/tickets/7", "a=b") && !answer.fits("POST", "/api/tickets/7", ""));
        assert_eq!(answer.response().header("content-type"), Some("application/json"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, said) in [
            ("[secrets]", "[secrets]\n[secret]", "secret"),
            ("webhook_secret = \"s3cret-s3cret\"", "", "is signed with \"webhook_secret\""),
            ("body = '{\"id\":\"7\"}'", "", "webhook \"created\" needs file or body"),
            ("body = '{\"id\":\"7\"}'", "file = \"absent.json\"", "absent.json"),
            ("scheme = \"hub\"", "scheme = \"magic\"", "magic"),
            ("name = \"created\"", "name = \"created\"\nreceived_at = \"noon\"", "received_at is \"noon\""),
            ("event = \"created\"", "evnt = \"created\"", "evnt"),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            let fault = read(&text).unwrap_err().to_string();
            assert!(fault.contains(said), "{to}: {fault}");
        }
    }

    #[test]
    fn only_what_is_given_is_compared() {
        let mut found = TicketMetadata::new("7", Event::Created);
        let expected = ExpectedMetadata { ticket_id: Some("7".to_owned()), ..ExpectedMetadata::default() };
        assert_eq!(expected.difference(&found), None);
        found.ticket_id = "8".to_owned();
        assert_eq!(expected.difference(&found).as_deref(), Some("ticket_id is \"8\", not \"7\""));
        let expected = ExpectedMetadata { subject: Some("s".to_owned()), ..ExpectedMetadata::default() };
        assert_eq!(expected.difference(&found).as_deref(), Some("subject is missing, \"s\" is expected"));
    }
}
