//! A vendor's data for valid calls: `conformance.toml`, read once with all its files.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use plugin_abi::time::{OffsetDateTime, format_description::well_known::Rfc3339};
use serde::{Deserialize, Serialize};

use super::{
    delivery::Delivery,
    signing::{self, Sign},
};

mod answer;
mod expected;

pub(super) use self::answer::{Expected, MARKER};
pub use self::{
    answer::GivenAnswer,
    expected::{ExpectedMetadata, ExpectedTicket},
};

/// The default name of the file.
pub const FILE: &str = "conformance.toml";

/// The content of the file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Given {
    /// The tenant's id.
    pub tenant: String,
    /// The base URL of the tenant's tool.
    pub base_url: String,
    /// The path of webhooks.
    pub path: String,
    /// The tenant's settings.
    pub settings: BTreeMap<String, String>,
    /// The tenant's secrets, made up for tests.
    pub secrets: BTreeMap<String, String>,
    /// Webhooks that the plugin accepts.
    pub webhook: Vec<GivenWebhook>,
    /// A ticket that the tool has.
    pub ticket: Option<GivenTicket>,
    /// The tool's answers.
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

/// A webhook that the plugin accepts.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GivenWebhook {
    /// Its name in the report.
    pub name: String,
    /// The body, in a file next to this one. An alternative to `body`.
    file: Option<PathBuf>,
    /// The body itself.
    body: Option<String>,
    #[serde(default)]
    query: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Settings for this webhook, in addition to those of the file.
    #[serde(default)]
    settings: BTreeMap<String, String>,
    /// How to sign it. Without this, its headers stay as they are.
    pub(super) sign: Option<Sign>,
    /// The headers that prove it, if it has no `sign`.
    proof_headers: Option<Vec<String>>,
    /// Whether its proof covers the body. By default, `sign` decides.
    signs_body: Option<bool>,
    /// Whether its proof expires. By default, `sign` decides, or a time stamp among its headers.
    signs_time: Option<bool>,
    /// When it arrives (RFC 3339); by default now.
    received_at: Option<String>,
    /// The expected answer of `extract_metadata`.
    #[serde(default)]
    pub expect: ExpectedMetadata,
}

/// A ticket that the tool has.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GivenTicket {
    /// Its id.
    pub id: String,
    /// The expected answer of `get_ticket`.
    #[serde(default)]
    pub expect: ExpectedTicket,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GivenFault {
    /// The file, or one that it names, cannot be read.
    #[error("{}: {fault}", path.display())]
    Unreadable {
        /// The path of that file.
        path: PathBuf,
        /// The cause.
        fault: io::Error,
    },
    /// The file's syntax is wrong.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// The file's content is wrong.
    #[error("{0}")]
    Wrong(String),
}

impl Given {
    /// Reads the file and all files that it names, relative to its folder.
    ///
    /// # Errors
    /// What is wrong; for wrong syntax, with the line.
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
            webhook.check_proofs()?;
            let unknown = |secret: &&str| given.secrets.get(*secret).is_none_or(String::is_empty);
            if let Some(secret) = webhook.sign.as_ref().map(Sign::secret).filter(unknown) {
                let name = &webhook.name;
                let message = format!("webhook {name:?} is signed with {secret:?}, which is not under [secrets]");
                return Err(GivenFault::Wrong(message));
            }
        }
        for answer in &mut given.answer {
            load(&mut answer.file, &mut answer.body, folder)?;
            answer.check()?;
        }
        Ok(given)
    }
}

fn read(path: &Path) -> Result<String, GivenFault> {
    fs::read_to_string(path).map_err(|fault| GivenFault::Unreadable { path: path.to_owned(), fault })
}

/// Reads the file that is named instead of a body.
fn load(file: &mut Option<PathBuf>, body: &mut Option<String>, folder: &Path) -> Result<(), GivenFault> {
    let Some(file) = file.take() else { return Ok(()) };
    match body.replace(read(&folder.join(&file))?) {
        None => Ok(()),
        Some(_) => Err(GivenFault::Wrong(format!("there is a body beside the file {}", file.display()))),
    }
}

impl GivenWebhook {
    /// The webhook as it arrives, signed with these secrets.
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

    fn check_proofs(&self) -> Result<(), GivenFault> {
        let is_there = |name: &&String| self.headers.keys().any(|header| header.eq_ignore_ascii_case(name));
        match self.proof_headers.iter().flatten().find(|name| !is_there(name)) {
            None => Ok(()),
            Some(name) => Err(GivenFault::Wrong(format!(
                "webhook {:?}: proof_headers names {name:?}, which is not among its headers",
                self.name
            ))),
        }
    }

    /// The headers that prove it, in lower case; `None` if unknown.
    pub(super) fn proof_headers(&self, delivery: &Delivery) -> Option<Vec<String>> {
        let signed = self.sign.as_ref().map(|sign| sign.header_names(delivery));
        let named = self.proof_headers.as_ref().map(|names| names.iter().map(|name| name.to_lowercase()).collect());
        match (signed, named) {
            (Some(signed), Some(named)) => Some([signed, named].concat()),
            (signed, named) => signed.or(named),
        }
    }

    /// Whether its proof covers the body; `None` if unknown.
    pub(super) fn signs_body(&self) -> Option<bool> {
        self.signs_body.or_else(|| self.sign.as_ref().map(Sign::covers_body))
    }

    /// Whether its proof expires; `None` if unknown.
    pub(super) fn signs_time(&self, delivery: &Delivery) -> Option<bool> {
        let by_scheme = || self.sign.as_ref().map(Sign::covers_time);
        let by_headers = || signing::shows_time(&delivery.headers, delivery.received_at).then_some(true);
        self.signs_time.or_else(by_scheme).or_else(by_headers)
    }

    fn time(&self) -> Result<Option<OffsetDateTime>, GivenFault> {
        let Some(text) = &self.received_at else { return Ok(None) };
        OffsetDateTime::parse(text, &Rfc3339).map(Some).map_err(|fault| {
            GivenFault::Wrong(format!("webhook {:?}: received_at is {text:?}, no RFC 3339 time: {fault}", self.name))
        })
    }
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
    fn a_webhook_says_what_proves_it_by_its_scheme_or_by_its_own_keys() {
        const LITERAL: &str = "headers = { X-Sig = \"ab\" }";
        let timed = "headers = { X-Sig = \"t=1772442905,v1=ab\" }\nreceived_at = \"2026-03-02T09:15:05Z\"";
        let named = format!("{LITERAL}\nproof_headers = [\"X-SIG\"]\nsigns_body = true\nsigns_time = false");
        for (keys, headers, body, time) in [
            (
                "sign = { scheme = \"hub\", header = \"x-sig\", secret = \"webhook_secret\" }",
                true,
                Some(true),
                Some(false),
            ),
            (
                "sign = { scheme = \"token\", header = \"x-sig\", secret = \"webhook_secret\" }",
                true,
                Some(false),
                Some(false),
            ),
            (
                "sign = { scheme = \"stripe\", header = \"x-sig\", secret = \"webhook_secret\" }",
                true,
                Some(true),
                Some(true),
            ),
            (LITERAL, false, None, None),
            (timed, false, None, Some(true)),
            (&named, true, Some(true), Some(false)),
        ] {
            let text = format!("[secrets]\nwebhook_secret = \"s\"\n[[webhook]]\nname = \"a\"\nbody = \"{{}}\"\n{keys}");
            let given = read(&text).unwrap();
            let (webhook, delivery) = (&given.webhook[0], given.webhook[0].delivery(&given));
            let expected = headers.then(|| vec!["x-sig".to_owned()]);
            assert_eq!(webhook.proof_headers(&delivery), expected, "{keys}");
            assert_eq!((webhook.signs_body(), webhook.signs_time(&delivery)), (body, time), "{keys}");
        }
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
            ("name = \"created\"", "name = \"created\"\nproof_headers = [\"x-a\"]", "proof_headers names \"x-a\""),
            ("status = 200", "status = 200\nexpect_json = { public = false }", "\"public\" is no JSON pointer"),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            let fault = read(&text).unwrap_err().to_string();
            assert!(fault.contains(said), "{to}: {fault}");
        }
    }
}
