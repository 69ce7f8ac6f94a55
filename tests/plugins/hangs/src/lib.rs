//! A plugin that never returns from the method that the tenant's setting `in` names.

use desk::{Behaviour, Desk};
use plugin_abi::prelude::*;

struct Hangs;

impl Behaviour for Hangs {
    const INFO: PluginInfo = plugin_info!("desk_hangs");

    fn new() -> Self {
        Self
    }

    fn before(&self, tenant: &Tenant<'_>, method: &str) {
        while tenant.setting("in") == Some(method) {
            std::thread::park();
        }
    }
}

export_plugin!(Desk<Hangs>);
