//! A thread that may outlive the call cannot have its tenant.

use plugin_abi::prelude::*;

fn validate(tenant: &Tenant<'_>) {
    std::thread::spawn(|| tenant.log(LogLevel::Info, "later"));
}

fn main() {
    let _validate = validate;
}
