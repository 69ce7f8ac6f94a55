//! What is mapped is what was verified: by the open file itself, whatever has its name by then, and never the code of
//! another file that had its number.

use std::{fs, path::Path, time::Duration};

use patchbay::{
    config::Permissions,
    plugin::{
        artifact::{self, VerifiedArtifact},
        loader::LoadedLibrary,
        probe::Prober,
        refusal::Code,
        signature::Trust,
        verdicts::Verdicts,
    },
};
use patchbay_tests::Artifact;
use tempfile::TempDir;

const PROBE_TIME_MAX: Duration = Duration::from_secs(30);

/// A folder for private copies, and the prober that tries the bytes before they are copied there.
struct Bench {
    folder: TempDir,
    prober: Prober,
    verdicts: Verdicts,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let verdicts = Verdicts::load(folder.path().join("verdicts.json"));
        Self { folder, prober: Prober::with_program(Artifact::PATCHBAY.path(), PROBE_TIME_MAX), verdicts }
    }

    fn verified(&self, artifact: Artifact, number: u64) -> VerifiedArtifact {
        let file = self.folder.path().join("offered.so");
        fs::write(&file, artifact.bytes()).unwrap();
        let inspected = artifact::inspect(&file, &Trust::default()).unwrap_or_else(|fault| panic!("{fault:?}"));
        let (prober, verdicts) = (&self.prober, &self.verdicts);
        // The owner of the target folder makes no difference here.
        inspected.verify(Permissions::Volume, prober, verdicts, self.folder.path(), number).unwrap()
    }
}

fn version(library: &LoadedLibrary) -> String {
    let info: serde_json::Value = serde_json::from_str(library.info()).unwrap();
    info["version"].as_str().unwrap().to_owned()
}

#[test]
fn a_copy_that_is_replaced_before_it_is_mapped_changes_nothing() {
    let bench = Bench::new();
    let artifact = bench.verified(Artifact::GOOD, 1);
    let other = bench.folder.path().join("other");
    fs::write(&other, Artifact::GOOD_V2.bytes()).unwrap();
    fs::rename(other, artifact.copy()).unwrap();
    // The control: its name would give the other file.
    assert!(fs::read(artifact.copy()).unwrap() == Artifact::GOOD_V2.bytes());
    assert!(fs::read(artifact.opened_from()).unwrap() == Artifact::GOOD.bytes());
    let library = LoadedLibrary::open(&artifact).unwrap();
    assert_eq!(version(&library), "1.0.0");
}

/// The previous generation is still mapped, as when it drains.
#[test]
fn the_next_generation_is_its_own_code_while_the_one_before_is_mapped() {
    let bench = Bench::new();
    let before = bench.verified(Artifact::GOOD, 1);
    let library = LoadedLibrary::open(&before).unwrap();
    let next = bench.verified(Artifact::GOOD_V2, 2);
    assert_ne!(before.opened_from(), next.opened_from());
    assert_eq!(version(&LoadedLibrary::open(&next).unwrap()), "2.0.0");
    assert_eq!(version(&library), "1.0.0");
}

/// The control: after the first one's descriptor is closed, the second gets its number, and the dynamic linker returns
/// the first one's code for it.
#[test]
fn a_number_that_is_used_again_gives_the_code_before_and_that_is_refused() {
    let bench = Bench::new();
    let before = bench.verified(Artifact::GOOD, 1);
    let _mapped = LoadedLibrary::open(&before).unwrap();
    let number = before.opened_from().to_owned();
    drop(before);
    let next = bench.verified(Artifact::GOOD_V2, 2);
    assert_eq!(next.opened_from(), number, "the lowest number that is free is taken");
    let refusal = LoadedLibrary::open(&next).map(|library| version(&library)).unwrap_err();
    assert_eq!(refusal.code, Code::Load, "{refusal}");
    assert!(refusal.reason.contains("the code of another library"), "{refusal}");
}

/// Debuggers open the path that the dynamic linker has recorded.
#[test]
fn another_process_finds_the_copy_by_the_path_that_it_was_opened_from() {
    let bench = Bench::new();
    let artifact = bench.verified(Artifact::GOOD, 1);
    let own = Path::new("/proc").join(std::process::id().to_string());
    assert!(artifact.opened_from().starts_with(&own), "{}", artifact.opened_from().display());
    let seen = std::process::Command::new("sha256sum").arg(artifact.opened_from()).output().unwrap();
    assert!(String::from_utf8_lossy(&seen.stdout).starts_with(&artifact.sha256().to_string()), "{seen:?}");
}
