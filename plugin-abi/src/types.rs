//! What crosses between host and plugin, as vendors see it: plain values, owned where they are answers.

use std::borrow::Cow;

use time::OffsetDateTime;

use crate::{
    json::Json,
    raw::{Field, Pairs, Tag},
    route, wire,
};

/// One arrival of a webhook, borrowed from the host for the time of the call.
///
/// The body is the raw bytes as they came: verify over these, before any parsing.
#[derive(Clone, Copy, Debug)]
pub struct Webhook<'a> {
    /// The call's message: a plugin that never asks for a part does not pay for reading it.
    pub(crate) request: &'a [Field<'a>],
}

impl<'a> Webhook<'a> {
    /// The HTTP method, upper case.
    pub fn method(&self) -> &'a str {
        wire::sent_text(self.request, Tag::METHOD)
    }

    /// The path of the request target, still percent-encoded.
    pub fn path(&self) -> &'a str {
        wire::sent_text(self.request, Tag::PATH)
    }

    /// The query without its `?`, still percent-encoded; empty when there is none.
    pub fn query(&self) -> &'a str {
        wire::sent_text(self.request, Tag::QUERY)
    }

    /// All headers in the order in which they came; names in lower case, values as bytes.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        Pairs::new(self.request, Tag::HEADER_NAME, Tag::HEADER_VALUE)
            .filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value)))
    }

    /// The value of the header with this name (lower case). `None` when it is absent **or repeated**: with two signatures
    /// or two time stamps there is no telling which one a proxy before us has looked at.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        let mut found = Pairs::new(self.request, Tag::HEADER_NAME, Tag::HEADER_VALUE)
            .filter(|(candidate, _)| *candidate == name.as_bytes());
        let (_, value) = found.next()?;
        found.next().is_none().then_some(value)
    }

    /// As [`header`](Self::header), when the value is UTF-8 text.
    pub fn header_text(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.header(name)?).ok()
    }

    /// The raw body.
    pub fn body(&self) -> &'a [u8] {
        wire::sent_bytes(self.request, Tag::BODY)
    }

    /// The body as JSON: see [`Json`], which reads what senders really write.
    pub fn json(&self) -> Json<'a> {
        // Also of a repeated content type: a charset that somebody meant is better than none.
        let content_type = self.headers().find(|(name, _)| *name == "content-type").map(|(_, value)| value);
        Json::new(self.body(), content_type)
    }

    /// What the host's address says that happened, for a body that does not say it: `Created` or `Resolved` where one of
    /// the two named routes was called, `None` on `/webhooks/{tenant_id}`.
    pub fn route_event(&self) -> Option<Event> {
        match route::normal(self.path()).as_ref() {
            route::TICKET_CREATED => Some(Event::Created),
            route::RESOLVED_TICKET => Some(Event::Resolved { resolution: None, resolved_at: None, tags: Vec::new() }),
            _ => None,
        }
    }

    /// When the host had received the last byte of the body.
    pub fn received_at(&self) -> OffsetDateTime {
        wire::sent_time(self.request, Tag::RECEIVED_AT)
    }
}

/// What a webhook says about a ticket, as [`extract_metadata`](crate::TicketingToolPlugin::extract_metadata) answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TicketMetadata {
    /// The tenant that the payload itself names, when it does. The host refuses the webhook (422) when it is another
    /// than the tenant that it came for.
    pub tenant_id: Option<String>,
    /// The ticket's id as the tool's API wants it, 1–100 characters. Empty only with [`Event::Other`].
    pub ticket_id: String,
    /// What happened.
    pub event: Event,
    /// The ticket's subject or title.
    pub subject: Option<String>,
    /// The ticket's description, as text.
    pub description: Option<String>,
    /// The priority on the host's scale; [`Priority::Medium`] when unknown or missing.
    pub priority: Priority,
    /// The priority as the tool wrote it.
    pub raw_priority: Option<String>,
    /// When the ticket was created.
    pub created_at: Option<OffsetDateTime>,
    /// When the event happened.
    pub occurred_at: Option<OffsetDateTime>,
    /// What is the same for two arrivals of one event and different for two events. Take it from signed data where the
    /// tool signs. Without one the host uses the digest of the raw body.
    pub delivery_id: Option<String>,
    /// Where a person can open the ticket.
    pub url: Option<String>,
    /// Whether the webhook is only a hint, since its tool cannot prove what it says: then the host takes nothing but the
    /// ticket's id and the kind of event from it, and reads the rest back through
    /// [`get_ticket`](crate::TicketingToolPlugin::get_ticket) before it acts.
    pub read_back: bool,
}

impl TicketMetadata {
    /// Metadata of this ticket and event, everything else unknown: fill in the fields that the payload gives.
    pub fn new(ticket_id: impl Into<String>, event: Event) -> Self {
        Self {
            tenant_id: None,
            ticket_id: ticket_id.into(),
            event,
            subject: None,
            description: None,
            priority: Priority::Medium,
            raw_priority: None,
            created_at: None,
            occurred_at: None,
            delivery_id: None,
            url: None,
            read_back: false,
        }
    }

    /// For an authentic webhook that has no ticket or that makes no work.
    pub fn other() -> Self {
        Self::new("", Event::Other)
    }
}

/// What happened to a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The ticket is new: the host enhances it.
    Created,
    /// Something in the ticket changed: ignored unless the tenant asks for it.
    Updated,
    /// The ticket was solved: kept as knowledge for tickets to come.
    Resolved {
        /// How it was solved, as text.
        resolution: Option<String>,
        /// When it was solved.
        resolved_at: Option<OffsetDateTime>,
        /// Words that the tool keeps with the ticket.
        tags: Vec<String>,
    },
    /// A solved ticket was opened again: what solved it did not last, and is no longer offered as a solution. Since 1.1; an
    /// older host reads it as [`Other`](Self::Other).
    Reopened,
    /// Anything else; answered `ignored`.
    Other,
}

impl Event {
    /// `created`, `updated`, `resolved`, `reopened` or `other`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Resolved { .. } => "resolved",
            Self::Reopened => "reopened",
            Self::Other => "other",
        }
    }
}

/// A ticket's priority on the host's scale. There are these three in all of 1.x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Can wait.
    Low,
    /// The usual; also what is unknown.
    Medium,
    /// Before others.
    High,
}

impl Priority {
    /// `high`, `medium` or `low`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

/// A ticket as [`get_ticket`](crate::TicketingToolPlugin::get_ticket) answers it, in the host's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ticket {
    /// The id by which the tool's API knows it.
    pub id: String,
    /// Subject or title.
    pub subject: Option<String>,
    /// The description as text, markup taken out.
    pub description: Option<String>,
    /// The status as the tool names it.
    pub status: Option<String>,
    /// The priority on the host's scale.
    pub priority: Priority,
    /// The person who asks, by name or address.
    pub requester: Option<String>,
    /// When it was created.
    pub created_at: Option<OffsetDateTime>,
    /// When it was last changed.
    pub updated_at: Option<OffsetDateTime>,
    /// When it was solved.
    pub resolved_at: Option<OffsetDateTime>,
    /// How it was solved, as text.
    pub resolution: Option<String>,
    /// Where a person can open it.
    pub url: Option<String>,
    /// The tool's own JSON, for what this struct has no name for.
    pub raw: String,
}

impl Ticket {
    /// A ticket of which nothing is known yet but its id.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            subject: None,
            description: None,
            status: None,
            priority: Priority::Medium,
            requester: None,
            created_at: None,
            updated_at: None,
            resolved_at: None,
            resolution: None,
            url: None,
            raw: String::new(),
        }
    }
}

/// The note that the host wants on a ticket, in three forms: take the one that the tool renders.
#[derive(Clone, Copy, Debug)]
pub struct Note<'a> {
    pub(crate) markdown: &'a str,
    pub(crate) html: &'a str,
    pub(crate) text: &'a str,
    pub(crate) marker: &'a str,
}

impl<'a> Note<'a> {
    /// A note for a test of a plugin; in a running host the host makes it.
    pub fn new(markdown: &'a str, html: &'a str, text: &'a str, marker: &'a str) -> Self {
        Self { markdown, html, text, marker }
    }

    /// CommonMark, without raw HTML.
    pub fn markdown(&self) -> &'a str {
        self.markdown
    }

    /// HTML, made and sanitised by the host: no scripts, no styles, no images.
    pub fn html(&self) -> &'a str {
        self.html
    }

    /// Plain text.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// A short text that stands in all three forms and in no other note. When [`Tenant::attempt`](crate::plugin::Tenant::attempt)
    /// is above 1 and the tool lets notes be read, look for it before posting: the earlier attempt may have been taken.
    pub fn marker(&self) -> &'a str {
        self.marker
    }
}

/// How a signing key is written in the tenant's secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyForm {
    /// The secret's text is the key (most tools; Zendesk too, whose secret only looks like Base64).
    #[default]
    Text,
    /// The secret is Base64 of the key, after a `whsec_` where there is one (Standard Webhooks).
    Base64,
    /// The secret is hexadecimal digits of the key.
    Hex,
}

/// How much a log line matters. There are these four in all of 1.x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// For the plugin's developer.
    Debug,
    /// Worth knowing.
    Info,
    /// Somebody should look.
    Warn,
    /// Something failed.
    Error,
}

/// Which secret the host fills into a request, and where. The plugin names it and never sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credential {
    /// `Authorization: Bearer <secret>`
    Bearer {
        /// Name of the tenant's secret.
        secret: Cow<'static, str>,
    },
    /// `Authorization: Basic base64(user:<secret>)`
    Basic {
        /// The user part, as text.
        user: String,
        /// Name of the tenant's secret.
        secret: Cow<'static, str>,
    },
    /// `Authorization: Basic base64(<secret>:password)`, for tools where the key stands in the user's place (Freshservice).
    BasicUser {
        /// Name of the tenant's secret.
        secret: Cow<'static, str>,
        /// The password part, as text.
        password: String,
    },
    /// `<header>: [<scheme> ]<secret>`
    Header {
        /// The header's name.
        header: Cow<'static, str>,
        /// A word before the secret, such as `Zoho-oauthtoken`.
        scheme: Option<Cow<'static, str>>,
        /// Name of the tenant's secret.
        secret: Cow<'static, str>,
    },
}

impl Credential {
    /// The name of the tenant's secret that the host fills in.
    pub fn secret(&self) -> &str {
        match self {
            Self::Bearer { secret }
            | Self::Basic { secret, .. }
            | Self::BasicUser { secret, .. }
            | Self::Header { secret, .. } => secret,
        }
    }
}
