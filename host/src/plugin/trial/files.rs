//! The bytes of a plugin as a file that cannot be changed any more: in sealed memory, or on disk without a name.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::{fd::AsRawFd as _, unix::fs::PermissionsExt as _},
    path::Path,
};

use rustix::{
    fs::{MemfdFlags, SealFlags, StatVfsMountFlags},
    io::Errno,
};

/// A file in memory that nobody can change any more.
///
/// # Errors
/// When the system has no memory for it, or denies it.
pub(crate) fn sealed(name: &str, bytes: &[u8]) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels from 6.3 on may take only files that are never run as programs; older ones do not know the word.
    let memory = rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_| rustix::fs::memfd_create(name, flags))?;
    let mut memory = File::from(memory);
    memory.write_all(bytes)?;
    seal(&memory)?;
    Ok(memory)
}

/// Not with `F_SEAL_WRITE`: as long as anything in the kernel holds one of the pages, which compaction may do at any time,
/// that one waits and then fails with EBUSY. What it does besides is to refuse a file that somebody has mapped for
/// writing, and nobody has. Kernels before 5.1 have no other.
fn seal(memory: &File) -> io::Result<()> {
    let seals = SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    match rustix::fs::fcntl_add_seals(memory, seals | SealFlags::FUTURE_WRITE) {
        Err(Errno::INVAL) => Ok(rustix::fs::fcntl_add_seals(memory, seals | SealFlags::WRITE)?),
        sealed => Ok(sealed?),
    }
}

/// A file without a name in this folder, open for reading: what takes the place of [`sealed`] where there is no file in
/// memory. The process that reads it may have another user by then.
///
/// # Errors
/// When it cannot be made, or when nothing in this folder can be mapped as a program.
pub(crate) fn on_disk(folder: &Path, bytes: &[u8]) -> io::Result<File> {
    let context = |fault: io::Error| io::Error::new(fault.kind(), format!("a file in {}: {fault}", folder.display()));
    if is_noexec(folder) {
        return Err(context(io::Error::other("it lies on a file system that is mounted noexec")));
    }
    let make = || {
        let mut file = tempfile::tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.set_permissions(fs::Permissions::from_mode(0o444))?;
        File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
    };
    make().map_err(context)
}

/// Whether nothing that lies there can be mapped as a program. False when the system does not say.
pub(crate) fn is_noexec(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|system| system.f_flag.contains(StatVfsMountFlags::NOEXEC))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::OpenOptions,
        io::{ErrorKind, Read as _},
        os::unix::fs::FileExt as _,
    };

    use rustix::{
        fs::FallocateFlags,
        pipe::{SpliceFlags, pipe, splice},
    };

    use super::*;

    #[test]
    fn a_file_on_disk_has_the_bytes_and_no_name_and_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = on_disk(folder.path(), b"proven").unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"proven");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(file.write(b"x").unwrap_err().raw_os_error(), Some(libc::EBADF));
        let nowhere = on_disk(&folder.path().join("nowhere"), b"").unwrap_err().to_string();
        assert!(nowhere.contains("nowhere"), "{nowhere}");
    }

    #[test]
    fn nobody_can_change_a_sealed_file() {
        let memory = sealed("test", b"proven").unwrap();
        let again = format!("/proc/self/fd/{}", memory.as_raw_fd());
        let again = OpenOptions::new().read(true).write(true).open(again).unwrap();
        for file in [&memory, &again] {
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            for outcome in [
                file.write_at(b"x", 0).map(drop),
                file.write_at(b"x", 6).map(drop),
                file.set_len(0),
                file.set_len(7),
                rustix::fs::fallocate(file, hole, 0, 4096).map_err(io::Error::from),
                rustix::fs::fcntl_add_seals(file, SealFlags::WRITE).map_err(io::Error::from),
            ] {
                assert_eq!(outcome.unwrap_err().kind(), ErrorKind::PermissionDenied);
            }
        }
        assert_eq!(std::fs::read(format!("/proc/self/fd/{}", memory.as_raw_fd())).unwrap(), b"proven");
    }

    #[test]
    fn pages_that_somebody_holds_keep_nothing_from_being_sealed() {
        let mut memory = File::from(rustix::fs::memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap());
        memory.write_all(&[7; 4096]).unwrap();
        // A pipe takes the page itself, and holds it until it is read.
        let (_reader, writer) = pipe().unwrap();
        assert_eq!(splice(&memory, Some(&mut 0), &writer, None, 4096, SpliceFlags::empty()).unwrap(), 4096);
        seal(&memory).unwrap();
    }
}
