//! Verified copies of the plugin, and the time to load one: inspect, copy, probe, open and create its instance.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use patchbay::plugin::{
    artifact::{self, VerifiedArtifact},
    loader::{LoadedLibrary, LoadedPlugin},
    probe::Prober,
    signature::Trust,
    verdicts::Verdicts,
};
use plugin_abi::{
    host::{HostCalls, HostSide},
    testing::FakeHost,
};

use crate::{
    installation::Programs,
    report::{Report, Row, median},
};

const ROUNDS: u64 = 7;

/// Measures it.
///
/// # Errors
/// When the plugin is refused.
pub(crate) fn run(programs: &Programs, report: &mut Report) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&programs.folder)?;
    let copies = Copies::new(programs, folder.path());
    let mut took_ms = Vec::new();
    for number in 0..ROUNDS {
        let started = Instant::now();
        let plugin = copies.plugin(number, FakeHost::new())?;
        took_ms.push(started.elapsed().as_secs_f64() * 1e3);
        let (library, ..) = plugin.destroy();
        library.close().map_err(anyhow::Error::msg)?;
    }
    let what = "one plugin probed and loaded".to_owned();
    report.add(Row { group: "start", what, unit: "ms", baseline: None, product: median(took_ms), goal: None });
    Ok(())
}

/// Verified copies of the plugin, one for each load: the dynamic linker recognises a file by its inode.
pub(crate) struct Copies<'a> {
    programs: &'a Programs,
    plugin: &'a Path,
    folder: &'a Path,
}

impl<'a> Copies<'a> {
    /// Copies into this folder, which belongs to the host alone.
    pub(crate) fn new(programs: &'a Programs, folder: &'a Path) -> Self {
        Self::of(programs, &programs.plugin, folder)
    }

    /// Copies of another plugin.
    pub(crate) fn of(programs: &'a Programs, plugin: &'a Path, folder: &'a Path) -> Self {
        Self { programs, plugin, folder }
    }

    /// A copy that has passed every check, the probe included.
    ///
    /// # Errors
    /// When one fails.
    pub(crate) fn artifact(&self, number: u64) -> anyhow::Result<VerifiedArtifact> {
        let inspected =
            artifact::inspect(self.plugin, &Trust::default()).map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
        let prober = Prober::with_program(&self.programs.patchbay, Duration::from_secs(10));
        let verdicts = Verdicts::load(self.folder.join(format!("verdicts-{number}.json")));
        let verified = inspected.verify(patchbay::config::Permissions::Strict, &prober, &verdicts, self.folder, number);
        verified.map_err(|refusal| anyhow::anyhow!("{refusal}"))
    }

    /// The plugin, with these callbacks.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) fn plugin<C: HostCalls>(&self, number: u64, calls: C) -> anyhow::Result<LoadedPlugin<C>> {
        // It stays mapped, so its descriptor must not be given to another file.
        let artifact = Box::leak(Box::new(self.artifact(number)?));
        let library = LoadedLibrary::open(artifact).map_err(|refusal| anyhow::anyhow!("{refusal}"))?;
        let plugin = library.create(Box::new(HostSide(calls)), env!("CARGO_PKG_VERSION"), 0);
        plugin.map_err(|(_, refusal)| anyhow::anyhow!("{refusal}"))
    }
}
