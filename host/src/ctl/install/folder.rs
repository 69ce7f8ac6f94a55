//! Writes into the plugin folder. Files are first written whole under hidden names, which the host ignores.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use crate::plugin::signature::SUFFIX;

/// Everybody may read a plugin; only the user who installed it may write it.
const MODE: u32 = 0o644;

/// A plugin and its signature under hidden names in the folder. Dropping it removes both.
pub(super) struct Staged {
    plugin: Draft,
    signature: Option<Draft>,
    folder: PathBuf,
}

impl Staged {
    /// Writes both files.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub(super) fn write(folder: &Path, name: &str, bytes: &[u8], signature: Option<&[u8]>) -> io::Result<Self> {
        Ok(Self {
            plugin: Draft::write(folder, name, bytes)?,
            signature: signature.map(|text| Draft::write(folder, &format!("{name}{SUFFIX}"), text)).transpose()?,
            folder: folder.to_owned(),
        })
    }

    /// The plugin's current path.
    pub(super) fn plugin(&self) -> &Path {
        &self.plugin.hidden
    }

    /// Gives both files their names, the signature first, so that the new plugin is never beside a signature of other
    /// bytes. If the plugin cannot get its name, the previous signature is restored.
    ///
    /// # Errors
    /// If they cannot be renamed, or the signature of the previous file cannot be read or removed.
    pub(super) fn publish(self) -> io::Result<()> {
        let Self { plugin, signature, folder } = self;
        let mut signed = plugin.place.clone().into_os_string();
        signed.push(SUFFIX);
        let before = found(fs::read(&signed))?;
        match signature {
            Some(signature) => signature.publish()?,
            None => found(fs::remove_file(&signed)).map(drop)?,
        }
        if let Err(error) = plugin.publish() {
            match before {
                Some(signature) => fs::write(&signed, signature)?,
                None => found(fs::remove_file(&signed)).map(drop)?,
            }
            return Err(error);
        }
        File::open(folder)?.sync_all()
    }
}

/// The result of reading a file; `None` if the file does not exist.
fn found<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A file under a hidden name, which the host ignores. Dropping it before it is published removes it.
struct Draft {
    hidden: PathBuf,
    place: PathBuf,
}

impl Draft {
    fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<Self> {
        let hidden = folder.join(format!(".{name}.{}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&hidden)?;
        let draft = Self { hidden, place: folder.join(name) };
        file.write_all(bytes)?;
        // Sets the mode regardless of the umask.
        file.set_permissions(Permissions::from_mode(MODE))?;
        file.sync_all()?;
        Ok(draft)
    }

    fn publish(self) -> io::Result<()> {
        fs::rename(&self.hidden, &self.place)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _published = fs::remove_file(&self.hidden);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(folder: &Path, name: &str, bytes: &[u8], signature: Option<&[u8]>) -> io::Result<()> {
        Staged::write(folder, name, bytes, signature)?.publish()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_put_whole_for_all_to_read_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for (bytes, signature, expected) in
            [(b"one", Some(&b"s"[..]), &["a.so", "a.so.minisig"][..]), (b"two", None, &["a.so"])]
        {
            put(folder, "a.so", bytes, signature).unwrap();
            assert_eq!(names(folder), expected);
            assert_eq!(fs::read(folder.join("a.so")).unwrap(), bytes);
            assert_eq!(fs::metadata(folder.join("a.so")).unwrap().permissions().mode() & 0o7777, MODE);
        }
        fs::create_dir(folder.join("b.so")).unwrap();
        put(folder, "b.so", b"x", None).unwrap_err();
        put(&folder.join("absent"), "a.so", b"x", None).unwrap_err();
        assert_eq!(names(folder), ["a.so", "b.so"]);
        // The previous signature is restored.
        fs::write(folder.join("b.so.minisig"), b"before").unwrap();
        put(folder, "b.so", b"x", Some(b"after")).unwrap_err();
        assert_eq!(fs::read(folder.join("b.so.minisig")).unwrap(), b"before");
    }
}
