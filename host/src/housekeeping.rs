//! Keeps the disk from filling up: watches the free space, and deletes what is old or belongs to nobody.

use std::{
    fs,
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::fs::{FallocateFlags, fallocate};
use tokio::time::{Instant, interval, sleep_until};

use crate::{limits::SharedLimits, store::Store};

/// Interval between two checks of the free space.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Interval between two deletions of old data.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// Size of a file beside the store. Deleting on a full disk needs space too, and this file is removed first.
const RESERVE_BYTES: u64 = 16 << 20;
/// The name of that file.
pub const RESERVE_FILE: &str = "reserve";

/// Whether the store's disk has room for more. It is cheap to clone, and all clones share one state. Can be used on any
/// thread.
#[derive(Clone, Debug)]
pub struct DiskRoom {
    folder: PathBuf,
    full: Arc<AtomicBool>,
}

impl DiskRoom {
    /// Measures the file system that contains this folder.
    pub fn of(folder: PathBuf, limits: &SharedLimits) -> Self {
        let room = Self { folder, full: Arc::default() };
        room.look(limits, 0);
        room
    }

    /// Removes the reserve if there is hardly any other space, so that deleting can work. Blocks for a moment.
    pub fn make_room(&self) {
        let reserve = self.folder.join(RESERVE_FILE);
        if self.free_bytes().is_some_and(|free_bytes| free_bytes < RESERVE_BYTES) && reserve.exists() {
            match fs::remove_file(&reserve) {
                Ok(()) => tracing::warn!("the disk is full: the reserve {} is given up", reserve.display()),
                Err(error) => tracing::error!("the reserve {} cannot be given up: {error}", reserve.display()),
            }
        }
    }

    fn free_bytes(&self) -> Option<u64> {
        match rustix::fs::statvfs(&self.folder) {
            // A file system that does not report its size does not report free space either.
            Ok(found) if found.f_blocks == 0 => None,
            Ok(found) => Some(found.f_bavail.saturating_mul(found.f_frsize)),
            Err(error) => {
                tracing::error!("it cannot be told how much is free at {}: {error}", self.folder.display());
                None
            }
        }
    }

    /// Creates the reserve if there is plenty of space.
    fn keep_reserve(&self, free_bytes: u64, free_bytes_min: u64) {
        let reserve = self.folder.join(RESERVE_FILE);
        let is_there = fs::metadata(&reserve).is_ok_and(|file| file.len() == RESERVE_BYTES);
        if is_there || free_bytes < free_bytes_min.saturating_add(2 * RESERVE_BYTES) {
            return;
        }
        let made = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&reserve);
        let made = made.and_then(|file| Ok(fallocate(file, FallocateFlags::empty(), 0, RESERVE_BYTES)?));
        if let Err(error) = made {
            tracing::debug!("the reserve {} cannot be made: {error}", reserve.display());
        }
    }

    /// Whether there is too little space to accept webhooks.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Checks every second, without end.
    pub async fn watch(self, store: Store, limits: SharedLimits) {
        let mut ticks = interval(LOOK_EVERY);
        loop {
            ticks.tick().await;
            // Deleted rows do not shorten a file, but new rows reuse their space.
            let reusable_bytes = if self.is_full() { store.reusable_bytes().await.unwrap_or(0) } else { 0 };
            self.look(&limits, reusable_bytes);
        }
    }

    fn look(&self, limits: &SharedLimits, reusable_bytes: u64) {
        let free_bytes_min = limits.now().free_bytes_min;
        let Some(free_bytes) = self.free_bytes() else { return };
        self.keep_reserve(free_bytes, free_bytes_min);
        let full = free_bytes.saturating_add(reusable_bytes) < free_bytes_min;
        let was_full = self.full.swap(full, Ordering::Relaxed);
        let (free_mb, free_mb_min, folder) = (free_bytes >> 20, free_bytes_min >> 20, self.folder.display());
        if full && !was_full {
            tracing::error!(
                free_mb,
                free_mb_min,
                "webhooks are refused (503 store_full): less is free at {folder} than store.free_mb_min; make room there, \
                 purge dead letters, or set store.solved_days, store.notes_days or store.dead_letters_days"
            );
        } else if was_full && !full {
            tracing::info!(free_mb, free_mb_min, "webhooks are taken again: there is room at {folder}");
        }
    }
}

/// Periodically deletes data whose retention is over and what removed tenants have left, without end.
pub async fn tidy(store: Store, limits: SharedLimits, disk: DiskRoom) {
    let mut next = Instant::now();
    loop {
        sleep_until(next).await;
        next = Instant::now() + TIDY_EVERY;
        match store.forget_ended(limits.now().keeping).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "what has ended longer ago than it is kept was deleted"),
            Err(error) => {
                tracing::error!("what has ended longer ago than it is kept cannot be deleted: {error}");
                disk.make_room();
            }
        }
        if let Err(error) = store.erase_removed().await {
            tracing::error!("what removed tenants have left behind cannot be erased yet: {error}");
            disk.make_room();
        }
        if let Err(error) = store.merge_words().await {
            tracing::error!("the index of words cannot be made smaller yet: {error}");
        }
        if let Err(error) = store.measure_history().await {
            tracing::error!("it cannot be told how much each tenant has in the history: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    #[test]
    fn less_room_than_must_stay_free_is_told_until_there_is_more() {
        let limits = |text: &str| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("patchbay.toml");
            std::fs::write(&path, text).unwrap();
            Config::load(Some(&path), std::iter::empty(), Path::new("/nowhere")).unwrap()
        };
        // One PiB.
        let shared = SharedLimits::new(limits("[store]\nfree_mb_min = 1073741824\n"));
        let folder = tempfile::tempdir().unwrap();
        let room = DiskRoom::of(folder.path().to_owned(), &shared);
        assert!(room.is_full());
        let reserve = folder.path().join(RESERVE_FILE);
        assert!(!reserve.exists(), "there is no room for it");
        room.look(&shared, 1 << 50);
        assert!(!room.is_full(), "what can be used again counts");
        shared.reload(&limits("[store]\nfree_mb_min = 0\n"));
        room.look(&shared, 0);
        assert!(!room.is_full());
        assert_eq!(reserve.metadata().unwrap().len(), RESERVE_BYTES);
        room.make_room();
        assert!(reserve.exists(), "there is other room");
    }
}
