//! Secrets at rest: each is sealed with XChaCha20-Poly1305 under a key stored outside the database.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::{config::Permissions, ids::TenantId, plugin::permissions};

mod encoded;
pub mod oauth2;

use oauth2::{InvalidOauth, OauthCredential};

/// Maximum length of a secret, in bytes.
pub const SECRET_BYTES_MAX: usize = 8_192;
/// Maximum number of keys in a key file.
pub const KEYS_MAX: usize = 8;

const RECORD_VERSION: u8 = 1;
const KEY_ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 24;
const HEADER_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_BYTES;
const KEY_BYTES: usize = 32;
const KEY_FILE_BYTES_MAX: u64 = 4_096;

/// A secret in clear text. It is overwritten when dropped, and can be neither copied nor printed:
/// [`expose`](Self::expose) is the only way to its text.
pub struct SecretText {
    text: Zeroizing<String>,
    encoded: OnceLock<Vec<Zeroizing<String>>>,
    oauth2: OnceLock<Option<Result<Box<OauthCredential>, InvalidOauth>>>,
}

impl SecretText {
    /// Takes ownership of the text. Refuses an empty secret, or one over [`SECRET_BYTES_MAX`].
    pub fn new(text: String) -> Result<Self, SecretError> {
        let text = Zeroizing::new(text);
        if text.is_empty() || text.len() > SECRET_BYTES_MAX {
            return Err(SecretError::Length);
        }
        Ok(Self { text, encoded: OnceLock::new(), oauth2: OnceLock::new() })
    }

    /// The text. Callers must not store, log or copy it.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The credential for obtaining access tokens, if the secret is of the kind `oauth2`; `None` if it is plain. It is
    /// parsed when first needed, and overwritten with the text.
    ///
    /// # Errors
    /// If it is of that kind, but invalid.
    pub fn oauth2(&self) -> Result<Option<&OauthCredential>, &InvalidOauth> {
        let read = || OauthCredential::parse(&self.text).map(|read| read.map(Box::new));
        self.oauth2.get_or_init(read).as_ref().map(|read| read.as_deref()).transpose()
    }

    /// Texts that must never be shown: the secret itself or, for the kind `oauth2`, the secrets in it.
    pub(crate) fn texts(&self) -> Vec<&SecretText> {
        match self.oauth2() {
            Ok(Some(credential)) => credential.texts(),
            Ok(None) | Err(_) => vec![self],
        }
    }

    /// The text in other encodings: JSON, percent-encoding, Base64 and so on. They are computed when first needed, and
    /// overwritten with it.
    pub(crate) fn encoded(&self) -> &[Zeroizing<String>] {
        self.encoded.get_or_init(|| encoded::encoded(&self.text).into_iter().map(Zeroizing::new).collect())
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// What a sealed record is bound to: it opens for this tenant, name and version only.
#[derive(Debug, Clone, Copy)]
pub struct SecretPlace<'a> {
    /// The tenant that owns it.
    pub tenant: &'a TenantId,
    /// Its name.
    pub name: &'a str,
    /// The version of its row.
    pub version: i64,
}

/// Why a secret is not available. No variant contains any part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The tenant has no valid secret of this name.
    #[error(
        "tenant {tenant} has no secret {name:?}; set it with plugin-ctl tenant update {tenant} --secret {name}=@FILE"
    )]
    Missing {
        /// The tenant.
        tenant: TenantId,
        /// The requested name.
        name: String,
    },
    /// The text is empty or too long.
    #[error("a secret has 1 to {SECRET_BYTES_MAX} bytes")]
    Length,
    /// It was sealed with a key that is not in the key file.
    #[error(
        "secret {name:?} of tenant {tenant} was sealed with key {key_id}, which the key file does not hold; put the right key file back"
    )]
    UnknownKey {
        /// The tenant.
        tenant: TenantId,
        /// The secret's name.
        name: String,
        /// The key's id, in hex.
        key_id: String,
    },
    /// The record was changed, or belongs to another tenant, name or version.
    #[error("secret {name:?} of tenant {tenant} does not open: its record was changed or moved; set it again")]
    Tampered {
        /// The tenant.
        tenant: TenantId,
        /// The secret's name.
        name: String,
    },
    /// The system provided no random numbers.
    #[error("the system gave no random numbers: {0}")]
    NoRandom(String),
}

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Reading or creating it failed.
    #[error("key file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Other users can access it.
    #[error("key file {} has mode {mode:03o}: others can get at it; chmod 600 it, and rotate what may have leaked (where a volume sets the modes: plugins.permissions)", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to another user, who knows the keys and can change them.
    #[error("key file {} belongs to another user ({owner}), who can read and change it: give it to root or to the host's user (chown), and rotate what may have leaked (where a volume sets the owners: plugins.permissions)", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Its content is not that of a key file.
    #[error(
        "key file {} is not usable: {reason}; each line is one key of 64 hexadecimal digits. Put the right file back; \
         if no tenant has a secret yet, delete it and a new one is made", path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// It is missing while the store has secrets that only its keys open.
    #[error(
        "key file {} is missing, but the store holds secrets that only its keys open. Put it back from your copy. Without it \
         the secrets are lost: move the state folder away and add the tenants anew", path.display()
    )]
    Lost {
        /// The file.
        path: PathBuf,
    },
    /// The system provided no random numbers for a key.
    #[error("no key can be made: {0}")]
    NoRandom(String),
}

/// The path of the key file, and who besides the host's user may access it: by default nobody.
#[derive(Debug, Clone, Copy)]
pub struct KeyFile<'a> {
    path: &'a Path,
    policy: Permissions,
}

impl<'a, P: AsRef<Path> + ?Sized> From<&'a P> for KeyFile<'a> {
    fn from(path: &'a P) -> Self {
        Self { path: path.as_ref(), policy: Permissions::Strict }
    }
}

impl KeyFile<'_> {
    /// Allows the accesses that this policy allows for plugins: a user who can write plugins can read the keys anyway,
    /// and a volume may set the modes of both.
    #[must_use]
    pub fn under(self, policy: Permissions) -> Self {
        Self { policy, ..self }
    }

    /// Permission bits that are refused.
    fn refused_mode(&self) -> u32 {
        match self.policy {
            Permissions::Strict => 0o077,
            Permissions::Group => 0o007,
            Permissions::Volume => 0,
        }
    }
}

struct Key {
    /// Derived from the key itself, so that a record names its key and a wrong file is detected.
    id: [u8; KEY_ID_BYTES],
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

/// The keys: the first one seals, and all of them open. Can be used on any thread.
pub struct KeyRing {
    keys: Vec<Key>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| hex(&key.id))).finish()
    }
}

impl KeyRing {
    /// Reads the key file, or creates it at the first start. If the store has secrets, a missing file is an error, and
    /// no new key is created. Blocks.
    pub fn load_or_create<'a>(key_file: impl Into<KeyFile<'a>>, store_has_secrets: bool) -> Result<Self, KeyFileError> {
        let key_file = key_file.into();
        let path = key_file.path;
        match File::open(path) {
            Ok(file) => Self::read(file, key_file),
            Err(error) if error.kind() == io::ErrorKind::NotFound && store_has_secrets => {
                Err(KeyFileError::Lost { path: path.to_owned() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(path),
            Err(source) => Err(KeyFileError::Io { path: path.to_owned(), source }),
        }
    }

    /// Seals a secret with the active key.
    pub fn seal(&self, place: SecretPlace<'_>, secret: &SecretText) -> Result<Vec<u8>, SecretError> {
        let key = &self.keys[0];
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| SecretError::NoRandom(error.to_string()))?;
        let message = Payload { msg: secret.expose().as_bytes(), aad: &bound_to(key.id, place) };
        let sealed = XChaCha20Poly1305::new((&*key.bytes).into())
            .encrypt(&XNonce::from(nonce), message)
            .map_err(|_| SecretError::Length)?;
        Ok([&[RECORD_VERSION][..], &key.id, &nonce, &sealed].concat())
    }

    /// Checks that the key of a record is in the ring.
    ///
    /// # Errors
    /// [`SecretError::UnknownKey`], or [`SecretError::Tampered`] if it is not a record at all.
    pub fn knows(&self, place: SecretPlace<'_>, record: &[u8]) -> Result<(), SecretError> {
        self.key_of(place, record).map(|_| ())
    }

    /// Opens a record that [`seal`](Self::seal) made for the same place. Takes about 5 µs.
    pub fn open(&self, place: SecretPlace<'_>, record: &[u8]) -> Result<SecretText, SecretError> {
        let tampered = || SecretError::Tampered { tenant: place.tenant.clone(), name: place.name.to_owned() };
        let (key, nonce, sealed) = self.key_of(place, record)?;
        let opened = XChaCha20Poly1305::new((&*key.bytes).into())
            .decrypt(&XNonce::from(nonce), Payload { msg: sealed, aad: &bound_to(key.id, place) })
            .map_err(|_| tampered())?;
        match String::from_utf8(opened) {
            Ok(text) => SecretText::new(text),
            Err(error) => {
                error.into_bytes().zeroize();
                Err(tampered())
            }
        }
    }

    fn key_of<'a>(
        &self,
        place: SecretPlace<'_>,
        record: &'a [u8],
    ) -> Result<(&Key, [u8; NONCE_BYTES], &'a [u8]), SecretError> {
        let tampered = || SecretError::Tampered { tenant: place.tenant.clone(), name: place.name.to_owned() };
        let (header, sealed) = record.split_at_checked(HEADER_BYTES).ok_or_else(tampered)?;
        let (version, rest) = header.split_at(1);
        let (key_id, nonce) = rest.split_at(KEY_ID_BYTES);
        if version != [RECORD_VERSION] {
            return Err(tampered());
        }
        let key = self.keys.iter().find(|key| key.id == key_id).ok_or_else(|| SecretError::UnknownKey {
            tenant: place.tenant.clone(),
            name: place.name.to_owned(),
            key_id: hex(key_id),
        })?;
        Ok((key, nonce.try_into().map_err(|_| tampered())?, sealed))
    }

    fn read(file: File, key_file: KeyFile<'_>) -> Result<Self, KeyFileError> {
        let path = key_file.path;
        let io_error = |source| KeyFileError::Io { path: path.to_owned(), source };
        let malformed = |reason| KeyFileError::Malformed { path: path.to_owned(), reason };
        let metadata = file.metadata().map_err(io_error)?;
        if !metadata.is_file() {
            return Err(malformed("it is not a regular file"));
        }
        if metadata.mode() & key_file.refused_mode() != 0 {
            return Err(KeyFileError::Exposed { path: path.to_owned(), mode: metadata.mode() & 0o777 });
        }
        if key_file.policy != Permissions::Volume && !permissions::is_owner_trusted(&metadata).map_err(io_error)? {
            return Err(KeyFileError::Foreign { path: path.to_owned(), owner: metadata.uid() });
        }
        if metadata.len() > KEY_FILE_BYTES_MAX {
            return Err(malformed("it is too long"));
        }
        // Reserves room for all of it at once: a growing buffer would leave copies behind.
        let mut text = Zeroizing::new(String::with_capacity(usize::try_from(KEY_FILE_BYTES_MAX).unwrap_or(0) + 1));
        file.take(KEY_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(io_error)?;
        let mut keys = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let bytes = from_hex(line).ok_or_else(|| malformed("a line is not 64 hexadecimal digits"))?;
            keys.push(Key { id: key_id(&bytes), bytes });
        }
        match keys.len() {
            0 => Err(malformed("it holds no key")),
            1..=KEYS_MAX => Ok(Self { keys }),
            _ => Err(malformed("it holds too many keys")),
        }
    }

    fn create(path: &Path) -> Result<Self, KeyFileError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(&mut *bytes).map_err(|error| KeyFileError::NoRandom(error.to_string()))?;
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            let line = Zeroizing::new(format!("{}\n", *Zeroizing::new(hex(&*bytes))));
            file.write_all(line.as_bytes())?;
            file.sync_all()?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(folder)?.sync_all()
        };
        write().map_err(|source| KeyFileError::Io { path: path.to_owned(), source })?;
        Ok(Self { keys: vec![Key { id: key_id(&bytes), bytes }] })
    }
}

/// The associated data. Every part comes with its length, so that no two places have the same data.
fn bound_to(key_id: [u8; KEY_ID_BYTES], place: SecretPlace<'_>) -> Vec<u8> {
    let mut data = vec![RECORD_VERSION];
    for part in [&key_id[..], place.tenant.as_str().as_bytes(), place.name.as_bytes(), &place.version.to_be_bytes()] {
        data.extend_from_slice(&(part.len() as u64).to_be_bytes());
        data.extend_from_slice(part);
    }
    data
}

fn key_id(key: &[u8; KEY_BYTES]) -> [u8; KEY_ID_BYTES] {
    let mut digest = Sha256::new();
    digest.update(b"patchbay key id\0");
    digest.update(key);
    let mut id = [0; KEY_ID_BYTES];
    id.copy_from_slice(&digest.finalize()[..KEY_ID_BYTES]);
    id
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all that is written");
        text
    })
}

fn from_hex(text: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    if text.len() != KEY_BYTES * 2 {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |index: usize| char::from(digits[index]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(0)? << 4 | digit(1)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
