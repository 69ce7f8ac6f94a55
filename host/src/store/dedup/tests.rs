//! A key is recognised wherever it is: in the growing run, in the run that is being sorted, and in either generation.

use super::*;
use crate::{
    ids::{Incarnation, TenantId},
    store::{StoreFile, connection::open_reader, migrations::open_migrated},
};
use plugin_abi::types::{Event, TicketMetadata};

const WINDOW_MS: i64 = 1_000_000;
const SLOT: u16 = 555;

struct Bed {
    connection: Connection,
    window: DedupWindow,
    folder: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let connection = open_migrated(StoreFile::Main, &folder.path().join("patchbay.db")).unwrap();
        connection.execute_batch("BEGIN").unwrap();
        let window = DedupWindow::read(&connection).unwrap();
        Self { connection, window, folder }
    }

    fn remember(&mut self, number: usize, now_ms: i64) -> bool {
        self.window.turn(&self.connection, now_ms, WINDOW_MS).unwrap();
        self.window.remember(&self.connection, SLOT, &key(number)).unwrap()
    }

    /// Sorts as a commit with this many operations does.
    fn tidy(&mut self) {
        self.window.tidy(&self.connection).unwrap();
    }

    /// Reads the window from the file, as after a crash or a failed commit.
    fn read_anew(&mut self) {
        self.window = DedupWindow::read(&self.connection).unwrap();
    }

    fn rows(&self, table: &str) -> usize {
        let count = format!("SELECT count(*) FROM {table}");
        self.connection.query_row(&count, [], |row| row.get::<_, i64>(0)).unwrap().try_into().unwrap()
    }

    /// Adds more keys than fit in a run, in commits of 64, so that a run is being sorted afterwards.
    fn fill(&mut self) -> usize {
        let keys = RUN_KEYS + 300;
        for number in 0..keys {
            assert!(self.remember(number, 1), "{number}");
            if number % 64 == 63 {
                self.tidy();
            }
        }
        keys
    }
}

fn key(number: usize) -> DedupKey {
    let metadata = TicketMetadata::new(number.to_string(), Event::Created);
    DedupKey::new(&TenantId::parse("acme").unwrap(), Incarnation::FIRST, &metadata, b"")
}

#[test]
fn a_key_is_known_wherever_it_lies() {
    let mut bed = Bed::new();
    let keys = bed.fill();
    let sorted = bed.rows("dedup_0");
    assert!(sorted > 0 && sorted < RUN_KEYS, "{sorted} are sorted in");
    for read_anew in [false, true] {
        if read_anew {
            bed.read_anew();
        }
        assert!((0..keys).step_by(7).all(|number| !bed.remember(number, 2)), "read anew: {read_anew}");
    }
    while !bed.window.sorting.is_empty() {
        bed.tidy();
    }
    assert!((0..keys).step_by(7).all(|number| !bed.remember(number, 2)));
    // Keys that came after the switch of runs are in the other one.
    assert_eq!((bed.rows("dedup_0"), bed.rows("dedup_run_0")), (RUN_KEYS, 0));
    assert_eq!(bed.rows("dedup_run_1"), keys - RUN_KEYS);
    assert!(open_reader(&bed.folder.path().join("patchbay.db")).is_ok());
}

#[test]
fn a_key_stays_for_one_window_at_least_and_for_two_at_most() {
    for read_anew in [false, true] {
        let mut bed = Bed::new();
        let at = |bed: &mut Bed, number, now_ms| {
            if read_anew {
                bed.read_anew();
            }
            bed.remember(number, now_ms)
        };
        // The very first key begins a window.
        assert!(at(&mut bed, 1, 10 * WINDOW_MS));
        assert!(at(&mut bed, 2, 11 * WINDOW_MS - 1));
        assert!(!at(&mut bed, 1, 11 * WINDOW_MS - 1), "one window is not over");
        assert!(!at(&mut bed, 2, 12 * WINDOW_MS - 2), "one window is not over");
        assert!(at(&mut bed, 1, 12 * WINDOW_MS + 1), "two windows are over");
        assert!(!at(&mut bed, 1, 12 * WINDOW_MS + 2));
        // A silence of two windows ends all of them.
        assert!(at(&mut bed, 1, 20 * WINDOW_MS));
        assert_eq!(bed.rows("dedup_0") + bed.rows("dedup_1"), 0);
    }
}

#[test]
fn a_window_that_ends_while_a_run_is_sorted_in_loses_no_key() {
    let mut bed = Bed::new();
    let keys = bed.fill();
    assert!(bed.remember(keys, WINDOW_MS));
    assert_eq!((bed.rows("dedup_0"), bed.rows("dedup_run_0") + bed.rows("dedup_run_1")), (keys, 1));
    assert!((0..=keys).step_by(7).all(|number| !bed.remember(number, WINDOW_MS + 1)));
}
