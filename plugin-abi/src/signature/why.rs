//! Why a webhook is not authentic. The operator reads it in the host's log; the sender never does.

use std::{fmt, time::Duration};

use crate::types::Webhook;

/// Why a webhook is not authentic, for [`Tenant::not_authentic`](crate::plugin::Tenant::not_authentic). The schemes of this
/// module say it by themselves; what the host compares (the MAC, the secret) the host knows.
///
/// ```
/// use std::time::Duration;
/// use plugin_abi::signature::Why;
/// let why = Why::Stale { by: Duration::from_secs(12), allowed: Duration::from_secs(300) };
/// assert_eq!(why.to_string(), "the signed time is stale by 12 s: it is 312 s old, and 300 s are allowed");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why<'a> {
    /// The header that proves the sender is not there.
    HeaderMissing {
        /// Its name.
        header: &'a str,
    },
    /// The header is there more than once, so that nobody knows which one a proxy has looked at.
    HeaderRepeated {
        /// Its name.
        header: &'a str,
    },
    /// The header is there, but cannot be read.
    HeaderUnreadable {
        /// Its name.
        header: &'a str,
        /// How the scheme writes it: `sha256=` and 64 hexadecimal digits.
        expected: &'a str,
    },
    /// The signature itself is not written as the scheme writes it.
    SignatureUnreadable {
        /// How the scheme writes it.
        expected: &'a str,
    },
    /// What was signed was signed too long ago.
    Stale {
        /// How much too long.
        by: Duration,
        /// The age that is allowed.
        allowed: Duration,
    },
    /// What was signed was signed at a time that is to come: a clock is wrong.
    Ahead {
        /// How much more than is allowed.
        by: Duration,
        /// How far ahead is allowed.
        allowed: Duration,
    },
    /// Anything else, in words that an operator understands. Never a secret, nor what the webhook presented as one.
    Other(&'a str),
}

impl<'a> Why<'a> {
    /// Why this header gives no text that could prove anything. `expected` says how the scheme writes the header.
    pub fn header(webhook: &Webhook<'_>, header: &'a str, expected: &'a str) -> Self {
        match webhook.headers().filter(|(name, _)| *name == header).count() {
            0 => Self::HeaderMissing { header },
            1 => Self::HeaderUnreadable { header, expected },
            _ => Self::HeaderRepeated { header },
        }
    }

    /// A word for programs, which never changes.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::HeaderMissing { .. } => "header_missing",
            Self::HeaderRepeated { .. } => "header_repeated",
            Self::HeaderUnreadable { .. } => "header_unreadable",
            Self::SignatureUnreadable { .. } => "signature_unreadable",
            Self::Stale { .. } => "stale",
            Self::Ahead { .. } => "ahead",
            Self::Other(_) => "other",
        }
    }
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeaderMissing { header } => write!(f, "the header {header} is missing"),
            Self::HeaderRepeated { header } => write!(f, "the header {header} is there more than once"),
            Self::HeaderUnreadable { header, expected } => write!(f, "the header {header} is not {expected}"),
            Self::SignatureUnreadable { expected } => write!(f, "the signature is not {expected}"),
            Self::Stale { by, allowed } => {
                let (by, allowed) = (seconds(*by), allowed.as_secs());
                let age = by.saturating_add(allowed);
                write!(f, "the signed time is stale by {by} s: it is {age} s old, and {allowed} s are allowed")
            }
            Self::Ahead { by, allowed } => {
                let (by, allowed) = (seconds(*by), allowed.as_secs());
                let ahead = by.saturating_add(allowed);
                write!(
                    f,
                    "the signed time is ahead by {by} s: it is {ahead} s after this host's clock, and {allowed} s are \
                     allowed"
                )
            }
            Self::Other(why) => f.write_str(why),
        }
    }
}

/// Whole seconds, the begun one counted: what is refused is never late by 0 s.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
