//! What is remembered of a tool type between runs: what operators and the host have decided, and what has served.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::plugin::artifact::Sha256Sum;

/// Most artifacts that are remembered of a tool type.
const SERVED_MAX: usize = 32;
/// How many artifacts that were good are kept to go back to, the one that serves included.
pub(super) const KEPT_MAX: usize = 3;
/// Fewest digits by which a digest can be named.
const DIGITS_MIN: usize = 8;

/// What is remembered of one tool type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ToolRecord {
    /// An operator lets it not serve.
    pub(super) disabled: bool,
    /// Why and when; none when a host that did not keep it was told.
    pub(super) disabled_because: Option<Because>,
    /// What an operator wants to serve, whatever else comes.
    pub(super) pinned: Option<Pin>,
    /// What has served, the latest last; each digest once.
    pub(super) served: Vec<Served>,
}

/// Why an operator has disabled a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Because {
    /// The operator's own words.
    pub(super) why: Option<String>,
    /// When, in milliseconds since the epoch.
    pub(super) at_ms: i64,
}

impl Because {
    pub(super) fn sentence(&self) -> String {
        match &self.why {
            Some(why) => format!("an operator has disabled it: {why}"),
            None => "an operator has disabled it, and gave no reason".to_owned(),
        }
    }
}

/// An artifact that has served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Served {
    pub(super) sha256: Sha256Sum,
    pub(super) version: semver::Version,
    /// The file of the folder that it came from.
    pub(super) path: PathBuf,
    /// When it began to serve after something else had, in milliseconds since the epoch.
    pub(super) at_ms: i64,
    /// It has served without being rolled back for as long as its probation takes.
    pub(super) proven: bool,
    /// A trusted key has signed it.
    pub(super) signed: bool,
    /// Why it is passed over until its file changes.
    pub(super) passed_over: Option<String>,
}

impl Served {
    /// Whether nothing else has served since.
    pub(super) fn is_still(&self, now: &Self) -> bool {
        (self.sha256, &self.path, self.signed) == (now.sha256, &now.path, now.signed)
    }
}

/// A version, or a digest, that alone may serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Any artifact of this version.
    Version(semver::Version),
    /// This artifact, by its digest in hex or the beginning of that.
    Digest(String),
}

impl Pin {
    /// Reads a version (`1.4.0`) or a digest's first digits, at least eight.
    pub fn parse(text: &str) -> Result<Self, InvalidPin> {
        if let Ok(version) = semver::Version::parse(text) {
            return Ok(Self::Version(version));
        }
        let digits = text.to_ascii_lowercase();
        let right = (DIGITS_MIN..=64).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if right { Ok(Self::Digest(digits)) } else { Err(InvalidPin(text.to_owned())) }
    }

    /// Whether it means this artifact.
    pub(super) fn means(&self, version: &semver::Version, sha256: Sha256Sum) -> bool {
        match self {
            Self::Version(pinned) => pinned == version,
            Self::Digest(digits) => sha256.to_string().starts_with(digits),
        }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => fmt::Display::fmt(version, f),
            Self::Digest(digits) => f.write_str(digits),
        }
    }
}

/// A text that names neither a version nor a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is neither a version such as 1.4.0 nor at least {DIGITS_MIN} digits of a SHA-256", .0.escape_debug())]
pub struct InvalidPin(String);

impl ToolRecord {
    /// What is known of these bytes.
    pub(super) fn of(&self, sha256: Sha256Sum) -> Option<&Served> {
        self.served.iter().find(|served| served.sha256 == sha256)
    }

    /// Why these bytes are passed over, if they are.
    pub(super) fn passed_over(&self, sha256: Sha256Sum) -> Option<&str> {
        self.of(sha256)?.passed_over.as_deref()
    }

    /// What to go back to from these bytes: what served last before them and was not found bad.
    pub(super) fn before(&self, sha256: Sha256Sum) -> Option<&Served> {
        self.good().find(|served| served.sha256 != sha256)
    }

    /// What is worth keeping: the last ones that were good, and what is pinned.
    pub(super) fn worth_keeping(&self) -> impl Iterator<Item = Sha256Sum> {
        let pinned = self
            .served
            .iter()
            .filter(|served| self.pinned.as_ref().is_some_and(|pin| pin.means(&served.version, served.sha256)));
        self.good().take(KEPT_MAX).chain(pinned).map(|served| served.sha256)
    }

    /// Notes that these bytes serve from now on. What was found out about them before holds.
    pub(super) fn serves(&mut self, now: Served) {
        let at = self.served.iter().position(|served| served.sha256 == now.sha256);
        let now = match at.map(|at| self.served.remove(at)) {
            Some(before) => Served {
                proven: now.proven || before.proven,
                passed_over: now.passed_over.or(before.passed_over),
                ..now
            },
            None => now,
        };
        if self.served.len() >= SERVED_MAX {
            self.served.remove(0);
        }
        self.served.push(now);
    }

    pub(super) fn of_mut(&mut self, sha256: Sha256Sum) -> Option<&mut Served> {
        self.served.iter_mut().find(|served| served.sha256 == sha256)
    }

    /// What was not found bad, the latest first.
    pub(super) fn good(&self) -> impl Iterator<Item = &Served> {
        self.served.iter().rev().filter(|served| served.passed_over.is_none())
    }

    /// Reads what [`Self::to_json`] wrote.
    ///
    /// # Errors
    /// What cannot be read; then nothing is guessed.
    pub(super) fn from_json(json: &str) -> Result<Self, String> {
        let stored: Stored = serde_json::from_str(json).map_err(|fault| fault.to_string())?;
        let pinned = stored.pinned.as_deref().map(Pin::parse).transpose().map_err(|fault| fault.to_string())?;
        let served = stored.served.into_iter().map(StoredArtifact::read).collect::<Result<_, _>>()?;
        Ok(Self { disabled: stored.disabled, disabled_because: stored.disabled_because, pinned, served })
    }

    /// As it is stored.
    pub(super) fn to_json(&self) -> String {
        let stored = Stored {
            disabled: self.disabled,
            disabled_because: self.disabled_because.clone(),
            pinned: self.pinned.as_ref().map(ToString::to_string),
            served: self.served.iter().map(StoredArtifact::of).collect(),
        };
        serde_json::to_string(&stored).expect("texts, numbers and flags have a JSON form")
    }
}

/// A record as it is stored: fields may be added with a default, none may change its meaning.
#[derive(Serialize, Deserialize)]
struct Stored {
    disabled: bool,
    #[serde(default)]
    disabled_because: Option<Because>,
    pinned: Option<String>,
    served: Vec<StoredArtifact>,
}

#[derive(Serialize, Deserialize)]
struct StoredArtifact {
    sha256: String,
    version: semver::Version,
    path: PathBuf,
    at_ms: i64,
    proven: bool,
    #[serde(default)]
    signed: bool,
    passed_over: Option<String>,
}

impl StoredArtifact {
    fn of(served: &Served) -> Self {
        Self {
            sha256: served.sha256.to_string(),
            version: served.version.clone(),
            path: served.path.clone(),
            at_ms: served.at_ms,
            proven: served.proven,
            signed: served.signed,
            passed_over: served.passed_over.clone(),
        }
    }

    fn read(self) -> Result<Served, String> {
        let sha256 = Sha256Sum::parse(&self.sha256).ok_or_else(|| format!("{:?} is no SHA-256", self.sha256))?;
        let Self { version, path, at_ms, proven, signed, passed_over, .. } = self;
        Ok(Served { sha256, version, path, at_ms, proven, signed, passed_over })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(name: &str, version: &str) -> Served {
        Served {
            sha256: Sha256Sum::of(name.as_bytes()),
            version: version.parse().unwrap(),
            path: "plugins/lib.so".into(),
            at_ms: 7,
            proven: false,
            signed: false,
            passed_over: None,
        }
    }

    fn record(names: &[&str]) -> ToolRecord {
        let mut record = ToolRecord::default();
        names.iter().for_each(|name| record.serves(served(name, "1.0.0")));
        record
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut record = record(&["a", "b"]);
        record.disabled = true;
        record.disabled_because = Some(Because { why: Some("it is being migrated".to_owned()), at_ms: 7 });
        record.pinned = Some(Pin::Version("1.0.0-rc.1".parse().unwrap()));
        record.served[0].passed_over = Some("it panicked".to_owned());
        record.served[1].proven = true;
        assert_eq!(ToolRecord::from_json(&record.to_json()), Ok(record));
        for wrong in ["", "{}", r#"{"disabled": false, "pinned": "x", "served": []}"#] {
            assert!(ToolRecord::from_json(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_way_back_leads_past_what_was_found_bad() {
        let sum = |name: &str| Sha256Sum::of(name.as_bytes());
        let mut record = record(&["a", "b", "c"]);
        assert_eq!(record.before(sum("c")).map(|served| served.sha256), Some(sum("b")));
        record.of_mut(sum("b")).unwrap().passed_over = Some("bad".to_owned());
        assert_eq!(record.before(sum("c")).map(|served| served.sha256), Some(sum("a")));
        assert_eq!(record.before(sum("a")).map(|served| served.sha256), Some(sum("c")));
        record.of_mut(sum("c")).unwrap().passed_over = Some("bad".to_owned());
        assert_eq!(record.good().map(|served| served.sha256).collect::<Vec<_>>(), [sum("a")]);
        assert_eq!(record.before(sum("a")), None);
    }

    #[test]
    fn what_serves_again_is_the_latest_and_stays_proven() {
        let mut record = record(&["a", "b"]);
        record.served[0].proven = true;
        record.serves(served("a", "1.0.0"));
        let names: Vec<_> = record.served.iter().map(|served| (served.sha256, served.proven)).collect();
        assert_eq!(names, [(Sha256Sum::of(b"b"), false), (Sha256Sum::of(b"a"), true)]);
    }

    #[test]
    fn records_and_copies_are_bounded_and_what_is_pinned_is_kept() {
        let names: Vec<_> = (0..=SERVED_MAX).map(|number| number.to_string()).collect();
        let mut record = record(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!((record.served.len(), record.worth_keeping().count()), (SERVED_MAX, KEPT_MAX));
        let old = record.served[3].sha256;
        record.pinned = Some(Pin::Digest(old.to_string()[..12].to_owned()));
        assert!(record.worth_keeping().any(|kept| kept == old));
    }

    #[test]
    fn pins_are_versions_or_the_beginning_of_a_digest() {
        let sum = Sha256Sum::of(b"a");
        let version: semver::Version = "1.4.0".parse().unwrap();
        for (text, means) in [
            ("1.4.0", Some(true)),
            ("1.4.0-rc.1", Some(false)),
            (&sum.to_string(), Some(true)),
            (&sum.to_string()[..8], Some(true)),
            (&sum.to_string()[..8].to_uppercase(), Some(true)),
            ("00000000", Some(false)),
            (&sum.to_string()[..7], None),
            ("1.4", None),
            ("latest", None),
        ] {
            assert_eq!(Pin::parse(text).ok().map(|pin| pin.means(&version, sum)), means, "{text}");
        }
    }
}
