//! Makes of bytes what was meant by them: one pass over the text, which is not parsed.

use std::borrow::Cow;

use encoding_rs::{CoderResult, Encoding, UTF_16BE, UTF_16LE};

use super::{Charset, WHOLE_DIGITS_MAX};

const BYTE_ORDER_MARK: char = '\u{feff}';
/// So many digits are within 64 bits.
const SHORT_CHARS_MAX: usize = 18;

/// A longer number is left as it is.
const NUMBER_BYTES_MAX: usize = 4 << 10;
/// What is kept while a text is mended may be twice the bytes that came, and this: whoever sends it decides how many places
/// are to be mended, and `1e99` becomes a hundred digits.
const BESIDE_BYTES: usize = 1 << 20;

/// The mended text; `None` when it is the bytes as they came, or would grow too much.
pub(super) fn mended(bytes: &[u8], charset: Charset) -> Option<Vec<u8>> {
    let bytes_max = bytes.len().saturating_mul(2).saturating_add(BESIDE_BYTES);
    let decoded = decoded(bytes, charset, bytes_max)?;
    // Some senders write it twice: their library does, and they do.
    let text = decoded.trim_start_matches(BYTE_ORDER_MARK);
    let mark_bytes = decoded.len() - text.len();
    let room = match &decoded {
        Cow::Borrowed(_) => bytes_max,
        Cow::Owned(text) => bytes_max - text.len(),
    };
    match Tokens::of(text, room).mended() {
        Ok(Some(mended)) => Some(mended),
        Ok(None) if text.as_bytes() == bytes => None,
        Ok(None) => {
            let mut text = decoded.into_owned().into_bytes();
            text.drain(..mark_bytes);
            Some(text)
        }
        Err(TooLong) => None,
    }
}

/// The text. What is no text in this charset becomes U+FFFD. `None` when it has more than so many bytes.
fn decoded(bytes: &[u8], charset: Charset, bytes_max: usize) -> Option<Cow<'_, str>> {
    // A mark counts for more than the content type, as it does for browsers.
    if let Some((marked, mark_bytes)) = Encoding::for_bom(bytes) {
        return decoded_from(&bytes[mark_bytes..], marked, bytes_max);
    }
    match (bytes, charset) {
        // RFC 4627: the first two characters of a JSON text are ASCII, so that zeros tell UTF-16.
        ([0, 1..=u8::MAX, ..], _) => decoded_from(bytes, UTF_16BE, bytes_max),
        ([1..=u8::MAX, 0, ..], _) => decoded_from(bytes, UTF_16LE, bytes_max),
        (_, Charset::Named(named)) => decoded_from(bytes, named, bytes_max),
        (_, Charset::Utf8) => utf8(bytes, bytes_max),
    }
}

fn decoded_from<'a>(bytes: &'a [u8], encoding: &'static Encoding, bytes_max: usize) -> Option<Cow<'a, str>> {
    if encoding == encoding_rs::UTF_8 {
        return utf8(bytes, bytes_max);
    }
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let (mut text, mut read) = (String::with_capacity(bytes.len().min(bytes_max)), 0);
    loop {
        let (result, more, _) = decoder.decode_to_string(&bytes[read..], &mut text, true);
        read += more;
        match result {
            CoderResult::InputEmpty => return Some(Cow::Owned(text)),
            CoderResult::OutputFull if text.capacity() >= bytes_max => return None,
            CoderResult::OutputFull => {
                let bytes = (text.capacity() + text.capacity() / 2 + BESIDE_BYTES / 16).min(bytes_max);
                text.reserve_exact(bytes - text.len());
            }
        }
    }
}

/// As `String::from_utf8_lossy`, but reads surrogates that were each written as three bytes: two of them are one character
/// (CESU-8, as Java writes it), half a pair is one U+FFFD (WTF-8).
fn utf8(bytes: &[u8], bytes_max: usize) -> Option<Cow<'_, str>> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Some(Cow::Borrowed(text));
    }
    let mut text = String::with_capacity(bytes.len());
    let (mut from, mut at) = (0, 0);
    while at < bytes.len() {
        let Some(unit) = surrogate(&bytes[at..]) else {
            at += 1;
            continue;
        };
        push_lossy(&mut text, &bytes[from..at], bytes_max)?;
        let pair = surrogate(&bytes[at + 3..]).and_then(|low| char::decode_utf16([unit, low]).next()?.ok());
        text.push(pair.unwrap_or(char::REPLACEMENT_CHARACTER));
        at += if pair.is_some() { 6 } else { 3 };
        from = at;
    }
    push_lossy(&mut text, &bytes[from..], bytes_max)?;
    Some(Cow::Owned(text))
}

fn push_lossy(text: &mut String, bytes: &[u8], bytes_max: usize) -> Option<()> {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend((!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER));
        if text.len() > bytes_max {
            return None;
        }
    }
    Some(())
}

/// The surrogate that these bytes begin with, as UTF-8 would write it if it could.
fn surrogate(bytes: &[u8]) -> Option<u16> {
    match *bytes {
        [0xED, second @ 0xA0..=0xBF, third @ 0x80..=0xBF, ..] => {
            Some(0xD000 | u16::from(second & 0x3F) << 6 | u16::from(third & 0x3F))
        }
        _ => None,
    }
}

/// A JSON text, and its beginning as it was mended.
struct Tokens<'a> {
    text: &'a [u8],
    mended: Vec<u8>,
    /// Up to here the text is in `mended`.
    taken: usize,
    /// Most bytes of `mended`.
    room: usize,
}

/// The mended text would have more bytes than there is room for.
struct TooLong;

impl<'a> Tokens<'a> {
    fn of(text: &'a str, room: usize) -> Self {
        Self { text: text.as_bytes(), mended: Vec::new(), taken: 0, room }
    }

    /// The whole text; `None` when nothing had to be mended.
    fn mended(mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let (mut at, mut in_text) = (0, false);
        while let Some(byte) = self.text.get(at) {
            if self.mended.len() > self.room {
                return Err(TooLong);
            }
            at = match (byte, in_text) {
                (b'"', _) => {
                    in_text = !in_text;
                    at + 1
                }
                (b'\\', true) => self.escape(at),
                (b'-' | b'0'..=b'9', false) => self.number(at),
                _ => at + 1,
            };
        }
        if self.taken == 0 {
            return Ok(None);
        }
        let rest = &self.text[self.taken..];
        if self.mended.len() + rest.len() > self.room {
            return Err(TooLong);
        }
        self.mended.extend_from_slice(rest);
        Ok(Some(self.mended))
    }

    /// Puts `with` in the place of a part of the text.
    fn replace(&mut self, from: usize, to: usize, with: &str) {
        if self.taken == 0 {
            // Most texts become little longer: then there is never another copy.
            self.mended.reserve_exact(self.text.len().min(self.room));
        }
        self.mended.extend_from_slice(&self.text[self.taken..from]);
        self.mended.extend_from_slice(with.as_bytes());
        self.taken = to;
    }

    /// Steps over the escape that begins here, or over two that are one character. One that is half a character becomes
    /// U+FFFD.
    fn escape(&mut self, at: usize) -> usize {
        let Some(unit) = self.escaped_unit(at) else { return at + 2 };
        match char::decode_utf16([unit]).next() {
            Some(Ok(_)) | None => at + 6,
            Some(Err(_)) => {
                let low = self.escaped_unit(at + 6);
                if low.is_some_and(|low| matches!(char::decode_utf16([unit, low]).next(), Some(Ok(_)))) {
                    return at + 12;
                }
                self.replace(at, at + 6, "\\ufffd");
                at + 6
            }
        }
    }

    /// The number in `\u1234`, when that stands here.
    fn escaped_unit(&self, at: usize) -> Option<u16> {
        let digits = self.text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits
            .iter()
            .try_fold(0, |number, digit| Some(number << 4 | u16::try_from(char::from(*digit).to_digit(16)?).ok()?))
    }

    /// Steps over the number that begins here, and writes it so that a whole one is read as such.
    fn number(&mut self, from: usize) -> usize {
        let is_part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
        let length = self.text[from..].iter().position(|byte| !is_part(byte));
        let to = length.map_or(self.text.len(), |length| from + length);
        if to - from > NUMBER_BYTES_MAX {
            return to;
        }
        let written = std::str::from_utf8(&self.text[from..to]).unwrap_or_default();
        // Most numbers are short, and read as they are.
        if written.len() <= SHORT_CHARS_MAX && written.bytes().all(|byte| byte.is_ascii_digit()) {
            return to;
        }
        match Whole::of(written) {
            Some(Whole::Within(digits)) if digits != written => self.replace(from, to, &digits),
            Some(Whole::Beyond(digits)) => self.replace(from, to, &format!("\"{digits}\"")),
            Some(Whole::Within(_)) | None => {}
        }
        to
    }
}

/// A whole number, however it is written.
enum Whole {
    /// One of 64 bits, in digits.
    Within(String),
    /// A longer one: its digits, or as it is written when there are too many of them.
    Beyond(String),
}

impl Whole {
    /// `None` for what is no whole number, or no number.
    fn of(written: &str) -> Option<Self> {
        let (sign, rest) = written.strip_prefix('-').map_or(("", written), |rest| ("-", rest));
        let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let (before, behind) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let has_zero_before = before.len() > 1 && before.starts_with('0');
        if before.is_empty() || has_zero_before || !is_digits(before) || !is_digits(behind) {
            return None;
        }
        let digits_of_exponent = exponent.trim_start_matches(['+', '-']);
        if digits_of_exponent.is_empty()
            || exponent.len() > digits_of_exponent.len() + 1
            || !is_digits(digits_of_exponent)
        {
            return None;
        }
        let all = format!("{before}{behind}");
        let significant = all.trim_start_matches('0');
        if significant.is_empty() {
            return Some(Self::Within("0".to_owned()));
        }
        let digits = significant.trim_end_matches('0');
        // The number is `digits` times ten to the power of this; an exponent that is no i64 is out of every range.
        let zeros = i128::try_from(significant.len() - digits.len()).ok()? - i128::try_from(behind.len()).ok()?;
        let exponent =
            i128::from(exponent.parse::<i64>().unwrap_or(if exponent.starts_with('-') { i64::MIN } else { i64::MAX }));
        let Ok(zeros) = usize::try_from(exponent + zeros) else {
            return if exponent + zeros < 0 { None } else { Some(Self::Beyond(written.to_owned())) };
        };
        if digits.len().saturating_add(zeros) > WHOLE_DIGITS_MAX {
            return Some(Self::Beyond(written.to_owned()));
        }
        let whole = format!("{sign}{digits}{:0<zeros$}", "");
        let within = whole.parse::<u64>().is_ok() || whole.parse::<i64>().is_ok();
        Some(if within { Self::Within(whole) } else { Self::Beyond(whole) })
    }
}
