//! Who vouches for a plugin's file: the detached minisign signature beside it, judged over the bytes that were read.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use minisign_verify::PublicKey;
use plugin_abi::export::InfoRecord;

use super::refusal::{Code, Refusal};

/// What the name of a file's signature ends in, behind the file's own name.
pub const SUFFIX: &str = ".minisig";
/// Most bytes of a signature's file. minisign's own limit of a trusted comment is 8 KiB, and the rest is below one.
pub const BYTES_MAX: u64 = 10 << 10;
/// Most characters of a vendor's comment that a refusal repeats.
const COMMENT_SHOWN_MAX: usize = 200;

/// The number by which minisign tells keys apart. Anybody can make a key with any number: it proves nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyId([u8; 8]);

impl KeyId {
    /// Out of a public key or a signature: two bytes for the algorithm, then eight for the key.
    fn of(base64: &str) -> Option<Self> {
        let bytes = STANDARD.decode(base64).ok()?;
        Some(Self(bytes.get(2..10)?.try_into().expect("the range has eight bytes")))
    }
}

impl fmt::Display for KeyId {
    /// As minisign shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", u64::from_le_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A public key whose signatures are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    id: KeyId,
    key: PublicKey,
    text: String,
}

/// As `minisign.pub` has it.
impl fmt::Display for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A text that is no minisign public key.
#[derive(Debug, thiserror::Error)]
#[error("this is no minisign public key; give the line of minisign.pub that begins with RW")]
pub struct NoKey;

impl TrustedKey {
    /// The second line of a `minisign.pub`.
    ///
    /// # Errors
    /// [`NoKey`].
    pub fn parse(base64: &str) -> Result<Self, NoKey> {
        let key = PublicKey::from_base64(base64).map_err(|_| NoKey)?;
        // There is one kind of key, and its two letters are RW in base64.
        let id = KeyId::of(base64).filter(|_| base64.starts_with("RW")).ok_or(NoKey)?;
        Ok(Self { id, key, text: base64.to_owned() })
    }

    /// A key, or `@FILE`: the file that minisign wrote.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse_given(given: &str) -> Result<Self, String> {
        let Some(file) = given.strip_prefix('@') else {
            return Self::parse(given).map_err(|error| error.to_string());
        };
        let text = fs::read_to_string(file).map_err(|error| format!("{file} cannot be read: {error}"))?;
        let key = text.lines().map(str::trim).find_map(|line| Self::parse(line).ok());
        key.ok_or_else(|| format!("{file} holds no minisign public key: none of its lines is one that begins with RW"))
    }
}

/// Whose signatures are good, and what becomes of files that have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// The keys; none is nobody's.
    pub keys: Vec<TrustedKey>,
    /// Whether a file without a good signature is refused.
    pub required: bool,
}

/// What a file's signature is worth. Its text is for people and for the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// There is none.
    Unsigned,
    /// A trusted key has signed these bytes, with this comment.
    Trusted {
        /// The key.
        key: KeyId,
        /// What the vendor said of the file; signed like the file.
        comment: String,
    },
    /// Signed by a key that is not trusted, so it says nothing.
    UnknownKey(KeyId),
    /// The signature does not fit the file, or is none at all.
    Modified {
        /// What is wrong with it.
        why: String,
    },
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned => f.write_str("unsigned"),
            Self::Trusted { key, .. } => write!(f, "trusted({key})"),
            Self::UnknownKey(key) => write!(f, "unknown key({key})"),
            Self::Modified { .. } => f.write_str("modified"),
        }
    }
}

impl Trust {
    /// Judges a file's bytes by what lies beside them: nothing, a signature's text, or why that cannot be read.
    pub fn judge(&self, file: &[u8], minisig: Option<Result<&[u8], &Refusal>>) -> Signature {
        match minisig {
            None => Signature::Unsigned,
            Some(Ok(minisig)) => self.judge_signed(file, minisig),
            Some(Err(refusal)) => modified(format!("it cannot be read: {}", refusal.reason)),
        }
    }

    fn judge_signed(&self, file: &[u8], minisig: &[u8]) -> Signature {
        let Some((signature, id)) = parse(minisig) else {
            return modified("it is not what minisign writes, or is cut off".to_owned());
        };
        let mut fault = None;
        for trusted in self.keys.iter().filter(|trusted| trusted.id == id) {
            // The old form, over the file instead of its hash, is not taken: which it is stands outside what is signed.
            match trusted.key.verify(file, &signature, false) {
                Ok(()) => return Signature::Trusted { key: id, comment: signature.trusted_comment().to_owned() },
                Err(other) => fault = Some(other),
            }
        }
        match fault {
            None => Signature::UnknownKey(id),
            Some(minisign_verify::Error::UnexpectedAlgorithm) => {
                modified("it is of minisign's old form; sign with minisign 0.10 or newer, or with -H".to_owned())
            }
            Some(_) => modified(format!("key {id} has not signed these bytes")),
        }
    }

    /// Whether a file with this signature, which says this of itself, may serve.
    ///
    /// # Errors
    /// `MODIFIED`; `UNSIGNED` and `UNKNOWN_KEY` where a good signature is required; `SIGNATURE_COMMENT`.
    pub fn check(&self, signature: &Signature, info: &InfoRecord) -> Result<(), Refusal> {
        match signature {
            Signature::Modified { .. } => signature.check_unmodified(),
            Signature::Trusted { comment, .. } => check_comment(comment, info),
            Signature::Unsigned if self.required => {
                let message = format!("no {SUFFIX} lies beside it, and a signature is required");
                Err(Refusal::new(Code::Unsigned, message))
            }
            Signature::UnknownKey(id) if self.required => {
                let message =
                    format!("key {id} has signed it, which is not trusted, and a trusted signature is required");
                Err(Refusal::new(Code::UnknownKey, message))
            }
            Signature::Unsigned | Signature::UnknownKey(_) => Ok(()),
        }
    }
}

impl Signature {
    /// What can be said whatever the file says of itself.
    ///
    /// # Errors
    /// `MODIFIED`.
    pub fn check_unmodified(&self) -> Result<(), Refusal> {
        match self {
            Self::Modified { why } => Err(Refusal::new(Code::Modified, format!("its signature does not hold: {why}"))),
            _ => Ok(()),
        }
    }

    /// Refuses a signed version that is older than the signed one that served last: a signature holds for ever, so
    /// else anybody who can write the folder could bring an old fault back. Whoever rolls back by hand does not ask.
    ///
    /// # Errors
    /// `DOWNGRADE`.
    pub fn check_not_older(
        &self,
        version: &semver::Version,
        served_signed: Option<&semver::Version>,
    ) -> Result<(), Refusal> {
        match (self, served_signed) {
            (Self::Trusted { .. }, Some(served)) if version < served => Err(Refusal::new(
                Code::Downgrade,
                format!("it is version {version}, and {served} has served, both signed"),
            )),
            _ => Ok(()),
        }
    }

    /// Whether a trusted key has signed the file.
    pub fn is_trusted(&self) -> bool {
        matches!(self, Self::Trusted { .. })
    }
}

/// Where the signature of a file lies.
pub fn beside(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(SUFFIX);
    path.into()
}

fn modified(why: String) -> Signature {
    Signature::Modified { why }
}

fn parse(minisig: &[u8]) -> Option<(minisign_verify::Signature, KeyId)> {
    let text = str::from_utf8(minisig).ok()?;
    let signature = minisign_verify::Signature::decode(text).ok()?;
    Some((signature, KeyId::of(text.lines().nth(1)?)?))
}

/// The comment must name the plugin and its version: a signature alone says only that the vendor has made the file once.
fn check_comment(comment: &str, info: &InfoRecord) -> Result<(), Refusal> {
    let said = |key: &str| -> Vec<&str> {
        comment.split_whitespace().filter_map(|word| word.strip_prefix(key)?.strip_prefix('=')).collect()
    };
    let (names, versions) = (said("name"), said("version"));
    let named =
        !names.is_empty() && names.iter().all(|name| [&info.tool_type, &info.name].iter().any(|own| own == name));
    let versioned = !versions.is_empty() && versions.iter().all(|version| *version == info.version);
    if named && versioned {
        return Ok(());
    }
    let shown: String = comment.chars().take(COMMENT_SHOWN_MAX).collect();
    let message = format!(
        "its signature is good, but the signed comment is {shown:?}, and the file is {tool_type} {version}; sign it with \
         minisign -S -t 'name={tool_type} version={version}' -m FILE",
        tool_type = info.tool_type,
        version = info.version,
    );
    Err(Refusal::new(Code::SignatureComment, message))
}

#[cfg(test)]
mod tests;
