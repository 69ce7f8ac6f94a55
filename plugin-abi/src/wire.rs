//! The types as messages and back: which tags, in which encoding. Texts are UTF-8, numbers little-endian, times 12 bytes
//! (seconds as i64, nanoseconds as u32). Unknown tags are skipped, missing ones are `None`; so both sides may grow.

use std::{borrow::Cow, time::Duration};

use time::OffsetDateTime;

use crate::{
    PluginError,
    error::FieldError,
    http::{Request, Response},
    message::Message,
    raw::{Field, Pairs, Tag, find},
    types::{Credential, Event, KeyForm, LogLevel, Note, Priority, Ticket, TicketMetadata},
};

/// Most bytes that the host takes in one reply of a plugin, and most fields.
pub const REPLY_BYTES_MAX: usize = 16 << 20;
/// See [`REPLY_BYTES_MAX`].
pub const REPLY_FIELDS_MAX: usize = 4096;
/// Most bytes that the host keeps of one text of a ticket; the rest is cut off.
pub const TICKET_TEXT_BYTES_MAX: usize = 256 << 10;
/// Most bytes of the reason why a webhook is not authentic.
const WHY_BYTES_MAX: usize = 1 << 10;

/// A message that does not hold what it must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl Unreadable {
    fn of(what: &str, why: &str) -> Self {
        Self(format!("{what} {why}"))
    }
}

type Read<T> = Result<T, Unreadable>;

/// Whether a reply keeps within the limits.
pub fn bounded(fields: &[Field<'_>]) -> Read<()> {
    if fields.len() > REPLY_FIELDS_MAX {
        return Err(Unreadable(format!("the reply has {} fields; at most {REPLY_FIELDS_MAX} are taken", fields.len())));
    }
    let bytes = fields.iter().fold(0_usize, |sum, field| sum.saturating_add(field.bytes().len()));
    if bytes > REPLY_BYTES_MAX {
        return Err(Unreadable(format!("the reply has {bytes} bytes; at most {REPLY_BYTES_MAX} are taken")));
    }
    Ok(())
}

pub(crate) fn text<'a>(field: &Field<'a>, what: &str) -> Read<&'a str> {
    std::str::from_utf8(field.bytes()).map_err(|fault| Unreadable::of(what, &format!("is not UTF-8: {fault}")))
}

fn owned(field: &Field<'_>, what: &str) -> Read<Option<String>> {
    text(field, what).map(|text| Some(text.to_owned()))
}

fn cut(field: &Field<'_>, what: &str) -> Read<Option<String>> {
    text(field, what).map(|text| Some(text[..text.floor_char_boundary(TICKET_TEXT_BYTES_MAX)].to_owned()))
}

pub(crate) fn number<const N: usize>(field: &Field<'_>, what: &str) -> Read<[u8; N]> {
    field.bytes().try_into().map_err(|_| Unreadable::of(what, "has another size than a number's"))
}

pub(crate) fn time_bytes(at: OffsetDateTime) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&at.unix_timestamp().to_le_bytes());
    bytes[8..].copy_from_slice(&at.nanosecond().to_le_bytes());
    bytes
}

pub(crate) fn time(field: &Field<'_>, what: &str) -> Read<OffsetDateTime> {
    let bytes: [u8; 12] = number(field, what)?;
    let mut seconds = [0; 8];
    let mut nanoseconds = [0; 4];
    seconds.copy_from_slice(&bytes[..8]);
    nanoseconds.copy_from_slice(&bytes[8..]);
    OffsetDateTime::from_unix_timestamp(i64::from_le_bytes(seconds))
        .and_then(|at| at.replace_nanosecond(u32::from_le_bytes(nanoseconds)))
        .map_err(|fault| Unreadable::of(what, &fault.to_string()))
}

/// Durations as milliseconds.
pub(crate) fn duration_bytes(duration: Duration) -> [u8; 8] {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).to_le_bytes()
}

pub(crate) fn duration(field: &Field<'_>, what: &str) -> Read<Duration> {
    Ok(Duration::from_millis(u64::from_le_bytes(number(field, what)?)))
}

// What the host sent, as a plugin's getters read it: when they are asked, not before. What is missing is empty.

pub(crate) fn sent_bytes<'a>(request: &[Field<'a>], tag: Tag) -> &'a [u8] {
    find(request, tag).map_or(&[], |field| field.bytes())
}

pub(crate) fn sent_text<'a>(request: &[Field<'a>], tag: Tag) -> &'a str {
    std::str::from_utf8(sent_bytes(request, tag)).unwrap_or_default()
}

pub(crate) fn sent_number<const N: usize>(request: &[Field<'_>], tag: Tag) -> Option<[u8; N]> {
    sent_bytes(request, tag).try_into().ok()
}

pub(crate) fn sent_time(request: &[Field<'_>], tag: Tag) -> OffsetDateTime {
    find(request, tag).and_then(|field| time(&field, "").ok()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

pub(crate) fn sent_duration(request: &[Field<'_>], tag: Tag) -> Option<Duration> {
    sent_number(request, tag).map(|number| Duration::from_millis(u64::from_le_bytes(number)))
}

pub(crate) fn sent_note<'a>(request: &[Field<'a>]) -> Note<'a> {
    let [markdown, html, text, marker] =
        [Tag::NOTE_MARKDOWN, Tag::NOTE_HTML, Tag::NOTE_TEXT, Tag::NOTE_MARKER].map(|tag| sent_text(request, tag));
    Note::new(markdown, html, text, marker)
}

fn push_text<'a, const N: usize>(fields: &mut Message<'a, N>, tag: Tag, value: Option<&'a String>) {
    if let Some(value) = value {
        fields.push(Field::text(tag, value));
    }
}

fn push_time<'a, const N: usize>(fields: &mut Message<'a, N>, tag: Tag, value: Option<&'a [u8; 12]>) {
    if let Some(value) = value {
        fields.push(Field::new(tag, value));
    }
}

const CREATED: &[u8] = &[1];
const UPDATED: &[u8] = &[2];
const RESOLVED: &[u8] = &[3];
const OTHER: &[u8] = &[4];
/// Since 1.1.
const REOPENED: &[u8] = &[5];

fn priority_bytes(priority: Priority) -> &'static [u8] {
    match priority {
        Priority::Low => &[1],
        Priority::Medium => &[2],
        Priority::High => &[3],
    }
}

fn priority(field: &Field<'_>) -> Read<Priority> {
    match field.bytes() {
        [1] => Ok(Priority::Low),
        [2] => Ok(Priority::Medium),
        [3] => Ok(Priority::High),
        _ => Err(Unreadable::of("priority", "is none that this side knows")),
    }
}

pub(crate) fn write_metadata<R>(metadata: &TicketMetadata, then: impl FnOnce(&[Field<'_>]) -> R) -> R {
    let created = metadata.created_at.map(time_bytes);
    let occurred = metadata.occurred_at.map(time_bytes);
    let mut fields = Message::<16>::new();
    fields.push(Field::text(Tag::TICKET_ID, &metadata.ticket_id));
    fields.push(Field::new(Tag::PRIORITY, priority_bytes(metadata.priority)));
    push_text(&mut fields, Tag::PAYLOAD_TENANT, metadata.tenant_id.as_ref());
    push_text(&mut fields, Tag::SUBJECT, metadata.subject.as_ref());
    push_text(&mut fields, Tag::DESCRIPTION, metadata.description.as_ref());
    push_text(&mut fields, Tag::RAW_PRIORITY, metadata.raw_priority.as_ref());
    push_time(&mut fields, Tag::CREATED_AT, created.as_ref());
    push_time(&mut fields, Tag::OCCURRED_AT, occurred.as_ref());
    push_text(&mut fields, Tag::DELIVERY_ID, metadata.delivery_id.as_ref());
    push_text(&mut fields, Tag::URL, metadata.url.as_ref());
    if metadata.read_back {
        fields.push(Field::new(Tag::READ_BACK, flag_bytes(true)));
    }
    let resolved;
    match &metadata.event {
        Event::Created => fields.push(Field::new(Tag::EVENT, CREATED)),
        Event::Updated => fields.push(Field::new(Tag::EVENT, UPDATED)),
        Event::Reopened => fields.push(Field::new(Tag::EVENT, REOPENED)),
        Event::Other => fields.push(Field::new(Tag::EVENT, OTHER)),
        Event::Resolved { resolution, resolved_at, tags } => {
            resolved = resolved_at.map(time_bytes);
            fields.push(Field::new(Tag::EVENT, RESOLVED));
            push_text(&mut fields, Tag::RESOLUTION, resolution.as_ref());
            push_time(&mut fields, Tag::RESOLVED_AT, resolved.as_ref());
            fields.extend(tags.iter().map(|tag| Field::text(Tag::TICKET_TAG, tag)));
        }
    }
    then(fields.fields())
}

pub(crate) fn read_metadata(fields: &[Field<'_>]) -> Read<TicketMetadata> {
    let mut metadata = TicketMetadata::other();
    let mut event = None;
    let (mut resolution, mut resolved_at, mut tags) = (None, None, Vec::new());
    for field in fields {
        match field.tag() {
            Tag::TICKET_ID => text(field, "ticket_id")?.clone_into(&mut metadata.ticket_id),
            Tag::PRIORITY => metadata.priority = priority(field)?,
            Tag::PAYLOAD_TENANT => metadata.tenant_id = owned(field, "tenant_id")?,
            Tag::SUBJECT => metadata.subject = owned(field, "subject")?,
            Tag::DESCRIPTION => metadata.description = owned(field, "description")?,
            Tag::RAW_PRIORITY => metadata.raw_priority = owned(field, "raw_priority")?,
            Tag::CREATED_AT => metadata.created_at = Some(time(field, "created_at")?),
            Tag::OCCURRED_AT => metadata.occurred_at = Some(time(field, "occurred_at")?),
            Tag::DELIVERY_ID => metadata.delivery_id = owned(field, "delivery_id")?,
            Tag::URL => metadata.url = owned(field, "url")?,
            Tag::READ_BACK => metadata.read_back = field.bytes() == flag_bytes(true),
            Tag::EVENT => event = Some(field.bytes()),
            Tag::RESOLUTION => resolution = owned(field, "resolution")?,
            Tag::RESOLVED_AT => resolved_at = Some(time(field, "resolved_at")?),
            Tag::TICKET_TAG => tags.push(text(field, "tags")?.to_owned()),
            _ => {}
        }
    }
    metadata.event = match event {
        Some(CREATED) => Event::Created,
        Some(UPDATED) => Event::Updated,
        Some(RESOLVED) => Event::Resolved { resolution, resolved_at, tags },
        Some(REOPENED) => Event::Reopened,
        Some(_) => Event::Other,
        None => return Err(Unreadable::of("the reply", "has no event")),
    };
    Ok(metadata)
}

pub(crate) fn write_ticket<R>(ticket: &Ticket, then: impl FnOnce(&[Field<'_>]) -> R) -> R {
    let created = ticket.created_at.map(time_bytes);
    let updated = ticket.updated_at.map(time_bytes);
    let resolved = ticket.resolved_at.map(time_bytes);
    let mut fields = Message::<16>::new();
    fields.push(Field::text(Tag::TICKET_ID, &ticket.id));
    fields.push(Field::new(Tag::PRIORITY, priority_bytes(ticket.priority)));
    push_text(&mut fields, Tag::SUBJECT, ticket.subject.as_ref());
    push_text(&mut fields, Tag::DESCRIPTION, ticket.description.as_ref());
    push_text(&mut fields, Tag::STATUS_TEXT, ticket.status.as_ref());
    push_text(&mut fields, Tag::REQUESTER, ticket.requester.as_ref());
    push_time(&mut fields, Tag::CREATED_AT, created.as_ref());
    push_time(&mut fields, Tag::UPDATED_AT, updated.as_ref());
    push_time(&mut fields, Tag::RESOLVED_AT, resolved.as_ref());
    push_text(&mut fields, Tag::RESOLUTION, ticket.resolution.as_ref());
    push_text(&mut fields, Tag::URL, ticket.url.as_ref());
    fields.push(Field::text(Tag::RAW, &ticket.raw));
    then(fields.fields())
}

/// `None` when the reply says that there is no such ticket. What is copied is little, however much the plugin replies.
pub(crate) fn read_ticket(fields: &[Field<'_>]) -> Read<Option<Ticket>> {
    let mut ticket = Ticket::new("");
    let mut found = false;
    for field in fields {
        match field.tag() {
            Tag::TICKET_ID => {
                ticket.id = cut(field, "id")?.unwrap_or_default();
                found = true;
            }
            Tag::PRIORITY => ticket.priority = priority(field)?,
            Tag::SUBJECT => ticket.subject = cut(field, "subject")?,
            Tag::DESCRIPTION => ticket.description = cut(field, "description")?,
            Tag::STATUS_TEXT => ticket.status = cut(field, "status")?,
            Tag::REQUESTER => ticket.requester = cut(field, "requester")?,
            Tag::CREATED_AT => ticket.created_at = Some(time(field, "created_at")?),
            Tag::UPDATED_AT => ticket.updated_at = Some(time(field, "updated_at")?),
            Tag::RESOLVED_AT => ticket.resolved_at = Some(time(field, "resolved_at")?),
            Tag::RESOLUTION => ticket.resolution = cut(field, "resolution")?,
            Tag::URL => ticket.url = cut(field, "url")?,
            // The raw JSON stays where it is: nothing in the host reads it, and it is mostly the tool's whole answer.
            _ => {}
        }
    }
    Ok(found.then_some(ticket))
}

pub(crate) fn note_fields<'a>(note: &Note<'a>) -> [Field<'a>; 4] {
    [
        Field::text(Tag::NOTE_MARKDOWN, note.markdown),
        Field::text(Tag::NOTE_HTML, note.html),
        Field::text(Tag::NOTE_TEXT, note.text),
        Field::text(Tag::NOTE_MARKER, note.marker),
    ]
}

/// What `validate_webhook` answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validated {
    /// Whether the webhook is from whom it says.
    pub authentic: bool,
    /// Why not, where the plugin says it.
    pub why: Option<SaidWhy>,
}

/// Why a webhook is not authentic, as a plugin says it. The host believes none of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaidWhy {
    /// [`Why::kind`](crate::signature::Why::kind), or what a newer SDK has.
    pub kind: Cow<'static, str>,
    /// A sentence for the operator.
    pub text: String,
}

pub(crate) fn write_validated<R>(validated: &Validated, then: impl FnOnce(&[Field<'_>]) -> R) -> R {
    let outcome = Field::new(Tag::OUTCOME, flag_bytes(validated.authentic));
    match &validated.why {
        None => then(&[outcome]),
        Some(why) => {
            let text = &why.text[..why.text.floor_char_boundary(WHY_BYTES_MAX)];
            then(&[outcome, Field::text(Tag::WHY_KIND, &why.kind), Field::text(Tag::WHY_TEXT, text)])
        }
    }
}

/// What is said of the reason beside a good answer must not spoil the answer.
pub(crate) fn read_validated(fields: &[Field<'_>]) -> Read<Validated> {
    let said = |tag| {
        let text = String::from_utf8_lossy(sent_bytes(fields, tag)).into_owned();
        (!text.is_empty() && text.len() <= WHY_BYTES_MAX).then_some(text)
    };
    let authentic = read_flag(fields)?;
    let why = if authentic { None } else { said(Tag::WHY_KIND).zip(said(Tag::WHY_TEXT)) };
    Ok(Validated { authentic, why: why.map(|(kind, text)| SaidWhy { kind: kind.into(), text }) })
}

pub(crate) fn flag_bytes(flag: bool) -> &'static [u8] {
    if flag { &[1] } else { &[0] }
}

pub(crate) fn read_flag(fields: &[Field<'_>]) -> Read<bool> {
    match find(fields, Tag::OUTCOME).as_ref().map(Field::bytes) {
        Some([0]) => Ok(false),
        Some([1]) => Ok(true),
        Some(_) => Err(Unreadable::of("the outcome", "is neither 0 nor 1")),
        None => Err(Unreadable::of("the reply", "has no outcome")),
    }
}

const KINDS: [&str; 9] = [
    "malformed",
    "validation",
    "api",
    "authentication",
    "rate_limit",
    "configuration",
    "not_found",
    "cancelled",
    "panicked",
];

pub(crate) fn write_error<R>(error: &PluginError, then: impl FnOnce(&[Field<'_>]) -> R) -> R {
    let mut fields = Message::<8>::new();
    fields.push(Field::text(Tag::ERROR_KIND, error.kind()));
    let (number, wait);
    match error {
        PluginError::Malformed(message)
        | PluginError::Authentication(message)
        | PluginError::Configuration(message)
        | PluginError::NotFound(message) => fields.push(Field::text(Tag::ERROR_MESSAGE, message)),
        PluginError::Validation(faults) => fields.extend(faults.iter().flat_map(|fault| {
            [Field::text(Tag::FAULT_FIELD, &fault.field), Field::text(Tag::FAULT_MESSAGE, &fault.message)]
        })),
        PluginError::Api { status, message } => {
            fields.push(Field::text(Tag::ERROR_MESSAGE, message));
            number = status.map(u16::to_le_bytes);
            fields.extend(number.iter().map(|number| Field::new(Tag::ERROR_STATUS, number)));
        }
        PluginError::RateLimit { retry_after, message } => {
            fields.push(Field::text(Tag::ERROR_MESSAGE, message));
            wait = retry_after.map(duration_bytes);
            fields.extend(wait.iter().map(|wait| Field::new(Tag::RETRY_AFTER, wait)));
        }
        PluginError::Cancelled => {}
        PluginError::Panicked { message, location } => {
            fields.push(Field::text(Tag::ERROR_MESSAGE, message));
            fields.push(Field::text(Tag::LOCATION, location));
        }
    }
    then(fields.fields())
}

/// The error in a message, if it is one. A kind that this side does not know yet becomes `Api`: tried again.
pub(crate) fn read_error(fields: &[Field<'_>]) -> Read<Option<PluginError>> {
    let Some(kind) = find(fields, Tag::ERROR_KIND) else { return Ok(None) };
    let kind = text(&kind, "the error's kind")?;
    let (mut message, mut location, mut status, mut retry_after) = (String::new(), String::new(), None, None);
    for field in fields {
        match field.tag() {
            Tag::ERROR_MESSAGE => message = String::from_utf8_lossy(field.bytes()).into_owned(),
            Tag::LOCATION => location = String::from_utf8_lossy(field.bytes()).into_owned(),
            Tag::ERROR_STATUS => status = Some(u16::from_le_bytes(number(field, "the error's status")?)),
            Tag::RETRY_AFTER => retry_after = Some(duration(field, "retry_after")?),
            _ => {}
        }
    }
    Ok(Some(match KINDS.iter().position(|known| *known == kind) {
        Some(0) => PluginError::Malformed(message),
        Some(1) => PluginError::Validation(
            Pairs::new(fields, Tag::FAULT_FIELD, Tag::FAULT_MESSAGE)
                .map(|(field, fault)| FieldError::new(String::from_utf8_lossy(field), String::from_utf8_lossy(fault)))
                .collect(),
        ),
        Some(3) => PluginError::Authentication(message),
        Some(4) => PluginError::RateLimit { retry_after, message },
        Some(5) => PluginError::Configuration(message),
        Some(6) => PluginError::NotFound(message),
        Some(7) => PluginError::Cancelled,
        Some(8) => PluginError::Panicked { message, location },
        Some(_) => PluginError::Api { status, message },
        None => PluginError::Api { status, message: format!("{kind}: {message}") },
    }))
}

pub(crate) fn key_form_bytes(form: KeyForm) -> &'static [u8] {
    match form {
        KeyForm::Text => &[1],
        KeyForm::Base64 => &[2],
        KeyForm::Hex => &[3],
    }
}

pub(crate) fn key_form(field: &Field<'_>) -> Read<KeyForm> {
    match field.bytes() {
        [1] => Ok(KeyForm::Text),
        [2] => Ok(KeyForm::Base64),
        [3] => Ok(KeyForm::Hex),
        _ => Err(Unreadable::of("the key's form", "is none that this side knows")),
    }
}

pub(crate) fn level_bytes(level: LogLevel) -> &'static [u8] {
    match level {
        LogLevel::Debug => &[1],
        LogLevel::Info => &[2],
        LogLevel::Warn => &[3],
        LogLevel::Error => &[4],
    }
}

pub(crate) fn level(field: &Field<'_>) -> LogLevel {
    match field.bytes() {
        [1] => LogLevel::Debug,
        [2] => LogLevel::Info,
        [3] => LogLevel::Warn,
        _ => LogLevel::Error,
    }
}

pub(crate) fn write_request<R>(request: &Request, then: impl FnOnce(&[Field<'_>]) -> R) -> R {
    let (method, headers, credential, body, timeout) = request.parts();
    let timeout = timeout.map(duration_bytes);
    let mut fields = Message::<32>::new();
    fields.extend([Field::text(Tag::METHOD, method), Field::text(Tag::TARGET, request.target())]);
    for (name, value) in headers {
        fields.extend([Field::text(Tag::HEADER_NAME, name), Field::text(Tag::HEADER_VALUE, value)]);
    }
    match credential {
        None => {}
        Some(Credential::Bearer { secret }) => {
            fields.extend([Field::text(Tag::CREDENTIAL, "bearer"), Field::text(Tag::CREDENTIAL_SECRET, secret)]);
        }
        Some(Credential::Basic { user, secret }) => fields.extend([
            Field::text(Tag::CREDENTIAL, "basic"),
            Field::text(Tag::CREDENTIAL_TEXT, user),
            Field::text(Tag::CREDENTIAL_SECRET, secret),
        ]),
        Some(Credential::BasicUser { secret, password }) => fields.extend([
            Field::text(Tag::CREDENTIAL, "basic_user"),
            Field::text(Tag::CREDENTIAL_TEXT, password),
            Field::text(Tag::CREDENTIAL_SECRET, secret),
        ]),
        Some(Credential::Header { header, scheme, secret }) => {
            fields.extend([
                Field::text(Tag::CREDENTIAL, "header"),
                Field::text(Tag::CREDENTIAL_HEADER, header),
                Field::text(Tag::CREDENTIAL_SECRET, secret),
            ]);
            fields.extend(scheme.iter().map(|scheme| Field::text(Tag::CREDENTIAL_TEXT, scheme)));
        }
    }
    fields.extend(body.map(|body| Field::new(Tag::BODY, body)));
    fields.extend(timeout.iter().map(|timeout| Field::new(Tag::TIMEOUT, timeout)));
    then(fields.fields())
}

pub(crate) fn read_request(fields: &[Field<'_>]) -> Read<Request> {
    let need =
        |tag, what: &str| find(fields, tag).ok_or_else(|| Unreadable::of("the request", &format!("has no {what}")));
    let method = match text(&need(Tag::METHOD, "method")?, "the method")? {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        _ => return Err(Unreadable::of("the method", "is none of GET, POST, PUT, PATCH, DELETE")),
    };
    let mut request = Request::new(method, text(&need(Tag::TARGET, "target")?, "the target")?);
    for (name, value) in Pairs::new(fields, Tag::HEADER_NAME, Tag::HEADER_VALUE) {
        let pair = (std::str::from_utf8(name), std::str::from_utf8(value));
        let (Ok(name), Ok(value)) = pair else { return Err(Unreadable::of("a header", "is not UTF-8")) };
        request.headers.push((name.to_owned(), value.to_owned()));
    }
    if let Some(kind) = find(fields, Tag::CREDENTIAL) {
        let secret = Cow::Owned(text(&need(Tag::CREDENTIAL_SECRET, "secret's name")?, "the secret's name")?.to_owned());
        let words = find(fields, Tag::CREDENTIAL_TEXT).map(|field| text(&field, "the credential")).transpose()?;
        request.credential = Some(match text(&kind, "the credential's kind")? {
            "bearer" => Credential::Bearer { secret },
            "basic" => Credential::Basic { user: words.unwrap_or_default().to_owned(), secret },
            "basic_user" => Credential::BasicUser { secret, password: words.unwrap_or_default().to_owned() },
            "header" => Credential::Header {
                header: Cow::Owned(
                    text(&need(Tag::CREDENTIAL_HEADER, "header for the secret")?, "the header")?.to_owned(),
                ),
                scheme: words.map(|words| Cow::Owned(words.to_owned())),
                secret,
            },
            other => return Err(Unreadable(format!("this host knows no credential of kind {other:?}"))),
        });
    }
    request.body = find(fields, Tag::BODY).map(|field| field.bytes().to_vec());
    request.timeout = find(fields, Tag::TIMEOUT).map(|field| duration(&field, "the time-out")).transpose()?;
    Ok(request)
}

pub(crate) fn write_response<R>(response: &Response, then: impl FnOnce(&[Field<'_>]) -> R) -> R {
    let status = response.status.to_le_bytes();
    let mut fields = Message::<32>::new();
    fields.extend([Field::new(Tag::STATUS, &status), Field::new(Tag::BODY, &response.body)]);
    for (name, value) in &response.headers {
        fields.extend([Field::text(Tag::HEADER_NAME, name), Field::text(Tag::HEADER_VALUE, value)]);
    }
    then(fields.fields())
}

pub(crate) fn read_response(fields: &[Field<'_>]) -> Read<Response> {
    let status = find(fields, Tag::STATUS).ok_or_else(|| Unreadable::of("the answer", "has no status"))?;
    let headers = Pairs::new(fields, Tag::HEADER_NAME, Tag::HEADER_VALUE)
        .filter_map(|(name, value)| {
            Some((std::str::from_utf8(name).ok()?.to_owned(), std::str::from_utf8(value).ok()?.to_owned()))
        })
        .collect();
    let body = find(fields, Tag::BODY).map(|field| field.bytes().to_vec()).unwrap_or_default();
    Ok(Response::new(u16::from_le_bytes(number(&status, "the status")?), headers, body))
}
