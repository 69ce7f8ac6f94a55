//! A plugin that panics in the method named by the tenant's setting `in`; with `payload = bomb`, the panic's value has
//! a destructor that panics too.

use desk::{Behaviour, Desk};
use plugin_abi::prelude::*;

struct Panics;

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the payload panics when it is dropped");
    }
}

impl Behaviour for Panics {
    const INFO: PluginInfo = plugin_info!("desk_panics");

    fn new() -> Self {
        Self
    }

    fn before(&self, tenant: &Tenant<'_>, method: &str) {
        if tenant.setting("in") != Some(method) {
            return;
        }
        if tenant.setting("payload") == Some("bomb") {
            std::panic::panic_any(Bomb);
        }
        panic!("ordered panic in {method}");
    }
}

export_plugin!(Desk<Panics>);
