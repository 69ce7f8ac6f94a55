//! A plugin that never returns from the method that the tenant's setting `in` names, and takes `slow_ms` over each webhook.

use std::time::Duration;

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
        let slow_ms = tenant.setting("slow_ms").and_then(|ms| ms.parse().ok());
        if let Some(ms) = slow_ms.filter(|_| method == "validate") {
            std::thread::sleep(Duration::from_millis(ms));
        }
    }
}

export_plugin!(Desk<Hangs>);
