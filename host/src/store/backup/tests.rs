//! Backups are complete, private and marked, and never replace another file.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::{
    clock::Clock,
    store::{Hooks, Store, StoreConfig},
};

fn open(path: &Path) -> Store {
    let config = StoreConfig { path: path.to_owned(), dedup_hours: 72, hooks: Hooks::default() };
    Store::open(config, Clock::system()).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_backup_is_two_private_files_that_a_store_can_be_opened_from() {
    for host_runs in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("patchbay.db");
        let store = open(&path);
        if !host_runs {
            store.close().await.unwrap();
        }
        let target = tempfile::tempdir().unwrap();
        let report = back_up(&path, &target.path().join("monday.db")).unwrap();
        assert_eq!(report.history, target.path().join("monday.db-history"));
        assert_eq!(names(target.path()), ["monday.db", "monday.db-history"], "no log, no journal, nothing partial");
        let mut bytes = 0;
        for name in names(target.path()) {
            let file = target.path().join(name).metadata().unwrap();
            assert_eq!(file.permissions().mode() & 0o777, 0o600);
            bytes += file.len();
        }
        assert_eq!(report.bytes, bytes);
        fs::rename(&report.history, target.path().join(HISTORY_FILE)).unwrap();
        assert_eq!(open(&target.path().join("monday.db")).ping().await, Ok(()), "{host_runs}");
    }
}

#[tokio::test]
async fn nothing_is_replaced_and_nothing_half_done_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("patchbay.db");
    let missing = back_up(&path, &folder.path().join("b"));
    assert!(matches!(missing, Err(BackupError::NoStore(_))), "{missing:?}");
    open(&path).close().await.unwrap();
    for name in ["b", "b-history", "b.partial", "b-history.partial"] {
        let target = tempfile::tempdir().unwrap();
        fs::write(target.path().join(name), "mine").unwrap();
        let refused = back_up(&path, &target.path().join("b"));
        assert!(matches!(&refused, Err(BackupError::Exists(file)) if file.ends_with(name)), "{name}: {refused:?}");
        assert_eq!(fs::read(target.path().join(name)).unwrap(), b"mine");
        assert_eq!(names(target.path()), [name]);
    }
    let nowhere = back_up(&path, &folder.path().join("no-such-folder/b"));
    assert!(matches!(nowhere, Err(BackupError::Target { .. })), "{nowhere:?}");
}

#[tokio::test]
async fn a_damaged_store_is_not_copied() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("patchbay.db");
    open(&path).close().await.unwrap();
    fs::write(folder.path().join(HISTORY_FILE), "dear diary").unwrap();
    let refused = back_up(&path, &folder.path().join("b"));
    assert!(matches!(refused, Err(BackupError::Store(StoreError::Damaged { .. }))), "{refused:?}");
    assert!(!names(folder.path()).iter().any(|name| name.starts_with("b")));
}
