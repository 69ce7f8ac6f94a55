//! A plugin that panics when it is created: a bad replacement of the good one.

use desk::{Behaviour, Desk};
use plugin_abi::prelude::*;

struct PanicsInNew;

impl Behaviour for PanicsInNew {
    const INFO: PluginInfo = plugin_info!("desk_good");

    fn new() -> Self {
        panic!("ordered panic in new");
    }
}

export_plugin!(Desk<PanicsInNew>);
