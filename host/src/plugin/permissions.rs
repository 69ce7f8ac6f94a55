//! Who can write what the host is about to map: the file, what it points to, and every folder above, as sshd's
//! StrictModes looks at keys. How much of that counts is the operator's to say (`plugins.permissions`).

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::refusal::{Code, Refusal};
use crate::config::Permissions;

/// What the kernel shows for a user or group that a user namespace does not map.
const UNMAPPED: u32 = 65534;

/// Refuses a file that others than the policy takes for granted could change.
///
/// # Errors
/// `PERMISSIONS`, with path, mode and setting; `OPEN` when something of the path cannot be seen.
pub fn check(path: &Path, policy: Permissions) -> Result<(), Refusal> {
    match finding(path, policy) {
        Ok(None) => Ok(()),
        Ok(Some(finding)) => {
            let reason = format!("{finding}; setting plugins.permissions = \"{policy}\"");
            Err(Refusal::new(Code::Permissions, reason))
        }
        Err(fault) => Err(Refusal::new(Code::Open, fault.to_string())),
    }
}

/// The first place of this path, a file's or a folder's, that others could change, in a sentence.
///
/// # Errors
/// When something of the path cannot be seen.
pub fn finding(path: &Path, policy: Permissions) -> io::Result<Option<String>> {
    let named = std::path::absolute(path)?;
    let target = fs::canonicalize(path)?;
    let judge = Judge::new(&named, &target, policy)?;
    let mut looked_at: Vec<PathBuf> = Vec::new();
    for place in target.ancestors().chain(named.ancestors().skip(1)) {
        // The same folder by two names is looked at once; a link on the way is looked at through its target.
        let place = fs::canonicalize(place)?;
        if looked_at.contains(&place) {
            continue;
        }
        let metadata = fs::metadata(&place)?;
        let own = |gid| is_private_group(gid, metadata.uid());
        if let Err(fault) = judge.judge(&judge.owned(&metadata), own) {
            let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
            return Ok(Some(format!("{} (mode {mode:04o}, owner {uid}, group {gid}) {fault}", place.display())));
        }
        looked_at.push(place);
    }
    Ok(None)
}

struct Judge {
    policy: Permissions,
    host: u32,
    /// The number of the file system that the folder lies on.
    volume: u64,
    /// To whom `/` belongs.
    root: (u32, u32),
}

struct Owned {
    uid: u32,
    gid: u32,
    mode: u32,
    folder: bool,
    on_volume: bool,
}

impl Judge {
    fn new(named: &Path, target: &Path, policy: Permissions) -> io::Result<Self> {
        let folder = if target.is_dir() { target } else { named.parent().unwrap_or(named) };
        let root = fs::metadata("/")?;
        Ok(Self {
            policy,
            host: rustix::process::geteuid().as_raw(),
            volume: fs::metadata(folder)?.dev(),
            root: (root.uid(), root.gid()),
        })
    }

    fn owned(&self, metadata: &Metadata) -> Owned {
        Owned {
            uid: mapped(metadata.uid(), self.root.0),
            gid: mapped(metadata.gid(), self.root.1),
            mode: metadata.mode(),
            folder: metadata.is_dir(),
            on_volume: metadata.dev() == self.volume,
        }
    }

    fn judge(&self, owned: &Owned, private: impl Fn(u32) -> bool) -> Result<(), &'static str> {
        // In a sticky folder of root's, such as /tmp, nobody can replace what is another's.
        let sticky = owned.folder && owned.uid == 0 && owned.mode & 0o1000 != 0;
        let by_everybody = owned.mode & 0o002 != 0 && !sticky;
        if self.policy == Permissions::Volume {
            let outside = by_everybody && !owned.on_volume;
            return if outside { Err("can be written by everybody, and lies outside of the volume") } else { Ok(()) };
        }
        if owned.uid != 0 && owned.uid != self.host {
            return Err("belongs to another user");
        }
        if by_everybody {
            return Err("can be written by everybody");
        }
        let by_group = owned.mode & 0o020 != 0 && owned.gid != 0 && !sticky;
        if by_group && self.policy == Permissions::Strict && !private(owned.gid) {
            return Err("can be written by its group");
        }
        Ok(())
    }
}

/// A user's or group's number. In a user namespace that does not map root, `/` and all else of root's seem to be nobody's.
fn mapped(id: u32, of_the_root_folder: u32) -> u32 {
    if id == UNMAPPED && of_the_root_folder == UNMAPPED { 0 } else { id }
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
        use Permissions::{Group, Strict, Volume};
        let on_volume = true;
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
            (0, 0, 0o777, true, Group, false),
            (0, 0, 0o777, true, Volume, true),
            (0, 2000, 0o2777, true, Group, false),
            (0, 2000, 0o2777, true, Volume, true),
            (1001, 0, 0o664, false, Group, false),
            (1001, 0, 0o664, false, Volume, true),
            (1001, 1001, 0o666, false, Volume, true),
        ] {
            let judge = Judge { policy, host: 1000, volume: 7, root: (0, 0) };
            let judged = judge.judge(&Owned { uid, gid, mode, folder, on_volume }, |gid| gid == 1000);
            assert_eq!(judged.is_ok(), expected, "{uid}:{gid} {mode:o} {policy}: {judged:?}");
        }
    }

    #[test]
    fn outside_of_a_volume_everybody_may_not_write() {
        let judge = Judge { policy: Permissions::Volume, host: 1000, volume: 7, root: (0, 0) };
        for (uid, mode, expected) in [(0, 0o755, true), (1001, 0o775, true), (0, 0o777, false), (0, 0o1777, true)] {
            let judged = judge.judge(&Owned { uid, gid: 0, mode, folder: true, on_volume: false }, |_| false);
            assert_eq!(judged.is_ok(), expected, "{uid} {mode:o}: {judged:?}");
        }
    }

    #[test]
    fn a_namespace_that_does_not_map_root_makes_its_folders_nobodys() {
        for (id, of_the_root_folder, expected) in [(65534, 65534, 0), (65534, 0, 65534), (1001, 65534, 1001)] {
            assert_eq!(mapped(id, of_the_root_folder), expected, "{id} {of_the_root_folder}");
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
