//! A complete plugin, exported in such a way that nobody can check the layout of its types.

#![allow(unsafe_code, reason = "the export is written by hand here")]

use abi_stable::library::{CheckTypeLayout, LibHeader, RootModuleResult};
use desk::{Behaviour, Desk};
use plugin_abi::{
    __private::Adapter,
    export::ElfNote,
    prelude::*,
    raw::{PluginModuleRef, header},
};

struct Hidden;

impl Behaviour for Hidden {
    const INFO: PluginInfo = plugin_info!("desk_hidden");

    fn new() -> Self {
        Self
    }
}

const INFO: PluginInfo = <Hidden as Behaviour>::INFO;

#[used]
#[unsafe(link_section = ".note.patchbay")]
static NOTE: ElfNote<{ INFO.json().len() }> = ElfNote::new(&INFO);

static CHECKED: LibHeader = header::<Adapter<Desk<Hidden>>>();

extern "C" fn module() -> RootModuleResult {
    abi_stable::library::__call_root_module_loader(|| {
        // SAFETY: the header is this library's own, for just this module.
        unsafe { CHECKED.unchecked_layout::<PluginModuleRef>() }.expect("it is made without fail")
    })
}

#[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
static HEADER: LibHeader =
    // SAFETY: `module` gives such a module; what is missing is only the description of its layout.
    unsafe { LibHeader::from_constructor::<PluginModuleRef>(module, CheckTypeLayout::No) };
