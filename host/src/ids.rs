//! Identifiers that travel through the host. Each is checked once, where it enters.

use std::{fmt, sync::Arc};

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Number of hash partitions of tenants; slots are below this.
pub const SLOTS: u16 = 0x4000;

/// The error for a text that is not an identifier of the expected kind.
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
    /// Parses an id. Does not check whether such a tenant exists.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        checked("tenant id", "[A-Za-z0-9-]{1,64}", text, 64, |b| b.is_ascii_alphanumeric() || b == b'-').map(Self)
    }

    /// The partition that all rows of this tenant belong to, which never changes: the first two bytes of SHA-256,
    /// big-endian, & 0x3fff.
    pub fn slot(&self) -> u16 {
        let digest = Sha256::digest(self.0.as_bytes());
        u16::from_be_bytes([digest[0], digest[1]]) & (SLOTS - 1)
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Distinguishes tenants that have had the same id. No number is used twice, whatever the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Incarnation(i64);

impl Incarnation {
    /// The incarnation of all tenants from before there were numbers.
    pub const FIRST: Self = Self(1);

    /// The number that the store assigned. 0 stands for a tenant of which only the id is known.
    pub fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number.
    pub fn number(self) -> i64 {
        self.0
    }
}

/// The kind of ticketing tool, which selects the plugin: `[a-z0-9_]{1,50}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ToolType(Arc<str>);

impl ToolType {
    /// Parses a tool type. Does not check whether a plugin serves it.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        checked("tool type", "[a-z0-9_]{1,50}", text, 50, |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            .map(Self)
    }

    /// The tool type's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Identifies one webhook in every log line, answer and job that it causes: `[A-Za-z0-9._-]{1,64}`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CorrelationId(Arc<str>);

impl CorrelationId {
    /// Parses a sender's id.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        checked("correlation id", "[A-Za-z0-9._-]{1,64}", text, 64, |b| {
            b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')
        })
        .map(Self)
    }

    /// A new id: a UUIDv7.
    pub fn fresh() -> Self {
        let mut buffer = Uuid::encode_buffer();
        Self(Arc::from(&*Uuid::now_v7().hyphenated().encode_lower(&mut buffer)))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A job's id: a UUIDv7, so ids sort by creation time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(Uuid);

impl JobId {
    /// A new id.
    pub fn fresh() -> Self {
        Self(Uuid::now_v7())
    }

    /// Parses the hyphenated form that people copy from a log.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        Uuid::try_parse(text).map(Self).map_err(|_| InvalidId {
            kind: "job id",
            pattern: "a UUID",
            found: text.chars().take(80).collect(),
        })
    }

    /// The form stored in the database.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Reads the form stored in the database.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

/// The beginning of a job's id, or a whole id: 1 to 32 hexadecimal digits, with hyphens where a UUID has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobIdPrefix(String);

impl JobIdPrefix {
    /// Number of hexadecimal digits of a whole id.
    const DIGITS: usize = 32;
    /// The positions of a UUID's hyphens.
    const HYPHENS: [usize; 4] = [8, 13, 18, 23];

    /// Parses what people copy from a log or a table, whole or cut.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if let Ok(id) = JobId::parse(text) {
            return Ok(Self(id.0.simple().to_string()));
        }
        let is_digit =
            |(at, byte): (usize, u8)| byte.is_ascii_hexdigit() || (byte == b'-' && Self::HYPHENS.contains(&at));
        let digits: String = text.chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).collect();
        if text.bytes().enumerate().all(is_digit) && (1..=Self::DIGITS).contains(&digits.len()) {
            return Ok(Self(digits));
        }
        Err(InvalidId {
            kind: "job id",
            pattern: "a UUID or the beginning of one",
            found: text.chars().take(80).collect(),
        })
    }

    /// The number of digits.
    pub fn digits(&self) -> usize {
        self.0.len()
    }

    /// The first and the last id with this beginning.
    pub fn range(&self) -> (JobId, JobId) {
        let filled = |with: &str| {
            let digits = format!("{}{}", self.0, with.repeat(Self::DIGITS - self.0.len()));
            JobId(Uuid::try_parse(&digits).expect("32 hexadecimal digits are a UUID"))
        };
        (filled("0"), filled("f"))
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

impl fmt::Display for JobIdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, digit) in self.0.char_indices() {
            // Three hyphens precede the fourth, so the digit positions lag behind those of the text.
            if matches!(at, 8 | 12 | 16 | 20) {
                f.write_str("-")?;
            }
            fmt::Write::write_char(f, digit)?;
        }
        Ok(())
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

    #[test]
    fn the_beginning_of_a_job_id_stands_for_all_that_begin_so() {
        let whole = "019ab3c4-d5e6-7f01-8234-56789abcdef0";
        for length in 1..=whole.len() {
            let text = &whole[..length];
            let prefix = JobIdPrefix::parse(text).unwrap();
            assert_eq!(prefix.to_string(), text.trim_end_matches('-'));
            let (first, last) = prefix.range();
            assert!((first..=last).contains(&JobId::parse(whole).unwrap()), "{text}");
        }
        let id = JobId::parse(whole).unwrap();
        assert_eq!(JobIdPrefix::parse(&whole.replace('-', "").to_uppercase()).unwrap().range(), (id, id));
        let (first, last) = JobIdPrefix::parse("019").unwrap().range();
        assert_eq!(first.to_string(), "01900000-0000-0000-0000-000000000000");
        assert_eq!(last.to_string(), "019fffff-ffff-ffff-ffff-ffffffffffff");
        for text in ["", "-", "0-19", "019ab3c4d-", "xyz", "019ab3c4-d5e6-7f01-8234-56789abcdef01", "0ä"] {
            assert!(JobIdPrefix::parse(text).is_err(), "{text:?}");
        }
    }
}
