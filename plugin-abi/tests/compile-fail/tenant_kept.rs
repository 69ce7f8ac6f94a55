//! A tenant is the capability of one call and cannot be kept.

use std::sync::Mutex;

use plugin_abi::prelude::*;

struct AcmeDesk {
    last: Mutex<Option<Tenant<'static>>>,
}

impl AcmeDesk {
    fn get(&self, tenant: &Tenant<'_>) {
        *self.last.lock().unwrap() = Some(*tenant);
    }
}

fn main() {
    let _get = AcmeDesk::get;
}
