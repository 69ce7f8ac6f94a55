//! Every earlier schema is migrated with its rows. Newer and foreign files are refused and unchanged.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::{
    clock::Clock,
    ids::{Incarnation, TenantId},
    store::{Hooks, ReopenedTicket, Store, StoreConfig},
};

const KNOWN: usize = MAIN.len();

fn migrated_to(path: &Path, version: usize) -> Connection {
    let mut connection = Connection::open(path).unwrap();
    Migrations::from_slice(MAIN).to_version(&mut connection, version).unwrap();
    connection
}

fn open(path: &Path) -> Result<Store, StoreError> {
    let config = StoreConfig { path: path.to_owned(), dedup_hours: 72, hooks: Hooks::default() };
    Store::open(config, Clock::system())
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

fn schema(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection.prepare("SELECT type || ' ' || name FROM sqlite_schema ORDER BY 1").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_tenant_of_every_earlier_version_has_a_tool_type_and_a_backup_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let fresh = folder.path().join("fresh.db");
    open(&fresh).unwrap().close().await.unwrap();
    for version in 1..KNOWN {
        let path = folder.path().join(format!("from-{version}.db"));
        let insert = "INSERT INTO tenants (id, slot, base_url, created_ms, updated_ms)
                      VALUES ('acme', 555, 'https://desk.example', 1, 1)";
        migrated_to(&path, version).execute(insert, []).unwrap();

        let store = open(&path).unwrap();
        let [tenant] = store.tenants().await.unwrap().try_into().unwrap();
        assert_eq!((tenant.id.as_str(), tenant.tool_type.as_str()), ("acme", "servicedesk_plus"), "from {version}");
        assert_eq!((tenant.replay_window_s, tenant.enabled, tenant.enhance_on.len()), (300, true, 1));
        store.close().await.unwrap();

        assert_eq!(schema(&path), schema(&fresh), "from {version}");
        let backup = backup_path(&path, u32::try_from(version).unwrap());
        assert_eq!(mode(&backup), 0o600);
        let copy = Connection::open(&backup).unwrap();
        let kept: (i64, i64) = copy
            .query_row("SELECT (SELECT count(*) FROM tenants), user_version FROM pragma_user_version", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert_eq!(kept, (1, i64::try_from(version).unwrap()), "from {version}");
    }
}

#[tokio::test]
async fn a_ticket_of_an_earlier_history_is_offered_until_it_is_reopened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("patchbay.db");
    fs::write(&path, "").unwrap();
    let mut history = Connection::open(folder.path().join("history.db")).unwrap();
    Migrations::from_slice(HISTORY).to_version(&mut history, 1).unwrap();
    let insert = "INSERT INTO ticket_history (slot, tenant, tool_type, ticket_id, subject, resolved_ms, recorded_ms)
                  VALUES (555, 'acme', 'jira', '7', 'gryphon', 10000, 10500)";
    history.execute(insert, []).unwrap();
    drop(history);
    let store = open(&path).unwrap();
    let tenant = TenantId::parse("acme").unwrap();
    for (reopened_ms, told_ms, offered) in [(9_000, 20_000, 1), (10_000, 10_499, 1), (10_000, 10_500, 0)] {
        let ticket = ReopenedTicket {
            tenant: tenant.clone(),
            incarnation: Incarnation::FIRST,
            ticket_id: "7".to_owned(),
            reopened_ms,
            told_ms,
        };
        store.record_reopened(ticket).await.unwrap();
        let similar = store.similar_resolved((&tenant, Incarnation::FIRST), "gryphon", 5).await.unwrap();
        assert_eq!(similar.len(), offered, "{reopened_ms} {told_ms}");
    }
}

#[tokio::test]
async fn a_new_file_is_private_and_neither_it_nor_a_current_one_is_backed_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("patchbay.db");
    for _ in 0..2 {
        open(&path).unwrap().close().await.unwrap();
    }
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&folder.path().join("history.db")), 0o600);
    let backups = fs::read_dir(&folder)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("backup"));
    assert_eq!(backups.count(), 0);
}

#[test]
fn what_a_cut_off_start_left_uncommitted_is_undone() {
    let folder = tempfile::tempdir().unwrap();
    let (cut_off, path) = (folder.path().join("cut-off.db"), folder.path().join("patchbay.db"));
    let writer = Connection::open(&cut_off).unwrap();
    // With a small cache and much to write, new pages are in the file and their old state in the journal before any
    // commit.
    writer.execute_batch("CREATE TABLE t (b); PRAGMA cache_size = 2; BEGIN").unwrap();
    for _ in 0..50 {
        writer.execute("INSERT INTO t VALUES (randomblob(4000))", []).unwrap();
    }
    writer.execute("DROP TABLE t", []).unwrap();
    fs::copy(&cut_off, &path).unwrap();
    let journal = |path: &Path| format!("{}-journal", path.display());
    fs::copy(journal(&cut_off), journal(&path)).unwrap();
    let Err(error) = open(&path) else { panic!("it holds another program's table") };
    assert!(error.to_string().contains("another program"), "it was looked into: {error}");
}

#[test]
fn a_backup_that_an_earlier_try_left_unfinished_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("patchbay.db");
    fs::write(folder.path().join("history.db"), "").unwrap();
    drop(migrated_to(&path, 1));
    let backup = backup_path(&path, 1);
    fs::write(format!("{}.partial", backup.display()), "half a copy").unwrap();
    open(&path).unwrap();
    assert!(Connection::open(&backup).unwrap().query_row("SELECT count(*) FROM tenants", [], |_| Ok(())).is_ok());
}

#[test]
fn without_a_backup_nothing_is_migrated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("patchbay.db");
    fs::write(folder.path().join("history.db"), "").unwrap();
    drop(migrated_to(&path, 1));
    fs::create_dir_all(format!("{}.partial", backup_path(&path, 1).display())).unwrap();
    let Err(error) = open(&path) else { panic!("migrated without a backup") };
    assert!(error.to_string().contains("no backup"), "{error}");
    assert_eq!(schema_version(&path, 9), Ok(1));
}

#[test]
fn what_is_newer_foreign_or_no_database_is_refused_and_not_touched() {
    fn check(name: &str, make: fn(&Path), message: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("patchbay.db");
        make(&path);
        let before = fs::read(&path).unwrap();
        let Err(error) = open(&path) else { panic!("{name} was opened") };
        assert!(error.to_string().contains(message), "{name}: {error}");
        assert_eq!(fs::read(&path).unwrap(), before, "{name}");
        assert!(!folder.path().join("history.db").exists(), "{name}");
    }
    let newer = |path: &Path| migrated_to(path, KNOWN).pragma_update(None, "user_version", KNOWN as i64 + 1).unwrap();
    let foreign = |path: &Path| Connection::open(path).unwrap().execute_batch("CREATE TABLE songs (n)").unwrap();
    check("a newer one", newer, "run the newer program");
    check("a foreign one", foreign, "another program");
    check("a text", |path| fs::write(path, "dear diary, ".repeat(400)).unwrap(), "not a usable database");
    check("a short text", |path| fs::write(path, "x").unwrap(), "not a usable database");
}

#[test]
fn the_name_of_the_history_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(open(&folder.path().join("history.db")), Err(StoreError::Damaged { .. })));
}
