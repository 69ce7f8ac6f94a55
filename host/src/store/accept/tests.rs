//! Webhooks that are delivered again, recognised by content and by time. Each step uses the state in memory, or reads
//! the file anew.

use plugin_abi::types::{Event, TicketMetadata};

use super::*;
use crate::{
    ids::{CorrelationId, Incarnation, TenantId, ToolType},
    store::{StoreFile, migrations::open_migrated},
};
use JobKind::{Confirm, Enhance, Record, Reopen};

const WINDOW_MS: i64 = 72 * 3_600_000;
const START_MS: i64 = 100 * WINDOW_MS;

struct Bed {
    connection: Connection,
    known: Known,
    _folder: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let connection = open_migrated(StoreFile::Main, &folder.path().join("patchbay.db")).unwrap();
        let known = Known::read(&connection).unwrap();
        Self { connection, known, _folder: folder }
    }

    /// Whether this webhook makes a job.
    fn told(&mut self, kind: JobKind, ticket: &str, body: &str, now_ms: i64) -> bool {
        self.known.forget_old(&self.connection, now_ms, WINDOW_MS).unwrap();
        let tenant = TenantId::parse("acme").unwrap();
        let metadata = TicketMetadata::new(ticket, event(kind));
        let key = DedupKey::new(&tenant, Incarnation::FIRST, &metadata, body.as_bytes());
        let (slot, tool_type) = (tenant.slot(), ToolType::parse("jira").unwrap());
        let (base_url, correlation_id) = ("https://desk.example".parse().unwrap(), CorrelationId::parse("c").unwrap());
        let incarnation = Incarnation::FIRST;
        let job = NewJob { tenant, incarnation, tool_type, base_url, kind, correlation_id, metadata };
        self.known.is_news(&self.connection, slot, &job, key, now_ms).unwrap()
    }

    /// Reads the state from the file, as after a restart.
    fn read_anew(&mut self) {
        self.known = Known::read(&self.connection).unwrap();
    }

    fn rows(&self, table: &str) -> i64 {
        self.connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }
}

fn event(kind: JobKind) -> Event {
    match kind {
        Enhance => Event::Created,
        Record | Confirm => Event::Resolved { resolution: None, resolved_at: None, tags: Vec::new() },
        Reopen => Event::Reopened,
    }
}

#[test]
fn the_same_words_are_news_once_the_ticket_was_reopened() {
    for (what, told) in [
        ("a cycle", &[(Record, "s", true), (Reopen, "o", true), (Record, "s", true)][..]),
        (
            "each of them twice, and again",
            &[
                (Record, "s", true),
                (Record, "s", false),
                (Reopen, "o", true),
                (Reopen, "o", false),
                (Record, "s", true),
                (Record, "s", false),
                (Reopen, "o", true),
                (Reopen, "o", false),
                (Record, "s", true),
            ],
        ),
        (
            "what can only be confirmed",
            &[
                (Confirm, "s", true),
                (Reopen, "o", true),
                (Confirm, "s", true),
                (Confirm, "s", false),
                (Reopen, "o", true),
                (Confirm, "s", true),
            ],
        ),
        ("nobody told that it was solved", &[(Reopen, "o", true), (Reopen, "o", false), (Record, "s", true)]),
        (
            "it was created once",
            &[
                (Enhance, "c", true),
                (Reopen, "o", true),
                (Enhance, "c", false),
                (Record, "s", true),
                (Enhance, "c", false),
            ],
        ),
        (
            "two words for one reopening",
            &[
                (Reopen, "o", true),
                (Reopen, "other", true),
                (Reopen, "o", false),
                (Reopen, "other", false),
                (Record, "s", true),
                (Reopen, "other", true),
                (Reopen, "o", true),
                (Record, "s", true),
                (Record, "s", false),
            ],
        ),
    ] {
        for read_anew in [false, true] {
            let mut bed = Bed::new();
            for (step, (kind, body, is_news)) in told.iter().enumerate() {
                if read_anew {
                    bed.read_anew();
                }
                let now_ms = START_MS + step as i64;
                assert_eq!(bed.told(*kind, "7", body, now_ms), *is_news, "{what}, step {step}, read anew: {read_anew}");
            }
            assert!(bed.told(Record, "8", "s", START_MS), "{what}: another ticket");
        }
    }
}

#[test]
fn nothing_of_a_commit_that_failed_is_known() {
    for (kind, body, is_news) in [(Reopen, "o", true), (Record, "s", false)] {
        let mut bed = Bed::new();
        assert!(bed.told(Record, "7", "s", START_MS));
        bed.connection.execute_batch("BEGIN").unwrap();
        assert!(bed.told(Reopen, "7", "o", START_MS));
        bed.connection.execute_batch("ROLLBACK").unwrap();
        bed.read_anew();
        assert_eq!(bed.told(kind, "7", body, START_MS), is_news, "{kind:?}");
    }
}

#[test]
fn what_can_only_be_confirmed_is_looked_at_again_after_ten_minutes() {
    for read_anew in [false, true] {
        let mut bed = Bed::new();
        let mut now_ms = START_MS;
        for (after_ms, is_news) in [
            (0, true),
            (0, false),
            (CONFIRMED_MS, false),
            // The delivery that made no job does not count.
            (1, true),
            (CONFIRMED_MS, false),
            (1, true),
            // The clock was set back.
            (-1, true),
            (0, false),
        ] {
            if read_anew {
                bed.read_anew();
            }
            now_ms += after_ms;
            assert_eq!(bed.told(Confirm, "7", "s", now_ms), is_news, "{after_ms} ms later, read anew: {read_anew}");
        }
        now_ms += 2 * CONFIRMED_MS;
        assert!(bed.told(Record, "8", "s", now_ms) && !bed.told(Record, "8", "s", now_ms + 2 * CONFIRMED_MS));
        assert_eq!(bed.rows("confirmed"), 1, "of others no time is kept");
    }
}

#[test]
fn a_key_of_an_earlier_version_is_still_known() {
    let mut bed = Bed::new();
    assert!(bed.told(Confirm, "7", "s", START_MS));
    bed.connection.execute("DELETE FROM confirmed", []).unwrap();
    assert!(bed.told(Confirm, "7", "s", START_MS + 1), "nobody knows when it was, and looking costs little");
    assert!(!bed.told(Confirm, "7", "s", START_MS + 2));
}

#[test]
fn what_was_told_stays_for_two_windows() {
    let mut bed = Bed::new();
    assert!(bed.told(Reopen, "7", "o", START_MS));
    assert!(bed.told(Confirm, "7", "s", START_MS + 1));
    for (now_ms, rows) in [(START_MS + WINDOW_MS, 1), (START_MS + 2 * WINDOW_MS, 1), (START_MS + 3 * WINDOW_MS + 1, 0)]
    {
        assert!(bed.told(Enhance, &now_ms.to_string(), "c", now_ms));
        assert_eq!((bed.rows("reopenings"), bed.rows("confirmed")), (rows, rows), "{}", now_ms - START_MS);
        assert_eq!(bed.known.reopenings.times(&TenantId::parse("acme").unwrap(), "7"), u32::try_from(rows).unwrap());
    }
}
