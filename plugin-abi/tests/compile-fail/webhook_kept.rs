//! A webhook's bytes are the host's, lent for the call.

use plugin_abi::prelude::*;

fn body(webhook: &Webhook<'_>) -> &'static [u8] {
    webhook.body()
}

fn main() {
    let _body = body;
}
