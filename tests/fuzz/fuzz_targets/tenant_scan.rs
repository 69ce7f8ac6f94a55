//! What the host makes of any body that is to name its tenant.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| patchbay_tests::fuzz::tenant_scan(bytes));
