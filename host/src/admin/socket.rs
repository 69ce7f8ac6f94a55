//! The admin socket's file. Only its owner can ever open it, and a stale file does not prevent a start.

use std::{
    fs, io,
    os::unix::{fs::FileTypeExt, net::UnixStream},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, fchmod};
use tokio::net::{UnixListener, UnixSocket};

/// Maximum number of connections that wait to be accepted.
const BACKLOG: u32 = 64;

/// Why the socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process answers on the socket.
    #[error("another host answers on {}; stop it, or give this one another state_dir", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// A file of that name exists and is not a socket. It was not changed.
    #[error("{} is there already and is no socket; move it away, or change admin.socket", path.display())]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("the admin socket {} cannot be made: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Creates the socket with mode 0600, replacing a stale one. Blocks briefly on the file system; must be called within a
/// runtime.
pub fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let io = |source| BindError::Io { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotASocket { path: path.to_owned() }),
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => return Err(BindError::InUse { path: path.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(io)?,
            Err(error) => return Err(io(error)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io(error)),
    }
    let socket = UnixSocket::new_stream().map_err(io)?;
    // On Linux, bind gives the file the socket's mode, less the umask. It is therefore never open to others, not even
    // between bind and chmod. The chmod below restores what an odd umask took from the owner.
    fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(|error| io(error.into()))?;
    socket.bind(path).map_err(io)?;
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).map_err(io)?;
    socket.listen(BACKLOG).map_err(io)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_a_live_one_and_other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let live = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(bind(&path), Err(BindError::InUse { .. })));
        drop(live);
        assert!(path.exists(), "what is replaced below is stale");
        drop(bind(&path).unwrap());

        let file = folder.path().join("file");
        fs::write(&file, "precious").unwrap();
        assert!(matches!(bind(&file), Err(BindError::NotASocket { .. })));
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
        assert!(matches!(bind(&folder.path().join("no/folder.sock")), Err(BindError::Io { .. })));
    }

    #[test]
    fn the_mode_is_given_to_the_socket_before_it_has_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _within = runtime.enter();
        let socket = UnixSocket::new_stream().unwrap();
        fchmod(&socket, Mode::RUSR | Mode::WUSR).unwrap();
        socket.bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o177, 0, "open to others, or executable");
    }
}
