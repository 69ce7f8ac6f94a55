//! JSON as senders and tools really write it, read by a parser that takes only what the standard says.
//!
//! A tool does not send a refused webhook again, so what can be meant is read:
//!
//! | What comes | Is read as |
//! |---|---|
//! | a byte order mark | nothing |
//! | another charset than UTF-8, named by the content type | its text |
//! | UTF-16, also where nothing names it | its text |
//! | half of a surrogate pair (an emoji that was cut), escaped or as bytes | U+FFFD |
//! | bytes that are no UTF-8 | U+FFFD |
//! | `5158.0`, `1.796E12` | the whole numbers 5158 and 1796000000000 |
//! | a whole number beyond 64 bits | a text of its digits |
//! | a number beyond every floating-point number, `1e400` | a text, as it is written |
//!
//! [`Json::read`] parses the bytes as they came. Only where that fails are they mended and parsed once more, so the usual
//! body pays nothing. Signatures are always over the bytes as they came.

mod mend;

use std::{borrow::Cow, sync::OnceLock};

use encoding_rs::{Encoding, UTF_8};
use serde::{Deserialize, de::Error as _};
use serde_json::value::RawValue;

use crate::PluginError;

/// Most digits of a whole number that is kept as a text of its digits.
pub const WHOLE_DIGITS_MAX: usize = 100;

/// A JSON text from outside.
///
/// ```
/// use plugin_abi::json::Json;
/// let json = Json::new(b"\xef\xbb\xbf{\"subject\":\"cut \\ud83d\"}", Some(b"application/json"));
/// let body: std::collections::BTreeMap<String, String> = json.parse()?;
/// assert_eq!(body["subject"], "cut \u{fffd}");
/// # Ok::<(), plugin_abi::PluginError>(())
/// ```
#[derive(Debug)]
pub struct Json<'a> {
    bytes: &'a [u8],
    charset: Charset,
    mended: Mended,
}

/// A value inside a JSON text, to be read on its own: when it cannot be, what stands beside it still can.
impl<'a> From<&'a RawValue> for Json<'a> {
    fn from(value: &'a RawValue) -> Self {
        Self::new(value.get().as_bytes(), None)
    }
}

impl<'a> Json<'a> {
    /// These bytes, with the content type that came with them. A charset that nobody knows counts as none.
    pub fn new(bytes: &'a [u8], content_type: Option<&[u8]>) -> Self {
        Self { bytes, charset: Charset::of(content_type), mended: Mended::default() }
    }

    /// Calls `read` with the bytes as they came. Where it fails and there is something to mend, calls it once more with the
    /// mended text.
    ///
    /// # Errors
    /// Those of `read`, of its last call.
    pub fn read<'s, T, E>(&'s self, read: impl Fn(&'s [u8]) -> Result<T, E>) -> Result<T, E> {
        self.mended.read(self.bytes, self.charset, read)
    }

    /// As [`read`](Self::read), for JSON that must be one object. serde would take a list for a struct as well, its items
    /// as the fields.
    ///
    /// # Errors
    /// `Malformed` when it is no object, else those of `read`.
    pub fn object<'s, T>(&'s self, read: impl Fn(&'s [u8]) -> Result<T, PluginError>) -> Result<T, PluginError> {
        self.read(|bytes| match bytes.trim_ascii_start().first() {
            Some(b'{') => read(bytes),
            _ => Err(PluginError::Malformed("not a JSON object".to_owned())),
        })
    }

    /// The whole text as a value, which may borrow from it.
    ///
    /// # Errors
    /// `Malformed`, with line and column.
    pub fn parse<'s, T: Deserialize<'s>>(&'s self) -> Result<T, PluginError> {
        self.read(|bytes| from_slice(bytes))
    }
}

/// Parses one JSON value, which may borrow from the bytes. For use in [`Json::read`] and [`Json::object`].
///
/// # Errors
/// `Malformed`, with line and column; for bytes that are no UTF-8, with the number of the first of them.
pub fn from_slice<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, PluginError> {
    parse(bytes).map_err(|error| PluginError::Malformed(error.to_string()))
}

/// As [`from_slice`], with the parser's own error: for readers of several steps.
///
/// # Errors
/// When the bytes are no such JSON.
pub fn parse<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, serde_json::Error> {
    serde_json::from_str(text(bytes)?)
}

/// The bytes as a text. They are checked once, as a whole: of bytes, the parser would check each text on its own.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, serde_json::Error> {
    str::from_utf8(bytes)
        .map_err(|error| serde_json::Error::custom(format_args!("no UTF-8 from byte {} on", error.valid_up_to())))
}

/// Whether a content type names JSON: `application/json`, `text/json`, `application/problem+json` and the like.
pub fn is_json(content_type: &[u8]) -> bool {
    let kind = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    kind.rsplit(|byte| matches!(byte, b'/' | b'+')).next().is_some_and(|word| word.eq_ignore_ascii_case(b"json"))
}

/// The charset that a content type names, when nobody knows it.
pub fn unknown_charset(content_type: &[u8]) -> Option<Cow<'_, str>> {
    let label = charset_label(content_type)?;
    Encoding::for_label_no_replacement(label).is_none().then(|| String::from_utf8_lossy(label))
}

/// How bytes become text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Charset {
    /// UTF-8, as JSON is to be; also what names no charset.
    Utf8,
    /// Another one, named by the content type.
    Named(&'static Encoding),
}

impl Charset {
    pub(crate) fn of(content_type: Option<&[u8]>) -> Self {
        match content_type.and_then(charset_label).and_then(Encoding::for_label_no_replacement) {
            Some(named) if named != UTF_8 => Self::Named(named),
            _ => Self::Utf8,
        }
    }
}

/// The value of `charset`, without its quotes.
fn charset_label(content_type: &[u8]) -> Option<&[u8]> {
    // Most content types have no parameter at all.
    let mut parameters = content_type.split(|byte| *byte == b';').skip(1);
    parameters.find_map(|parameter| {
        let equals = parameter.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (parameter[..equals].trim_ascii(), parameter[equals + 1..].trim_ascii());
        let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        name.eq_ignore_ascii_case(b"charset").then(|| quoted.unwrap_or(value))
    })
}

/// A text as it was mended, once somebody has asked; `None` where there is nothing to mend.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mended(OnceLock<Option<Vec<u8>>>);

impl Mended {
    /// See [`Json::read`]. The bytes and the charset must be the same each time.
    pub(crate) fn read<'s, T, E>(
        &'s self,
        bytes: &'s [u8],
        charset: Charset,
        read: impl Fn(&'s [u8]) -> Result<T, E>,
    ) -> Result<T, E> {
        let (mut text, mut is_last) = match charset {
            Charset::Utf8 => (bytes, false),
            Charset::Named(_) => (self.text(bytes, charset).unwrap_or(bytes), true),
        };
        // Called in one place only: a parser's code is long, and would be there for each.
        loop {
            let error = match read(text) {
                Ok(read) => return Ok(read),
                Err(error) => error,
            };
            match self.text(bytes, charset).filter(|_| !is_last) {
                Some(mended) => (text, is_last) = (mended, true),
                None => return Err(error),
            }
        }
    }

    fn text(&self, bytes: &[u8], charset: Charset) -> Option<&[u8]> {
        self.0.get_or_init(|| mend::mended(bytes, charset)).as_deref()
    }
}

#[cfg(test)]
mod tests;
