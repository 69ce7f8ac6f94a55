//! Secrets are compared and filled in by the host; none can be read.

use plugin_abi::prelude::*;

fn key<'a>(tenant: &Tenant<'a>) -> &'a str {
    tenant.secret("api_key")
}

fn main() {
    let _key = key;
}
