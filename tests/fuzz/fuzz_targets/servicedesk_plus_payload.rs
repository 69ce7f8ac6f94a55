//! What ServiceDeskPlus's plugin makes of any body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use plugin_abi::testing::{FakeHost, assert_answered};

thread_local! {
    static HOST: FakeHost = FakeHost::new().secret("webhook_secret", "s");
}

fuzz_target!(|body: &[u8]| HOST.with(|host| assert_answered(&servicedesk_plus::ServiceDeskPlus, host, &[], "", body)));
