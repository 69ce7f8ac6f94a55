//! Files that are a plugin except for one thing in their bytes: each is refused with the code for it.

use patchbay_tests::{Artifact, Host};

const FILE: &str = "libdesk_good.so";
/// Where the header of an ELF file gives the place and number of its segments' headers.
const SEGMENTS_AT: usize = 32;
const SEGMENTS_COUNT: usize = 56;
const SEGMENT_BYTES: usize = 56;
/// The same for sections. A section's header has its kind, its place in the file and its length.
const SECTIONS_AT: usize = 40;
const SECTIONS_COUNT: usize = 60;
const SECTION_BYTES: usize = 64;
const SHT_DYNSYM: u32 = 11;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_GNU_STACK: u32 = 0x6474_e551;
const DT_RUNPATH: u64 = 29;
const DT_RPATH: u64 = 15;
const DT_TEXTREL: u64 = 22;
const DT_STRTAB: u64 = 5;
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

/// A plugin's bytes, to be patched.
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Bytes {
    fn number<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0[at..at + N].try_into().expect("N bytes")
    }

    /// The place of the header of the segment of this kind.
    fn segment(&self, kind: u32) -> usize {
        let start = usize::try_from(u64::from_le_bytes(self.number(SEGMENTS_AT))).unwrap();
        let count = usize::from(u16::from_le_bytes(self.number(SEGMENTS_COUNT)));
        let mut headers = (0..count).map(|index| start + index * SEGMENT_BYTES);
        headers.find(|at| u32::from_le_bytes(self.number(*at)) == kind).expect("every plugin has such a segment")
    }

    /// The place of the header of a section of this kind.
    fn section(&self, kind: u32) -> usize {
        self.sections()
            .find(|at| u32::from_le_bytes(self.number(at + 4)) == kind)
            .expect("every plugin has such a section")
    }

    fn sections(&self) -> impl Iterator<Item = usize> {
        let start = usize::try_from(u64::from_le_bytes(self.number(SECTIONS_AT))).unwrap();
        let count = usize::from(u16::from_le_bytes(self.number(SECTIONS_COUNT)));
        (0..count).map(move |index| start + index * SECTION_BYTES)
    }

    /// Copies this part of the file to its end, aligned for anything, and returns the place.
    fn copy_to_the_end(&mut self, from: usize, bytes: usize) -> usize {
        self.0.resize(self.0.len().next_multiple_of(16), 0);
        let at = self.0.len();
        self.0.extend_from_within(from..from + bytes);
        at
    }

    /// The place of the dynamic entry with this tag.
    fn dynamic(&self, tag: u64) -> usize {
        let segment = self.segment(PT_DYNAMIC);
        let start = usize::try_from(u64::from_le_bytes(self.number(segment + 8))).unwrap();
        let mut entries = (start..).step_by(16);
        entries.find(|at| u64::from_le_bytes(self.number(*at)) == tag).expect("every plugin has such an entry")
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Replaces the first or every `from` by `to`, which must have the same length.
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

/// Turns an unneeded entry into one of another kind.
fn retag(file: &mut Bytes, tag: u64) {
    let entry = file.dynamic(DT_FLAGS_1);
    file.put(entry, &tag.to_le_bytes());
}

/// Makes the dynamic segment's header show a copy of the table, and changes the original entries. The dynamic linker
/// reads those, because it uses the address.
fn behind_a_clean_copy(file: &mut Bytes, tag: u64, entry: [u64; 2]) {
    let segment = file.segment(PT_DYNAMIC);
    let [table, bytes] =
        [segment + 8, segment + 32].map(|at| usize::try_from(u64::from_le_bytes(file.number(at))).unwrap());
    let own = file.dynamic(tag);
    let copy = file.copy_to_the_end(table, bytes);
    file.put(segment + 8, &(copy as u64).to_le_bytes());
    entry.into_iter().enumerate().for_each(|(index, value)| file.put(own + 8 * index, &value.to_le_bytes()));
}

/// Makes the headers of all sections of this kind show a copy of their content.
fn show_a_copy(file: &mut Bytes, section: usize) {
    let [from, bytes] =
        [section + 24, section + 32].map(|at| usize::try_from(u64::from_le_bytes(file.number(at))).unwrap());
    let copy = file.copy_to_the_end(from, bytes);
    file.put(section + 24, &(copy as u64).to_le_bytes());
}

/// Headers that show something other than what the dynamic linker reads.
const HIDDEN: &[(&str, &str, Change)] = &[
    ("a RUNPATH behind a clean copy of the dynamic section", "SEARCH_PATH", |file| {
        behind_a_clean_copy(file, DT_FLAGS_1, [DT_RUNPATH, 0]);
    }),
    ("NODELETE behind a clean copy of the dynamic section", "LINKAGE", |file| {
        behind_a_clean_copy(file, DT_FLAGS_1, [DT_FLAGS_1, DF_1_NODELETE]);
    }),
    ("a library of strangers behind a clean copy of the strings", "DEPENDENCY", |file| {
        // A library's tables are in its first segment, where addresses are places in the file.
        let strings = u64::from_le_bytes(file.number(file.dynamic(DT_STRTAB) + 8)).to_le_bytes();
        let section = file.sections().find(|at| file.number(at + 16) == strings).expect("a section shows the strings");
        show_a_copy(file, section);
        file.replace("libgcc_s.so.1\0", "libcurl.so.4\0\0", 1);
    }),
    ("a unique symbol behind a clean copy of the symbols", "LINKAGE", |file| {
        let table = usize::try_from(u64::from_le_bytes(file.number(file.dynamic(DT_SYMTAB) + 8))).unwrap();
        let section = file.section(SHT_DYNSYM);
        show_a_copy(file, section);
        file.put(table + SYMBOL_BYTES + 4, &[STB_GNU_UNIQUE << 4]);
    }),
];

/// What is changed, and the expected code.
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
        // A library's tables are in its first segment, where addresses are places in the file.
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
    ("segments out of order", "LINKAGE", |file| {
        let first = file.segment(PT_LOAD);
        let second = file.number::<SEGMENT_BYTES>(first + SEGMENT_BYTES);
        let swapped = [&second[..], &file.number::<SEGMENT_BYTES>(first)].concat();
        file.put(first, &swapped);
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
    // An older or newer minor version makes no difference if nothing of it is required.
    for minor in ["0", "9"] {
        let mut file = Bytes(good.clone());
        file.replace("\"abi_minor\":1", &format!("\"abi_minor\":{minor}"), 9);
        host.put_file(FILE, &file.0);
        host.ctl(&["reload"]);
        assert_eq!(host.plugin("desk_good")["state"], "active", "minor {minor}");
    }
}

/// The control: what the headers show, which was all that was checked before, is clean.
#[test]
fn what_the_headers_do_not_show_is_refused_all_the_same() {
    let shown = |bytes: &[u8]| {
        use object::{Object as _, read::elf::ElfFile64};
        let file = ElfFile64::<object::LittleEndian>::parse(bytes).unwrap();
        let (sections, endian) = (file.elf_section_table(), file.endian());
        let (_, link) = sections.dynamic(endian, bytes).unwrap().unwrap();
        let strings = sections.strings(endian, bytes, link).unwrap();
        let mut shown: Vec<_> = file.dynamic_symbols().map(|symbol| format!("{:?}", symbol.elf_symbol())).collect();
        for segment in file.elf_program_headers() {
            use object::read::elf::{Dyn as _, ProgramHeader as _};
            for entry in segment.dynamic(endian, bytes).unwrap().unwrap_or_default() {
                let text = u32::try_from(entry.d_val(endian)).ok().and_then(|at| strings.get(at).ok());
                shown.push(format!("{:?} {:?} {text:?}", entry.d_tag(endian), entry.d_val(endian)));
            }
        }
        shown
    };
    let good = Artifact::GOOD.bytes();
    let host = Host::builder().config("plugins.settle_ms", 0).start();
    for (what, code, change) in HIDDEN {
        let mut file = Bytes(good.clone());
        change(&mut file);
        assert_eq!(shown(&file.0), shown(&good), "{what}");
        host.put_file(FILE, &file.0);
        assert_eq!(host.try_ctl(&["reload"]).code, 1, "{what}");
        let files = host.ctl(&["list", "--files"]);
        assert_eq!(files[0]["code"], *code, "{what}: {files:#}");
    }
}

#[test]
fn a_library_without_section_headers_is_as_good() {
    let mut file = Bytes(Artifact::GOOD.bytes());
    file.put(SECTIONS_AT, &[0; 8]);
    // Length and number of sections, and which of them has the names.
    file.put(SECTIONS_COUNT - 2, &[0; 6]);
    let host = Host::builder().stopped();
    host.put_file(FILE, &file.0);
    let verified = host.try_ctl(&["verify", host.plugins().join(FILE).to_str().unwrap()]);
    assert_eq!(verified.code, 0, "{verified:?}");
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
