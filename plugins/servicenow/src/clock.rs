//! ServiceNow's times.

use plugin_abi::{payload, time::OffsetDateTime};

/// Whole numbers from this on are milliseconds since the epoch, below it seconds (till the year 5138).
const MILLISECONDS_FROM: u64 = 100_000_000_000;

/// A time as records have it, `2017-09-15 21:39:13` in UTC, or in RFC 3339 as scripts write it.
pub(crate) fn instant(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim();
    match text.split_once(' ') {
        // The date and the time of day must be whole, else RFC 3339 would not have them.
        Some((date, time)) => payload::instant(&format!("{date}T{time}Z")),
        None => payload::instant(text),
    }
}

/// A time stamp as scripts send it in a header: [`instant`], or whole seconds or milliseconds since the epoch
/// (`Date.now()`, `GlideDateTime.getNumericValue()`).
pub(crate) fn stamp(text: &str) -> Option<OffsetDateTime> {
    match text.trim().parse::<u64>() {
        Ok(seconds) if seconds < MILLISECONDS_FROM => payload::Scalar::Number(seconds.checked_mul(1_000)?).epoch_ms(),
        Ok(milliseconds) => payload::Scalar::Number(milliseconds).epoch_ms(),
        Err(_) => instant(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form() {
        let check = |text: &str, expected: Option<i64>| {
            assert_eq!(stamp(text).map(OffsetDateTime::unix_timestamp), expected, "{text}");
        };
        check("2017-09-15 21:39:13", Some(1_505_511_553));
        check(" 2017-09-15T21:39:13Z ", Some(1_505_511_553));
        check("2017-09-15T23:39:13.250+02:00", Some(1_505_511_553));
        check("1505511553", Some(1_505_511_553));
        check("1505511553250", Some(1_505_511_553));
        check("99999999999", Some(99_999_999_999));
        check("2017-09-15 21:39", Some(1_505_511_540));
        for text in ["", " ", "0x", "-1", "15/09/2017 21:39:13", "2017-09-15", "18446744073709551615"] {
            check(text, None);
        }
        assert_eq!(instant("1505511553"), None);
    }
}
