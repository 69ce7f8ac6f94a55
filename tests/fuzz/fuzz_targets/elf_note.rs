//! What the host makes of any file in the plugin folder.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| patchbay_tests::fuzz::elf_note(bytes));
