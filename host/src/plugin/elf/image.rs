//! Which bytes of the file lie at an address once its segments are mapped.

use object::{LittleEndian, Pod, elf, pod::slice_from_bytes, read::elf::ProgramHeader as _};

use super::{ENDIAN, linkage};
use crate::plugin::refusal::Refusal;

/// The file as the dynamic linker maps it.
pub(super) struct Image<'data> {
    parts: Vec<Part<'data>>,
}

/// What a loadable segment has in the file.
struct Part<'data> {
    address: u64,
    bytes: &'data [u8],
}

impl<'data> Image<'data> {
    /// The segments as they lie in the file. Each page belongs to one of them, as every linker makes it: then nobody has to
    /// know which of two is mapped over the other.
    ///
    /// # Errors
    /// `LINKAGE`, when it is otherwise.
    pub(super) fn of(segments: &[elf::ProgramHeader64<LittleEndian>], bytes: &'data [u8]) -> Result<Self, Refusal> {
        let page = rustix::param::page_size() as u64;
        let mut parts = Vec::new();
        let mut mapped_to = 0;
        for segment in segments.iter().filter(|segment| segment.p_type(ENDIAN) == elf::PT_LOAD) {
            let (address, offset) = (segment.p_vaddr(ENDIAN), segment.p_offset(ENDIAN));
            let (in_file, in_memory) = (segment.p_filesz(ENDIAN), segment.p_memsz(ENDIAN));
            let end = address.checked_add(in_memory).and_then(|end| end.checked_next_multiple_of(page));
            let Some(end) = end.filter(|_| in_file <= in_memory && address % page == offset % page) else {
                return Err(linkage("a segment has not the same place in the file as in memory"));
            };
            if address - address % page < mapped_to {
                return Err(linkage("its segments overlap in memory, or are not in order"));
            }
            mapped_to = end;
            let bytes = segment.data(ENDIAN, bytes).map_err(|()| linkage("a segment lies outside of the file"))?;
            parts.push(Part { address, bytes });
        }
        Ok(Self { parts })
    }

    /// The bytes at this address and behind it, as far as they come from the file.
    ///
    /// # Errors
    /// `LINKAGE`, when there are none.
    pub(super) fn bytes_at(&self, address: u64, what: &str) -> Result<&'data [u8], Refusal> {
        self.find(address).ok_or_else(|| linkage(&format!("its {what} does not lie in what is mapped of the file")))
    }

    /// The same as a table, of as many rows as there is room for.
    ///
    /// # Errors
    /// As [`bytes_at`](Self::bytes_at), and when it does not lie on a boundary of its rows' numbers.
    pub(super) fn all_at<T: Pod>(&self, address: u64, what: &str) -> Result<&'data [T], Refusal> {
        let bytes = self.bytes_at(address, what)?;
        let rows = slice_from_bytes(bytes, bytes.len() / size_of::<T>());
        rows.map(|(rows, _)| rows).map_err(|()| linkage(&format!("its {what} is not aligned")))
    }

    /// The text at this address, without the zero that ends it.
    pub(super) fn text(&self, address: u64) -> Option<&'data [u8]> {
        let bytes = self.find(address)?;
        bytes.iter().position(|byte| *byte == 0).map(|end| &bytes[..end])
    }

    fn find(&self, address: u64) -> Option<&'data [u8]> {
        self.parts.iter().find_map(|part| {
            let offset = usize::try_from(address.checked_sub(part.address)?).ok()?;
            part.bytes.get(offset..).filter(|bytes| !bytes.is_empty())
        })
    }
}
