//! What a plugin says of itself, and how it is exported: one macro line each.

use serde::{Deserialize, Serialize};

use crate::{
    const_json::Json,
    declared::{self, DECLARATION_NOTE_TYPE, Declared},
};

/// Most bytes of a plugin's information, as JSON.
pub const INFO_BYTES_MAX: usize = 1024;

/// The ABI's major version: host and plugin must have the same.
pub const ABI_MAJOR: u32 = 1;
/// The ABI's minor version: it only ever adds.
pub const ABI_MINOR: u32 = 1;

/// Name and type of the ELF note that holds the information.
pub const NOTE_NAME: &[u8; 9] = b"Patchbay\0";
/// See [`NOTE_NAME`].
pub const NOTE_TYPE: u32 = 1;
/// The symbol under which the root module's header is exported.
pub const ROOT_SYMBOL: &str = "_1as_0lib_1header_0root_bmodule_bloader";

/// What a plugin is, fixed when it is compiled. Made by [`plugin_info!`](crate::plugin_info).
#[derive(Clone, Copy, Debug)]
pub struct PluginInfo {
    /// The tool type that this plugin serves: `[a-z0-9_]{1,50}`.
    pub tool_type: &'static str,
    /// The crate's name.
    pub name: &'static str,
    /// The crate's version (semantic versioning); it decides which of two files of one tool type serves.
    pub version: &'static str,
    json: [u8; INFO_BYTES_MAX],
    json_bytes: usize,
    declared: Option<&'static [Declared]>,
}

impl PluginInfo {
    /// For [`plugin_info!`](crate::plugin_info).
    #[doc(hidden)]
    pub const fn new(
        tool_type: &'static str,
        name: &'static str,
        version: &'static str,
        vendor: &'static str,
        unwinds: bool,
    ) -> Self {
        assert!(
            is_tool_type(tool_type),
            "plugin_info!: a tool type is 1 to 50 lower-case letters, digits and underscores, such as \"acme_desk\""
        );
        let mut json = Json::<INFO_BYTES_MAX>::new();
        json.raw("{\"tool_type\":\"");
        json.escaped(tool_type);
        json.raw("\",\"name\":\"");
        json.escaped(name);
        json.raw("\",\"version\":\"");
        json.escaped(version);
        json.raw("\",\"vendor\":\"");
        json.escaped(vendor);
        json.raw("\",\"sdk\":\"");
        json.escaped(env!("CARGO_PKG_VERSION"));
        // 1.1, and nothing newer than 1.0 is needed of the host: a literal here, since constants cannot be formatted.
        json.raw("\",\"abi_major\":1,\"abi_minor\":1,\"abi_minor_needed\":0,\"abi_stable\":\"0.11.3\",\"rustc\":\"");
        json.escaped(env!("PLUGIN_ABI_RUSTC"));
        json.raw("\",\"target\":\"");
        json.escaped(env!("PLUGIN_ABI_TARGET"));
        json.raw(if unwinds { "\",\"panic\":\"unwind\"}" } else { "\",\"panic\":\"abort\"}" });
        // Notes are padded to 4 bytes; blanks after the JSON do no harm to it.
        let json_bytes = json.padded_bytes();
        assert!(json_bytes <= INFO_BYTES_MAX, "plugin_info!: name, version and authors of the crate are too long");
        Self { tool_type, name, version, json: json.bytes, json_bytes, declared: None }
    }

    /// Declares the settings and secrets that the plugin reads, all of them: operators see them, and a tenant's names are
    /// held against them. Without it nothing is checked.
    #[must_use]
    pub const fn declares(self, declared: &'static [Declared]) -> Self {
        declared::check(declared);
        Self { declared: Some(declared), ..self }
    }

    /// Length of the declaration's note.
    #[doc(hidden)]
    pub const fn declaration_bytes(&self) -> usize {
        declared::json::<0>(self.declared).padded_bytes()
    }

    /// The information as JSON, blank-padded to a multiple of 4 bytes.
    pub const fn json(&self) -> &str {
        match std::str::from_utf8(self.json.split_at(self.json_bytes).0) {
            Ok(text) => text,
            Err(_) => panic!("the information was made of texts"),
        }
    }
}

/// The information as whoever reads a note or a module finds it. Unknown names are skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InfoRecord {
    /// The tool type.
    pub tool_type: String,
    /// The crate's name.
    pub name: String,
    /// The crate's version.
    pub version: String,
    /// The crate's authors.
    #[serde(default)]
    pub vendor: String,
    /// The version of `plugin-abi` that it was built with.
    pub sdk: String,
    /// The ABI's major version.
    pub abi_major: u32,
    /// The ABI's minor version.
    pub abi_minor: u32,
    /// The minor version that the plugin cannot do without.
    #[serde(default)]
    pub abi_minor_needed: u32,
    /// The version of abi_stable.
    pub abi_stable: String,
    /// The compiler.
    pub rustc: String,
    /// The target triple.
    pub target: String,
    /// `unwind` or `abort`.
    pub panic: String,
}

const fn is_tool_type(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !(bytes[at].is_ascii_lowercase() || bytes[at].is_ascii_digit() || bytes[at] == b'_') {
            return false;
        }
        at += 1;
    }
    !bytes.is_empty() && bytes.len() <= 50
}

/// The ELF note in the plugin's file: readable without running anything, and left in place by `strip`.
#[doc(hidden)]
#[repr(C, align(4))]
#[derive(Debug)]
pub struct ElfNote<const N: usize> {
    name_bytes: u32,
    description_bytes: u32,
    kind: u32,
    name: [u8; 12],
    description: [u8; N],
}

impl<const N: usize> ElfNote<N> {
    /// A note of this information; `N` is its length.
    pub const fn new(info: &PluginInfo) -> Self {
        let mut description = [b' '; N];
        let mut at = 0;
        while at < N {
            description[at] = info.json[at];
            at += 1;
        }
        Self::of(NOTE_TYPE, description)
    }

    /// A note of what this plugin declares; `N` is [`PluginInfo::declaration_bytes`].
    pub const fn of_declaration(info: &PluginInfo) -> Self {
        Self::of(DECLARATION_NOTE_TYPE, declared::json::<N>(info.declared).bytes)
    }

    const fn of(kind: u32, description: [u8; N]) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "both kinds have a limit")]
        Self {
            name_bytes: NOTE_NAME.len() as u32,
            description_bytes: N as u32,
            kind,
            name: *b"Patchbay\0\0\0\0",
            description,
        }
    }
}

/// What the plugin is: its tool type; name, version and authors come from the vendor's Cargo.toml. What settings and secrets
/// it reads is said with [`PluginInfo::declares`].
#[macro_export]
macro_rules! plugin_info {
    ($tool_type:literal) => {
        $crate::PluginInfo::new(
            $tool_type,
            ::core::env!("CARGO_PKG_NAME"),
            ::core::env!("CARGO_PKG_VERSION"),
            ::core::env!("CARGO_PKG_AUTHORS"),
            ::core::cfg!(panic = "unwind"),
        )
    };
}

/// Exports a plugin from its library: once in the crate, with the type that implements
/// [`TicketingToolPlugin`](crate::TicketingToolPlugin).
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty) => {
        #[allow(unsafe_code)]
        const _: () = {
            #[used]
            #[unsafe(link_section = ".note.patchbay")]
            static NOTE: $crate::export::ElfNote<{ <$plugin as $crate::TicketingToolPlugin>::INFO.json().len() }> =
                $crate::export::ElfNote::new(&<$plugin as $crate::TicketingToolPlugin>::INFO);

            #[used]
            #[unsafe(link_section = ".note.patchbay")]
            static DECLARATION: $crate::export::ElfNote<
                { <$plugin as $crate::TicketingToolPlugin>::INFO.declaration_bytes() },
            > = $crate::export::ElfNote::of_declaration(&<$plugin as $crate::TicketingToolPlugin>::INFO);

            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            static HEADER: $crate::__private::LibHeader = $crate::raw::header::<$crate::__private::Adapter<$plugin>>();
        };
    };
}
