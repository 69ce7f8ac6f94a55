//! The folders that plugins come from and are run from: what the start says of them (who else can write there, and whether
//! anything there can be mapped), and how those are made that nobody else has to do with.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use super::{loader, permissions, trial};
use crate::config::{Config, Permissions};

/// Says what an operator should know before a plugin is loaded. The state folder is there already.
pub fn say(config: &Config) {
    let state = &config.state_dir;
    if config.plugins.permissions == Permissions::Volume {
        say_what_is_given_up(config);
    } else if let Some(finding) = seen(state, permissions::finding(state, config.plugins.permissions)) {
        tracing::error!(
            "no plugin can be loaded, since others can write the state folder, from which plugins are run: {finding}; take \
             the right to write from them (chmod go-w), or see plugins.permissions"
        );
    }
    let copies = state.join("plugins");
    // Made when the first host runs here; it may be a volume of its own.
    let copies = if copies.is_dir() { &copies } else { state };
    if trial::is_noexec(copies) {
        tracing::error!("no plugin can be loaded: {}", loader::noexec(copies));
    }
}

/// Makes a folder that only the host's user can enter, or shuts the one that is there. Where a volume sets its mode it stays
/// as it is: `plugins.permissions` says whether plugins are run from it then.
///
/// # Errors
/// When it cannot be made or seen.
pub(super) fn make_private(folder: &Path) -> io::Result<()> {
    const PRIVATE: u32 = 0o700;
    fs::DirBuilder::new().recursive(true).mode(PRIVATE).create(folder)?;
    let mode = fs::metadata(folder)?.mode() & 0o7777;
    if mode & 0o077 != 0
        && let Err(fault) = fs::set_permissions(folder, fs::Permissions::from_mode(PRIVATE))
    {
        tracing::info!(folder = %folder.display(), "others may enter it (mode {mode:04o}), and it cannot be shut: {fault}");
    }
    Ok(())
}

/// Under `volume` modes and owners count for nothing; what a stricter policy would have found is told once.
fn say_what_is_given_up(config: &Config) {
    let folders = [&config.plugins.dir, &config.state_dir];
    let found = folders.map(|folder| seen(folder, permissions::finding(folder, Permissions::Strict)));
    let key =
        fs::metadata(&config.secrets.key_file).map(|key| key.mode() & 0o7777).ok().filter(|mode| mode & 0o077 != 0);
    let key = key.map(|mode| format!("others can get at {} (mode {mode:04o})", config.secrets.key_file.display()));
    let mut found: Vec<_> = found.into_iter().flatten().chain(key).collect();
    // Both may lie under the same one.
    found.dedup();
    let [plugins, state] = folders.map(|folder| folder.display());
    if found.is_empty() {
        tracing::info!(
            "plugins.permissions = \"volume\": whoever can write in {plugins} or {state} can run code as this host; \
             nobody else can now, so \"strict\" would do"
        );
    } else {
        tracing::warn!(
            "plugins.permissions = \"volume\": whoever can write in {plugins} or {state} can run code as this host and \
             read its secrets: {}",
            found.join("; ")
        );
    }
}

/// A folder that cannot be seen is for others to tell of: the look at it, or whoever opens a file there.
fn seen(folder: &Path, finding: io::Result<Option<String>>) -> Option<String> {
    finding.unwrap_or_else(|fault| {
        tracing::debug!(folder = %folder.display(), "who can write there cannot be seen: {fault}");
        None
    })
}
