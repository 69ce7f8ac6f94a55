//! Plugins of any version: a test overwrites the version text in a plugin's bytes.

use crate::artifacts::Artifact;

/// The good plugin's tool type.
pub const TOOL_TYPE: &str = "desk_good";

/// The good plugin as another version, whose text must have the length of its own (`1.0.0`).
///
/// # Panics
/// When it does not.
pub fn good(version: &str) -> Vec<u8> {
    versioned(Artifact::GOOD.bytes(), version)
}

/// The bytes of a plugin of version 1.0.0, changed to another version.
///
/// # Panics
/// When the length differs, or the bytes contain no version.
pub fn versioned(mut bytes: Vec<u8>, version: &str) -> Vec<u8> {
    let (old, new) = (&br#""version":"1.0.0""#[..], format!(r#""version":"{version}""#).into_bytes());
    assert_eq!(old.len(), new.len(), "{version}");
    let places: Vec<_> =
        bytes.windows(old.len()).enumerate().filter(|(_, text)| *text == old).map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "the plugin has no version");
    places.into_iter().for_each(|at| bytes[at..at + new.len()].copy_from_slice(&new));
    bytes
}
