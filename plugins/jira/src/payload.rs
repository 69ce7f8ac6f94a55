//! What a webhook says: pure, from bytes to metadata, whoever wrote the bytes.
//!
//! Three forms are read:
//! * the *event*, `{"timestamp", "webhookEvent", "issue", "changelog", …}`, of webhooks that an administrator or an app made
//!   (<https://developer.atlassian.com/cloud/jira/platform/webhooks/>);
//! * the *rule's* form, `{"issue": {…}, "timestamp"}`: "Issue data (Jira format)" of automation rules, JSM's older ones, and
//!   custom data that an administrator writes, with an `event` then;
//! * the *bare* issue: "Issue data (Automation format)", with a number as its id
//!   (<https://support.atlassian.com/cloud-automation/docs/issue-data-automation-format-payload-for-send-web-request/>).

mod change;
mod issue;

use plugin_abi::{
    payload::{Faults, Part, Presence, Scalar},
    prelude::*,
    serde::Deserialize,
    serde_json,
    time::OffsetDateTime,
};

use self::{change::Change, issue::Issue};
use crate::settings::{Settings, WebhookAuth};

pub(crate) use self::issue::ticket;

/// What the webhook says.
///
/// # Errors
/// `Malformed` when the body is not a JSON object or has a key twice, `Validation` with every field that is missing or wrong.
pub(crate) fn metadata(settings: &Settings<'_>, webhook: &Webhook<'_>) -> Result<TicketMetadata, PluginError> {
    // An array would do as a struct for serde, and its items as the fields.
    if webhook.body().trim_ascii_start().first() != Some(&b'{') {
        return Err(PluginError::Malformed("not a JSON object".to_owned()));
    }
    let body: Body<'_> = read(webhook.body())?;
    if body.is_about_something_else() {
        return Ok(TicketMetadata::other());
    }
    let mut faults = Faults::default();
    let metadata = if body.is_bare_issue() {
        body.metadata(&read(webhook.body())?, "", settings, webhook, &mut faults)
    } else if let Some(issue) = body.issue.object() {
        body.metadata(issue, "issue.", settings, webhook, &mut faults)
    } else {
        faults.add("issue", "must be an object, with the issue's key");
        TicketMetadata::other()
    };
    faults.unless_any(metadata)
}

/// When the event of this body happened, if it says so. `None` also for bodies that [`metadata`] will refuse.
pub(crate) fn sent_at(body: &[u8]) -> Option<OffsetDateTime> {
    #[derive(Default, Deserialize)]
    #[serde(crate = "plugin_abi::serde", default)]
    struct Stamp<'a> {
        #[serde(borrow)]
        timestamp: Scalar<'a>,
    }

    read::<Stamp<'_>>(body).ok()?.timestamp.epoch_ms()
}

/// What stands around the issue.
#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Body<'a> {
    #[serde(borrow, rename = "webhookEvent")]
    webhook_event: Scalar<'a>,
    #[serde(borrow)]
    issue_event_type_name: Scalar<'a>,
    #[serde(borrow)]
    timestamp: Scalar<'a>,
    #[serde(borrow)]
    tenant_id: Scalar<'a>,
    #[serde(borrow)]
    event: Scalar<'a>,
    #[serde(borrow)]
    issue: Part<'a, Issue<'a>>,
    #[serde(borrow)]
    changelog: Part<'a, Change<'a>>,
    /// These two tell the bare issue.
    #[serde(borrow)]
    id: Scalar<'a>,
    #[serde(borrow)]
    key: Scalar<'a>,
}

/// What happened to the issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happened {
    Created,
    Updated,
    Resolved,
    Other,
}

impl Happened {
    /// A word of an administrator's template, whatever its case and with or without what it is an event of.
    fn read(word: &str) -> Self {
        let word = word.trim().to_ascii_lowercase();
        let verb = word.strip_prefix("issue_").or_else(|| word.strip_prefix("ticket_")).unwrap_or(&word);
        match verb {
            "created" => Self::Created,
            "updated" => Self::Updated,
            "resolved" | "closed" => Self::Resolved,
            _ => Self::Other,
        }
    }

    /// The event, of which no more is known.
    fn event(self) -> Event {
        match self {
            Self::Created => Event::Created,
            Self::Updated => Event::Updated,
            Self::Resolved => Event::Resolved { resolution: None, resolved_at: None, tags: Vec::new() },
            Self::Other => Event::Other,
        }
    }
}

impl Body<'_> {
    fn is_bare_issue(&self) -> bool {
        let is_wrapped = !self.webhook_event.is_absent() || !matches!(self.issue, Part::Bare(Scalar::Absent));
        let is_named = !self.id.is_absent() || !self.key.is_absent();
        is_named && !is_wrapped
    }

    /// Comments, our own notes among them, sprints, users and the like make no work.
    fn is_about_something_else(&self) -> bool {
        self.webhook_event.text().is_some_and(|event| !event.starts_with("jira:issue_"))
    }

    /// `path` is where the issue stands in the body, for the faults.
    fn metadata(
        &self,
        issue: &Issue<'_>,
        path: &str,
        settings: &Settings<'_>,
        webhook: &Webhook<'_>,
        faults: &mut Faults,
    ) -> TicketMetadata {
        faults.word("webhookEvent", &self.webhook_event, Presence::Optional);
        let word = faults.word("event", &self.event, Presence::Optional);
        let tenant_id = faults.word("tenant_id", &self.tenant_id, Presence::Optional);
        let timestamp = self.timestamp.epoch_ms();
        if timestamp.is_none() && !self.timestamp.is_absent() {
            faults.add("timestamp", "must be a number of milliseconds since 1970");
        }
        // The address is not signed with the body: what it says counts where nothing is.
        let told = || match settings.webhook_auth {
            WebhookAuth::Signature => None,
            _ => webhook.query().split('&').find_map(|parameter| parameter.strip_prefix("event=")),
        };
        let happened = self.happened(issue, word.or_else(told));
        let mut metadata = TicketMetadata::new(issue.ticket_id(path, faults), happened.event());
        metadata.tenant_id = tenant_id.map(str::to_owned);
        metadata.read_back = settings.read_back;
        if settings.read_back {
            return metadata;
        }
        metadata.occurred_at = timestamp;
        // Neither of the two differs when Jira sends the event again. Its header with an identifier is not signed.
        metadata.delivery_id = timestamp.map(|at| {
            let change = self.changelog.object().and_then(|change| change.id.number()).unwrap_or_default();
            format!("{}.{change}", at.unix_timestamp_nanos() / 1_000_000)
        });
        issue.describe(path, &mut metadata, faults);
        metadata
    }

    fn happened(&self, issue: &Issue<'_>, word: Option<&str>) -> Happened {
        let is_comment = || self.issue_event_type_name.text().is_some_and(|name| name.starts_with("issue_comment"));
        let is_done = issue.fields.object().is_some_and(|fields| fields.is_done());
        match (self.webhook_event.text(), word) {
            (Some("jira:issue_created"), _) => Happened::Created,
            (Some("jira:issue_updated"), _) if is_comment() => Happened::Other,
            (Some("jira:issue_updated"), _) => match self.changelog.object() {
                Some(change) if change.items.can_solve && is_done => Happened::Resolved,
                _ => Happened::Updated,
            },
            (Some(_), _) => Happened::Other,
            (None, Some(word)) => Happened::read(word),
            (None, None) if is_done => Happened::Resolved,
            (None, None) if issue.fields.object().is_some_and(|fields| fields.was_touched()) => Happened::Updated,
            (None, None) => Happened::Created,
        }
    }
}

fn read<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, PluginError> {
    serde_json::from_slice(body).map_err(|fault| PluginError::Malformed(fault.to_string()))
}
