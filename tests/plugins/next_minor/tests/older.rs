//! A host of a made-up ABI 1.2 with the golden plugin, which was built against 1.0: the host sends tags, replies and a
//! method that the plugin cannot know.

#![allow(unsafe_code, reason = "the library is opened and the instance made as the host's loader does it")]

use std::path::Path;

use abi_stable::{
    StableAbi,
    library::{AbiHeaderRef, LibHeader, LibraryError, RootModule},
    package_version_strings,
    sabi_types::VersionStrings,
    std_types::{RSlice, RStr},
};
use libloading::os::unix::Library;
use plugin_abi::{
    export::{InfoRecord, ROOT_SYMBOL},
    host::{HostSide, error_in},
    raw::{self, Field, Method, Operation, Operations, RawHost, RawInstance, RawSink, Tag},
    serde_json,
    testing::{FakeHost, hex_mac},
};
use test_plugin_next_minor::{LATER, PluginModuleRef as LongerModuleRef};

/// The module of plugin-abi 1.2: as in 1.0, but with another version of its package.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleRef)))]
#[sabi(missing_field(panic))]
pub struct PluginModule {
    /// As in 1.0.
    pub info: RStr<'static>,
    /// As in 1.0.
    pub create: unsafe extern "C" fn(RawHost<'_>, RSlice<'_, Field<'_>>, RawSink<'_>) -> *mut (),
    /// As in 1.0.
    pub destroy: unsafe extern "C" fn(*mut (), RawSink<'_>),
    /// As in 1.0.
    #[sabi(last_prefix_field)]
    pub call: unsafe extern "C" fn(*const (), u32, RawHost<'_>, RSlice<'_, Field<'_>>, RawSink<'_>),
}

impl RootModule for PluginModuleRef {
    abi_stable::declare_root_module_statics! {PluginModuleRef}
    const BASE_NAME: &'static str = "patchbay_plugin";
    const NAME: &'static str = "patchbay_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// The header of the golden plugin, which stays mapped until this process ends.
fn golden() -> &'static LibHeader {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/libgolden_1_0.so");
    // SAFETY: the file is a plugin that this project has built, and is never closed.
    unsafe {
        let library = Library::new(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
        let header = *library.get::<AbiHeaderRef>(ROOT_SYMBOL.as_bytes()).expect("it exports a module");
        std::mem::forget(library);
        header.upgrade().expect("it is abi_stable's header")
    }
}

/// Answers as a host of today, with additional fields.
struct Newer(HostSide<FakeHost>);

impl Operations for Newer {
    fn operate(&self, call: u64, operation: Operation, request: &[Field<'_>], reply: &mut dyn FnMut(&[Field<'_>])) {
        self.0.operate(call, operation, request, &mut |fields| {
            let more = fields.iter().flat_map(|field| [later(), *field]).chain([later()]);
            reply(&more.collect::<Vec<_>>());
        });
    }
}

fn later() -> Field<'static> {
    Field::new(Tag::from_number(LATER), b"\xff what is new")
}

/// Makes a call with unknown fields before, between and after the known ones. Returns the reply's fields, or `None`
/// without a reply.
fn call(plugin: &RawInstance, host: &Newer, method: Method, known: &[Field<'_>]) -> Option<Vec<(Tag, Vec<u8>)>> {
    let request: Vec<_> = known.iter().flat_map(|field| [later(), *field]).chain([later()]).collect();
    let mut answer = None;
    plugin.call(method, host, 1, &request, &mut |reply| {
        answer = Some(reply.iter().map(|field| (field.tag(), field.bytes().to_vec())).collect());
    });
    answer
}

#[test]
fn the_module_of_1_0_fits_every_later_host_that_has_left_it_as_it_is() {
    let version = VersionStrings::parsed(PluginModuleRef::VERSION_STRINGS).expect("it is a version");
    assert_eq!((version.major, version.minor), (1, 2), "this crate passes for plugin-abi 1.2");
    let module = golden().init_root_module::<PluginModuleRef>().map(|module| module.info());
    let info: InfoRecord = serde_json::from_str(module.expect("the layouts fit").as_str()).expect("it is a record");
    assert_eq!((&*info.tool_type, info.abi_major, info.abi_minor), ("golden", 1, 0));
}

/// Shows why `PluginModule` must not grow: the other direction works, this one does not.
#[test]
fn a_host_with_a_longer_module_would_refuse_every_older_plugin() {
    let fault = golden().init_root_module::<LongerModuleRef>().err();
    assert!(matches!(fault, Some(LibraryError::AbiInstability(_))), "{fault:?}");
}

#[test]
fn what_a_newer_host_says_is_skipped() {
    let module = golden().init_root_module::<raw::PluginModuleRef>().expect("the layouts fit");
    let tool = FakeHost::new().secret("webhook_secret", "s").secret("api_key", "k");
    let host = Newer(HostSide(tool.answer(200, r#"{"request":{"subject":"printer"}}"#).answer(201, "{}")));
    let mut fault = None;
    let request = [later(), Field::text(Tag::HOST_VERSION, "9.9.9"), later()];
    // SAFETY: the library stays mapped, and `host` where it is until the plugin has been destroyed.
    let plugin = unsafe { RawInstance::create(module, &host, 0, &request, &mut |reply| fault = error_in(reply)) };
    let plugin = plugin.unwrap_or_else(|| panic!("{fault:?}"));
    assert!(host.0.0.logged().iter().any(|(_, line)| line.contains("9.9.9")), "{:?}", host.0.0.logged());

    let body =
        br#"{"tenant_id":"acme","ticket_id":"7","event":"ticket_created","subject":"printer","priority":"high"}"#;
    let signature = format!("sha256={}", hex_mac(b"s", &[body]));
    let webhook = [
        Field::new(Tag::BODY, body),
        Field::text(Tag::TENANT_ID, "acme"),
        // Since 1.1.
        Field::new(Tag::REPLAY_AHEAD, &[1]),
        Field::text(Tag::HEADER_NAME, "x-webhook-signature"),
        Field::text(Tag::HEADER_VALUE, &signature),
    ];
    let flag = Some(vec![(Tag::OUTCOME, vec![1])]);
    assert_eq!(call(&plugin, &host, Method::VALIDATE_WEBHOOK, &webhook), flag);
    let metadata = call(&plugin, &host, Method::EXTRACT_METADATA, &webhook).expect("a reply");
    for expected in [(Tag::TICKET_ID, &b"7"[..]), (Tag::EVENT, &[1]), (Tag::PRIORITY, &[3]), (Tag::SUBJECT, b"printer")]
    {
        assert!(metadata.contains(&(expected.0, expected.1.to_vec())), "{expected:?} in {metadata:?}");
    }
    let ticket = [Field::text(Tag::TICKET_ID, "7"), Field::text(Tag::NOTE_HTML, "<p>hello</p>")];
    let fetched = call(&plugin, &host, Method::GET_TICKET, &ticket).expect("a reply");
    assert!(fetched.contains(&(Tag::SUBJECT, b"printer".to_vec())), "{fetched:?}");
    let posted = call(&plugin, &host, Method::UPDATE_TICKET, &ticket).expect("a reply");
    assert_eq!(posted[0], (Tag::OUTCOME, vec![1]), "{posted:?}");
    assert_eq!(host.0.0.requests().len(), 2);

    // A method of 1.2 gets no reply, and the plugin continues.
    assert_eq!(call(&plugin, &host, Method::from_number(LATER), &ticket), None);
    let panics = [Field::new(Tag::BODY, br#"{"tenant_id":"","ticket_id":"","event":"ticket_panics","subject":""}"#)];
    let panicked = call(&plugin, &host, Method::EXTRACT_METADATA, &panics).expect("a reply");
    assert_eq!(panicked[0], (Tag::ERROR_KIND, b"panicked".to_vec()), "{panicked:?}");
    assert_eq!(call(&plugin, &host, Method::VALIDATE_WEBHOOK, &webhook), flag);
    plugin.destroy(&mut |reply| panic!("{:?}", error_in(reply)));
}
