//! The versions of the C library: the one that a plugin was linked against, and this machine's.

use std::fmt;

use object::{LittleEndian, elf, read::elf::FileHeader as _};

use super::loader;

const ENDIAN: LittleEndian = LittleEndian;

/// A version of glibc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Glibc {
    major: u32,
    minor: u32,
}

impl Glibc {
    /// The oldest that has all symbols which these bytes of a library ask for. `None` when they ask for none, or cannot be
    /// read.
    pub fn needed_by(bytes: &[u8]) -> Option<Self> {
        names(bytes).ok()?.iter().filter_map(|name| Self::parse(name.strip_prefix("GLIBC_")?)).max()
    }

    /// The one that this process runs with.
    pub fn here() -> Option<Self> {
        Self::parse(loader::glibc_version())
    }

    /// Reads `2.36`; a third number makes no difference.
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(str::parse);
        Some(Self { major: numbers.next()?.ok()?, minor: numbers.next()?.ok()? })
    }
}

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The names of all symbol versions that must be there, of whatever library.
fn names(bytes: &[u8]) -> object::read::Result<Vec<String>> {
    let mut names = Vec::new();
    let sections = elf::FileHeader64::<LittleEndian>::parse(bytes)?.sections(ENDIAN, bytes)?;
    let Some((mut libraries, link)) = sections.gnu_verneed(ENDIAN, bytes)? else { return Ok(names) };
    let strings = sections.strings(ENDIAN, bytes, link)?;
    while let Some((_library, mut versions)) = libraries.next()? {
        while let Some(version) = versions.next()? {
            // Of a weak one the dynamic linker only warns.
            if version.vna_flags.get(ENDIAN) & elf::VER_FLG_WEAK == elf::VersionFlags(0) {
                names.push(String::from_utf8_lossy(version.name(ENDIAN, strings)?).into_owned());
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers_and_no_texts() {
        let check = |lower: &str, higher: &str| assert!(Glibc::parse(lower) < Glibc::parse(higher), "{lower} {higher}");
        check("2.4", "2.34");
        check("2.2.5", "2.3");
        check("PRIVATE", "2.0");
        check("2", "2.0");
        assert_eq!(Glibc::parse("2.36").unwrap().to_string(), "2.36");
    }

    #[test]
    fn a_program_that_runs_needs_no_newer_one_than_there_is() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let needed = Glibc::needed_by(&own);
        assert!(needed.is_some() && needed <= Glibc::here(), "{needed:?} {:?}", Glibc::here());
        assert_eq!(Glibc::needed_by(&own[..200]), None);
        assert_eq!(Glibc::needed_by(b"no library"), None);
    }
}
