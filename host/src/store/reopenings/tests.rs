//! Memory and table agree, and neither grows without limit.

use super::*;
use crate::store::{StoreFile, migrations::open_migrated};

fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

#[test]
fn the_oldest_are_forgotten_when_there_are_too_many() {
    let folder = tempfile::tempdir().unwrap();
    let connection = open_migrated(StoreFile::Main, &folder.path().join("patchbay.db")).unwrap();
    let mut reopenings = Reopenings { tickets_max: 20, ..Reopenings::read(&connection).unwrap() };
    let open = |reopenings: &mut Reopenings, number: i64| {
        reopenings.opened(&connection, &tenant(), &number.to_string(), number).unwrap();
    };
    (0..20).for_each(|number| open(&mut reopenings, number));
    assert_eq!(reopenings.times(&tenant(), "0"), 1, "there is room for all");
    // Ticket 0 has changed since.
    reopenings.closed(&connection, &tenant(), "0", 100).unwrap();
    open(&mut reopenings, 20);
    let known = |reopenings: &Reopenings| {
        (0..=20).filter(|number: &i64| reopenings.times(&tenant(), &number.to_string()) > 0).collect::<Vec<_>>()
    };
    let expected: Vec<_> = (0..=20).filter(|number| ![1, 2].contains(number)).collect();
    assert_eq!(known(&reopenings), expected);
    assert_eq!(known(&Reopenings::read(&connection).unwrap()), expected, "and so in the table");
}

#[test]
fn a_reopening_counts_once_until_the_ticket_is_solved() {
    let folder = tempfile::tempdir().unwrap();
    let connection = open_migrated(StoreFile::Main, &folder.path().join("patchbay.db")).unwrap();
    let mut reopenings = Reopenings::read(&connection).unwrap();
    assert_eq!((reopenings.times(&tenant(), "7"), reopenings.told(&tenant(), "7")), (0, 1));
    for (opens, times, told) in [(true, 1, 1), (true, 1, 1), (false, 1, 2), (false, 1, 2), (true, 2, 2)] {
        if opens {
            reopenings.opened(&connection, &tenant(), "7", 0).unwrap();
        } else {
            reopenings.closed(&connection, &tenant(), "7", 0).unwrap();
        }
        for reopenings in [&reopenings, &Reopenings::read(&connection).unwrap()] {
            assert_eq!((reopenings.times(&tenant(), "7"), reopenings.told(&tenant(), "7")), (times, told));
        }
    }
    reopenings.closed(&connection, &tenant(), "never reopened", 0).unwrap();
    assert_eq!(reopenings.times(&tenant(), "never reopened"), 0);
}
