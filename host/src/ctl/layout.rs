//! The layout of text for people: its width, its colours, and the time that ages are counted from.

use std::{ffi::OsStr, io};

use textwrap::{Options, WordSeparator, WordSplitter};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

/// Indents each line that belongs to the one above it.
const INDENT: &str = "    ";

/// The settings for tables.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// The width of a line in columns; without it, no line is broken.
    pub(super) width: Option<usize>,
    /// Whether states are coloured. It changes nothing else.
    pub(super) color: bool,
    /// Whether tables show all columns.
    pub(super) wide: bool,
    /// The time that ages are counted from.
    pub(super) now: OffsetDateTime,
}

impl Layout {
    /// The age at this RFC 3339 time, in its largest unit: `12s`, `5m`, `3h`, `9d`; `-` for none.
    pub(super) fn age(&self, at: Option<&str>) -> String {
        at.and_then(moment).map_or_else(|| "-".to_owned(), |at| span(self.now - at))
    }

    /// Seconds since this RFC 3339 time.
    pub(super) fn seconds_since(&self, at: Option<&str>) -> Option<i64> {
        Some((self.now - moment(at?)?).whole_seconds())
    }

    /// A number of milliseconds, written as an age.
    pub(super) fn millis(&self, millis: i64) -> String {
        span(Duration::milliseconds(millis))
    }

    /// The time until then; `None` if it has passed.
    pub(super) fn until(&self, at: Option<&str>) -> Option<String> {
        let left = at.and_then(moment)? - self.now;
        left.is_positive().then(|| span(left))
    }

    /// The lines of a text that belongs to the line above: indented, and broken between words if too long.
    pub(super) fn below(&self, text: &str) -> Vec<String> {
        let Some(width) = self.width else { return vec![format!("{INDENT}{text}")] };
        let options = Options::new(width)
            .initial_indent(INDENT)
            .subsequent_indent(INDENT)
            .break_words(false)
            .word_separator(WordSeparator::AsciiSpace)
            .word_splitter(WordSplitter::NoHyphenation);
        textwrap::wrap(text, options).into_iter().map(|line| line.into_owned()).collect()
    }
}

/// The width of lines on standard output, from the environment or the terminal. A pipe has none.
pub(super) fn width(columns: Option<&OsStr>) -> Option<usize> {
    let said = columns.and_then(OsStr::to_str).and_then(|columns| columns.parse().ok()).filter(|columns| *columns > 0);
    said.or_else(|| Some(terminal_size::terminal_size_of(io::stdout())?.0.0.into()))
}

fn moment(at: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(at, &Rfc3339).ok()
}

/// A span written in its largest unit. A negative one, after the clock was set back, counts as zero.
fn span(span: Duration) -> String {
    let seconds = span.whole_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn layout(width: Option<usize>) -> Layout {
        Layout { width, color: false, wide: false, now: datetime!(2026-11-20 10:00:00 UTC) }
    }

    #[test]
    fn an_age_has_its_largest_unit() {
        for (at, expected) in [
            (Some("2026-11-20T10:00:01Z"), "0s"),
            (Some("2026-11-20T09:59:48.100Z"), "11s"),
            (Some("2026-11-20T09:00:01Z"), "59m"),
            (Some("2026-11-20T09:00:00Z"), "1h"),
            (Some("2026-11-18T10:00:01Z"), "47h"),
            (Some("2026-11-18T10:00:00Z"), "2d"),
            (Some("yesterday"), "-"),
            (None, "-"),
        ] {
            assert_eq!(layout(None).age(at), expected, "{at:?}");
        }
        assert_eq!(layout(None).until(Some("2026-11-20T10:15:00Z")).as_deref(), Some("15m"));
        assert_eq!(layout(None).until(Some("2026-11-20T10:00:00Z")), None);
    }

    #[test]
    fn lines_break_between_words_only() {
        let id = "0192f3a4-7b1c-7def-8a90-123456789abc";
        let text = format!("api: job {id} was-not-taken by the tool");
        assert_eq!(layout(None).below(&text), [format!("    {text}")]);
        assert_eq!(
            layout(Some(20)).below(&text),
            ["    api: job", &format!("    {id}"), "    was-not-taken by", "    the tool"]
        );
    }

    #[test]
    fn a_width_that_is_no_number_does_not_count() {
        assert_eq!(width(Some(OsStr::new("97"))), Some(97));
        for odd in ["0", "-1", "wide", ""] {
            assert_eq!(width(Some(OsStr::new(odd))), width(None), "{odd}");
        }
    }
}
