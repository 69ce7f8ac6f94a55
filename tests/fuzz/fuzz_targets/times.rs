//! What is made of any text as a time.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| patchbay_tests::fuzz::times(bytes));
