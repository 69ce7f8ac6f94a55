//! The host's side of the boundary: typed calls over the raw ABI, and host callbacks answered by a [`HostCalls`].

use std::{collections::BTreeMap, time::Duration};

use time::OffsetDateTime;

use crate::{
    PluginError,
    raw::{Field, Method, Operation, Operations, RawInstance, Tag, find},
    types::{KeyForm, Note, Ticket, TicketMetadata},
    wire,
};
pub use crate::{
    plugin::HostCalls,
    wire::{SaidWhy, Validated},
};

/// Why a call of a plugin gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallFault {
    /// The plugin said so, or panicked.
    Plugin(PluginError),
    /// What it replied, or that it replied nothing, breaks the ABI's rules.
    InvalidReply(String),
}

impl From<wire::Unreadable> for CallFault {
    fn from(fault: wire::Unreadable) -> Self {
        Self::InvalidReply(fault.0)
    }
}

/// What the host tells a plugin with every call.
#[derive(Clone, Copy, Debug)]
pub struct CallContext<'a> {
    /// The tenant.
    pub tenant_id: &'a str,
    /// Where its tool is.
    pub base_url: &'a str,
    /// Its settings, by name.
    pub settings: &'a BTreeMap<String, String>,
    /// The attempt, from 1; 0 in validate and extract.
    pub attempt: u32,
    /// The same for all attempts of a job.
    pub idempotency_key: Option<&'a str>,
    /// When the host gives up.
    pub deadline: OffsetDateTime,
    /// How old a signed time stamp may be.
    pub replay_window: Duration,
    /// How far ahead of the host's clock it may be.
    pub replay_ahead: Duration,
}

/// What `update_ticket` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Updated {
    /// Whether the tool has the note.
    pub taken: bool,
    /// Whether the plugin looks for the note of an earlier attempt; false of plugins from before that could be said.
    pub finds_notes: bool,
}

/// A webhook in the host's hands.
#[derive(Clone, Copy, Debug)]
pub struct WebhookParts<'a, F> {
    /// The HTTP method.
    pub method: &'a str,
    /// The path.
    pub path: &'a str,
    /// The query without `?`.
    pub query: &'a str,
    /// Makes an iterator over names (lower case) and values.
    pub headers: F,
    /// The raw body.
    pub body: &'a [u8],
    /// When its last byte was there.
    pub received_at: OffsetDateTime,
}

/// Fields of a request that has no settings and no headers.
const FIXED_FIELDS: usize = 12;

/// The numbers of a context as bytes, kept while a message borrows them.
struct Numbers {
    attempt: [u8; 4],
    deadline: [u8; 12],
    window: [u8; 8],
    ahead: [u8; 8],
}

impl CallContext<'_> {
    fn numbers(&self) -> Numbers {
        Numbers {
            attempt: self.attempt.to_le_bytes(),
            deadline: wire::time_bytes(self.deadline),
            window: wire::duration_bytes(self.replay_window),
            ahead: wire::duration_bytes(self.replay_ahead),
        }
    }

    fn write<'f>(&'f self, numbers: &'f Numbers, fields: &mut Vec<Field<'f>>) {
        fields.push(Field::text(Tag::TENANT_ID, self.tenant_id));
        fields.push(Field::text(Tag::BASE_URL, self.base_url));
        fields.push(Field::new(Tag::ATTEMPT, &numbers.attempt));
        fields.push(Field::new(Tag::DEADLINE, &numbers.deadline));
        fields.push(Field::new(Tag::REPLAY_WINDOW, &numbers.window));
        fields.push(Field::new(Tag::REPLAY_AHEAD, &numbers.ahead));
        fields.extend(self.idempotency_key.map(|key| Field::text(Tag::IDEMPOTENCY_KEY, key)));
        for (name, value) in self.settings {
            fields.extend([Field::text(Tag::SETTING_NAME, name), Field::text(Tag::SETTING_VALUE, value)]);
        }
    }

    /// The request of validate and extract: one message serves both.
    pub fn with_webhook<'w, F, H, R>(&self, webhook: &WebhookParts<'w, F>, then: impl FnOnce(&[Field<'_>]) -> R) -> R
    where
        F: Fn() -> H,
        H: Iterator<Item = (&'w str, &'w [u8])>,
    {
        let numbers = self.numbers();
        let received = wire::time_bytes(webhook.received_at);
        let headers = (webhook.headers)();
        let mut fields = Vec::with_capacity(FIXED_FIELDS + 2 * (headers.size_hint().0 + self.settings.len()));
        // What is asked for most often comes first: it is looked for from the beginning.
        fields.push(Field::new(Tag::BODY, webhook.body));
        fields.push(Field::new(Tag::RECEIVED_AT, &received));
        self.write(&numbers, &mut fields);
        fields.push(Field::text(Tag::METHOD, webhook.method));
        fields.push(Field::text(Tag::PATH, webhook.path));
        fields.push(Field::text(Tag::QUERY, webhook.query));
        for (name, value) in headers {
            fields.extend([Field::text(Tag::HEADER_NAME, name), Field::new(Tag::HEADER_VALUE, value)]);
        }
        then(&fields)
    }

    /// The request of get, and with a note of update.
    pub fn with_ticket<R>(&self, ticket_id: &str, note: Option<&Note<'_>>, then: impl FnOnce(&[Field<'_>]) -> R) -> R {
        let numbers = self.numbers();
        let mut fields = Vec::with_capacity(FIXED_FIELDS + 2 * self.settings.len());
        self.write(&numbers, &mut fields);
        fields.push(Field::text(Tag::TICKET_ID, ticket_id));
        fields.extend(note.into_iter().flat_map(wire::note_fields));
        then(&fields)
    }
}

/// The request of create.
pub fn create_request(host_version: &str) -> [Field<'_>; 1] {
    [Field::text(Tag::HOST_VERSION, host_version)]
}

/// The error in a reply of create or destroy, when there is one.
pub fn error_in(reply: &[Field<'_>]) -> Option<CallFault> {
    match wire::bounded(reply).and_then(|()| wire::read_error(reply)) {
        Ok(error) => error.map(CallFault::Plugin),
        Err(fault) => Some(fault.into()),
    }
}

/// Calls `validate_webhook`. Like all calls it blocks, and belongs on a thread of the plugin's generation.
///
/// # Errors
/// See [`CallFault`].
pub fn validate_webhook<C: HostCalls>(
    plugin: &RawInstance,
    host: &HostSide<C>,
    call: u64,
    request: &[Field<'_>],
) -> Result<Validated, CallFault> {
    perform(plugin, Method::VALIDATE_WEBHOOK, host, call, request, wire::read_validated)
}

/// Calls `extract_metadata`.
///
/// # Errors
/// See [`CallFault`].
pub fn extract_metadata<C: HostCalls>(
    plugin: &RawInstance,
    host: &HostSide<C>,
    call: u64,
    request: &[Field<'_>],
) -> Result<TicketMetadata, CallFault> {
    perform(plugin, Method::EXTRACT_METADATA, host, call, request, wire::read_metadata)
}

/// Calls `get_ticket`.
///
/// # Errors
/// See [`CallFault`].
pub fn get_ticket<C: HostCalls>(
    plugin: &RawInstance,
    host: &HostSide<C>,
    call: u64,
    request: &[Field<'_>],
) -> Result<Option<Ticket>, CallFault> {
    perform(plugin, Method::GET_TICKET, host, call, request, wire::read_ticket)
}

/// Calls `update_ticket`.
///
/// # Errors
/// See [`CallFault`].
pub fn update_ticket<C: HostCalls>(
    plugin: &RawInstance,
    host: &HostSide<C>,
    call: u64,
    request: &[Field<'_>],
) -> Result<Updated, CallFault> {
    perform(plugin, Method::UPDATE_TICKET, host, call, request, |reply| {
        let finds_notes = find(reply, Tag::FINDS_NOTES).is_some_and(|flag| flag.bytes() == [1]);
        Ok(Updated { taken: wire::read_flag(reply)?, finds_notes })
    })
}

fn perform<C: HostCalls, T>(
    plugin: &RawInstance,
    method: Method,
    host: &HostSide<C>,
    call: u64,
    request: &[Field<'_>],
    read: impl Fn(&[Field<'_>]) -> Result<T, wire::Unreadable>,
) -> Result<T, CallFault> {
    let mut answer = None;
    plugin.call(method, host, call, request, &mut |reply| {
        answer = Some(match wire::bounded(reply).and_then(|()| wire::read_error(reply)) {
            Ok(None) => read(reply).map_err(CallFault::from),
            Ok(Some(error)) => Err(CallFault::Plugin(error)),
            Err(fault) => Err(fault.into()),
        });
    });
    answer.unwrap_or_else(|| Err(CallFault::InvalidReply("the plugin returned without a reply".to_owned())))
}

/// Answers the raw callbacks with a [`HostCalls`].
#[derive(Debug)]
pub struct HostSide<C>(pub C);

type Reply<'r> = &'r mut dyn FnMut(&[Field<'_>]);

impl<C: HostCalls> Operations for HostSide<C> {
    fn operate(&self, call: u64, operation: Operation, request: &[Field<'_>], reply: Reply<'_>) {
        let outcome = match operation {
            Operation::LOG => self.log(call, request),
            Operation::NOW => {
                reply(&[Field::new(Tag::TIME, &wire::time_bytes(self.0.now(call)))]);
                Ok(())
            }
            Operation::VERIFY_HMAC_SHA256 => self.verify_hmac_sha256(call, request).map(|flag| reply(&[flag])),
            Operation::VERIFY_SECRET => self.verify_secret(call, request).map(|flag| reply(&[flag])),
            Operation::HTTP => self.http(call, request, reply),
            // No reply: the SDK tells the plugin that this host is too old for it.
            _ => Ok(()),
        };
        if let Err(error) = outcome {
            wire::write_error(&error, reply);
        }
    }
}

fn unreadable(fault: wire::Unreadable) -> PluginError {
    PluginError::Configuration(format!("the plugin's request to the host: {}", fault.0))
}

fn secret_name<'a>(request: &[Field<'a>]) -> Result<&'a str, PluginError> {
    let field =
        find(request, Tag::SECRET_NAME).ok_or_else(|| unreadable(wire::Unreadable("no secret is named".to_owned())))?;
    wire::text(&field, "the secret's name").map_err(unreadable)
}

impl<C: HostCalls> HostSide<C> {
    fn log(&self, call: u64, request: &[Field<'_>]) -> Result<(), PluginError> {
        if let Some(level) = find(request, Tag::LEVEL) {
            self.0.log(call, wire::level(&level), &String::from_utf8_lossy(wire::sent_bytes(request, Tag::TEXT)));
        }
        Ok(())
    }

    fn verify_hmac_sha256(&self, call: u64, request: &[Field<'_>]) -> Result<Field<'static>, PluginError> {
        let form =
            find(request, Tag::KEY_FORM).map_or(Ok(KeyForm::Text), |form| wire::key_form(&form)).map_err(unreadable)?;
        let parts = || request.iter().filter(|field| field.tag() == Tag::PART).map(Field::bytes);
        let (name, mac) = (secret_name(request)?, wire::sent_bytes(request, Tag::MAC));
        // The two usual cases, the body alone and a time stamp before it, need no list on the heap.
        let mut few: [&[u8]; 4] = [&[]; 4];
        let count = parts().count();
        let verified = if count <= few.len() {
            few.iter_mut().zip(parts()).for_each(|(place, part)| *place = part);
            self.0.verify_hmac_sha256(call, name, form, &few[..count], mac)?
        } else {
            self.0.verify_hmac_sha256(call, name, form, &parts().collect::<Vec<_>>(), mac)?
        };
        Ok(Field::new(Tag::OUTCOME, wire::flag_bytes(verified)))
    }

    fn verify_secret(&self, call: u64, request: &[Field<'_>]) -> Result<Field<'static>, PluginError> {
        let verified = self.0.verify_secret(call, secret_name(request)?, wire::sent_bytes(request, Tag::PRESENTED))?;
        Ok(Field::new(Tag::OUTCOME, wire::flag_bytes(verified)))
    }

    fn http(&self, call: u64, request: &[Field<'_>], reply: Reply<'_>) -> Result<(), PluginError> {
        let request = wire::read_request(request).map_err(unreadable)?;
        let response = self.0.http(call, &request)?;
        wire::write_response(&response, reply);
        Ok(())
    }
}
