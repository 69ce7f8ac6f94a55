//! A store that cannot be written, is damaged, or whose clock is set. Whatever was answered holds, and nothing else
//! does.

use std::fs;

use super::*;

fn config(folder: &TempDir) -> StoreConfig {
    StoreConfig { path: folder.path().join("patchbay.db"), dedup_hours: DEDUP_HOURS, hooks: Hooks::default() }
}

impl Bed {
    /// Accepts jobs until the store refuses. Returns the accepted ones.
    async fn accept_until_refused(&self, name: &str) -> (Vec<JobId>, StoreError) {
        let mut accepted = Vec::new();
        for number in 0..10_000 {
            let (job, key) = self.job("acme", &format!("{name} {number}")).await;
            match self.store.accept(job, key, TenantRoom::UNBOUNDED).await {
                Ok(Accepted::New(id)) => accepted.push(id),
                Ok(other) => panic!("{number} came once: {other:?}"),
                Err(error) => return (accepted, error),
            }
        }
        panic!("the store never refused")
    }

    /// Makes the write connection fail once, so that the next write must reopen the file.
    async fn break_connection(&self) {
        let broken = self.store.inner.main.apply(|connection| connection.execute("INSERT INTO nowhere VALUES (1)", []));
        assert!(matches!(broken.await, Err(StoreError::Unavailable { .. })));
    }
}

#[tokio::test]
async fn a_full_database_refuses_and_keeps_what_it_has_accepted() {
    let bed = Bed::new();
    bed.accept("acme", "before").await;
    let fill = |connection: &rusqlite::Connection| {
        let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        // The connection that is opened after the failure does not have this limit: the disk has room again.
        connection.pragma_update_and_check(None, "max_page_count", pages + 4, |_| Ok(()))
    };
    let mut live = 1;
    for round in 0..3 {
        bed.store.inner.main.apply(fill).await.unwrap();
        let (accepted, error) = bed.accept_until_refused(&format!("round {round}")).await;
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
        live += accepted.len() as u64;
        assert_eq!(bed.store.depth().await.unwrap().live, live, "what was refused is not there");
        assert_eq!(bed.store.times_reopened(), round);
        bed.accept("acme", &format!("after {round}")).await;
        live += 1;
        assert_eq!(bed.store.times_reopened(), round + 1);
    }
    let bed = bed.reopened().await;
    assert_eq!(bed.store.depth().await.unwrap().live, live);
}

#[tokio::test]
async fn readiness_is_that_both_files_can_be_written() {
    let bed = Bed::new();
    assert_eq!(bed.store.ping().await, Ok(()));
    let refuse = |connection: &rusqlite::Connection| connection.pragma_update(None, "query_only", true);
    bed.store.inner.main.apply(refuse).await.unwrap();
    assert!(bed.store.ping().await.is_err());
    assert_eq!(bed.store.ping().await, Ok(()), "the connection was opened anew");
    bed.store.inner.history.apply(refuse).await.unwrap();
    assert!(bed.store.ping().await.is_err());
    assert_eq!(bed.store.ping().await, Ok(()));
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_again_is_tried_with_each_write() {
    type Change = fn(&std::path::Path);
    let aside: (Change, Change) = (
        |db| fs::rename(db, db.with_extension("away")).unwrap(),
        |db| fs::rename(db.with_extension("away"), db).unwrap(),
    );
    let log_is_a_folder: (Change, Change) = (
        |db| fs::create_dir(db.with_extension("db-wal")).unwrap(),
        |db| fs::remove_dir(db.with_extension("db-wal")).unwrap(),
    );
    let read_only: (Change, Change) = (|db| mode(db, 0o400), |db| mode(db, 0o600));
    let read_only_folder: (Change, Change) =
        (|db| mode(db.parent().unwrap(), 0o500), |db| mode(db.parent().unwrap(), 0o700));
    for (what, (spoil, mend), also_for_root) in [
        ("the file is away", aside, true),
        ("the log is a folder", log_is_a_folder, true),
        ("the file is read-only", read_only, false),
        ("the folder is read-only", read_only_folder, false),
    ] {
        if rustix::process::geteuid().is_root() && !also_for_root {
            continue;
        }
        let bed = Bed::new();
        bed.accept("acme", "before").await;
        let jobs = [bed.job("acme", "1").await, bed.job("acme", "2").await];
        bed.break_connection().await;
        let path = bed.folder.path().join("patchbay.db");
        spoil(&path);
        for (job, key) in jobs {
            let refused = bed.store.accept(job, key, TenantRoom::UNBOUNDED).await;
            assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{what}: {refused:?}");
        }
        mend(&path);
        bed.accept("acme", "1").await;
        assert_eq!(bed.claim("acme", 10).await.len(), 2, "{what}");
    }
}

fn mode(path: &std::path::Path, mode: u32) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_damaged_or_missing_file_is_refused_and_neither_is_touched() {
    type Spoil = fn(&std::path::Path);
    for (what, spoil, words) in [
        ("half of it", (|folder| truncate(&folder.join("patchbay.db"), 2)) as Spoil, "patchbay.db is not a usable"),
        ("half the history", |folder| truncate(&folder.join("history.db"), 2), "history.db is not a usable"),
        ("a page in the middle", |folder| scribble(&folder.join("patchbay.db")), "patchbay.db is not a usable"),
        ("a page of the history", |folder| scribble(&folder.join("history.db")), "history.db is not a usable"),
        ("no history", |folder| fs::remove_file(folder.join("history.db")).unwrap(), "history.db is missing, but"),
        ("no main file", |folder| fs::remove_file(folder.join("patchbay.db")).unwrap(), "patchbay.db is missing, but"),
    ] {
        let bed = Bed::new();
        for ticket in 0..100 {
            bed.accept("acme", &ticket.to_string()).await;
        }
        bed.store.close().await.unwrap();
        let Bed { folder, clock, .. } = bed;
        spoil(folder.path());
        let before = contents(&folder);
        let Err(error) = Store::open(config(&folder), clock) else { panic!("{what}: opened") };
        assert!(error.to_string().contains(words), "{what}: {error}");
        let after = contents(&folder);
        assert_eq!(before.len(), after.iter().filter(|(name, _)| name.ends_with(".db")).count(), "{what}");
        assert!(before.iter().all(|file| after.contains(file)), "{what}: a file was changed");
    }
}

fn truncate(path: &std::path::Path, part: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() / part).unwrap();
}

/// Overwrites every page but the first, which has the schema.
fn scribble(path: &std::path::Path) {
    let mut bytes = fs::read(path).unwrap();
    let page = 4_096;
    bytes[page..].chunks_mut(page).for_each(|page| page[..64].fill(0xa5));
    fs::write(path, bytes).unwrap();
}

fn contents(folder: &TempDir) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

#[tokio::test]
async fn a_first_start_that_was_cut_off_is_taken_up_again() {
    for made in [&["history.db"][..], &["history.db", "patchbay.db"]] {
        let folder = tempfile::tempdir().unwrap();
        made.iter().for_each(|name| fs::write(folder.path().join(name), "").unwrap());
        let store = Store::open(config(&folder), Clock::system()).unwrap();
        assert_eq!(store.ping().await, Ok(()), "{made:?}");
    }
}

#[tokio::test]
async fn an_orderly_end_leaves_no_log_behind() {
    let bed = Bed::new();
    bed.accept("acme", "17").await;
    bed.store.ping().await.unwrap();
    bed.store.close().await.unwrap();
    bed.store.close().await.unwrap();
    let mut names: Vec<_> = contents(&bed.folder).into_iter().map(|(name, _)| name).collect();
    names.sort();
    assert_eq!(names, ["history.db", "patchbay.db"]);
    assert!(matches!(bed.store.depth().await, Err(StoreError::Closed { .. })));
}

#[tokio::test]
async fn a_clock_that_was_set_takes_no_lease_away_and_lets_nothing_wait_the_longer() {
    for step_ms in [10 * 60_000, HOUR_MS, -10 * 60_000, -HOUR_MS] {
        let bed = Bed::new();
        let held = bed.accept("acme", "held").await;
        let lease = bed.lease("acme").await;
        bed.accept("acme", "retried").await;
        let failed = bed.lease("acme").await;
        assert_eq!(bed.store.retry(failed, bed.in_ms(4_000), failure(1)).await, Ok(Fenced::Done));
        let queued = bed.accept("acme", "queued").await;
        bed.clock.advance_ms(step_ms);
        bed.store.clock_was_set(step_ms, vec![lease], LEASE_MS).await.unwrap();

        let claimed: Vec<_> = bed.claim("acme", 10).await.iter().map(|job| job.lease.id).collect();
        assert!(claimed.contains(&queued), "{step_ms}: what was due is due");
        assert!(!claimed.contains(&held), "{step_ms}: what runs is not taken up again");
        bed.clock.advance_ms(4_000);
        let later: Vec<_> = bed.claim("acme", 10).await.iter().map(|job| job.lease.id).collect();
        assert!(claimed.contains(&failed.id) || later.contains(&failed.id), "{step_ms}: it waits as long as it had to");
        assert_eq!(claimed.contains(&failed.id), step_ms > 0, "{step_ms}");
        assert_eq!(bed.store.complete(lease).await, Ok(Fenced::Done), "{step_ms}");
    }
}

#[tokio::test]
async fn a_clock_that_was_set_back_while_no_host_ran_is_noticed() {
    let bed = Bed::new();
    let job = bed.accept("acme", "17").await;
    assert_eq!(bed.store.find_clock_set_back().await, Ok(0), "it was not");
    bed.clock.advance_ms(-HOUR_MS);
    let bed = bed.reopened().await;
    assert!(bed.claim("acme", 10).await.is_empty(), "else there is nothing to notice");
    assert_eq!(bed.store.find_clock_set_back().await, Ok(1));
    assert_eq!(bed.claim("acme", 10).await[0].lease.id, job);
}

#[tokio::test]
async fn a_window_that_began_in_the_future_begins_now() {
    let bed = Bed::new();
    let window_ms = i64::from(DEDUP_HOURS) * HOUR_MS;
    bed.clock.advance_ms(100 * window_ms);
    bed.accept("acme", "17").await;
    bed.clock.advance_ms(-100 * window_ms);
    assert_eq!(bed.deliver("acme", "17").await, Accepted::Duplicate);
    bed.clock.advance_ms(window_ms + HOUR_MS);
    assert_eq!(bed.deliver("acme", "17").await, Accepted::Duplicate);
    bed.clock.advance_ms(window_ms);
    bed.accept("acme", "17").await;
}

#[tokio::test]
async fn jobs_of_a_backup_look_for_their_note_first() {
    let bed = Bed::new();
    bed.store.insert_tenant(tenant("acme"), Vec::new()).await.unwrap();
    let dead = bed.accept("acme", "dead").await;
    let lease = bed.lease("acme").await;
    assert_eq!(bed.store.dead(lease, "gave_up", failure(1)).await, Ok(Fenced::Done));
    let live = bed.accept("acme", "live").await;
    let restored = tempfile::tempdir().unwrap();
    let report = back_up(&bed.folder.path().join("patchbay.db"), &restored.path().join("patchbay.db")).unwrap();
    fs::rename(report.history, restored.path().join(HISTORY_FILE)).unwrap();
    for (folder, sent) in [(bed.folder.path(), false), (restored.path(), true)] {
        let config = StoreConfig { path: folder.join("patchbay.db"), ..config(&bed.folder) };
        let store = Store::open(config, bed.clock.clone()).unwrap();
        for id in [dead, live] {
            assert_eq!(store.job(id).await.unwrap().unwrap().sent, sent, "{}", folder.display());
        }
    }
}
