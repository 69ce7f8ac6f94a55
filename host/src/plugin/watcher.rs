//! Watches the plugin folder. What the kernel tells is only a hint to look: hints get lost on network file systems and when
//! there are too many, so the folder is also looked at now and then without one.

use std::{
    fs, future,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Once,
    time::Duration,
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout_at},
};

use super::manager::PluginManager;
use crate::threads;

/// From one look to the next, at least, however many hints there are.
const LOOKS_APART: Duration = Duration::from_millis(50);

/// The watch on a folder. Its threads are there when this has been made, and it must be made before the first plugin is
/// mapped: threads that come later are taken for a plugin's.
pub struct FolderWatch {
    folder: PathBuf,
    hints: mpsc::Receiver<()>,
    /// `None` where the kernel has no watch for us.
    watcher: Option<RecommendedWatcher>,
    /// Device and inode of the folder that is watched.
    watched: Option<(u64, u64)>,
}

impl FolderWatch {
    /// Makes the watch; what happens in the folder from now on is not missed. Never fails: without a watch the folder is
    /// still looked at now and then.
    pub fn new(folder: PathBuf) -> Self {
        // Hints bear absolute paths.
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        // One hint that waits says as much as a thousand.
        let (hint, hints) = mpsc::channel(1);
        let (begin, concerned) = (Once::new(), folder.clone());
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // The one place where the watch's thread is in our hands.
            begin.call_once(threads::register);
            // An error means that events were lost: look.
            if event.as_ref().map_or(true, |event| is_news(event, &concerned)) {
                let _one_waits_already = hint.try_send(());
            }
        });
        let watcher = watcher.inspect_err(|fault| {
            tracing::warn!(folder = %folder.display(), "the plugin folder cannot be watched ({fault}); it is looked at now and then");
        });
        let mut watch = Self { folder, hints, watcher: watcher.ok(), watched: None };
        watch.arm();
        // Our own look is an event too, the first: whoever waits until all threads have begun need not wait for another.
        drop(fs::read_dir(&watch.folder).or_else(|_missing| fs::read_dir(watch.above())));
        watch
    }

    /// Looks at the folder whenever there may be news, at the latest every `rescan`. Ends never.
    pub async fn follow(mut self, manager: PluginManager, rescan: Duration) {
        loop {
            // A folder that was removed and made again is another one for the kernel.
            self.arm();
            let soonest = Instant::now() + LOOKS_APART;
            let again_in = manager.look().await.unwrap_or(rescan).min(rescan);
            let hinted = async {
                if self.hints.recv().await.is_none() {
                    // No watcher: only the clock is left.
                    future::pending::<()>().await;
                }
                sleep_until(soonest).await;
            };
            let _looks_in_either_case = timeout_at(soonest.max(Instant::now() + again_in), hinted).await;
        }
    }

    /// Watches the folder that bears the name now. While there is none, or where the name is a link that may be turned to
    /// another folder, the folder above tells.
    fn arm(&mut self) {
        let above = self.above().to_owned();
        let Some(watcher) = &mut self.watcher else { return };
        let is_link = fs::symlink_metadata(&self.folder).is_ok_and(|metadata| metadata.is_symlink());
        let mut armed = arm(watcher, &self.folder, &mut self.watched);
        if is_link || armed.is_err() {
            let told = watcher.watch(&above, RecursiveMode::NonRecursive);
            // It may have come before the folder above was watched.
            armed = told.and_then(|()| arm(watcher, &self.folder, &mut self.watched));
        } else {
            // Mostly it was not watched, and what happens there is not our business.
            let _not_watched = watcher.unwatch(&above);
        }
        if let Err(fault) = armed {
            tracing::debug!(folder = %self.folder.display(), "the plugin folder is not watched now: {fault}");
        }
    }

    fn above(&self) -> &Path {
        self.folder.parent().unwrap_or(&self.folder)
    }
}

fn arm(watcher: &mut RecommendedWatcher, folder: &Path, watched: &mut Option<(u64, u64)>) -> notify::Result<()> {
    let now = fs::metadata(folder).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    if *watched != now {
        // The watch on a folder that was moved away stays with it.
        let _not_watched = watcher.unwatch(folder);
        *watched = now;
    }
    watcher.watch(folder, RecursiveMode::NonRecursive)
}

/// Whether an event may be worth a look. Our own reading makes events too, and the folder above has other children.
fn is_news(event: &notify::Event, folder: &Path) -> bool {
    let concerns = |path: &PathBuf| path.starts_with(folder);
    event.need_rescan() || (!matches!(event.kind, EventKind::Access(_)) && event.paths.iter().any(concerns))
}
