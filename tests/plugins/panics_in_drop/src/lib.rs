//! A plugin that works, and panics when it is dropped.

use desk::{Behaviour, Desk};
use plugin_abi::prelude::*;

struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("ordered panic in drop");
    }
}

impl Behaviour for PanicsInDrop {
    const INFO: PluginInfo = plugin_info!("desk_panics_in_drop");

    fn new() -> Self {
        Self
    }
}

export_plugin!(Desk<PanicsInDrop>);
