//! A plugin that works, and panics when it is dropped once it has been called: trying it out does not show that.

use std::sync::atomic::{AtomicBool, Ordering};

use desk::{Behaviour, Desk};
use plugin_abi::prelude::*;

struct PanicsInDrop {
    called: AtomicBool,
}

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        assert!(!*self.called.get_mut(), "ordered panic in drop");
    }
}

impl Behaviour for PanicsInDrop {
    const INFO: PluginInfo = plugin_info!("desk_panics_in_drop");

    fn new() -> Self {
        Self { called: AtomicBool::new(false) }
    }

    fn before(&self, _tenant: &Tenant<'_>, _method: &str) {
        self.called.store(true, Ordering::Relaxed);
    }
}

export_plugin!(Desk<PanicsInDrop>);
