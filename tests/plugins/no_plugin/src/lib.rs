//! A library that exports something, but no plugin.

/// Not what a host looks for.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub extern "C" fn answer() -> i32 {
    42
}
