//! What a webhook says: pure, from bytes to metadata, whoever wrote the bytes.
//!
//! Four forms are read:
//! * the *event*, `{"timestamp", "webhookEvent", "issue", "changelog", …}`, of webhooks that an administrator or an app made
//!   (<https://developer.atlassian.com/cloud/jira/platform/webhooks/>);
//! * the *rule's* form, `{"issue": {…}, "timestamp"}`: "Issue data (Jira format)" of automation rules, JSM's older ones, and
//!   custom data that an administrator writes, with an `event` then;
//! * the *transition*, `{"transition": {…}, "issue": {…}, "timestamp"}`, of a workflow's post functions, with the issue as it
//!   was before;
//! * the *bare* issue: "Issue data (Automation format)", with a number as its id
//!   (<https://support.atlassian.com/cloud-automation/docs/issue-data-automation-format-payload-for-send-web-request/>).

mod change;
mod issue;
mod status;
mod transition;

use plugin_abi::{
    json,
    payload::{Faults, Part, Presence, Scalar},
    prelude::*,
    serde::Deserialize,
    time::OffsetDateTime,
};

use self::{
    change::Change,
    issue::{Fields, Issue, moment},
    transition::Transition,
};
use crate::settings::{Settings, WebhookAuth};

pub(crate) use self::issue::ticket;

/// What the webhook says whose body, one JSON object, this is.
///
/// # Errors
/// `Malformed` when it cannot be read or has a key twice, `Validation` with every field that is missing or wrong.
pub(crate) fn metadata(
    body: &[u8],
    settings: &Settings<'_>,
    webhook: &Webhook<'_>,
) -> Result<TicketMetadata, PluginError> {
    let outer: Body<'_> = json::from_slice(body)?;
    if outer.is_about_something_else() {
        return Ok(TicketMetadata::other());
    }
    let mut faults = Faults::default();
    let bare: Part<'_, Issue<'_>> = if outer.is_bare_issue() { json::from_slice(body)? } else { Part::default() };
    let (issue, path) = bare.object().map_or((outer.issue.object(), "issue."), |bare| (Some(bare), ""));
    let Some(issue) = issue else {
        return Err(PluginError::field("issue", "must be an object, with the issue's key"));
    };
    let metadata = outer.metadata(issue, path, settings, webhook, &mut faults);
    faults.unless_any(metadata)
}

/// When the event of this webhook happened, if it says so. `None` also for bodies that [`metadata`] will refuse.
pub(crate) fn sent_at(webhook: &Webhook<'_>) -> Option<OffsetDateTime> {
    #[derive(Default, Deserialize)]
    #[serde(crate = "plugin_abi::serde", default)]
    struct Stamp<'a> {
        #[serde(borrow)]
        timestamp: Scalar<'a>,
    }

    let stamp = webhook.json().object(|body| {
        let stamp: Stamp<'_> = json::from_slice(body)?;
        Ok(time_of(&stamp.timestamp))
    });
    stamp.ok().flatten()
}

/// A body's time: milliseconds, by others in a form of ISO 8601.
fn time_of(timestamp: &Scalar<'_>) -> Option<OffsetDateTime> {
    timestamp.epoch_ms().or_else(|| moment(timestamp))
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
    #[serde(borrow)]
    transition: Part<'a, Transition<'a>>,
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
    Reopened,
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
            "resolved" | "closed" | "solved" => Self::Resolved,
            "reopened" | "re-opened" => Self::Reopened,
            _ => Self::Other,
        }
    }

    /// The event, of which no more is known.
    fn event(self) -> Event {
        match self {
            Self::Created => Event::Created,
            Self::Updated => Event::Updated,
            Self::Resolved => Event::Resolved { resolution: None, resolved_at: None, tags: Vec::new() },
            Self::Reopened => Event::Reopened,
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
        let happened = self.happened(issue, settings, webhook, faults);
        let ticket_id = issue.ticket_id(path, faults);
        self.check_ticket(issue, path, &ticket_id, faults);
        let mut metadata = TicketMetadata::new(ticket_id, happened.event());
        if settings.read_back {
            // Nothing else counts, so nothing else can be wrong.
            metadata.read_back = true;
            metadata.tenant_id = self.tenant_id.text().filter(|id| !id.trim().is_empty()).map(str::to_owned);
            return metadata;
        }
        metadata.tenant_id = faults.word("tenant_id", &self.tenant_id, Presence::Optional).map(str::to_owned);
        let timestamp = time_of(&self.timestamp);
        if timestamp.is_none() && !self.timestamp.is_absent() {
            faults.add("timestamp", "must be a number of milliseconds since 1970");
        }
        metadata.occurred_at = timestamp;
        // Neither of the two differs when Jira sends the event again. Its header with an identifier is not signed.
        metadata.delivery_id = timestamp.map(|at| {
            let change = self.changelog.object().and_then(|change| change.id.number()).unwrap_or_default();
            format!("{}.{change}", at.unix_timestamp_nanos() / 1_000_000)
        });
        // How it was solved is not in a body that shows it unsolved.
        metadata.read_back = happened == Happened::Resolved
            && (self.shows_before() || issue.fields.object().is_some_and(Fields::is_known_open));
        issue.describe(path, &mut metadata, faults);
        metadata
    }

    /// A body that is of two forms must name one issue.
    fn check_ticket(&self, issue: &Issue<'_>, path: &str, ticket_id: &str, faults: &mut Faults) {
        if path.is_empty() {
            return;
        }
        faults.same_ticket("key", &self.key, ticket_id);
        // An event's own `id` is not the issue's.
        if self.webhook_event.is_absent() && self.key.is_absent() {
            let id = issue.id.word();
            faults.same_ticket("id", &self.id, id.as_deref().unwrap_or(ticket_id));
        }
    }

    /// Whether the issue is shown as it was before what happened.
    fn shows_before(&self) -> bool {
        self.transition.object().is_some()
    }

    fn happened(
        &self,
        issue: &Issue<'_>,
        settings: &Settings<'_>,
        webhook: &Webhook<'_>,
        faults: &mut Faults,
    ) -> Happened {
        let event = faults.word("webhookEvent", &self.webhook_event, Presence::Optional);
        // A placeholder that has nothing to say leaves an empty text.
        let word = faults.text("event", &self.event, Presence::Optional).filter(|word| !word.trim().is_empty());
        if event.is_some() && word.is_some() {
            faults.add("event", "says what happened, and so does webhookEvent");
        }
        // The address is not signed with the body: what it says counts where nothing is.
        let told = || match settings.webhook_auth {
            WebhookAuth::Signature => None,
            _ => webhook.query().split('&').find_map(|parameter| parameter.strip_prefix("event=")),
        };
        let shown = issue.fields.object();
        let happened = match (event, word.or_else(told), self.transition.object()) {
            (Some("jira:issue_created"), ..) => Happened::Created,
            (Some("jira:issue_updated"), ..) => self.updated(shown),
            (Some(_), ..) => Happened::Other,
            (None, Some(word), _) => Happened::read(word),
            (None, None, Some(transition)) => transition.happened(shown),
            (None, None, None) => match webhook.route_event() {
                Some(Event::Created) => Happened::Created,
                Some(_) => Happened::Resolved,
                None => guess(shown),
            },
        };
        let is_unsolved = !self.shows_before() && shown.is_some_and(Fields::is_unsolved);
        if happened == Happened::Resolved && is_unsolved { Happened::Updated } else { happened }
    }

    /// What an event of a change says: by its changes, and by the issue after them.
    fn updated(&self, shown: Option<&Fields<'_>>) -> Happened {
        let name = self.issue_event_type_name.text().unwrap_or_default();
        let is_done = shown.is_some_and(Fields::is_done);
        match (self.changelog.object(), self.transition.object()) {
            _ if name.starts_with("issue_comment") => Happened::Other,
            (Some(change), _) if is_done && change.items.can_solve => Happened::Resolved,
            (Some(change), _) if !is_done && (change.items.were_solved || name == "issue_reopened") => {
                Happened::Reopened
            }
            (None, Some(transition)) => transition.happened(shown),
            _ => Happened::Updated,
        }
    }
}

/// What a rule's body says that names no event: by the status and the times of its issue.
fn guess(shown: Option<&Fields<'_>>) -> Happened {
    match shown {
        Some(fields) if fields.is_done() => Happened::Resolved,
        Some(fields) if fields.was_touched() => Happened::Updated,
        _ => Happened::Created,
    }
}
