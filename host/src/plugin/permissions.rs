//! Who can write what the host is about to map: the file, what it points to, and every folder above, as sshd's
//! StrictModes looks at keys. How much of that counts is the operator's to say (`plugins.permissions`).
//!
//! Modes, owners, POSIX access control lists and primary groups count. The lists of NFS 4 are not read: there the server
//! decides, and shows in the mode what it likes.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use super::refusal::{Code, Refusal};
use crate::config::Permissions;

/// The extended attribute that holds a POSIX access control list.
const ACCESS_LIST: &str = "system.posix_acl_access";
/// The kernel takes no longer attribute.
const ACCESS_LIST_BYTES_MAX: usize = 64 << 10;

/// What the kernel shows for a user or group that a user namespace does not map.
const UNMAPPED: u32 = 65534;

/// Refuses a file that others than the policy takes for granted could change.
///
/// # Errors
/// `PERMISSIONS`, with path, mode and setting; `OPEN` when something of the path cannot be seen.
pub fn check(path: &Path, policy: Permissions) -> Result<(), Refusal> {
    match finding(path, policy) {
        Ok(None) => Ok(()),
        Ok(Some(finding)) => Err(Refusal::new(Code::Permissions, sentence(&finding, policy))),
        Err(fault) => Err(Refusal::new(Code::Open, fault.to_string())),
    }
}

/// A finding with the setting that it goes by.
pub fn sentence(finding: &str, policy: Permissions) -> String {
    format!("{finding}; setting plugins.permissions = \"{policy}\"")
}

/// The first place of this path, a file's or a folder's, that others could change, in a sentence.
///
/// # Errors
/// When something of the path cannot be seen.
pub fn finding(path: &Path, policy: Permissions) -> io::Result<Option<String>> {
    finding_for(path, policy, rustix::process::geteuid().as_raw())
}

/// The same for a host that runs as this user.
///
/// # Errors
/// When something of the path cannot be seen.
pub fn finding_for(path: &Path, policy: Permissions, host: u32) -> io::Result<Option<String>> {
    let named = std::path::absolute(path)?;
    let target = fs::canonicalize(path)?;
    let judge = Judge::new(&named, &target, policy, host)?;
    let mut looked_at: Vec<PathBuf> = Vec::new();
    for place in target.ancestors().chain(named.ancestors().skip(1)) {
        // The same folder by two names is looked at once; a link on the way is looked at through its target.
        let place = fs::canonicalize(place)?;
        if looked_at.contains(&place) {
            continue;
        }
        let metadata = fs::metadata(&place)?;
        let own = |gid| is_private_group(gid, metadata.uid());
        if let Err(fault) = judge.judge(&judge.owned(&metadata, access_list(&place)?), own) {
            let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
            return Ok(Some(format!("{} (mode {mode:04o}, owner {uid}, group {gid}) {fault}", place.display())));
        }
        looked_at.push(place);
    }
    Ok(None)
}

/// Whether a file's owner is root or the host's user.
///
/// # Errors
/// When `/` cannot be seen.
pub fn is_owner_trusted(metadata: &Metadata) -> io::Result<bool> {
    let owner = mapped(metadata.uid(), fs::metadata("/")?.uid());
    Ok(owner == 0 || owner == rustix::process::geteuid().as_raw())
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
    /// Whom an access control list lets write besides.
    named: Named,
}

/// Users and groups that may write because an access control list names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Named {
    users: Vec<u32>,
    groups: Vec<u32>,
}

/// An access control list, as far as it lets somebody write.
#[derive(Debug, Default, PartialEq, Eq)]
struct AccessList {
    group_writes: bool,
    named: Named,
}

impl Judge {
    fn new(named: &Path, target: &Path, policy: Permissions, host: u32) -> io::Result<Self> {
        let folder = if target.is_dir() { target } else { named.parent().unwrap_or(named) };
        let root = fs::metadata("/")?;
        Ok(Self { policy, host, volume: fs::metadata(folder)?.dev(), root: (root.uid(), root.gid()) })
    }

    fn owned(&self, metadata: &Metadata, list: Option<AccessList>) -> Owned {
        let (mode, named) = match list {
            None => (metadata.mode(), Named::default()),
            // With a list the group's bits of the mode are the mask of all that are named.
            Some(AccessList { group_writes: false, named }) => (metadata.mode() & !0o020, named),
            Some(AccessList { group_writes: true, named }) => (metadata.mode(), named),
        };
        Owned {
            uid: mapped(metadata.uid(), self.root.0),
            gid: mapped(metadata.gid(), self.root.1),
            mode,
            named: Named {
                users: named.users.into_iter().map(|uid| mapped(uid, self.root.0)).collect(),
                groups: named.groups.into_iter().map(|gid| mapped(gid, self.root.1)).collect(),
            },
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
        if owned.named.users.iter().any(|uid| *uid != 0 && *uid != self.host) && !sticky {
            return Err("can be written by another user, whom its access control list names");
        }
        let by_named_group = owned.named.groups.iter().any(|gid| *gid != 0 && !private(*gid)) && !sticky;
        if by_named_group && self.policy == Permissions::Strict {
            return Err("can be written by a group that its access control list names");
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
    // A list that cannot be read says of nobody that he is alone.
    let read = |path| fs::read_to_string(path).ok();
    gid == uid
        && read("/etc/group")
            .zip(read("/etc/passwd"))
            .is_some_and(|(groups, users)| is_alone(gid, uid, &groups, &users))
}

/// Whether `/etc/group` and `/etc/passwd` have nobody but this user in this group, neither as a member nor by a primary group.
fn is_alone(gid: u32, uid: u32, groups: &str, users: &str) -> bool {
    let group = groups.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| is(fields.get(2), gid));
    let no_members = group.is_some_and(|fields| {
        let members = fields.get(3).copied().unwrap_or_default();
        members.split(',').all(|member| member.is_empty() || member == fields[0])
    });
    let mut users = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    no_members && users.all(|fields| !is(fields.get(3), gid) || is(fields.get(2), uid))
}

fn is(field: Option<&&str>, id: u32) -> bool {
    field.is_some_and(|field| field.parse() == Ok(id))
}

/// The access control list of a file, when it has one.
fn access_list(place: &Path) -> io::Result<Option<AccessList>> {
    let mut bytes = vec![0; ACCESS_LIST_BYTES_MAX];
    match rustix::fs::getxattr(place, ACCESS_LIST, &mut bytes[..]) {
        Ok(length) => AccessList::parse(&bytes[..length]).map(Some).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} has an unknown access control list", place.display()),
            )
        }),
        // No list, a file system without any, or a sandbox that knows none.
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(None),
        Err(fault) => Err(fault.into()),
    }
}

impl AccessList {
    /// Reads what the kernel shows (linux/posix_acl_xattr.h): a version, then entries of tag, rights and number, all
    /// little-endian.
    fn parse(bytes: &[u8]) -> Option<Self> {
        const VERSION: [u8; 4] = 2_u32.to_le_bytes();
        const USER: u16 = 0x02;
        const GROUP_OF_OWNER: u16 = 0x04;
        const GROUP: u16 = 0x08;
        const MASK: u16 = 0x10;
        const WRITE: u16 = 2;
        let (entries, rest) = bytes.strip_prefix(&VERSION)?.as_chunks::<8>();
        let mut list = Self::default();
        let mut masked = false;
        for [tag, tag_high, rights, rights_high, id @ ..] in entries {
            let writes = u16::from_le_bytes([*rights, *rights_high]) & WRITE != 0;
            match u16::from_le_bytes([*tag, *tag_high]) {
                USER if writes => list.named.users.push(u32::from_le_bytes(*id)),
                GROUP if writes => list.named.groups.push(u32::from_le_bytes(*id)),
                GROUP_OF_OWNER => list.group_writes = writes,
                MASK => masked = !writes,
                _ => {}
            }
        }
        if masked {
            list = Self::default();
        }
        rest.is_empty().then_some(list)
    }
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
            let owned = Owned { uid, gid, mode, folder, on_volume, named: Named::default() };
            let judged = judge.judge(&owned, |gid| gid == 1000);
            assert_eq!(judged.is_ok(), expected, "{uid}:{gid} {mode:o} {policy}: {judged:?}");
        }
    }

    #[test]
    fn outside_of_a_volume_everybody_may_not_write() {
        let judge = Judge { policy: Permissions::Volume, host: 1000, volume: 7, root: (0, 0) };
        for (uid, mode, expected) in [(0, 0o755, true), (1001, 0o775, true), (0, 0o777, false), (0, 0o1777, true)] {
            let owned = Owned { uid, gid: 0, mode, folder: true, on_volume: false, named: Named::default() };
            let judged = judge.judge(&owned, |_| false);
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

    #[test]
    fn whom_an_access_control_list_names_counts_as_whom_the_mode_lets_write() {
        use Permissions::{Group, Strict, Volume};
        let (nobody, root) = (Named::default(), Named { users: vec![0, 1000], groups: vec![0, 1000] });
        let (user, group) =
            (Named { users: vec![1001], ..nobody.clone() }, Named { groups: vec![50], ..nobody.clone() });
        for (named, uid, mode, policy, expected) in [
            (&nobody, 1000, 0o755, Strict, true),
            (&root, 1000, 0o755, Strict, true),
            (&user, 1000, 0o755, Strict, false),
            (&user, 1000, 0o755, Group, false),
            (&user, 1000, 0o755, Volume, true),
            (&group, 1000, 0o755, Strict, false),
            (&group, 1000, 0o755, Group, true),
            (&group, 0, 0o1777, Strict, true),
            (&user, 0, 0o1777, Strict, true),
        ] {
            let judge = Judge { policy, host: 1000, volume: 7, root: (0, 0) };
            let owned = Owned { uid, gid: 1000, mode, folder: true, on_volume: true, named: named.clone() };
            let judged = judge.judge(&owned, |gid| gid == 1000);
            assert_eq!(judged.is_ok(), expected, "{named:?} {uid} {mode:o} {policy}: {judged:?}");
        }
    }

    /// As the kernel shows a list: rights of owner, a user, the owner's group, a group, the mask, and others.
    fn list(user: u16, own_group: u16, group: u16, mask: u16) -> Vec<u8> {
        let entries =
            [(1, 7, u32::MAX), (2, user, 1001), (4, own_group, u32::MAX), (8, group, 50), (16, mask, u32::MAX)];
        let entry = |(tag, rights, id): (u16, u16, u32)| {
            [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let entries = entries.into_iter().chain([(32, 5, u32::MAX)]).flat_map(entry);
        2_u32.to_le_bytes().into_iter().chain(entries).collect()
    }

    #[test]
    fn access_control_lists_are_read_with_their_mask() {
        let check = |bytes: &[u8], group_writes, users: &[u32], groups: &[u32]| {
            let named = Named { users: users.to_vec(), groups: groups.to_vec() };
            assert_eq!(AccessList::parse(bytes), Some(AccessList { group_writes, named }), "{bytes:?}");
        };
        check(&list(5, 5, 5, 7), false, &[], &[]);
        check(&list(7, 5, 5, 7), false, &[1001], &[]);
        check(&list(5, 7, 2, 7), true, &[], &[50]);
        check(&list(7, 7, 7, 5), false, &[], &[]);
        for unknown in [&b""[..], &[3, 0, 0, 0], &list(7, 7, 7, 7)[..15]] {
            assert_eq!(AccessList::parse(unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn a_file_that_a_list_lets_another_user_write_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.so");
        fs::write(&file, b"x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        for (writes, expected) in [(5, None), (7, Some("whom its access control list names"))] {
            let set = rustix::fs::setxattr(&file, ACCESS_LIST, &list(writes, 5, 5, 7), rustix::fs::XattrFlags::empty());
            if set == Err(Errno::OPNOTSUPP) {
                eprintln!("skipped: files have no access control lists here");
                return;
            }
            set.unwrap();
            let reason = check(&file, Permissions::Strict).err().map(|refusal| refusal.reason);
            assert_eq!(reason.is_none(), expected.is_none(), "{reason:?}");
            assert!(expected.is_none_or(|expected| reason.is_some_and(|reason| reason.contains(expected))));
        }
    }

    #[test]
    fn a_group_is_private_while_nobody_else_is_in_it_in_any_way() {
        let groups = "root:x:0:\nhost:x:1000:\nself:x:1001:self\nshared:x:1002:host,guest\n";
        let users = "root:x:0:0::/:\nhost:x:1000:1000::/:\nself:x:1001:1001::/:\nshared:x:1002:1002::/:\n";
        let with_guest = format!("{users}guest:x:2000:1000::/:\n");
        for (id, users, expected) in [
            (1000, users, true),
            (1001, users, true),
            (1002, users, false),
            (1003, users, false),
            (1000, &with_guest, false),
            (1001, &with_guest, true),
        ] {
            assert_eq!(is_alone(id, id, groups, users), expected, "{id} {users}");
        }
    }
}
