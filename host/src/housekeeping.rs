//! What keeps the disk from filling up: the room that must stay free, and what goes because it is old or nobody's any more.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, interval, sleep_until};

use crate::{limits::SharedLimits, store::Store};

/// How often the free room is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often what is old is thrown away.
const TIDY_EVERY: Duration = Duration::from_secs(60);

/// Whether there is room for more where the store lies. Cheap to clone; all clones tell the same; any thread.
#[derive(Clone, Debug)]
pub struct DiskRoom {
    folder: PathBuf,
    full: Arc<AtomicBool>,
}

impl DiskRoom {
    /// The room of the file system that holds this folder, as it is now.
    pub fn of(folder: PathBuf, limits: &SharedLimits) -> Self {
        let room = Self { folder, full: Arc::default() };
        room.look(limits);
        room
    }

    /// Whether less is free than must stay free, so that nothing more is to be taken.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Looks every second, for good.
    pub async fn watch(self, limits: SharedLimits) {
        let mut ticks = interval(LOOK_EVERY);
        loop {
            ticks.tick().await;
            self.look(&limits);
        }
    }

    fn look(&self, limits: &SharedLimits) {
        let free_bytes_min = limits.now().free_bytes_min;
        let free_bytes = match rustix::fs::statvfs(&self.folder) {
            Ok(found) => found.f_bavail.saturating_mul(found.f_frsize),
            Err(error) => {
                tracing::error!("it cannot be told how much is free at {}: {error}", self.folder.display());
                return;
            }
        };
        let full = free_bytes < free_bytes_min;
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

/// Throws away what is older than it is kept and what removed tenants have left behind, for good.
pub async fn tidy(store: Store, limits: SharedLimits) {
    let mut next = Instant::now();
    loop {
        sleep_until(next).await;
        next = Instant::now() + TIDY_EVERY;
        match store.forget_ended(limits.now().keeping).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "what has ended longer ago than it is kept was deleted"),
            Err(error) => tracing::error!("what has ended longer ago than it is kept cannot be deleted: {error}"),
        }
        if let Err(error) = store.erase_removed().await {
            tracing::error!("what removed tenants have left behind cannot be erased yet: {error}");
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
        // A PiB.
        let shared = SharedLimits::new(limits("[store]\nfree_mb_min = 1073741824\n"));
        let room = DiskRoom::of(std::env::temp_dir(), &shared);
        assert!(room.is_full());
        shared.reload(&limits("[store]\nfree_mb_min = 0\n"));
        room.look(&shared);
        assert!(!room.is_full());
    }
}
