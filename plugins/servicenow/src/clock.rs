//! ServiceNow's time stamps.

use plugin_abi::{payload, time::OffsetDateTime};

/// Whole numbers from this on are milliseconds since the epoch, below it seconds (till the year 5138).
const MILLISECONDS_FROM: u64 = 100_000_000_000;

/// A time stamp as scripts send it in a header: any form of ISO 8601, or whole seconds or milliseconds since the epoch
/// (`Date.now()`, `GlideDateTime.getNumericValue()`).
pub(crate) fn stamp(text: &str) -> Option<OffsetDateTime> {
    match text.trim().parse::<u64>() {
        Ok(seconds) if seconds < MILLISECONDS_FROM => payload::Scalar::Number(seconds.checked_mul(1_000)?).epoch_ms(),
        Ok(milliseconds) => payload::Scalar::Number(milliseconds).epoch_ms(),
        Err(_) => payload::instant(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stamps_are_read_in_every_form() {
        let check = |text: &str, expected: Option<i64>| {
            assert_eq!(stamp(text).map(OffsetDateTime::unix_timestamp), expected, "{text}");
        };
        check("2017-09-15 21:39:13", Some(1_505_511_553));
        check(" 2017-09-15T21:39:13Z ", Some(1_505_511_553));
        check("2017-09-15T23:39:13.250+0200", Some(1_505_511_553));
        check("20170915T213913Z", Some(1_505_511_553));
        check("1505511553", Some(1_505_511_553));
        check("1505511553250", Some(1_505_511_553));
        check("99999999999", Some(99_999_999_999));
        check("2017-09-15 21:39", Some(1_505_511_540));
        for text in ["", " ", "0x", "-1", "15/09/2017 21:39:13", "2017-09-15", "18446744073709551615"] {
            check(text, None);
        }
    }
}
