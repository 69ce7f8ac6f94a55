//! Times as tools and templates write them.

use std::borrow::Cow;

use time::{
    Duration, OffsetDateTime, UtcOffset,
    format_description::well_known::{Iso8601, Rfc3339},
};

/// The moment that a text names in any form of ISO 8601, as UTC: extended or basic, by month, week or day of the year, with
/// or without seconds, the fraction after a point or a comma, the offset with or without its colon; a blank may stand for
/// the `T` and before the offset. **A time without a zone is in UTC.** A date alone is no moment.
///
/// `None` for anything else, also within hours of the calendar's ends, where UTC has a year that RFC 3339 cannot write.
///
/// ```
/// use plugin_abi::payload::instant;
/// let noon = instant("2026-01-31T12:00:00Z");
/// for text in ["2026-01-31T14:00:00.000+0200", "20260131T120000Z", "2026-01-31 12:00"] {
///     assert_eq!(instant(text), noon);
/// }
/// assert_eq!(instant("31/01/2026 12:00"), None);
/// ```
pub fn instant(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim();
    let at = usual(text).or_else(|| iso8601(text))?.checked_to_offset(UtcOffset::UTC)?;
    (0..=9999).contains(&at.year()).then_some(at)
}

/// The moment of a text in the usual form, `2026-01-31T12:00:00` and what may follow. `None` says only that the form is
/// another one. The text is written as RFC 3339 has it, without an allocation, since nearly every webhook has such times.
fn usual(text: &str) -> Option<OffsetDateTime> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let (clock, rest) = rest.split_at_checked("12:00:00".len())?;
    let zone_at = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (fraction, zone) = rest.split_at(zone_at);
    let (hours, minutes) = match zone.len() {
        0 => ("Z", ""),
        5 => zone.split_at_checked(3)?,
        _ => (zone, ""),
    };
    let colon = if minutes.is_empty() { "" } else { ":" };
    let (point, digits) = fraction.strip_prefix(',').map_or(("", fraction), |digits| (".", digits));
    let parts = [date, "T", clock, point, digits, hours, colon, minutes];

    let mut rfc3339 = [0; "2026-01-31T12:00:00.000000000+00:00".len()];
    let mut end = 0;
    for part in parts {
        rfc3339.get_mut(end..end + part.len())?.copy_from_slice(part.as_bytes());
        end += part.len();
    }
    OffsetDateTime::parse(str::from_utf8(&rfc3339[..end]).ok()?, &Rfc3339).ok()
}

/// Writes the time in the form of ISO 8601 that the parser takes, and parses that.
fn iso8601(text: &str) -> Option<OffsetDateTime> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let time = time.trim_start();
    let zone_at = time.find(['Z', 'z', '+', '-', '\u{2212}', ' ']).unwrap_or(time.len());
    let (clock, zone) = (&time[..zone_at], time[zone_at..].trim());
    let zone: Cow<'_, str> = match zone {
        "" | "z" | "UTC" | "GMT" => "Z".into(),
        zone => zone.replace('\u{2212}', "-").into(),
    };
    let minutes = match clock.len() {
        2 if date.get(4..).is_some_and(|rest| rest.contains('-')) => ":00",
        2 => "00",
        _ => "",
    };
    // The end of a day is the beginning of the next.
    let (clock, days) = match clock.strip_prefix("24") {
        Some(rest) if rest.bytes().all(|byte| matches!(byte, b'0' | b':' | b'.' | b',')) => {
            (Cow::Owned(format!("00{rest}")), Duration::DAY)
        }
        _ => (Cow::Borrowed(clock), Duration::ZERO),
    };
    let at = OffsetDateTime::parse(&format!("{date}T{clock}{minutes}{zone}"), &Iso8601::DEFAULT).ok()?;
    at.checked_add(days)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn every_form_of_a_moment_is_read() {
        let noon = datetime!(2026-01-31 12:00 UTC);
        for text in [
            "2026-01-31T12:00:00Z",
            " 2026-01-31T12:00:00.000000000Z\n",
            "2026-01-31t12:00:00z",
            "2026-01-31 12:00:00",
            "2026-01-31T12:00",
            "2026-01-31T12:00Z",
            "2026-01-31T12Z",
            "2026-01-31T14:00:00+0200",
            "2026-01-31T14:00:00.000+02",
            "2026-01-31T14:00:00,000+02:00",
            "2026-01-31 06:30:00 -0530",
            "2026-01-31T10:00:00\u{2212}02:00",
            "2026-01-31 12:00:00 UTC",
            "20260131T120000Z",
            "20260131T12Z",
            "20260131T1200",
            "20260131T130000,0+0100",
            "2026-W05-6T12:00:00Z",
            "2026W056T120000Z",
            "2026-031T12:00:00Z",
            "2026031T120000Z",
            "+002026-01-31T12:00:00Z",
        ] {
            assert_eq!(instant(text), Some(noon), "{text}");
        }
        for (text, expected) in [
            ("2026-03-02T09:15:00.250+01:00", datetime!(2026-03-02 08:15:00.25 UTC)),
            (" 2025-01-08T10:12:07.672717030Z ", datetime!(2025-01-08 10:12:07.672_717_030 UTC)),
            ("2026-01-31T24:00:00Z", datetime!(2026-02-01 00:00 UTC)),
            ("20251231T2400+0000", datetime!(2026-01-01 00:00 UTC)),
            ("2026-01-31T12:30,5Z", datetime!(2026-01-31 12:30:30 UTC)),
            ("2016-12-31T23:59:60Z", datetime!(2016-12-31 23:59:59.999_999_999 UTC)),
        ] {
            assert_eq!(instant(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_names_no_moment_is_none() {
        for text in [
            "",
            " ",
            "T",
            "2026-01-31",
            "20260131",
            "2026-01-31T",
            "2026-01-31T25:00Z",
            "2026-01-31T24:00:01Z",
            "2026-02-30T12:00Z",
            "2026-01-31T12:00:00+99:00",
            "2026-01-31T12:00:00 CET",
            "2026-01-31T12:00:00Z and more",
            "31/01/2026 12:00:00",
            "01/31/2026 12:00 PM",
            "Jan 31, 2026 12:00 PM",
            "1769860800000",
            "9999-12-31T23:59:59-23:00",
            "+012026-01-31T12:00:00Z",
            "\u{e9}\u{e9}T12",
            "2026-01-3\u{e9}T12:00:00Z",
            "2026-01-31T12:00:0\u{e9}Z",
            "2026-01-31X12:00:00Z",
            "2026-01-31T12:00:00,,5Z",
        ] {
            assert_eq!(instant(text), None, "{text}");
        }
    }
}
