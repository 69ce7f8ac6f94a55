//! Watches the plugin folder. What the kernel tells is only a hint to look: hints get lost on network file systems and when
//! there are too many, so the folder is also looked at now and then without one.

use std::{fs, path::PathBuf, sync::Once, time::Duration};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use super::manager::{PluginManager, Reload};
use crate::threads;

/// The watch on a folder. Its threads are there when this has been made, and it must be made before the first plugin is
/// mapped: threads that come later are taken for a plugin's.
pub struct FolderWatch {
    folder: PathBuf,
    hints: mpsc::Receiver<()>,
    /// `None` where the kernel has no watch for us.
    watcher: Option<RecommendedWatcher>,
}

impl FolderWatch {
    /// Makes the watch; what happens in the folder from now on is not missed. Never fails: without a watch the folder is
    /// still looked at now and then.
    pub fn new(folder: PathBuf) -> Self {
        // One hint that waits says as much as a thousand.
        let (hint, hints) = mpsc::channel(1);
        let begin = Once::new();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // The one place where the watch's thread is in our hands.
            begin.call_once(threads::register);
            // Our own reading makes events too. An error means that events were lost: look.
            if event.as_ref().map_or(true, |event| !matches!(event.kind, EventKind::Access(_))) {
                let _one_waits_already = hint.try_send(());
            }
        });
        let watcher = watcher.inspect_err(|fault| {
            tracing::warn!(folder = %folder.display(), "the plugin folder cannot be watched ({fault}); it is looked at now and then");
        });
        let mut watch = Self { folder, hints, watcher: watcher.ok() };
        watch.arm();
        // Our own look is an event too, the first: whoever waits until all threads have begun need not wait for another.
        drop(fs::read_dir(&watch.folder));
        watch
    }

    /// Looks at the folder whenever there may be news, at the latest every `rescan`. Ends never.
    pub async fn follow(mut self, manager: PluginManager, rescan: Duration) {
        loop {
            let hinted = tokio::time::timeout(rescan, self.hints.recv()).await;
            if matches!(hinted, Ok(None)) {
                // No watcher: only the clock is left.
                tokio::time::sleep(rescan).await;
            }
            // A folder that was removed and made again is another one for the kernel.
            self.arm();
            manager.reload(Reload::Changed).await;
        }
    }

    fn arm(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        if let Err(fault) = watcher.watch(&self.folder, RecursiveMode::NonRecursive) {
            tracing::debug!(folder = %self.folder.display(), "the plugin folder is not watched now: {fault}");
        }
    }
}
