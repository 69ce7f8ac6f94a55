//! The binaries and plugins under test: which exist, where they are, and how they are built.
//!
//! With `PATCHBAY_TEST_PREBUILT=1` they are where `cargo build --workspace --features patchbay/test-hooks` put them.
//! Otherwise one `cargo build` in each test process builds them (a third of a second if nothing has changed) and links
//! them into `black-box/` beside the other binaries, where later builds do not change them.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// If this is `1`, everything has been built before the tests, and no test builds anything. It may also name a folder
/// with other builds of the same files.
const PREBUILT: &str = "PATCHBAY_TEST_PREBUILT";
/// The feature that lets tests move the host's clock; see [`crate::Host::advance_clock`].
const FEATURES: &str = "patchbay/test-hooks";

/// A file that is built for the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Artifact {
    package: &'static str,
    file: &'static str,
}

impl Artifact {
    /// The host.
    pub const PATCHBAY: Self = Self { package: "patchbay", file: "patchbay" };
    /// The host's command line tool.
    pub const PLUGIN_CTL: Self = Self { package: "patchbay", file: "plugin-ctl" };
    /// The plugin for ServiceDesk Plus; tool type `servicedesk_plus`.
    pub const SERVICEDESK_PLUS: Self = Self { package: "servicedesk-plus", file: "libservicedesk_plus.so" };
    /// The plugin for Freshservice; tool type `freshservice`.
    pub const FRESHSERVICE: Self = Self { package: "freshservice", file: "libfreshservice.so" };
    /// The plugin for ServiceNow; tool type `servicenow`.
    pub const SERVICENOW: Self = Self { package: "servicenow", file: "libservicenow.so" };
    /// The plugin for Jira Service Management; tool type `jira`.
    pub const JIRA: Self = Self { package: "jira", file: "libjira.so" };
    /// The plugin for Zendesk; tool type `zendesk`.
    pub const ZENDESK: Self = Self { package: "zendesk", file: "libzendesk.so" };
    /// Works and keeps thread-locals; tool type `desk_good`, version 1.0.0.
    pub const GOOD: Self = Self { package: "test-plugin-good", file: "libtest_plugin_good.so" };
    /// The good plugin as version 2.0.0.
    pub const GOOD_V2: Self = Self { package: "test-plugin-good-v2", file: "libtest_plugin_good_v2.so" };
    /// Panics in the method named by the tenant's setting `in`; tool type `desk_panics`.
    pub const PANICS: Self = Self { package: "test-plugin-panics", file: "libtest_plugin_panics.so" };
    /// Hangs in the method named by the tenant's setting `in`; tool type `desk_hangs`.
    pub const HANGS: Self = Self { package: "test-plugin-hangs", file: "libtest_plugin_hangs.so" };
    /// Panics when created; tool type `desk_good`, version 3.0.0.
    pub const PANICS_IN_NEW: Self =
        Self { package: "test-plugin-panics-in-new", file: "libtest_plugin_panics_in_new.so" };
    /// Panics when it is dropped after it has fetched a ticket; tool type `desk_panics_in_drop`.
    pub const PANICS_IN_DROP: Self =
        Self { package: "test-plugin-panics-in-drop", file: "libtest_plugin_panics_in_drop.so" };
    /// Carries out the orders in its bytes; tool type `desk_hostile`.
    pub const HOSTILE: Self = Self { package: "test-plugin-hostile", file: "libtest_plugin_hostile.so" };
    /// Exported without the layout of its types.
    pub const NO_LAYOUT: Self = Self { package: "test-plugin-no-layout", file: "libtest_plugin_no_layout.so" };
    /// Exports a module of another layout.
    pub const OTHER_LAYOUT: Self = Self { package: "test-plugin-other-layout", file: "libtest_plugin_other_layout.so" };
    /// A plugin as an SDK of a newer minor version would build it; tool type `desk_next`.
    pub const NEXT_MINOR: Self = Self { package: "test-plugin-next-minor", file: "libtest_plugin_next_minor.so" };
    /// Works, with an allocator of its own; tool type `desk_allocator`.
    pub const ALLOCATOR: Self = Self { package: "test-plugin-allocator", file: "libtest_plugin_allocator.so" };
    /// Accepts webhooks by the scheme in the tenant's setting `scheme`, and is its own tool; tool type `desk_schemes`.
    pub const SCHEMES: Self = Self { package: "test-plugin-schemes", file: "libtest_plugin_schemes.so" };
    /// Declares its webhooks as unproven; tool type `desk_hints`.
    pub const HINTS: Self = Self { package: "test-plugin-hints", file: "libtest_plugin_hints.so" };
    /// Breaks the rule named by the tenant's setting `breaks`; tool type `desk_careless`.
    pub const CARELESS: Self = Self { package: "test-plugin-careless", file: "libtest_plugin_careless.so" };
    /// A library that exports no plugin.
    pub const NO_PLUGIN: Self = Self { package: "test-plugin-none", file: "libtest_plugin_none.so" };
    /// Preloaded into a host, records which thread-locals register destructors.
    pub const ATEXIT_WATCH: Self =
        Self { package: "test-preload-atexit-watch", file: "libtest_preload_atexit_watch.so" };

    const ALL: [Self; 23] = [
        Self::PATCHBAY,
        Self::PLUGIN_CTL,
        Self::SERVICEDESK_PLUS,
        Self::FRESHSERVICE,
        Self::SERVICENOW,
        Self::JIRA,
        Self::ZENDESK,
        Self::GOOD,
        Self::GOOD_V2,
        Self::PANICS,
        Self::HANGS,
        Self::PANICS_IN_NEW,
        Self::PANICS_IN_DROP,
        Self::HOSTILE,
        Self::NO_LAYOUT,
        Self::OTHER_LAYOUT,
        Self::NEXT_MINOR,
        Self::ALLOCATOR,
        Self::SCHEMES,
        Self::CARELESS,
        Self::HINTS,
        Self::NO_PLUGIN,
        Self::ATEXIT_WATCH,
    ];

    /// The path of the file, which exists when this returns.
    pub fn path(self) -> PathBuf {
        static FOLDER: OnceLock<PathBuf> = OnceLock::new();
        let folder = FOLDER.get_or_init(|| match env::var_os(PREBUILT) {
            None => build(),
            Some(value) if value == "1" => profile_folder(),
            Some(folder) => folder.into(),
        });
        let path = folder.join(self.file);
        assert!(path.is_file(), "{} is missing: build the workspace, or unset {PREBUILT}", path.display());
        path
    }

    /// Its bytes, for tests that damage them.
    pub fn bytes(self) -> Vec<u8> {
        let path = self.path();
        fs::read(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
    }
}

/// Builds all artifacts and returns their folder. Concurrent processes wait for each other, and all but the first find
/// everything built.
fn build() -> PathBuf {
    let folder = profile_folder().join("black-box");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    let lock = File::create(folder.join("lock")).expect("the target folder can be written");
    lock.lock().expect("a lock can be waited for");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace()).args(["build", "--quiet", "--features", FEATURES]);
    cargo.arg("--target-dir").arg(profile_folder().parent().expect("the profile's folder lies in the target folder"));
    // Variables that cargo sets for this test's own package. ring's build script depends on them, and would run again
    // with each change between the tests and their artifacts, with everything after it.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            cargo.env_remove(name);
        }
    }
    if profile_folder().ends_with("release") {
        cargo.arg("--release");
    }
    for artifact in Artifact::ALL {
        cargo.args(["--package", artifact.package]);
    }
    // Variables set for the tests' own package. Build scripts that depend on them, as ring's does, would run again,
    // here and at the next build outside.
    for (name, _) in env::vars_os() {
        let own =
            name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"));
        if own {
            cargo.env_remove(name);
        }
    }
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "{cargo:?}: {status}");
    for artifact in Artifact::ALL {
        let fresh = folder.join(format!("{}.new", artifact.file));
        // A link left by an interrupted run.
        if fresh.exists() {
            fs::remove_file(&fresh).expect("the target folder can be written");
        }
        fs::hard_link(profile_folder().join(artifact.file), &fresh).expect("cargo has built it");
        fs::rename(&fresh, folder.join(artifact.file)).expect("the target folder can be written");
    }
    folder
}

/// `target/debug`, or wherever this program was built.
pub(crate) fn profile_folder() -> PathBuf {
    let program = env::current_exe().expect("a program knows where it lies");
    let folder = program.parent().expect("a program lies in a folder");
    let folder = if folder.ends_with("deps") { folder.parent().expect("deps lies in a folder") } else { folder };
    folder.to_owned()
}

/// The repository's folder.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the workspace")
}
