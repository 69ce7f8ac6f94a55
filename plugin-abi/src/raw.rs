//! The ABI itself: what really crosses between host and plugin, and the only unsafe code of this crate.
//!
//! Everything is one thing, a *message*: a list of tagged byte slices, borrowed for the time of one call. A request is a
//! message; a reply is a message handed to a sink that the caller lends; a host callback is an operation number with a
//! message. So nothing that one side allocated is ever freed by the other; a minor version grows by new tags and
//! operations, which the other side skips, and by new functions at the end of the module, without changing any layout;
//! and a message could be written to a pipe as it is.

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

/// What a field of a message means. Numbers are given once and never again.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, StableAbi)]
pub struct Tag(u32);

macro_rules! tags {
    ($($name:ident = $number:literal),* $(,)?) => {
        #[allow(missing_docs, reason = "the names say it; wire.rs says the encoding")]
        impl Tag { $(pub const $name: Self = Self($number);)* }
    };
}

tags! {
    // Every call.
    TENANT_ID = 1, BASE_URL = 2, SETTING_NAME = 3, SETTING_VALUE = 4, ATTEMPT = 5, IDEMPOTENCY_KEY = 6, DEADLINE = 7,
    REPLAY_WINDOW = 8, HOST_VERSION = 9,
    // A webhook.
    METHOD = 20, PATH = 21, QUERY = 22, HEADER_NAME = 23, HEADER_VALUE = 24, BODY = 25, RECEIVED_AT = 26,
    // Metadata and tickets.
    TICKET_ID = 40, EVENT = 41, SUBJECT = 42, DESCRIPTION = 43, PRIORITY = 44, RAW_PRIORITY = 45, CREATED_AT = 46,
    OCCURRED_AT = 47, DELIVERY_ID = 48, URL = 49, RESOLUTION = 50, RESOLVED_AT = 51, TICKET_TAG = 52, PAYLOAD_TENANT = 53,
    STATUS_TEXT = 54, REQUESTER = 55, UPDATED_AT = 56, RAW = 57,
    // A note.
    NOTE_MARKDOWN = 70, NOTE_HTML = 71, NOTE_TEXT = 72, NOTE_MARKER = 73,
    // Outcomes and errors.
    OUTCOME = 90, ERROR_KIND = 91, ERROR_MESSAGE = 92, ERROR_STATUS = 93, RETRY_AFTER = 94, FAULT_FIELD = 95,
    FAULT_MESSAGE = 96, LOCATION = 97, FINDS_NOTES = 98,
    // Host callbacks.
    SECRET_NAME = 110, PART = 111, MAC = 112, KEY_FORM = 113, PRESENTED = 114, LEVEL = 115, TEXT = 116, TIME = 117,
    // HTTP through the host.
    TARGET = 130, QUERY_NAME = 131, QUERY_VALUE = 132, CREDENTIAL = 133, CREDENTIAL_SECRET = 134, CREDENTIAL_TEXT = 135,
    CREDENTIAL_HEADER = 136, TIMEOUT = 137, STATUS = 138,
}

/// A host callback. Numbers are given once and never again; a host answers one that it does not know with no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation(u32);

#[allow(missing_docs, reason = "named after the methods of HostCalls")]
impl Operation {
    pub const LOG: Self = Self(1);
    pub const NOW: Self = Self(2);
    pub const VERIFY_HMAC_SHA256: Self = Self(3);
    pub const VERIFY_SECRET: Self = Self(4);
    pub const HTTP: Self = Self(5);
}

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

/// The root module of a plugin. New functions are only ever appended.
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
    /// `validate_webhook`
    pub validate_webhook: unsafe extern "C" fn(*const (), RawHost<'_>, RSlice<'_, Field<'_>>, RawSink<'_>),
    /// `extract_metadata`
    pub extract_metadata: unsafe extern "C" fn(*const (), RawHost<'_>, RSlice<'_, Field<'_>>, RawSink<'_>),
    /// `get_ticket`
    pub get_ticket: unsafe extern "C" fn(*const (), RawHost<'_>, RSlice<'_, Field<'_>>, RawSink<'_>),
    /// `update_ticket`
    #[sabi(last_prefix_field)]
    pub update_ticket: unsafe extern "C" fn(*const (), RawHost<'_>, RSlice<'_, Field<'_>>, RawSink<'_>),
}

impl RootModule for PluginModuleRef {
    abi_stable::declare_root_module_statics! {PluginModuleRef}
    const BASE_NAME: &'static str = "patchbay_plugin";
    const NAME: &'static str = "patchbay_plugin";
    const VERSION_STRINGS: sabi_types::VersionStrings = package_version_strings!();
}

/// One of the four methods, as the host calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// `validate_webhook`
    Validate,
    /// `extract_metadata`
    Extract,
    /// `get_ticket`
    Get,
    /// `update_ticket`
    Update,
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

    /// Calls one of the methods; `take` sees the reply, unless there is none.
    pub fn call<O: Operations>(
        &self,
        method: Method,
        operations: &O,
        call: u64,
        request: &[Field<'_>],
        take: Take<'_>,
    ) {
        let function = match method {
            Method::Validate => self.module.validate_webhook(),
            Method::Extract => self.module.extract_metadata(),
            Method::Get => self.module.get_ticket(),
            Method::Update => self.module.update_ticket(),
        };
        let host = RawHost::new(operations, call);
        RawSink::lend(take, |sink| {
            // SAFETY: the handle came from this module's `create` and `destroy` takes `self`; the rest lives for the call.
            unsafe { function(self.handle.as_ptr(), host, RSlice::from_slice(request), sink) }
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
    /// Carries a method out and replies.
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
        validate_webhook: Self::validate_webhook,
        extract_metadata: Self::extract_metadata,
        get_ticket: Self::get_ticket,
        update_ticket: Self::update_ticket,
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
    unsafe fn call(
        method: Method,
        handle: *const (),
        host: RawHost<'_>,
        request: RSlice<'_, Field<'_>>,
        sink: RawSink<'_>,
    ) {
        // SAFETY: by this function's contract.
        unsafe { &*handle.cast::<G>() }.call(method, host, request.as_slice(), sink);
    }
}

/// The four methods: each only adds its name to `Entry::call`.
macro_rules! methods {
    ($($name:ident $method:ident),*) => {
        impl<G: Guarded> Entry<G> {$(
            /// # Safety
            /// As `call`.
            unsafe extern "C" fn $name(
                handle: *const (),
                host: RawHost<'_>,
                request: RSlice<'_, Field<'_>>,
                sink: RawSink<'_>,
            ) {
                // SAFETY: the contract is the same.
                unsafe { Self::call(Method::$method, handle, host, request, sink) }
            }
        )*}
    };
}

methods! { validate_webhook Validate, extract_metadata Extract, get_ticket Get, update_ticket Update }
