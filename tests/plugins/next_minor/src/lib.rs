//! A plugin of a made-up ABI 1.2. Its module has one more function, its replies have more tags, and it requests an
//! operation unknown to today's hosts. It requires none of them, so every host of 1.x accepts it.

#![allow(unsafe_code, reason = "the export is written by hand here")]

use abi_stable::{
    StableAbi,
    library::{CheckTypeLayout, LibHeader, RootModule, RootModuleResult},
    package_version_strings,
    prefix_type::PrefixTypeTrait as _,
    sabi_types::VersionStrings,
    std_types::{RSlice, RStr},
};
use desk::{Behaviour, Desk};
use plugin_abi::{
    __private::Adapter,
    export::{NOTE_NAME, NOTE_TYPE},
    prelude::*,
    raw::{self, Field, Guarded, Method, Operation, RawHost, RawSink, Tag, find, header},
    serde_json,
};

/// The number of everything new in 1.2.
pub const LATER: u32 = 900;

const INFO: &str = concat!(
    r#"{"tool_type":"desk_next","name":"test-plugin-next-minor","version":"1.0.0","vendor":"","sdk":"1.2.0","#,
    r#""abi_major":1,"abi_minor":2,"abi_minor_needed":0,"abi_stable":"0.11.3","rustc":"","target":"","panic":"unwind","#,
    r#""said_since_1_2":[true]}"#,
);

/// The note, as `plugin_info!` of 1.2 would write it.
#[repr(C, align(4))]
struct ElfNote {
    sizes_and_type: [u32; 3],
    name: [u8; 12],
    description: [u8; INFO.len()],
}

#[allow(clippy::cast_possible_truncation, reason = "both are short")]
#[used]
#[unsafe(link_section = ".note.patchbay")]
static NOTE: ElfNote = ElfNote {
    sizes_and_type: [NOTE_NAME.len() as u32, INFO.len() as u32, NOTE_TYPE],
    name: *b"Patchbay\0\0\0\0",
    description: *INFO.as_bytes().first_chunk().expect("just as long"),
};

/// The root module of 1.x with one more function.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleRef)))]
#[sabi(missing_field(option))]
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
    /// New.
    pub close_ticket: extern "C" fn() -> u64,
}

impl RootModule for PluginModuleRef {
    abi_stable::declare_root_module_statics! {PluginModuleRef}
    const BASE_NAME: &'static str = "patchbay_plugin";
    const NAME: &'static str = "patchbay_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

extern "C" fn close_ticket() -> u64 {
    7
}

static OF_TODAY: LibHeader = header::<Next>();

extern "C" fn module() -> RootModuleResult {
    abi_stable::library::__call_root_module_loader(|| {
        // SAFETY: the header is this library's own, for just this module.
        let old = unsafe { OF_TODAY.unchecked_layout::<raw::PluginModuleRef>() }.expect("it is made without fail");
        let (info, create, destroy, call) = (old.info(), old.create(), old.destroy(), old.call());
        PluginModule { info, create, destroy, call, close_ticket }.leak_into_prefix()
    })
}

#[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
static HEADER: LibHeader =
    // SAFETY: `module` gives such a module.
    unsafe { LibHeader::from_constructor::<PluginModuleRef>(module, CheckTypeLayout::Yes) };

struct Plain;

impl Behaviour for Plain {
    const INFO: PluginInfo = plugin_info!("desk_next");

    fn new() -> Self {
        Self
    }
}

/// The test plugins' work, with some replies and questions of 1.2.
struct Next(Box<Adapter<Desk<Plain>>>);

impl Guarded for Next {
    const INFO: &'static str = INFO;

    fn create(host: RawHost<'_>, request: &[Field<'_>], sink: RawSink<'_>) -> Option<Box<Self>> {
        Adapter::create(host, request, sink).map(|desk| Box::new(Self(desk)))
    }

    fn call(&self, method: Method, host: RawHost<'_>, request: &[Field<'_>], sink: RawSink<'_>) {
        match method {
            Method::EXTRACT_METADATA => extract_metadata(request, sink),
            Method::GET_TICKET => get_ticket(host, request, sink),
            _ => self.0.call(method, host, request, sink),
        }
    }

    fn destroy(self: Box<Self>, sink: RawSink<'_>) {
        self.0.destroy(sink);
    }
}

/// A field that no host of today knows.
fn later() -> Field<'static> {
    Field::text(Tag::from_number(LATER), "what is new")
}

fn extract_metadata(request: &[Field<'_>], sink: RawSink<'_>) {
    let body = find(request, Tag::BODY).map_or(&b""[..], |field| field.bytes());
    let Ok(told) = serde_json::from_slice::<serde_json::Value>(body) else {
        let kind = Field::text(Tag::ERROR_KIND, "a kind that is new");
        return sink.reply(&[later(), kind, Field::text(Tag::ERROR_MESSAGE, "no JSON")]);
    };
    let id = Field::text(Tag::TICKET_ID, told["ticket_id"].as_str().unwrap_or_default());
    let [priority, event] = [Tag::PRIORITY, Tag::EVENT].map(|tag| Field::new(tag, &[1]));
    sink.reply(&[later(), id, later(), priority, event, later()]);
}

fn get_ticket(host: RawHost<'_>, request: &[Field<'_>], sink: RawSink<'_>) {
    let mut replies = 0;
    host.operate(Operation::from_number(LATER), &[later()], &mut |_| replies += 1);
    let subject = format!("asked what is new, got {replies} replies");
    let id = Field::new(Tag::TICKET_ID, find(request, Tag::TICKET_ID).map_or(&[], |field| field.bytes()));
    sink.reply(&[later(), id, Field::text(Tag::SUBJECT, &subject), Field::new(Tag::PRIORITY, &[3]), later()]);
}
