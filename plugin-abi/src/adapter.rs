//! The plugin's side of the boundary: a vendor's type behind the raw ABI, and the wall that no panic passes.

use std::{
    borrow::Cow,
    cell::RefCell,
    panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind},
    sync::{Mutex, PoisonError},
};

use time::OffsetDateTime;

use crate::{
    PluginError, TicketingToolPlugin,
    http::{Request, Response},
    message::Message,
    plugin::{Host, HostCalls, Tenant},
    raw::{Field, Guarded, Method, Operation, RawHost, RawSink, Tag, find},
    signature::Why,
    types::{KeyForm, LogLevel, Webhook},
    wire::{self, SaidWhy, Validated},
};

/// Most bytes of a panic's message that are kept.
const PANIC_MESSAGE_BYTES_MAX: usize = 2048;

/// A vendor's plugin as the host calls it.
#[derive(Debug)]
pub struct Adapter<P>(P);

impl<P: TicketingToolPlugin> Guarded for Adapter<P> {
    const INFO: &'static str = {
        const fn info<P: TicketingToolPlugin>() -> &'static crate::PluginInfo {
            const { &P::INFO }
        }
        info::<P>().json()
    };

    fn create(host: RawHost<'_>, request: &[Field<'_>], sink: RawSink<'_>) -> Option<Box<Self>> {
        hook::install();
        let made = guard(|| {
            let link = Link::new(host);
            P::new(&Host { calls: &link, call: 0, version: wire::sent_text(request, Tag::HOST_VERSION) })
        });
        match made {
            Ok(plugin) => Some(Box::new(Self(plugin))),
            Err(error) => {
                hook::remove();
                wire::write_error(&error, |fields| sink.reply(fields));
                None
            }
        }
    }

    fn call(&self, method: Method, host: RawHost<'_>, request: &[Field<'_>], sink: RawSink<'_>) {
        let done = guard(|| {
            let link = Link::new(host);
            let (tenant, webhook) = (Tenant { calls: &link, call: 0, request }, Webhook { request });
            match method {
                Method::VALIDATE_WEBHOOK => {
                    let authentic = self.0.validate_webhook(&tenant, &webhook)?;
                    let why = link.why.into_inner().unwrap_or_else(PoisonError::into_inner).filter(|_| !authentic);
                    wire::write_validated(&Validated { authentic, why }, |fields| sink.reply(fields));
                }
                Method::EXTRACT_METADATA => {
                    let metadata = self.0.extract_metadata(&tenant, &webhook)?;
                    wire::write_metadata(&metadata, |fields| sink.reply(fields));
                }
                Method::GET_TICKET => match self.0.get_ticket(&tenant, wire::sent_text(request, Tag::TICKET_ID))? {
                    Some(ticket) => wire::write_ticket(&ticket, |fields| sink.reply(fields)),
                    None => sink.reply(&[]),
                },
                Method::UPDATE_TICKET => {
                    let taken = self.0.update_ticket(
                        &tenant,
                        wire::sent_text(request, Tag::TICKET_ID),
                        &wire::sent_note(request),
                    )?;
                    sink.reply(&[
                        Field::new(Tag::OUTCOME, wire::flag_bytes(taken)),
                        Field::new(Tag::FINDS_NOTES, wire::flag_bytes(P::FINDS_NOTES)),
                    ]);
                }
                // No reply: the host is newer than this plugin, and sees that it does not know the method.
                _ => {}
            }
            Ok(())
        });
        if let Err(error) = done {
            wire::write_error(&error, |fields| sink.reply(fields));
        }
    }

    fn destroy(self: Box<Self>, sink: RawSink<'_>) {
        let dropped = guard(|| {
            drop(self);
            Ok(())
        });
        hook::remove();
        if let Err(error) = dropped {
            wire::write_error(&error, |fields| sink.reply(fields));
        }
    }
}

/// Runs code that is not ours. A panic becomes an error; its payload is leaked, since its drop may panic again.
fn guard<T>(run: impl FnOnce() -> Result<T, PluginError>) -> Result<T, PluginError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| {
        std::mem::forget(payload);
        Err(hook::last_panic())
    })
}

/// The panic hook. It replaces std's default hook rather than wrap it: with RUST_BACKTRACE set, that one symbolises a
/// backtrace, which keeps the plugin's file mapped for ever.
mod hook {
    use super::*;

    /// How many instances of this library live; the hook stays as long as one does.
    static INSTANCES: Mutex<usize> = Mutex::new(0);

    thread_local! {
        static LAST_PANIC: RefCell<(String, String)> = const { RefCell::new((String::new(), String::new())) };
    }

    pub(super) fn install() {
        let mut instances = INSTANCES.lock().unwrap_or_else(PoisonError::into_inner);
        if *instances == 0 {
            std::panic::set_hook(Box::new(remember));
        }
        *instances += 1;
    }

    pub(super) fn remove() {
        let mut instances = INSTANCES.lock().unwrap_or_else(PoisonError::into_inner);
        *instances = instances.saturating_sub(1);
        if *instances == 0 {
            drop(std::panic::take_hook());
        }
    }

    fn remember(panic: &PanicHookInfo<'_>) {
        let message = panic.payload_as_str().unwrap_or("(the panic's payload is not text)");
        let end = message.floor_char_boundary(PANIC_MESSAGE_BYTES_MAX);
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        // While a thread ends its locals may be gone: then the message is lost, not the panic.
        let _gone = LAST_PANIC.try_with(|last| {
            if let Ok(mut last) = last.try_borrow_mut() {
                *last = (message[..end].to_owned(), location);
            }
        });
    }

    pub(super) fn last_panic() -> PluginError {
        let last = LAST_PANIC.try_with(|last| last.try_borrow_mut().map(|mut last| std::mem::take(&mut *last)));
        let (message, location) = last.ok().and_then(Result::ok).unwrap_or_default();
        PluginError::Panicked { message, location }
    }
}

/// Host calls as messages. The raw host carries the call's number, so the one passed along is not looked at.
struct Link<'a> {
    host: RawHost<'a>,
    /// Why the call's webhook is not authentic, as it was said last. Taken along in the reply, so no operation is needed.
    why: Mutex<Option<SaidWhy>>,
}

impl<'a> Link<'a> {
    fn new(host: RawHost<'a>) -> Self {
        Self { host, why: Mutex::new(None) }
    }

    /// Asks, and reads the reply unless it is an error.
    fn ask<T>(
        &self,
        operation: Operation,
        request: &[Field<'_>],
        read: impl Fn(&[Field<'_>]) -> Result<T, wire::Unreadable>,
    ) -> Result<T, PluginError> {
        let mut answer = None;
        self.host.operate(operation, request, &mut |reply| {
            answer = Some(match wire::read_error(reply) {
                Ok(Some(error)) => Err(error),
                Ok(None) => read(reply).map_err(|fault| PluginError::api(format!("the host's reply: {}", fault.0))),
                Err(fault) => Err(PluginError::api(format!("the host's reply: {}", fault.0))),
            });
        });
        answer.unwrap_or_else(|| Err(PluginError::Configuration("this host does not have that operation".to_owned())))
    }
}

impl HostCalls for Link<'_> {
    fn log(&self, _call: u64, level: LogLevel, text: &str) {
        let request = [Field::new(Tag::LEVEL, wire::level_bytes(level)), Field::text(Tag::TEXT, text)];
        self.host.operate(Operation::LOG, &request, &mut |_| {});
    }

    fn now(&self, _call: u64) -> OffsetDateTime {
        let read = |reply: &[Field<'_>]| {
            let field = find(reply, Tag::TIME).ok_or_else(|| wire::Unreadable("no time".to_owned()))?;
            wire::time(&field, "the time")
        };
        self.ask(Operation::NOW, &[], read).unwrap_or_else(|_| OffsetDateTime::now_utc())
    }

    fn verify_hmac_sha256(
        &self,
        _call: u64,
        secret: &str,
        key_form: KeyForm,
        parts: &[&[u8]],
        mac: &[u8],
    ) -> Result<bool, PluginError> {
        let mut request = Message::<8>::new();
        request.push(Field::text(Tag::SECRET_NAME, secret));
        request.push(Field::new(Tag::MAC, mac));
        request.push(Field::new(Tag::KEY_FORM, wire::key_form_bytes(key_form)));
        request.extend(parts.iter().map(|part| Field::new(Tag::PART, part)));
        self.ask(Operation::VERIFY_HMAC_SHA256, request.fields(), wire::read_flag)
    }

    fn verify_secret(&self, _call: u64, secret: &str, presented: &[u8]) -> Result<bool, PluginError> {
        let request = [Field::text(Tag::SECRET_NAME, secret), Field::new(Tag::PRESENTED, presented)];
        self.ask(Operation::VERIFY_SECRET, &request, wire::read_flag)
    }

    fn http(&self, _call: u64, request: &Request) -> Result<Response, PluginError> {
        request.fault()?;
        wire::write_request(request, |fields| self.ask(Operation::HTTP, fields, wire::read_response))
    }

    fn not_authentic(&self, _call: u64, why: &Why<'_>) {
        let said = SaidWhy { kind: Cow::Borrowed(why.kind()), text: why.to_string() };
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
    }
}
