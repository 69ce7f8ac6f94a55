//! What the ready schemes make of any headers and body.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| patchbay_tests::fuzz::signatures(bytes));
