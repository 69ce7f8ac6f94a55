//! A plugin that works, and panics when it is dropped after it has fetched a ticket: a probe does not show that.

use std::sync::atomic::{AtomicBool, Ordering};

use desk::{Behaviour, Desk};
use plugin_abi::prelude::*;

struct PanicsInDrop {
    has_fetched: AtomicBool,
}

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        assert!(!*self.has_fetched.get_mut(), "ordered panic in drop");
    }
}

impl Behaviour for PanicsInDrop {
    const INFO: PluginInfo = plugin_info!("desk_panics_in_drop");

    fn new() -> Self {
        Self { has_fetched: AtomicBool::new(false) }
    }

    fn before(&self, _tenant: &Tenant<'_>, method: &str) {
        self.has_fetched.fetch_or(method == "get", Ordering::Relaxed);
    }
}

export_plugin!(Desk<PanicsInDrop>);
