//! A library with an export, but not a plugin.

/// A function that no host looks for.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
pub extern "C" fn answer() -> i32 {
    42
}
