//! Files that are a plugin but for one thing in their bytes: each is refused with the code that says which.

use patchbay_tests::{Artifact, Host};

const FILE: &str = "libdesk_good.so";
/// Where the header of an ELF file says where its segments' headers are, and how many there are.
const SEGMENTS_AT: usize = 32;
const SEGMENTS_COUNT: usize = 56;
const SEGMENT_BYTES: usize = 56;
const PT_DYNAMIC: u32 = 2;
const PT_GNU_STACK: u32 = 0x6474_e551;
const DT_RUNPATH: u64 = 29;
const DT_RPATH: u64 = 15;
const DT_TEXTREL: u64 = 22;
const DT_SYMTAB: u64 = 6;
const DT_FLAGS: u64 = 30;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DT_DEPAUDIT: u64 = 0x6fff_fefb;
const DT_AUDIT: u64 = 0x6fff_fefc;
const DT_AUXILIARY: u64 = 0x7fff_fffd;
const DT_FILTER: u64 = 0x7fff_ffff;
const DF_TEXTREL: u64 = 4;
const DF_STATIC_TLS: u64 = 16;
const DF_1_NODELETE: u64 = 8;
const SYMBOL_BYTES: usize = 24;
const STB_GNU_UNIQUE: u8 = 10;

/// A plugin's bytes, to be changed.
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Bytes {
    fn number<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0[at..at + N].try_into().expect("N bytes")
    }

    /// Where the header of the segment of this kind is.
    fn segment(&self, kind: u32) -> usize {
        let start = usize::try_from(u64::from_le_bytes(self.number(SEGMENTS_AT))).unwrap();
        let count = usize::from(u16::from_le_bytes(self.number(SEGMENTS_COUNT)));
        let mut headers = (0..count).map(|index| start + index * SEGMENT_BYTES);
        headers.find(|at| u32::from_le_bytes(self.number(*at)) == kind).expect("every plugin has such a segment")
    }

    /// Where the dynamic entry with this tag is.
    fn dynamic(&self, tag: u64) -> usize {
        let segment = self.segment(PT_DYNAMIC);
        let start = usize::try_from(u64::from_le_bytes(self.number(segment + 8))).unwrap();
        let mut entries = (start..).step_by(16);
        entries.find(|at| u64::from_le_bytes(self.number(*at)) == tag).expect("every plugin has such an entry")
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Writes `to` over the first, or over every, `from`, which must be as long.
    fn replace(&mut self, from: &str, to: &str, times: usize) {
        assert_eq!(from.len(), to.len(), "{from} {to}");
        for _ in 0..times {
            let at = self.0.windows(from.len()).position(|window| window == from.as_bytes());
            let Some(at) = at else { break };
            self.put(at, to.as_bytes());
        }
    }
}

pub(super) type Change = fn(&mut Bytes);

/// Turns an entry that can be spared into one of another kind.
fn retag(file: &mut Bytes, tag: u64) {
    let entry = file.dynamic(DT_FLAGS_1);
    file.put(entry, &tag.to_le_bytes());
}

/// What is changed, and the code that says so.
pub(super) const CASES: &[(&str, &str, Change)] = &[
    ("an executable stack", "EXECUTABLE_STACK", |file| {
        let stack = file.segment(PT_GNU_STACK);
        file.put(stack + 4, &7_u32.to_le_bytes());
    }),
    ("no word about the stack", "EXECUTABLE_STACK", |file| {
        let stack = file.segment(PT_GNU_STACK);
        file.put(stack, &0_u32.to_le_bytes());
    }),
    ("RUNPATH", "SEARCH_PATH", |file| retag(file, DT_RUNPATH)),
    ("RPATH", "SEARCH_PATH", |file| retag(file, DT_RPATH)),
    ("TEXTREL", "LINKAGE", |file| retag(file, DT_TEXTREL)),
    ("NODELETE", "LINKAGE", |file| {
        let entry = file.dynamic(DT_FLAGS_1);
        file.put(entry + 8, &DF_1_NODELETE.to_le_bytes());
    }),
    ("TEXTREL as a flag", "LINKAGE", |file| {
        let entry = file.dynamic(DT_FLAGS);
        file.put(entry + 8, &DF_TEXTREL.to_le_bytes());
    }),
    ("STATIC_TLS", "LINKAGE", |file| {
        let entry = file.dynamic(DT_FLAGS);
        file.put(entry + 8, &DF_STATIC_TLS.to_le_bytes());
    }),
    ("FILTER", "LINKAGE", |file| retag(file, DT_FILTER)),
    ("AUXILIARY", "LINKAGE", |file| retag(file, DT_AUXILIARY)),
    ("AUDIT", "LINKAGE", |file| retag(file, DT_AUDIT)),
    ("DEPAUDIT", "LINKAGE", |file| retag(file, DT_DEPAUDIT)),
    ("a unique symbol", "LINKAGE", |file| {
        // The tables of a library lie in its first segment, where addresses are places in the file.
        let entry = file.dynamic(DT_SYMTAB);
        let table = usize::try_from(u64::from_le_bytes(file.number(entry + 8))).unwrap();
        file.put(table + SYMBOL_BYTES + 4, &[STB_GNU_UNIQUE << 4]);
    }),
    ("a function that no library has", "LOAD", |file| file.replace("\0memcpy\0", "\0memcpx\0", 1)),
    ("a library of strangers", "DEPENDENCY", |file| file.replace("libgcc_s.so.1\0", "libcurl.so.4\0\0", 1)),
    ("no root module", "NOT_A_PLUGIN", |file| file.replace("_1as_0lib_1header_0root", "_1as_0lib_1header_0roof", 9)),
    ("another major version of the ABI", "VERSION", |file| file.replace("\"abi_major\":1", "\"abi_major\":2", 9)),
    ("a newer minor version that it needs", "VERSION", |file| {
        file.replace("\"abi_minor_needed\":0", "\"abi_minor_needed\":9", 9);
    }),
    ("panic = abort", "PANIC_ABORT", |file| file.replace("\"panic\":\"unwind\"", "\"panic\":\"abort\" ", 9)),
    ("a note that is none", "NOT_A_PLUGIN", |file| file.replace("{\"tool_type\"", "[\"tool_type\"", 9)),
    ("no note", "NOT_A_PLUGIN", |file| file.replace("Patchbay\0\0\0\0{", "Somebody\0\0\0\0{", 9)),
    ("a note about another plugin", "INFO_MISMATCH", |file| {
        file.replace("\"version\":\"1.0.0\"", "\"version\":\"1.0.7\"", 1);
    }),
    ("another header of abi_stable", "ABI_HEADER", |file| {
        file.replace("abi stable library for Rust", "ABI stable library for Rust", 9);
    }),
    ("another processor", "MACHINE", |file| file.put(18, &183_u16.to_le_bytes())),
    ("32 bits", "MACHINE", |file| file.put(4, &[1])),
    ("a program", "NOT_A_PLUGIN", |file| file.put(16, &2_u16.to_le_bytes())),
];

#[test]
fn each_is_refused_with_its_code() {
    let host = Host::builder().config("plugins.settle_ms", 0).start();
    let good = Artifact::GOOD.bytes();
    for (what, code, change) in CASES {
        let mut file = Bytes(good.clone());
        change(&mut file);
        assert_ne!(file.0, good, "{what}: nothing was changed");
        host.put_file(FILE, &file.0);
        let ended = host.try_ctl(&["reload"]);
        assert_eq!(ended.code, 1, "{what}: {ended:?}");
        let files = host.ctl(&["list", "--files"]);
        assert_eq!(files[0]["code"], *code, "{what}: {files:#}");
    }
    // An older or newer minor version that is not needed makes no difference.
    for minor in ["0", "9"] {
        let mut file = Bytes(good.clone());
        file.replace("\"abi_minor\":1", &format!("\"abi_minor\":{minor}"), 9);
        host.put_file(FILE, &file.0);
        host.ctl(&["reload"]);
        assert_eq!(host.plugin("desk_good")["state"], "active", "minor {minor}");
    }
}

#[test]
fn modules_whose_types_cannot_be_checked_or_differ_are_refused() {
    let host = Host::builder().start();
    for (artifact, code, reason) in
        [(Artifact::NO_LAYOUT, "NO_LAYOUT", "layout check turned off"), (Artifact::OTHER_LAYOUT, "LAYOUT", "")]
    {
        let path = host.put_plugin(artifact);
        let ended = host.try_ctl(&["reload"]);
        assert_eq!(ended.code, 1, "{ended:?}");
        let files = host.ctl(&["list", "--files"]);
        let file = files.as_array().unwrap().iter().find(|file| file["path"] == path.to_str().unwrap()).unwrap();
        assert_eq!(file["code"], code, "{file:#}");
        assert!(file["reason"].as_str().unwrap().contains(reason), "{file:#}");
    }
}
