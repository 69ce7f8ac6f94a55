//! What can be told from a plugin's bytes without running any of them: that they are a whole library of this machine,
//! that nothing in them is dangerous to map, and what the plugin says of itself.
//!
//! What decides how the library is mapped is read as the dynamic linker reads it: by addresses, from the segments. The
//! section headers, which it never looks at, may say anything.

use object::{
    LittleEndian, elf,
    read::elf::{Dyn as _, FileHeader as _, GnuHashTable, HashTable, ProgramHeader as _, Sym as _},
};
use plugin_abi::{
    declared::{DECLARATION_BYTES_MAX, DECLARATION_NOTE_TYPE, Declaration},
    export::{ABI_MAJOR, ABI_MINOR, InfoRecord, NOTE_NAME, NOTE_TYPE, ROOT_SYMBOL},
};

use self::image::Image;
use super::refusal::{Code, Refusal};

mod image;

type Header = elf::FileHeader64<LittleEndian>;

const ENDIAN: LittleEndian = LittleEndian;

#[cfg(target_arch = "x86_64")]
const MACHINE: elf::Machine = elf::EM_X86_64;
#[cfg(target_arch = "aarch64")]
const MACHINE: elf::Machine = elf::EM_AARCH64;

/// Libraries that a plugin may need: those that the host itself has mapped. Matched up to the version after `.so.`.
const ALLOWED_LIBRARIES: &[&str] = &["libc", "libm", "libgcc_s", "libpthread", "libdl", "librt"];

/// What the notes of a plugin's file say.
#[derive(Debug)]
pub struct Notes {
    /// What the plugin is.
    pub info: InfoRecord,
    /// The settings and secrets that it reads; `None` when it does not say.
    pub declares: Option<Declaration>,
}

/// Checks the bytes and reads what the plugin says of itself out of its notes.
///
/// # Errors
/// The first check that fails.
pub fn inspect(bytes: &[u8]) -> Result<Notes, Refusal> {
    let header = header(bytes)?;
    let segments = header.program_headers(ENDIAN, bytes).map_err(|fault| truncated(&fault))?;
    check_segments(segments, bytes)?;
    // Nobody reads them, but they stand at the end of the file: where they are not there, it is not whole.
    header.section_headers(ENDIAN, bytes).map_err(|fault| truncated(&fault))?;
    let image = Image::of(segments, bytes)?;
    let dynamic = Dynamic::read(segments, &image)?;
    dynamic.check(&image)?;
    check_symbols(&dynamic, &image)?;
    let info = information(segments, bytes)?;
    check_information(&info)?;
    Ok(Notes { info, declares: declaration(segments, bytes)? })
}

fn truncated(fault: &object::read::Error) -> Refusal {
    Refusal::new(Code::Truncated, format!("its headers cannot be read: {fault}"))
}

fn header(bytes: &[u8]) -> Result<&Header, Refusal> {
    if bytes.is_empty() {
        return Err(Refusal::new(Code::NotAPlugin, "the file is empty"));
    }
    if !bytes.starts_with(&elf::ELFMAG) {
        return Err(Refusal::new(Code::NotAPlugin, "the file is not an ELF library"));
    }
    if bytes.get(4..6) != Some(&[elf::ELFCLASS64.0, elf::ELFDATA2LSB.0]) {
        return Err(Refusal::new(Code::Machine, "the file is not a 64-bit little-endian library"));
    }
    let header = Header::parse(bytes).map_err(|fault| truncated(&fault))?;
    let machine = header.e_machine.get(ENDIAN);
    if machine != MACHINE {
        return Err(Refusal::new(
            Code::Machine,
            format!("the file is for {}, this host for {}", named(machine), named(MACHINE)),
        ));
    }
    if header.e_phnum.get(ENDIAN) == elf::PN_XNUM {
        // By its section headers there are others, which the dynamic linker does not look for.
        return Err(Refusal::new(Code::NotAPlugin, "the file has more segments than a library can have"));
    }
    if header.e_type.get(ENDIAN) != elf::ET_DYN {
        return Err(Refusal::new(Code::NotAPlugin, "the file is an ELF file, but no shared library"));
    }
    Ok(header)
}

fn check_segments(segments: &[elf::ProgramHeader64<LittleEndian>], bytes: &[u8]) -> Result<(), Refusal> {
    let mut stack = None;
    for segment in segments {
        let end = segment.p_offset(ENDIAN).checked_add(segment.p_filesz(ENDIAN));
        match segment.p_type(ENDIAN) {
            elf::PT_LOAD | elf::PT_DYNAMIC | elf::PT_NOTE if end.is_none_or(|end| end > bytes.len() as u64) => {
                let message = format!(
                    "a segment ends at byte {}, the file at {}",
                    end.map_or_else(|| "2^64".to_owned(), |end| end.to_string()),
                    bytes.len()
                );
                return Err(Refusal::new(Code::Truncated, message));
            }
            elf::PT_GNU_STACK => stack = Some(segment.p_flags(ENDIAN)),
            elf::PT_INTERP => return Err(Refusal::new(Code::NotAPlugin, "the file is a program, no library")),
            _ => {}
        }
    }
    match stack {
        Some(flags) if flags & elf::PF_X == elf::ProgramFlags(0) => Ok(()),
        Some(_) => {
            Err(Refusal::new(Code::ExecutableStack, "PT_GNU_STACK is executable: the host's own stack would be"))
        }
        None => Err(Refusal::new(Code::ExecutableStack, "PT_GNU_STACK is missing, which means an executable stack")),
    }
}

/// What the dynamic section says, up to its end.
struct Dynamic<'data> {
    entries: &'data [elf::Dyn64<LittleEndian>],
}

impl<'data> Dynamic<'data> {
    fn read(segments: &[elf::ProgramHeader64<LittleEndian>], image: &Image<'data>) -> Result<Self, Refusal> {
        let mut tables = segments.iter().filter(|segment| segment.p_type(ENDIAN) == elf::PT_DYNAMIC);
        let Some(table) = tables.next() else {
            return Err(Refusal::new(Code::NotAPlugin, "the file has no dynamic section"));
        };
        if tables.next().is_some() {
            return Err(linkage("it has several dynamic sections"));
        }
        let entries = image.all_at(table.p_vaddr(ENDIAN), "dynamic section")?;
        let end = entries.iter().position(|entry: &elf::Dyn64<LittleEndian>| entry.d_tag(ENDIAN) == elf::DT_NULL);
        let end = end.ok_or_else(|| linkage("its dynamic section has no end"))?;
        Ok(Self { entries: &entries[..end] })
    }

    /// The value of the last entry of this kind: that one counts for the dynamic linker.
    fn value(&self, tag: elf::DynamicTag) -> Option<u64> {
        self.entries.iter().rev().find(|entry| entry.d_tag(ENDIAN) == tag).map(|entry| entry.d_val(ENDIAN))
    }

    /// The text at this offset of the dynamic strings, up to its zero. The linker does not look at their length.
    fn text(&self, image: &Image<'data>, offset: u64) -> Option<&'data [u8]> {
        image.text(self.value(elf::DT_STRTAB)?.checked_add(offset)?)
    }

    fn check(&self, image: &Image<'data>) -> Result<(), Refusal> {
        for entry in self.entries {
            let value = entry.d_val(ENDIAN);
            match entry.d_tag(ENDIAN) {
                elf::DT_RPATH | elf::DT_RUNPATH => {
                    return Err(Refusal::new(Code::SearchPath, "it has an RPATH or RUNPATH"));
                }
                elf::DT_NEEDED => {
                    let name = String::from_utf8_lossy(self.text(image, value).unwrap_or_default());
                    if !is_allowed(&name) {
                        return Err(Refusal::new(Code::Dependency, format!("it needs the library {name:?}")));
                    }
                }
                elf::DT_TEXTREL => return Err(linkage("its code must be written to (TEXTREL)")),
                elf::DT_FILTER | elf::DT_AUXILIARY | elf::DT_AUDIT | elf::DT_DEPAUDIT => {
                    return Err(linkage("it filters or audits other libraries"));
                }
                elf::DT_FLAGS if value & elf::DF_TEXTREL.0 != 0 => {
                    return Err(linkage("its code must be written to (TEXTREL)"));
                }
                elf::DT_FLAGS if value & elf::DF_STATIC_TLS.0 != 0 => {
                    return Err(linkage("it wants thread-locals in the static block (STATIC_TLS), which is small"));
                }
                elf::DT_FLAGS_1 if value & elf::DF_1_NODELETE.0 != 0 => {
                    return Err(linkage("it forbids being unloaded (NODELETE)"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// All symbols that a look-up can find: those of the GNU hash table, of the older one where there is no other.
    fn symbols(&self, image: &Image<'data>) -> Result<&'data [elf::Sym64<LittleEndian>], Refusal> {
        let table = |address| image.bytes_at(address, "table of symbols' hashes");
        let count = if let Some(address) = self.value(elf::DT_GNU_HASH) {
            let hashes = GnuHashTable::<Header>::parse(ENDIAN, table(address)?).map_err(|fault| truncated(&fault))?;
            hashes.symbol_table_length(ENDIAN)
        } else if let Some(address) = self.value(elf::DT_HASH) {
            let hashes = HashTable::<Header>::parse(ENDIAN, table(address)?).map_err(|fault| truncated(&fault))?;
            Some(hashes.symbol_table_length())
        } else {
            None
        };
        let (Some(count), Some(address)) = (count, self.value(elf::DT_SYMTAB)) else { return Ok(&[]) };
        let symbols = image.all_at(address, "table of symbols")?;
        symbols.get(..count as usize).ok_or_else(|| linkage("its table of symbols is shorter than its hashes say"))
    }
}

fn check_symbols(dynamic: &Dynamic<'_>, image: &Image<'_>) -> Result<(), Refusal> {
    let mut exported = false;
    for symbol in dynamic.symbols(image)? {
        if symbol.st_bind() == elf::STB_GNU_UNIQUE {
            return Err(Refusal::new(Code::Linkage, "it has unique symbols, which glibc never unloads"));
        }
        exported |= !symbol.is_undefined(ENDIAN)
            && dynamic.text(image, symbol.st_name(ENDIAN).into()) == Some(ROOT_SYMBOL.as_bytes());
    }
    if exported {
        Ok(())
    } else {
        Err(Refusal::new(Code::NotAPlugin, "it is a library, but exports no plugin (export_plugin! is missing)"))
    }
}

fn linkage(reason: &str) -> Refusal {
    Refusal::new(Code::Linkage, reason)
}

fn is_allowed(name: &str) -> bool {
    name.starts_with("ld-linux")
        || ALLOWED_LIBRARIES.iter().any(|allowed| {
            name.strip_prefix(allowed).and_then(|rest| rest.strip_prefix(".so")).is_some_and(|rest| {
                rest.is_empty()
                    || rest.strip_prefix('.').is_some_and(|version| version.bytes().all(|b| b.is_ascii_digit()))
            })
        })
}

fn information(segments: &[elf::ProgramHeader64<LittleEndian>], bytes: &[u8]) -> Result<InfoRecord, Refusal> {
    let Some(note) = note(segments, bytes, NOTE_TYPE)? else {
        let reason = "it has no Patchbay note (plugin_info! is missing, or notes were removed)";
        return Err(Refusal::new(Code::NotAPlugin, reason));
    };
    serde_json::from_slice(note)
        .map_err(|fault| Refusal::new(Code::NotAPlugin, format!("its note cannot be read: {fault}")))
}

/// Plugins of 1.0 have no such note.
fn declaration(segments: &[elf::ProgramHeader64<LittleEndian>], bytes: &[u8]) -> Result<Option<Declaration>, Refusal> {
    let Some(note) = note(segments, bytes, DECLARATION_NOTE_TYPE)? else { return Ok(None) };
    if note.len() > DECLARATION_BYTES_MAX {
        let reason = format!(
            "its note of settings and secrets has {} bytes; at most {DECLARATION_BYTES_MAX} are read",
            note.len()
        );
        return Err(Refusal::new(Code::NotAPlugin, reason));
    }
    serde_json::from_slice(note).map_err(|fault| {
        Refusal::new(Code::NotAPlugin, format!("its note of settings and secrets cannot be read: {fault}"))
    })
}

/// The first of our notes that is of this type.
fn note<'data>(
    segments: &[elf::ProgramHeader64<LittleEndian>],
    bytes: &'data [u8],
    of_type: u32,
) -> Result<Option<&'data [u8]>, Refusal> {
    for segment in segments {
        let Some(mut notes) = segment.notes(ENDIAN, bytes).map_err(|fault| truncated(&fault))? else { continue };
        // A note of somebody else's that cannot be read does not make ours unreadable: go on with the next segment.
        while let Ok(Some(note)) = notes.next() {
            if note.name() == &NOTE_NAME[..NOTE_NAME.len() - 1] && note.n_type(ENDIAN) == elf::NoteType(of_type) {
                return Ok(Some(note.desc()));
            }
        }
    }
    Ok(None)
}

fn check_information(info: &InfoRecord) -> Result<(), Refusal> {
    if info.abi_major != ABI_MAJOR {
        let message = format!("it was built for plugin ABI {}, this host speaks ABI {ABI_MAJOR}", info.abi_major);
        return Err(Refusal::new(Code::Version, message));
    }
    if info.abi_minor_needed > ABI_MINOR {
        let message = format!(
            "it needs plugin ABI {ABI_MAJOR}.{} or newer, this host speaks {ABI_MAJOR}.{ABI_MINOR}",
            info.abi_minor_needed
        );
        return Err(Refusal::new(Code::Version, message));
    }
    if info.panic != "unwind" {
        return Err(Refusal::new(Code::PanicAbort, "a panic in it would end the host"));
    }
    if let Err(fault) = crate::ids::ToolType::parse(&info.tool_type) {
        return Err(Refusal::new(Code::NotAPlugin, fault.to_string()));
    }
    if let Err(fault) = semver::Version::parse(&info.version) {
        let message = format!("its version {:?} is not a semantic version: {fault}", info.version);
        return Err(Refusal::new(Code::NotAPlugin, message));
    }
    Ok(())
}

/// A processor's name, or its number in ELF.
fn named(machine: elf::Machine) -> String {
    match machine {
        elf::EM_X86_64 => "x86-64".to_owned(),
        elf::EM_AARCH64 => "aarch64".to_owned(),
        elf::EM_386 => "32-bit x86".to_owned(),
        elf::EM_ARM => "32-bit ARM".to_owned(),
        elf::EM_RISCV => "RISC-V".to_owned(),
        other => format!("processor {} of ELF", other.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_matched_whole() {
        for (name, expected) in [
            ("libc.so.6", true),
            ("libgcc_s.so.1", true),
            ("ld-linux-x86-64.so.2", true),
            ("libcrypto.so.3", false),
            ("libc.so.6.evil", false),
            ("libstdc++.so.6", false),
            ("/tmp/libc.so.6", false),
            ("", false),
        ] {
            assert_eq!(is_allowed(name), expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_library_is_refused() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        for (bytes, code) in [
            (&b""[..], Code::NotAPlugin),
            (b"#!/bin/sh\n", Code::NotAPlugin),
            (b"\x7fELF", Code::Machine),
            (b"\x7fELF\x01\x01", Code::Machine),
            (b"\x7fELF\x02\x01\x01", Code::Truncated),
            (&own[..200], Code::Truncated),
            (&own, Code::NotAPlugin),
        ] {
            assert_eq!(inspect(bytes).unwrap_err().code, code, "{} bytes", bytes.len());
        }
    }
}
