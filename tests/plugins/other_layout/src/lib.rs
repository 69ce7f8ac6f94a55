//! A library whose note says that it is a plugin, but whose root module is another type.

#![allow(unsafe_code, reason = "the export is written by hand here")]

use abi_stable::{
    StableAbi,
    library::{CheckTypeLayout, LibHeader, RootModule, RootModuleResult},
    package_version_strings,
    prefix_type::WithMetadata,
    sabi_types::VersionStrings,
    std_types::RStr,
};
use desk::Behaviour;
use plugin_abi::{export::ElfNote, prelude::*};

struct Other;

impl Behaviour for Other {
    const INFO: PluginInfo = plugin_info!("desk_other");

    fn new() -> Self {
        Self
    }
}

const INFO: PluginInfo = <Other as Behaviour>::INFO;

#[used]
#[unsafe(link_section = ".note.patchbay")]
static NOTE: ElfNote<{ INFO.json().len() }> = ElfNote::new(&INFO);

/// As the host's `PluginModule`, but its second field is a number.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleRef)))]
#[sabi(missing_field(panic))]
pub struct PluginModule {
    /// The information.
    pub info: RStr<'static>,
    /// What should be a function.
    #[sabi(last_prefix_field)]
    pub create: u32,
}

impl RootModule for PluginModuleRef {
    abi_stable::declare_root_module_statics! {PluginModuleRef}
    const BASE_NAME: &'static str = "patchbay_plugin";
    const NAME: &'static str = "patchbay_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

const MODULE: &WithMetadata<PluginModule> = &WithMetadata::new(PluginModule { info: RStr::from_str(""), create: 7 });

extern "C" fn module() -> RootModuleResult {
    abi_stable::library::__call_root_module_loader(|| PluginModuleRef(MODULE.static_as_prefix()))
}

#[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
static HEADER: LibHeader =
    // SAFETY: `module` gives such a module.
    unsafe { LibHeader::from_constructor::<PluginModuleRef>(module, CheckTypeLayout::Yes) };
