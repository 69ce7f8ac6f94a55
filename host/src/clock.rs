//! The wall clock. Everything that stores or compares times asks it, so that a test can move it.

use std::{
    num::NonZeroU8,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use time::{
    OffsetDateTime,
    format_description::well_known::{
        Iso8601,
        iso8601::{Config, EncodedConfig, TimePrecision},
    },
};

/// The last millisecond of the year 9999, the end of RFC 3339.
const TIME_MS_MAX: i64 = 253_402_300_799_999;
/// RFC 3339 with milliseconds. All digits are written, so that texts have one length and can be compared by eye.
const SHOWN: EncodedConfig =
    Config::DEFAULT.set_time_precision(TimePrecision::Second { decimal_digits: NonZeroU8::new(3) }).encode();

/// The wall clock. It is cheap to clone, and all clones move together. Durations within the process are measured with
/// [`std::time::Instant`] instead, which cannot be set.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        let system = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(system.as_millis()).unwrap_or(i64::MAX).saturating_add(self.offset_ms.load(Ordering::Relaxed))
    }

    /// The current time as a date.
    pub fn now(&self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.now_ms()) * 1_000_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// Moves this clock and all its clones by this many milliseconds, forward or back.
    pub fn advance_ms(&self, by_ms: i64) {
        self.offset_ms.fetch_add(by_ms, Ordering::Relaxed);
    }
}

/// Formats milliseconds since the epoch for people and programs: `2026-03-02T09:15:00.250Z`.
pub fn rfc3339(at_ms: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms.clamp(0, TIME_MS_MAX)) * 1_000_000);
    at.expect("within 1970 to 9999").format(&Iso8601::<SHOWN>).expect("four-digit years have such a form")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_whatever_the_number() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_795_000_000_100, "2026-11-18T11:06:40.100Z"),
            (1_795_000_000_123, "2026-11-18T11:06:40.123Z"),
            (-1, "1970-01-01T00:00:00.000Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(ms), expected);
        }
    }
}
