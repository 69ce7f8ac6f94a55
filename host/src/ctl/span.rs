//! Times as people type them: a number and a unit, or a date.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The longest time span before now, in seconds: ten years.
const BACK_S_MAX: u32 = 3_650 * 86_400;

/// The beginning of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// This many seconds before now, by the host's clock.
    Back(u32),
    /// An absolute time.
    At(OffsetDateTime),
}

impl Since {
    /// Parses `2h`, `3d`, or an RFC 3339 time.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
            return Ok(Self::At(at));
        }
        let is_span = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match seconds(text, BACK_S_MAX) {
            Ok(back) => Ok(Self::Back(back)),
            Err(why) if is_span => Err(why),
            Err(_) => {
                Err("must be a time back, such as 2h or 3d, or an RFC 3339 time such as 2026-03-02T09:15:00Z".into())
            }
        }
    }
}

/// Parses a time span such as `24h` into seconds, at most `most_s`, which is a number of whole days.
pub(super) fn seconds(text: &str, most_s: u32) -> Result<u32, String> {
    let form = || "must be a number and s, m, h or d, such as 24h".to_owned();
    let (unit_at, unit) = text.char_indices().last().ok_or_else(form)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(form()),
    };
    let number = &text[..unit_at];
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(form());
    }
    let span = number.parse::<u32>().ok().and_then(|number| number.checked_mul(seconds));
    span.filter(|span| *span <= most_s).ok_or_else(|| format!("must be at most {}d", most_s / 86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_span_back_or_a_time() {
        use time::macros::datetime;
        for (text, expected) in [
            ("2h", Some(Since::Back(7_200))),
            ("3650d", Some(Since::Back(BACK_S_MAX))),
            ("3651d", None),
            ("2026-03-02T09:15:00Z", Some(Since::At(datetime!(2026-03-02 09:15 UTC)))),
            ("2026-03-02T10:15:00.000+01:00", Some(Since::At(datetime!(2026-03-02 09:15 UTC)))),
            ("2026-03-02", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(Since::parse(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_span_is_a_number_with_a_unit() {
        for (text, expected) in [
            ("24h", Some(86_400)),
            ("0s", Some(0)),
            ("90m", Some(5_400)),
            ("90d", Some(7_776_000)),
            ("91d", None),
            ("4294967295h", None),
            ("99999999999s", None),
            ("24", None),
            ("h", None),
            ("", None),
            ("-1h", None),
            ("1.5h", None),
            ("24 h", None),
            ("5ä", None),
        ] {
            assert_eq!(seconds(text, 90 * 86_400).ok(), expected, "{text:?}");
        }
    }
}
