//! Who can write what the host is about to map: the file, what it points to, and every folder above, as sshd's
//! StrictModes looks at keys.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::refusal::{Code, Refusal};
use crate::config::Permissions;

/// Refuses a file that anybody but root and the host's own user could change.
///
/// # Errors
/// `PERMISSIONS`, with path, mode and setting; `OPEN` when something of the path cannot be seen.
pub fn check(path: &Path, policy: Permissions) -> Result<(), Refusal> {
    let open = |fault: io::Error| Refusal::new(Code::Open, fault.to_string());
    let named = std::path::absolute(path).map_err(open)?;
    let target = fs::canonicalize(path).map_err(open)?;
    let host = rustix::process::geteuid().as_raw();
    let mut looked_at: Vec<PathBuf> = Vec::new();
    for place in target.ancestors().chain(named.ancestors().skip(1)) {
        // The same folder by two names is looked at once; a link on the way is looked at through its target.
        let place = fs::canonicalize(place).map_err(open)?;
        if looked_at.contains(&place) {
            continue;
        }
        let metadata = fs::metadata(&place).map_err(open)?;
        if let Err(fault) = judge(Owned::of(&metadata), host, policy, |gid| is_private_group(gid, metadata.uid())) {
            let message = format!(
                "{} (mode {:04o}, owner {}, group {}) {fault}; setting plugins.permissions = {policy:?}",
                place.display(),
                metadata.mode() & 0o7777,
                metadata.uid(),
                metadata.gid()
            );
            return Err(Refusal::new(Code::Permissions, message));
        }
        looked_at.push(place);
    }
    Ok(())
}

struct Owned {
    uid: u32,
    gid: u32,
    mode: u32,
    folder: bool,
}

impl Owned {
    fn of(metadata: &fs::Metadata) -> Self {
        Self { uid: metadata.uid(), gid: metadata.gid(), mode: metadata.mode(), folder: metadata.is_dir() }
    }
}

fn judge(owned: Owned, host: u32, policy: Permissions, private: impl Fn(u32) -> bool) -> Result<(), &'static str> {
    if owned.uid != 0 && owned.uid != host {
        return Err("belongs to another user");
    }
    // In a sticky folder of root's, such as /tmp, nobody can replace what is another's.
    let sticky = owned.folder && owned.uid == 0 && owned.mode & 0o1000 != 0;
    if owned.mode & 0o002 != 0 && !sticky {
        return Err("can be written by everybody");
    }
    let by_group = owned.mode & 0o020 != 0 && owned.gid != 0 && !sticky;
    if by_group && policy == Permissions::Strict && !private(owned.gid) {
        return Err("can be written by its group");
    }
    Ok(())
}

/// Whether a group is its user's own: the same number, and nobody else in it.
fn is_private_group(gid: u32, uid: u32) -> bool {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let entry = groups.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        (fields.get(2)?.parse() == Ok(gid))
            .then(|| (fields[0].to_owned(), fields.get(3).copied().unwrap_or("").to_owned()))
    });
    gid == uid
        && entry.is_some_and(|(name, members)| members.split(',').all(|member| member.is_empty() || member == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_write() {
        use Permissions::{Group, Strict};
        for (uid, gid, mode, folder, policy, expected) in [
            (1000, 1000, 0o644, false, Strict, true),
            (0, 0, 0o755, true, Strict, true),
            (1001, 1001, 0o644, false, Strict, false),
            (1000, 1000, 0o646, false, Strict, false),
            (1000, 1000, 0o666, false, Group, false),
            (0, 0, 0o1777, true, Strict, true),
            (1000, 1000, 0o1777, true, Strict, false),
            (0, 0, 0o1777, false, Strict, false),
            (1000, 50, 0o664, false, Strict, false),
            (1000, 50, 0o664, false, Group, true),
            (1000, 1000, 0o664, false, Strict, true),
            (0, 0, 0o775, true, Strict, true),
        ] {
            let judged = judge(Owned { uid, gid, mode, folder }, 1000, policy, |gid| gid == 1000);
            assert_eq!(judged.is_ok(), expected, "{uid}:{gid} {mode:o} {policy:?}: {judged:?}");
        }
    }

    #[test]
    fn a_file_of_ones_own_in_tmp_passes_until_others_may_write() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.so");
        fs::write(&file, b"x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        check(&file, Permissions::Strict).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o646)).unwrap();
        let refusal = check(&file, Permissions::Strict).unwrap_err();
        assert_eq!(refusal.code, Code::Permissions);
        assert!(refusal.reason.contains("0646") && refusal.reason.contains("a.so"), "{refusal}");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let link = folder.path().join("b.so");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(check(&link, Permissions::Strict).unwrap_err().code, Code::Permissions);
    }
}
