//! Jira's own object, the *issue*: as its API answers it, and as webhooks show it.
//!
//! In webhooks a description is a text with Jira's older markup, in the API's version 3 a document.

use plugin_abi::{
    payload::{Faults, Part, Presence, Scalar, instant},
    prelude::*,
    serde::{
        Deserialize,
        de::{Error as _, IgnoredAny},
    },
    serde_json::{self, value::RawValue},
    time::{Duration, OffsetDateTime},
};

use crate::{adf, unsolved};

/// An issue that was changed less than this after its creation was only finished by the site's own rules, which touch it in
/// the first moments: it is new.
const UNTOUCHED_MAX: Duration = Duration::SECOND;
/// Most characters of an issue's address that is passed on.
const ADDRESS_CHARS_MAX: usize = 2_000;
/// Where Atlassian serves the API to OAuth apps: no person's browser is at home there.
const GATEWAY: &str = "https://api.atlassian.com/";

/// Priorities by the names of new and of older sites, or by the ids that those have there.
const PRIORITIES: [(Priority, &[&str]); 2] = [
    (Priority::High, &["highest", "high", "blocker", "critical", "1", "2"]),
    (Priority::Low, &["low", "lowest", "minor", "trivial", "4", "5"]),
];

/// An issue. Webhooks of Jira's own have all of it, an administrator's template perhaps the key alone.
#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
pub(super) struct Issue<'a> {
    #[serde(borrow)]
    pub(super) id: Scalar<'a>,
    #[serde(borrow)]
    key: Scalar<'a>,
    #[serde(borrow, rename = "self")]
    address: Scalar<'a>,
    #[serde(borrow)]
    pub(super) fields: Part<'a, Fields<'a>>,
}

/// The fields that are read, of which a site may have hundreds.
#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
pub(super) struct Fields<'a> {
    #[serde(borrow)]
    summary: Scalar<'a>,
    #[serde(borrow)]
    description: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Part<'a, Status<'a>>,
    #[serde(borrow)]
    priority: Part<'a, Named<'a>>,
    #[serde(borrow)]
    resolution: Part<'a, Named<'a>>,
    #[serde(borrow)]
    reporter: Part<'a, Person<'a>>,
    #[serde(borrow)]
    labels: Part<'a, IgnoredAny>,
    #[serde(borrow)]
    created: Scalar<'a>,
    #[serde(borrow)]
    updated: Scalar<'a>,
    #[serde(borrow)]
    resolutiondate: Scalar<'a>,
    #[serde(borrow)]
    statuscategorychangedate: Scalar<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Status<'a> {
    #[serde(borrow)]
    name: Scalar<'a>,
    #[serde(borrow, rename = "statusCategory")]
    category: Part<'a, Category<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Category<'a> {
    #[serde(borrow)]
    key: Scalar<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Named<'a> {
    #[serde(borrow)]
    id: Scalar<'a>,
    #[serde(borrow)]
    name: Scalar<'a>,
}

/// A site may keep the address of a person to itself.
#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Person<'a> {
    #[serde(borrow, rename = "displayName")]
    display_name: Scalar<'a>,
    #[serde(borrow, rename = "emailAddress")]
    email_address: Scalar<'a>,
}

/// An issue as the API answered it, in the host's terms. `raw` is kept with it.
///
/// # Errors
/// When `raw` is not such JSON.
pub(crate) fn ticket(ticket_id: &str, raw: &str) -> Result<Ticket, serde_json::Error> {
    let issue: Part<'_, Issue<'_>> = serde_json::from_str(raw)?;
    let Part::Object(issue) = issue else { return Err(serde_json::Error::custom("the issue must be an object")) };
    let mut ticket = Ticket::new(ticket_id);
    ticket.url = issue.url();
    raw.clone_into(&mut ticket.raw);
    let Part::Object(fields) = issue.fields else { return Ok(ticket) };
    ticket.subject = fields.summary.text().map(str::to_owned);
    ticket.description = fields.description();
    ticket.status = fields.shown_status();
    (ticket.priority, _) = fields.priority();
    ticket.requester = fields.requester().map(str::to_owned);
    ticket.created_at = moment(&fields.created);
    ticket.updated_at = moment(&fields.updated);
    // What was opened again may keep what solved it before.
    if fields.is_done() && !fields.is_unsolved() {
        ticket.resolved_at = fields.resolved_at();
        ticket.resolution = fields.resolution().map(str::to_owned);
    }
    Ok(ticket)
}

impl Issue<'_> {
    /// The key, which people know and the API takes, also after the issue was moved; else the id.
    pub(super) fn ticket_id(&self, path: &str, faults: &mut Faults) -> String {
        let (name, value) =
            if self.key.is_absent() && !self.id.is_absent() { ("id", &self.id) } else { ("key", &self.key) };
        let field = format!("{path}{name}");
        let id = faults.ticket_id(&field, value);
        if !id.is_empty() && !is_key_or_id(&id) {
            faults.add(&field, "must be an issue's key such as IT-42, or its id");
        }
        id
    }

    /// Fills in what the issue says, and remembers what of it is wrong.
    pub(super) fn describe(&self, path: &str, metadata: &mut TicketMetadata, faults: &mut Faults) {
        metadata.url = self.url();
        let none = Fields::default();
        let fields = match &self.fields {
            Part::Object(fields) => fields,
            Part::Bare(Scalar::Absent) => &none,
            _ => {
                faults.add(&format!("{path}fields"), "must be an object");
                &none
            }
        };
        let named = |name: &str| format!("{path}fields.{name}");
        metadata.subject = faults.text(&named("summary"), &fields.summary, Presence::Optional).map(str::to_owned);
        metadata.description = fields.description();
        let (priority, raw_priority) = fields.priority();
        metadata.priority = priority;
        metadata.raw_priority = raw_priority.map(str::to_owned);
        for (name, value) in
            [("created", &fields.created), ("updated", &fields.updated), ("resolutiondate", &fields.resolutiondate)]
        {
            if !value.is_absent() && moment(value).is_none() {
                faults.add(&named(name), "must be a time such as 2026-01-31T12:00:00.000+0000");
            }
        }
        metadata.created_at = moment(&fields.created);
        metadata.occurred_at = metadata.occurred_at.or_else(|| match metadata.event {
            Event::Created => moment(&fields.created),
            _ => moment(&fields.updated),
        });
        if let Event::Resolved { resolution, resolved_at, tags } = &mut metadata.event
            && !metadata.read_back
        {
            *resolution = fields.resolution().map(str::to_owned);
            *resolved_at = fields.resolved_at().or(metadata.occurred_at);
            *tags = fields.labels();
        }
    }

    /// Where a person opens the issue: the site is in the address by which the API knows it.
    fn url(&self) -> Option<String> {
        let address = self.address.text().filter(|address| address.chars().nth(ADDRESS_CHARS_MAX).is_none())?;
        let key = self.key.text().filter(|key| is_key_or_id(key))?;
        let is_web = address.starts_with("https://") || address.starts_with("http://");
        let (site, _) = address.split_once("/rest/api/").filter(|_| is_web && !address.starts_with(GATEWAY))?;
        Some(format!("{site}/browse/{key}"))
    }
}

impl Fields<'_> {
    /// By the category of the status, since sites name their statuses themselves. Older webhooks do not have it.
    pub(super) fn is_done(&self) -> bool {
        self.category().map_or_else(|| self.resolution().is_some(), |category| category == "done")
    }

    /// Whether the category of its status says that something is left to do.
    pub(super) fn is_known_open(&self) -> bool {
        self.category().is_some_and(|category| category != "done")
    }

    /// Whether it ended, if it did, without a solution.
    pub(super) fn is_unsolved(&self) -> bool {
        [self.status(), self.resolution()].into_iter().flatten().any(unsolved::is_end)
    }

    fn category(&self) -> Option<&str> {
        self.status.object()?.category.value(|category| &category.key)?.text()
    }

    fn status(&self) -> Option<&str> {
        self.status.value(|status| &status.name)?.text()
    }

    /// The status; of an end that is no solution with its name: "Closed (Duplicate)" is no status of a solved ticket.
    fn shown_status(&self) -> Option<String> {
        match (self.status(), self.resolution().filter(|_| self.is_done() && self.is_unsolved())) {
            (Some(status), Some(end)) => Some(format!("{status} ({end})")),
            (status, end) => status.or(end).map(str::to_owned),
        }
    }

    /// Whether it was changed after its creation, as far as it says.
    pub(super) fn was_touched(&self) -> bool {
        match (moment(&self.created), moment(&self.updated)) {
            (Some(created), Some(updated)) => updated - created >= UNTOUCHED_MAX,
            _ => false,
        }
    }

    fn description(&self) -> Option<String> {
        self.description.and_then(|raw| adf::text_of(raw.get()))
    }

    /// The priority, and the word that it was read from.
    fn priority(&self) -> (Priority, Option<&str>) {
        let named = |name: &Scalar<'_>| name.text().is_some_and(|name| !name.is_empty());
        let id = || self.priority.object().map(|priority| &priority.id);
        let word = self.priority.value(|priority| &priority.name).filter(|name| named(name)).or_else(id);
        let word = word.and_then(Scalar::text);
        (priority_from(word, &PRIORITIES), word)
    }

    fn requester(&self) -> Option<&str> {
        let address = || self.reporter.object().and_then(|person| person.email_address.text());
        self.reporter.value(|person| &person.display_name).and_then(Scalar::text).or_else(address)
    }

    fn resolution(&self) -> Option<&str> {
        self.resolution.value(|resolution| &resolution.name)?.text().filter(|name| !name.is_empty())
    }

    /// Projects without resolutions have at least the time at which the status became one of the finished ones.
    fn resolved_at(&self) -> Option<OffsetDateTime> {
        let finished = || moment(&self.statuscategorychangedate).filter(|_| self.is_done());
        moment(&self.resolutiondate).or_else(finished)
    }

    fn labels(&self) -> Vec<String> {
        let Part::List(labels) = &self.labels else { return Vec::new() };
        labels.iter().filter_map(Scalar::text).map(str::to_owned).collect()
    }
}

/// `IT-42` or `10042`: <https://support.atlassian.com/jira-software-cloud/docs/what-is-an-issue/>. What could lead elsewhere
/// in the API is neither.
fn is_key_or_id(text: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_project = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match text.rsplit_once('-') {
        Some((project, number)) => is_project(project) && is_number(number),
        None => is_number(text),
    }
}

/// A time as Jira and templates write it, or in milliseconds.
pub(super) fn moment(value: &Scalar<'_>) -> Option<OffsetDateTime> {
    if let Scalar::Text(text) = value { instant(text) } else { value.epoch_ms() }
}
