//! Plugins as vendors build them: outside the workspace, with their own compilers.

use std::{
    collections::hash_map::DefaultHasher,
    env,
    fs::{self, File},
    hash::{Hash as _, Hasher as _},
    path::PathBuf,
    process::Command,
};

use crate::artifacts::{profile_folder, workspace};

/// The variable that names a compiler other than the tests' own.
const RUSTC: &str = "PATCHBAY_TEST_RUSTC";

/// The version that a compiler reports: `rustc 1.95.0 (…)`.
///
/// # Panics
/// When it does not run.
pub fn version(rustc: &mut Command) -> String {
    output(rustc.arg("--version")).unwrap_or_else(|| panic!("{rustc:?} says its version"))
}

/// A compiler other than the one with this version, and a cargo that uses it. `None` if none is installed.
pub fn other_compiler(own: &str) -> Option<(String, Command)> {
    if let Some(rustc) = env::var_os(RUSTC) {
        let mut cargo = Command::new("cargo");
        cargo.env("RUSTC", &rustc);
        return Some((version(&mut Command::new(rustc)), cargo));
    }
    let toolchains = output(Command::new("rustup").args(["toolchain", "list", "--quiet"]))?;
    toolchains.lines().find_map(|toolchain| {
        let run = |program: &str| {
            let mut command = Command::new("rustup");
            command.args(["run", toolchain, program]);
            command
        };
        // A listed toolchain may be broken.
        let other = output(run("rustc").arg("--version"))?;
        (other != own).then(|| (other, run("cargo")))
    })
}

/// Builds the crate in this folder of the repository, and returns its library, which has this name. Each compiler has
/// its own target folder.
///
/// # Panics
/// When it cannot be built.
pub fn build(cargo: &mut Command, folder: &str, library: &str, compiler: &str) -> PathBuf {
    let folder = workspace().join(folder);
    let mut name = DefaultHasher::new();
    compiler.hash(&mut name);
    let target = profile_folder().join("black-box").join(format!("compiler-{:016x}", name.finish()));
    fs::create_dir_all(&target).expect("the target folder can be written");
    let lock = File::create(target.join("lock")).expect("the target folder can be written");
    lock.lock().expect("a lock can be waited for");
    // The same dependency versions as in the workspace, which are all available offline.
    fs::copy(workspace().join("Cargo.lock"), folder.join("Cargo.lock")).expect("the repository can be written");
    cargo.current_dir(&folder).args(["build", "--quiet", "--target-dir"]).arg(&target);
    // Variables set by the tests' own cargo belong to its own compiler.
    for variable in ["CARGO", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR"] {
        cargo.env_remove(variable);
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "{cargo:?}: {status}");
    target.join("debug").join(format!("lib{library}.so"))
}

/// The output of a command, if it runs and succeeds.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
