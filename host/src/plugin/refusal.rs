//! Why a file is not loaded: one table of stable codes, each with its sentence and how to mend it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Most bytes of [`Refusal::details`].
const DETAILS_BYTES_MAX: usize = 64 << 10;

/// A file that is refused: a stable code, and one sentence about this very file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// What is wrong with this file.
    pub reason: String,
    /// Pages for the vendor, where there are any: for `plugin-ctl verify --verbose`, not kept by a host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
}

impl Refusal {
    /// A refusal with this code.
    pub fn new(code: Code, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), details: None }
    }

    /// The same with these details, or as much of their beginning as is taken.
    #[must_use]
    pub fn with_details(self, mut details: String) -> Self {
        details.truncate(details.floor_char_boundary(DETAILS_BYTES_MAX));
        Self { details: Some(details), ..self }
    }

    /// The same without details.
    #[must_use]
    pub fn without_details(self) -> Self {
        Self { details: None, ..self }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.reason)
    }
}

impl std::error::Error for Refusal {}

impl Code {
    /// The code with this text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|code| code.as_str() == text).copied()
    }

    /// Whether the same bytes would be refused again; else it depends on what is around them, and is worth another look.
    pub fn is_of_the_bytes(self) -> bool {
        !matches!(
            self,
            Self::Open
                | Self::Unsettled
                | Self::Permissions
                | Self::Modified
                | Self::Unsigned
                | Self::UnknownKey
                | Self::SignatureComment
                | Self::Downgrade
                | Self::ProbeFailed
                | Self::Retained
                | Self::RolledBack
                | Self::Disabled
                | Self::Pinned
                | Self::Missing
                | Self::Copy
                | Self::Load
        )
    }

    /// Whether the host keeps the plugin from serving for what it did, not for what it is.
    pub fn is_quarantine(self) -> bool {
        matches!(self, Self::Crashed | Self::HostEnded | Self::LoaderStuck)
    }
}

macro_rules! codes {
    ($($variant:ident $text:literal : $meaning:literal, $mend:literal;)*) => {
        /// The stable codes of refusals.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $(#[doc = $meaning] #[serde(rename = $text)] $variant,)*
        }

        impl Code {
            /// All of them, in the order of the checks.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code's text; it never changes.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// What the code says, whatever the file.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),* }
            }

            /// What the operator or the vendor can do.
            pub fn mend(self) -> &'static str {
                match self { $(Self::$variant => $mend),* }
            }
        }
    };
}

codes! {
    Open "OPEN": "the file cannot be opened or read", "check that it exists and that the host's user may read it";
    NotAFile "NOT_A_FILE": "this is no regular file", "put the plugin itself into the folder, not a folder, pipe or device";
    TooLarge "TOO_LARGE": "the file is larger than a plugin may be", "strip debug information from the plugin";
    Permissions "PERMISSIONS": "others than root and the host's user can write the file, the state folder, or a folder above them", "take the right to write from them (chmod go-w), or set plugins.permissions: \"volume\" is for volumes whose modes nobody can change";
    Unsettled "UNSETTLED": "the file is being written to", "wait until the copy is complete, then reload";
    Modified "MODIFIED": "the signature beside the file is not one of these bytes", "if a copy is still running, wait; otherwise download the .so and its .minisig again, and use neither until plugin-ctl verify says trusted";
    NotAPlugin "NOT_A_PLUGIN": "this is no Patchbay plugin", "put the vendor's .so back, or remove the file";
    Truncated "TRUNCATED": "the file ends before its own headers say", "copy it again, whole";
    Machine "MACHINE": "the file is for another processor or operating system", "ask the vendor for a build for this machine";
    Version "VERSION": "the plugin's ABI does not fit this host's", "ask the vendor for a build with plugin-abi 1.x, or update the host";
    PanicAbort "PANIC_ABORT": "the plugin was built with panic = \"abort\"", "the vendor must build it with panic = \"unwind\", which is the default: see [profile.release] in the Cargo.toml of its workspace";
    ExecutableStack "EXECUTABLE_STACK": "the plugin asks for an executable stack", "ask the vendor to link without -z execstack";
    SearchPath "SEARCH_PATH": "the plugin brings its own library search path", "ask the vendor to link without RPATH and RUNPATH";
    Dependency "DEPENDENCY": "the plugin needs a library that the host does not allow", "ask the vendor to link that library statically";
    Linkage "LINKAGE": "the plugin is linked in a way that cannot be unloaded or is not safe", "ask the vendor for a plain Rust cdylib";
    Unsigned "UNSIGNED": "the file has no signature, and one is required", "put the vendor's .minisig beside it, under the file's name with .minisig behind";
    UnknownKey "UNKNOWN_KEY": "no trusted key has signed the file, and one must have", "compare the key with what the vendor publishes, then add it to plugins.trusted_keys";
    SignatureComment "SIGNATURE_COMMENT": "the signed comment does not name this plugin and this version", "ask the vendor to sign as the reason says";
    Downgrade "DOWNGRADE": "a newer signed version has served, and this one is older", "roll back by hand if that is what you want";
    AbiHeader "ABI_HEADER": "the plugin's ABI header is not that of the abi_stable release which the host uses", "ask the vendor for a build with plugin-abi 1.x";
    NoLayout "NO_LAYOUT": "the plugin hides the layout of its types", "ask the vendor to export with export_plugin!";
    Layout "LAYOUT": "the types of the plugin differ from the host's", "ask the vendor for a build with plugin-abi 1.x";
    InfoMismatch "INFO_MISMATCH": "the module says something else than the file's note", "ask the vendor for an unaltered build";
    InitPanic "INIT_PANIC": "the plugin panicked while it was made", "show the message to the vendor";
    InitError "INIT_ERROR": "the plugin refused to be made", "show the message to the vendor";
    ProbeCrashed "PROBE_CRASHED": "the plugin crashed the process that tried it", "show the signal to the vendor; nothing happened to the host";
    ProbeTimeout "PROBE_TIMEOUT": "the plugin hung in the process that tried it", "show this to the vendor; nothing happened to the host";
    ProbeFailed "PROBE_FAILED": "the plugin could not be tried", "this is not the file's fault: mend what the reason names around the host (a unit's SystemCallFilter, a container's seccomp profile, limits of processes and memory), then reload";
    Threads "THREADS": "the plugin leaves threads of its own behind", "the vendor must join every thread before the call that started it returns";
    Missing "MISSING": "the folder has no file of the tool type", "plugin-ctl install --kept TOOL_TYPE brings back what is kept, plugin-ctl install FILE brings another file";
    RolledBack "ROLLED_BACK": "this very file was rolled back", "put a better file in its place; plugin-ctl enable takes this one again";
    Disabled "DISABLED": "an operator has disabled the plugin", "plugin-ctl enable lets it serve again";
    Pinned "PINNED": "another version is pinned", "plugin-ctl unpin lets the highest version serve, plugin-ctl pin another one";
    Crashed "CRASHED": "the plugin has ended the host several times within minutes", "show the events to the vendor; plugin-ctl enable tries it again";
    HostEnded "HOST_ENDED": "the host ended while it tried the plugin", "see in the service manager's and the kernel's log why the host ended; plugin-ctl enable tries this very file again";
    LoaderStuck "LOADER_STUCK": "opening or closing a library did not end, which blocks the dynamic linker of the whole process", "nothing: the host keeps accepting webhooks, shuts down cleanly with exit code 75 and, once it has been restarted, runs without the plugin. With plugins.when_stuck = \"stay\", restart the host yourself";
    Retained "RETAINED": "too many earlier generations of this tool type are still in memory", "see plugin-ctl info for what keeps them; restart the host when it is convenient";
    Copy "COPY": "the host could not make its private copy", "check space and rights of the state folder";
    Load "LOAD": "the dynamic linker refused the file", "the reason has the linker's own words: what is denied or mounted noexec is yours to mend; for a symbol or version that is not there ask the vendor for a build for this machine's glibc";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_cut_between_characters() {
        let cut = Refusal::new(Code::Layout, "differs").with_details("x".to_owned() + &"ä".repeat(DETAILS_BYTES_MAX));
        assert_eq!(cut.details.as_deref().map(str::len), Some(DETAILS_BYTES_MAX - 1));
        assert_eq!(cut.without_details(), Refusal::new(Code::Layout, "differs"));
    }

    #[test]
    fn the_reference_page_lists_every_code_in_order() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/refusals.md");
        let page = std::fs::read_to_string(page).unwrap();
        let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect();
        let codes = Code::ALL.iter();
        let expected: Vec<_> =
            codes.map(|code| format!("| `{code}` | {} | {} |", code.meaning(), code.mend())).collect();
        assert_eq!(rows, expected);
    }
}
