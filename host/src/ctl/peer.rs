//! Checks who serves the admin socket before anything is sent, because requests contain secrets.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use tokio::net::UnixStream;

use super::{failure::Failure, users::Users};
use crate::admin::wire::Problem;

/// How the socket's path was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// By its own name, or where only root creates folders: the folder's owner should serve it.
    Named,
    /// In the current folder, which may belong to anybody.
    Here,
}

/// Accepts root as the server, the user of this program and, where that is meaningful, the owner of the socket's
/// folder.
///
/// # Errors
/// If anybody else serves the socket, or the system does not say who does.
pub(super) fn check(connection: &UnixStream, socket: &Path, found: Found) -> Result<(), Failure> {
    let server = connection.peer_cred().map_err(|error| unknown(socket, &error))?;
    let server = Server { user: server.uid(), group: server.gid() };
    let own = rustix::process::geteuid().as_raw();
    let folder = Folder::of(socket).map_err(|error| unknown(socket, &error))?;
    if is_trusted(server, own, folder, found) {
        Ok(())
    } else {
        Err(stranger(socket, server.user, own, folder.user, found))
    }
}

/// The user and process that serve the socket.
#[derive(Debug, Clone, Copy)]
struct Server {
    user: u32,
    group: u32,
}

/// The owner of the socket's folder.
#[derive(Debug, Clone, Copy)]
struct Folder {
    user: u32,
    group: u32,
    mode: u32,
}

impl Folder {
    fn of(socket: &Path) -> io::Result<Self> {
        let folder = socket.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let found = fs::metadata(folder)?;
        Ok(Self { user: found.uid(), group: found.gid(), mode: found.mode() })
    }

    /// Whether root has given the folder to this group and to nobody else, as container systems do with volumes.
    fn is_roots_for(self, group: u32) -> bool {
        self.user == 0 && self.group == group && self.mode & 0o022 == 0o020
    }
}

fn is_trusted(server: Server, own: u32, folder: Folder, found: Found) -> bool {
    let is_folders = server.user == folder.user || folder.is_roots_for(server.group);
    server.user == 0 || server.user == own || (found == Found::Named && is_folders)
}

fn stranger(socket: &Path, server: u32, own: u32, owner: u32, found: Found) -> Failure {
    let users = Users::of_this_machine();
    let name = |uid: u32| users.shown(&format!("uid {uid}"));
    let shown = socket.display();
    let (why, mend) = match found {
        Found::Named => (
            format!("only root, {} who asks and {} who owns the socket's folder may serve it", name(own), name(owner)),
            "name the socket of your patchbay: --socket PATH or PATCHBAY_SOCKET; find out who put this one there"
                .to_owned(),
        ),
        Found::Here => (
            format!("in the current folder only root and {} who asks may serve it, unless it is named", name(own)),
            format!("if it is your patchbay's, name it: --socket {shown}"),
        ),
    };
    let problem = Problem::new("STRANGER", format!("{shown} is served by {}", name(server)));
    Failure::failed(problem.why(why).state("nothing was sent").mend(mend))
}

fn unknown(socket: &Path, error: &io::Error) -> Failure {
    let problem = Problem::new("STRANGER", format!("the system does not say who serves {}", socket.display()));
    let problem = problem.why(error.to_string()).state("nothing was sent");
    Failure::failed(problem.mend("name the socket of your patchbay: --socket PATH or PATCHBAY_SOCKET"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_serve_a_socket() {
        const ROOT: u32 = 0;
        for (server, own, owner, named, here) in [
            (ROOT, 1000, 1000, true, true),
            (ROOT, 1000, 7, true, true),
            (1000, 1000, ROOT, true, true),
            (7, ROOT, 7, true, false),
            (7, 1000, 7, true, false),
            (7, ROOT, ROOT, false, false),
            (7, 1000, 1000, false, false),
            (7, ROOT, 1000, false, false),
        ] {
            let (peer, folder) = (Server { user: server, group: 5 }, Folder { user: owner, group: 5, mode: 0o750 });
            let is_trusted = |found| is_trusted(peer, own, folder, found);
            assert_eq!((is_trusted(Found::Named), is_trusted(Found::Here)), (named, here), "{server} {own} {owner}");
        }
    }

    #[test]
    fn a_socket_without_a_folder_in_its_name_lies_in_the_current_one() {
        let here = fs::metadata(".").unwrap().uid();
        assert_eq!(Folder::of(Path::new("admin.sock")).unwrap().user, here);
        assert_eq!(Folder::of(Path::new("./admin.sock")).unwrap().user, here);
        assert!(Folder::of(Path::new("/nowhere/admin.sock")).is_err());
    }

    #[test]
    fn a_volume_that_root_has_given_to_the_servers_group_is_the_servers() {
        for (user, group, mode, expected) in [
            (0, 10_001, 0o2_770, true),
            (0, 10_001, 0o750, false),
            (0, 10_001, 0o777, false),
            (0, 10_002, 0o2_770, false),
            (7, 10_001, 0o2_770, false),
        ] {
            let server = Server { user: 10_001, group: 10_001 };
            assert_eq!(
                is_trusted(server, 0, Folder { user, group, mode }, Found::Named),
                expected,
                "{user} {group} {mode:o}"
            );
            assert!(!is_trusted(server, 0, Folder { user, group, mode }, Found::Here));
        }
    }
}
