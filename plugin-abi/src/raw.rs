//! The ABI itself: what really crosses between host and plugin, and the only unsafe code of this crate.
//!
//! Everything is one thing, a *message*: a list of tagged byte slices, borrowed for the time of one call. A request is a
//! message; a reply is a message handed to a sink that the caller lends; a call is a method's number with a message, and a
//! host callback an operation's. So nothing that one side allocated is ever freed by the other; a minor version grows by
//! new numbers alone, which an older side skips or answers with no reply, without changing any layout; and a message could
//! be written to a pipe as it is.
//!
//! Frozen at 1.0: `docs/reference/abi-policy.md` says what may change, `tests/golden/abi-1.txt` holds it.

#![allow(unsafe_code)]

use std::{
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::NonNull,
};

/// What the host's loader needs of abi_stable, so that nothing else names it.
pub use abi_stable::library::{AbiHeaderRef, LibHeader, LibraryError};
use abi_stable::{
    StableAbi,
    library::{CheckTypeLayout, RootModule, RootModuleResult},
    package_version_strings,
    prefix_type::WithMetadata,
    sabi_types,
    std_types::{RSlice, RStr},
};

/// Numbers with names. They are given once and never again: what is taken away leaves its number behind.
macro_rules! numbers {
    ($type:ident: $($name:ident = $number:literal),* $(,)?) => {
        #[allow(missing_docs, reason = "the names say it; wire.rs says the encoding")]
        impl $type { $(pub const $name: Self = Self($number);)* }

        impl $type {
            /// All that this side knows, with their names.
            pub const ALL: &'static [(&'static str, Self)] = &[$((stringify!($name), Self::$name)),*];

            /// The one with this number, whether this side knows it or not.
            pub const fn from_number(number: u32) -> Self {
                Self(number)
            }

            /// Its number.
            pub const fn number(self) -> u32 {
                self.0
            }
        }
    };
}

/// What a field of a message means. A side skips those that it does not know.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, StableAbi)]
pub struct Tag(u32);

numbers! { Tag:
    // Every call.
    TENANT_ID = 1, BASE_URL = 2, SETTING_NAME = 3, SETTING_VALUE = 4, ATTEMPT = 5, IDEMPOTENCY_KEY = 6, DEADLINE = 7,
    REPLAY_WINDOW = 8, HOST_VERSION = 9, REPLAY_AHEAD = 10,
    // A webhook.
    METHOD = 20, PATH = 21, QUERY = 22, HEADER_NAME = 23, HEADER_VALUE = 24, BODY = 25, RECEIVED_AT = 26,
    // Metadata and tickets.
    TICKET_ID = 40, EVENT = 41, SUBJECT = 42, DESCRIPTION = 43, PRIORITY = 44, RAW_PRIORITY = 45, CREATED_AT = 46,
    OCCURRED_AT = 47, DELIVERY_ID = 48, URL = 49, RESOLUTION = 50, RESOLVED_AT = 51, TICKET_TAG = 52, PAYLOAD_TENANT = 53,
    STATUS_TEXT = 54, REQUESTER = 55, UPDATED_AT = 56, RAW = 57, READ_BACK = 58,
    // A note.
    NOTE_MARKDOWN = 70, NOTE_HTML = 71, NOTE_TEXT = 72, NOTE_MARKER = 73,
    // Outcomes and errors.
    OUTCOME = 90, ERROR_KIND = 91, ERROR_MESSAGE = 92, ERROR_STATUS = 93, RETRY_AFTER = 94, FAULT_FIELD = 95,
    FAULT_MESSAGE = 96, LOCATION = 97, FINDS_NOTES = 98, WHY_KIND = 99, WHY_TEXT = 100,
    // Host callbacks.
    SECRET_NAME = 110, PART = 111, MAC = 112, KEY_FORM = 113, PRESENTED = 114, LEVEL = 115, TEXT = 116, TIME = 117,
    // HTTP through the host.
    TARGET = 130, CREDENTIAL = 133, CREDENTIAL_SECRET = 134, CREDENTIAL_TEXT = 135, CREDENTIAL_HEADER = 136, TIMEOUT = 137,
    STATUS = 138,
}

/// What the host asks of a plugin. A plugin answers one that it does not know with no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method(u32);

numbers! { Method: VALIDATE_WEBHOOK = 1, EXTRACT_METADATA = 2, GET_TICKET = 3, UPDATE_TICKET = 4 }

/// What a plugin asks of the host, named after the methods of `HostCalls`. A host answers one that it does not know with
/// no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation(u32);

numbers! { Operation: LOG = 1, NOW = 2, VERIFY_HMAC_SHA256 = 3, VERIFY_SECRET = 4, HTTP = 5 }

/// One tagged byte slice.
#[repr(C)]
#[derive(Clone, Copy, Debug, StableAbi)]
pub struct Field<'a> {
    tag: Tag,
    data: RSlice<'a, u8>,
}

impl<'a> Field<'a> {
    /// A field of these bytes.
    pub fn new(tag: Tag, data: &'a [u8]) -> Self {
        Self { tag, data: RSlice::from_slice(data) }
    }

    /// A field of this text.
    pub fn text(tag: Tag, text: &'a str) -> Self {
        Self::new(tag, text.as_bytes())
    }

    /// What the bytes mean.
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// The bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.data.as_slice()
    }
}

/// The first field with this tag.
pub fn find<'a>(fields: &[Field<'a>], tag: Tag) -> Option<Field<'a>> {
    fields.iter().find(|field| field.tag == tag).copied()
}

/// Reads pairs of fields (a name, then its value) out of a message and skips whatever stands between them.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    fields: std::slice::Iter<'a, Field<'a>>,
    name: Tag,
    value: Tag,
}

impl<'a> Pairs<'a> {
    /// The pairs with these two tags.
    pub fn new(fields: &'a [Field<'a>], name: Tag, value: Tag) -> Self {
        Self { fields: fields.iter(), name, value }
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.fields.find(|field| field.tag == self.name)?;
        let value = self.fields.find(|field| field.tag == self.value)?;
        Some((name.bytes(), value.bytes()))
    }
}

/// Where a reply goes: lent by the caller, good until the call that it was given to returns.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct RawSink<'a> {
    state: *mut (),
    reply: unsafe extern "C" fn(*mut (), RSlice<'_, Field<'_>>),
    lent: PhantomData<&'a ()>,
}

type Take<'t> = &'t mut dyn FnMut(&[Field<'_>]);

impl RawSink<'_> {
    /// Runs `call` with a sink that passes replies to `take`. A panic in `take` does not cross: the reply is then lost.
    fn lend<R>(mut take: Take<'_>, call: impl FnOnce(RawSink<'_>) -> R) -> R {
        call(RawSink { state: (&raw mut take).cast(), reply: take_reply, lent: PhantomData })
    }

    /// Hands a reply over. The receiver copies what it wants before this returns.
    pub fn reply(&self, fields: &[Field<'_>]) {
        // SAFETY: `state` and `reply` were made by `lend` on the other side, whose frame lives as long as `'a`.
        unsafe { (self.reply)(self.state, RSlice::from_slice(fields)) }
    }
}

/// # Safety
/// `state` is the address of the `Take` that lives in the frame of `RawSink::lend`.
unsafe extern "C" fn take_reply(state: *mut (), fields: RSlice<'_, Field<'_>>) {
    // SAFETY: by this function's contract; the two sides call each other one at a time for one sink.
    let take = unsafe { &mut *state.cast::<Take<'_>>() };
    forget_panic(catch_unwind(AssertUnwindSafe(|| take(fields.as_slice()))));
}

/// A payload's own drop may panic, which would abort: leak it.
fn forget_panic(outcome: std::thread::Result<()>) {
    if let Err(payload) = outcome {
        std::mem::forget(payload);
    }
}

/// What answers host callbacks. In the host it is called from whatever thread the plugin calls from, also late ones.
pub trait Operations: Sync {
    /// Carries one operation out for the call with this number and replies through `reply`, at most once.
    fn operate(&self, call: u64, operation: Operation, request: &[Field<'_>], reply: &mut dyn FnMut(&[Field<'_>]));
}

/// The host as a plugin holds it for one call.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct RawHost<'a> {
    state: *const (),
    call: u64,
    operate: unsafe extern "C" fn(*const (), u64, u32, RSlice<'_, Field<'_>>, RawSink<'_>),
    lent: PhantomData<&'a ()>,
}

// SAFETY: `state` is a `&O` with `O: Sync` (see `RawHost::new`), and the other parts are plain values.
unsafe impl Send for RawHost<'_> {}
// SAFETY: as above.
unsafe impl Sync for RawHost<'_> {}

impl<'a> RawHost<'a> {
    fn new<O: Operations>(operations: &'a O, call: u64) -> Self {
        Self { state: std::ptr::from_ref(operations).cast(), call, operate: operate::<O>, lent: PhantomData }
    }

    /// Asks the host for an operation; `take` sees its reply, unless it gives none.
    pub fn operate(&self, operation: Operation, request: &[Field<'_>], take: Take<'_>) {
        RawSink::lend(take, |sink| {
            // SAFETY: `state` and `operate` were made by `new` on the host's side and are good for `'a`.
            unsafe { (self.operate)(self.state, self.call, operation.0, RSlice::from_slice(request), sink) }
        });
    }
}

/// # Safety
/// `state` is the address of a live `O`.
unsafe extern "C" fn operate<O: Operations>(
    state: *const (),
    call: u64,
    operation: u32,
    request: RSlice<'_, Field<'_>>,
    sink: RawSink<'_>,
) {
    // SAFETY: by this function's contract; only shared access is made.
    let operations = unsafe { &*state.cast::<O>() };
    forget_panic(catch_unwind(AssertUnwindSafe(|| {
        operations.operate(call, Operation(operation), request.as_slice(), &mut |reply| sink.reply(reply));
    })));
}

/// The root module of a plugin.
///
/// It stays as it is for all of 1.x: abi_stable takes a module with more functions than the host's, but none with fewer,
/// so that a host with one more function would refuse every older plugin. What is new is a number.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleRef)))]
#[sabi(missing_field(panic))]
pub struct PluginModule {
    /// The same JSON as in the ELF note.
    pub info: RStr<'static>,
    /// Makes the plugin's instance; null when it failed, then the sink has the error.
    pub create: unsafe extern "C" fn(RawHost<'_>, RSlice<'_, Field<'_>>, RawSink<'_>) -> *mut (),
    /// Ends an instance; the sink gets an error when its drop panicked.
    pub destroy: unsafe extern "C" fn(*mut (), RawSink<'_>),
    /// Calls the [`Method`] with this number.
    #[sabi(last_prefix_field)]
    pub call: unsafe extern "C" fn(*const (), u32, RawHost<'_>, RSlice<'_, Field<'_>>, RawSink<'_>),
}

impl RootModule for PluginModuleRef {
    abi_stable::declare_root_module_statics! {PluginModuleRef}
    const BASE_NAME: &'static str = "patchbay_plugin";
    const NAME: &'static str = "patchbay_plugin";
    const VERSION_STRINGS: sabi_types::VersionStrings = package_version_strings!();
}

/// An instance of a plugin in the host.
pub struct RawInstance {
    module: PluginModuleRef,
    handle: NonNull<()>,
}

// SAFETY: `export_plugin!` takes only types that are Send and Sync, and the handle is a `Box` of one.
unsafe impl Send for RawInstance {}
// SAFETY: as above.
unsafe impl Sync for RawInstance {}

impl RawInstance {
    /// Calls `create`.
    ///
    /// # Safety
    /// The library behind `module` stays mapped, and `operations` stays where it is, until `destroy` has returned and no
    /// thread of the plugin lives.
    pub unsafe fn create<O: Operations>(
        module: PluginModuleRef,
        operations: &O,
        call: u64,
        request: &[Field<'_>],
        take: Take<'_>,
    ) -> Option<Self> {
        let host = RawHost::new(operations, call);
        let handle = RawSink::lend(take, |sink| {
            // SAFETY: the function is the module's own, its arguments are good for the call.
            unsafe { module.create()(host, RSlice::from_slice(request), sink) }
        });
        Some(Self { module, handle: NonNull::new(handle)? })
    }

    /// Calls a method; `take` sees the reply, unless there is none.
    pub fn call<O: Operations>(
        &self,
        method: Method,
        operations: &O,
        call: u64,
        request: &[Field<'_>],
        take: Take<'_>,
    ) {
        let host = RawHost::new(operations, call);
        RawSink::lend(take, |sink| {
            // SAFETY: the handle came from this module's `create` and `destroy` takes `self`; the rest lives for the call.
            unsafe { self.module.call()(self.handle.as_ptr(), method.0, host, RSlice::from_slice(request), sink) }
        });
    }

    /// Calls `destroy`; `take` sees an error when the plugin's drop panicked.
    pub fn destroy(self, take: Take<'_>) {
        RawSink::lend(take, |sink| {
            // SAFETY: the handle came from this module's `create` and is given up here.
            unsafe { self.module.destroy()(self.handle.as_ptr(), sink) }
        });
    }
}

/// The plugin's side of the module: what the adapter makes of a vendor's type. None of these may unwind.
pub trait Guarded: Sized + Send + Sync + 'static {
    /// The information's JSON.
    const INFO: &'static str;
    /// Makes the instance, or replies with the error.
    fn create(host: RawHost<'_>, request: &[Field<'_>], sink: RawSink<'_>) -> Option<Box<Self>>;
    /// Carries a method out and replies; a method that it does not know gets no reply.
    fn call(&self, method: Method, host: RawHost<'_>, request: &[Field<'_>], sink: RawSink<'_>);
    /// Drops the instance; replies only with an error.
    fn destroy(self: Box<Self>, sink: RawSink<'_>);
}

/// What a plugin exports, under the name that abi_stable gives to a root module's header.
pub const fn header<G: Guarded>() -> LibHeader {
    extern "C" fn constructor<G: Guarded>() -> RootModuleResult {
        abi_stable::library::__call_root_module_loader(|| PluginModuleRef(Entry::<G>::MODULE.static_as_prefix()))
    }
    // SAFETY: `constructor` returns a module of just this type.
    unsafe { LibHeader::from_constructor::<PluginModuleRef>(constructor::<G>, CheckTypeLayout::Yes) }
}

/// The module's functions for one vendor's type.
struct Entry<G>(PhantomData<G>);

impl<G: Guarded> Entry<G> {
    const MODULE: &'static WithMetadata<PluginModule> = &WithMetadata::new(PluginModule {
        info: RStr::from_str(G::INFO),
        create: Self::create,
        destroy: Self::destroy,
        call: Self::call,
    });

    unsafe extern "C" fn create(host: RawHost<'_>, request: RSlice<'_, Field<'_>>, sink: RawSink<'_>) -> *mut () {
        G::create(host, request.as_slice(), sink).map_or(std::ptr::null_mut(), |plugin| Box::into_raw(plugin).cast())
    }

    /// # Safety
    /// `handle` came from `create` and is not used afterwards.
    unsafe extern "C" fn destroy(handle: *mut (), sink: RawSink<'_>) {
        // SAFETY: by this function's contract.
        unsafe { Box::from_raw(handle.cast::<G>()) }.destroy(sink);
    }

    /// # Safety
    /// `handle` came from `create` and has not been destroyed.
    unsafe extern "C" fn call(
        handle: *const (),
        method: u32,
        host: RawHost<'_>,
        request: RSlice<'_, Field<'_>>,
        sink: RawSink<'_>,
    ) {
        // SAFETY: by this function's contract.
        unsafe { &*handle.cast::<G>() }.call(Method(method), host, request.as_slice(), sink);
    }
}
