//! The identifiers that travel through the host, each checked once where it enters.

use std::{fmt, sync::Arc};

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Number of hash partitions of tenants; a slot is below this.
pub const SLOTS: u16 = 0x4000;

/// A text that is not an identifier of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} must match {pattern}, but is {found:?}")]
pub struct InvalidId {
    kind: &'static str,
    pattern: &'static str,
    found: String,
}

/// A tenant's id: `[A-Za-z0-9-]{1,64}`, case-sensitive.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Checks the form; says nothing about whether such a tenant exists.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        checked("tenant id", "[A-Za-z0-9-]{1,64}", text, 64, |b| b.is_ascii_alphanumeric() || b == b'-').map(Self)
    }

    /// The partition that all rows of this tenant belong to, for ever: the first two bytes of SHA-256, big-endian, & 0x3fff.
    pub fn slot(&self) -> u16 {
        let digest = Sha256::digest(self.0.as_bytes());
        u16::from_be_bytes([digest[0], digest[1]]) & (SLOTS - 1)
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which of the tenants that have had one id, one after the other: no number is given twice, whatever the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Incarnation(i64);

impl Incarnation {
    /// That of all tenants from before there were numbers.
    pub const FIRST: Self = Self(1);

    /// The number that the store has given. 0 stands for those of whom nothing but the id is known.
    pub fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number.
    pub fn number(self) -> i64 {
        self.0
    }
}

/// The kind of ticketing tool, which names the plugin: `[a-z0-9_]{1,50}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ToolType(Arc<str>);

impl ToolType {
    /// Checks the form; says nothing about whether a plugin serves it.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        checked("tool type", "[a-z0-9_]{1,50}", text, 50, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            .map(Self)
    }

    /// The tool type's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What one webhook is known by in every log line, answer and job that it causes: `[A-Za-z0-9._-]{1,64}`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CorrelationId(Arc<str>);

impl CorrelationId {
    /// Takes a sender's id when it has the form.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        checked("correlation id", "[A-Za-z0-9._-]{1,64}", text, 64, |b| {
            b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
        })
        .map(Self)
    }

    /// A new one: a UUIDv7.
    pub fn fresh() -> Self {
        let mut buffer = Uuid::encode_buffer();
        Self(Arc::from(&*Uuid::now_v7().hyphenated().encode_lower(&mut buffer)))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A job's id: a UUIDv7, so ids sort by the time they were made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(Uuid);

impl JobId {
    /// A new one.
    pub fn fresh() -> Self {
        Self(Uuid::now_v7())
    }

    /// Reads the hyphenated form that people copy from a log.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        Uuid::try_parse(text).map(Self).map_err(|_| InvalidId {
            kind: "job id",
            pattern: "a UUID",
            found: text.chars().take(80).collect(),
        })
    }

    /// The form kept in the store.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// From the form kept in the store.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

fn checked(
    kind: &'static str,
    pattern: &'static str,
    text: &str,
    length_max: usize,
    allowed: impl Fn(u8) -> bool,
) -> Result<Arc<str>, InvalidId> {
    if !text.is_empty() && text.len() <= length_max && text.bytes().all(allowed) {
        Ok(Arc::from(text))
    } else {
        Err(InvalidId { kind, pattern, found: text.chars().take(80).collect() })
    }
}

macro_rules! shown_as_text {
    ($($id:ty),*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}
shown_as_text!(TenantId, ToolType, CorrelationId);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_contract() {
        assert_eq!(TenantId::parse("acme").unwrap().slot(), 555);
        assert_eq!(TenantId::parse("tenant-001").unwrap().slot(), 15846);
    }

    #[test]
    fn each_form_at_its_limit_and_one_past_it() {
        assert!(TenantId::parse(&"a".repeat(64)).is_ok());
        assert!(TenantId::parse(&"a".repeat(65)).is_err());
        assert!(TenantId::parse("").is_err());
        assert!(TenantId::parse("a_b").is_err());
        assert!(ToolType::parse(&"a".repeat(50)).is_ok());
        assert!(ToolType::parse(&"a".repeat(51)).is_err());
        assert!(ToolType::parse("Jira").is_err());
        assert!(CorrelationId::parse(&"a.b_c-".repeat(10)).is_ok());
        assert!(CorrelationId::parse("a b").is_err());
    }

    #[test]
    fn a_job_id_survives_text_and_bytes() {
        let id = JobId::fresh();
        assert_eq!(JobId::parse(&id.to_string()).unwrap(), id);
        assert_eq!(JobId::from_bytes(*id.as_bytes()), id);
        assert!(JobId::parse("17").is_err());
    }
}
