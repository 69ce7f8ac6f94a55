//! A Patchbay installation in a folder of its own: the programs under test, configuration, plugins and tenants.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::{
    process::Server,
    webhooks::{SECRET, TENANT},
};

/// The programs and the plugin, from the release build that this driver belongs to.
pub(crate) struct Programs {
    /// The folder of all of them, on the disk that the store is measured on.
    pub(crate) folder: PathBuf,
    /// The host.
    pub(crate) patchbay: PathBuf,
    /// The operator's command.
    pub(crate) plugin_ctl: PathBuf,
    /// The native plugin.
    pub(crate) plugin: PathBuf,
    /// The test plugin that is its own tool: it answers at once, without any request.
    pub(crate) instant: PathBuf,
    /// The test plugin that takes as long for each webhook as its tenant's setting says.
    pub(crate) slow: PathBuf,
}

impl Programs {
    /// The programs beside this one.
    ///
    /// # Errors
    /// When one is missing.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let here = std::env::current_exe()?;
        let folder = here.parent().context("a program lies in a folder")?.to_owned();
        let found = |name: &str| {
            let path = folder.join(name);
            ensure!(path.exists(), "{} is missing; scripts/bench builds it", path.display());
            Ok(path)
        };
        let (patchbay, plugin_ctl) = (found("patchbay")?, found("plugin-ctl")?);
        let (plugin, instant) = (found("libservicedesk_plus.so")?, found("libtest_plugin_schemes.so")?);
        let slow = found("libtest_plugin_hangs.so")?;
        Ok(Self { patchbay, plugin_ctl, plugin, instant, slow, folder })
    }
}

/// A folder with configuration, plugins and state. It is deleted when this is dropped.
pub(crate) struct Installation<'a> {
    programs: &'a Programs,
    folder: TempDir,
}

impl<'a> Installation<'a> {
    /// An installation with this many plugins.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn new(programs: &'a Programs, plugins: usize) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&programs.folder)?;
        let dir = folder.path().join("plugins");
        fs::create_dir(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        let plugin = fs::read(&programs.plugin)?;
        for number in 0..plugins {
            let bytes = if number == 0 { plugin.clone() } else { with_another_tool_type(&plugin, number)? };
            put_plugin(&dir.join(format!("plugin-{number}.so")), &bytes)?;
        }
        Ok(Self { programs, folder })
    }

    /// An installation with one of the test plugins.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn with_plugin(programs: &'a Programs, plugin: &Path) -> anyhow::Result<Self> {
        let installation = Self::new(programs, 0)?;
        put_plugin(&installation.folder.path().join("plugins/test.so"), &fs::read(plugin)?)?;
        Ok(installation)
    }

    /// Starts the host on free ports with these lines in its configuration.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub(crate) fn start(&self, configuration: &str) -> anyhow::Result<Server> {
        let file = self.folder.path().join("patchbay.toml");
        // All webhooks are for one tenant, and come as fast as possible.
        let addresses = "[server]\nlisten = \"127.0.0.1:0\"\ntenant_rate_per_s = 0\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [store]\ntenant_jobs_max = 1000000000\ntenant_mb_max = 1048576\n";
        fs::write(&file, format!("{addresses}[log]\nlevel = \"error\"\n{configuration}"))?;
        Server::start("patchbay", Command::new(&self.programs.patchbay).arg("serve").arg("--config").arg(file))
    }

    /// Adds the tenant that the webhooks are for.
    ///
    /// # Errors
    /// When the host refuses it.
    pub(crate) fn add_tenant(&self, base_url: &str, api_key: &str) -> anyhow::Result<()> {
        self.add_tenant_as(TENANT, base_url, api_key, &[])
    }

    /// Adds another tenant, with further arguments.
    ///
    /// # Errors
    /// When the host refuses it.
    pub(crate) fn add_tenant_as(&self, id: &str, base_url: &str, api_key: &str, more: &[&str]) -> anyhow::Result<()> {
        let webhook_secret = self.secret_file("webhook_secret", SECRET)?;
        let api_key = self.secret_file("api_key", api_key)?;
        let secrets = ["--secret", &webhook_secret, "--secret", &api_key];
        self.plugin_ctl(&[&["tenant", "add", id, "--base-url", base_url][..], &secrets, more].concat())
    }

    /// Runs a command of plugin-ctl.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub(crate) fn plugin_ctl(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let socket = self.state().join("admin.sock");
        let output = Command::new(&self.programs.plugin_ctl).arg("--socket").arg(socket).args(arguments).output()?;
        ensure!(output.status.success(), "plugin-ctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// The plugin folder.
    pub(crate) fn plugins(&self) -> PathBuf {
        self.folder.path().join("plugins")
    }

    /// The state folder.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn secret_file(&self, name: &str, secret: &str) -> anyhow::Result<String> {
        let path = self.folder.path().join(name);
        fs::write(&path, secret)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(format!("{name}=@{}", path.display()))
    }
}

fn put_plugin(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    // The host waits until a new file has settled; these have.
    Ok(file.set_modified(SystemTime::now() - Duration::from_secs(3600))?)
}

/// The same plugin under another tool type. A host with several plugins needs several files with different information;
/// nothing else about them affects how long they take to load.
fn with_another_tool_type(plugin: &[u8], number: usize) -> anyhow::Result<Vec<u8>> {
    const KEY: &[u8] = br#""tool_type":"servicedesk_plus""#;
    let replacement = format!(r#""tool_type":"servicedesk_{number:04}""#);
    ensure!(replacement.len() == KEY.len(), "there are at most 9999 plugins");
    let (mut bytes, mut at, mut found) = (plugin.to_vec(), 0, 0);
    while let Some(place) = bytes[at..].windows(KEY.len()).position(|window| window == KEY) {
        at += place;
        bytes[at..at + KEY.len()].copy_from_slice(replacement.as_bytes());
        found += 1;
    }
    ensure!(found > 0, "the plugin does not say its tool type");
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tool_type_is_replaced_everywhere_and_nothing_moves() {
        let plugin = br#"ab"tool_type":"servicedesk_plus",cd servicedesk_plus "tool_type":"servicedesk_plus"}"#;
        let other = with_another_tool_type(plugin, 7).unwrap();
        let expected = br#"ab"tool_type":"servicedesk_0007",cd servicedesk_plus "tool_type":"servicedesk_0007"}"#;
        assert_eq!(other, expected);
        assert!(with_another_tool_type(b"nothing", 1).is_err());
        assert!(with_another_tool_type(plugin, 10_000).is_err());
    }
}
