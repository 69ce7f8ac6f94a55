//! Reads: a few read-only connections, used on the blocking pool, so that no read waits in the writer's queue.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::{connection::open_reader, error::StoreError};

/// Maximum number of concurrent reads of one file; further reads wait.
pub const READERS_MAX: usize = 4;

/// The read-only connections of one file, opened when first needed.
pub(super) struct Readers {
    path: PathBuf,
    permits: Semaphore,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), permits: Semaphore::new(READERS_MAX), idle: Arc::default() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `query` on a consistent snapshot, on the blocking pool.
    pub(super) async fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let _permit = self.permits.acquire().await.map_err(|_| StoreError::closed(&self.path))?;
        let (path, idle) = (self.path.clone(), Arc::clone(&self.idle));
        let task = tokio::task::spawn_blocking(move || {
            let pooled = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match pooled {
                Some(connection) => connection,
                None => open_reader(&path)?,
            };
            let snapshot =
                connection.unchecked_transaction().map_err(|error| StoreError::from_sqlite(&path, &error))?;
            let value = query(&snapshot).map_err(|error| StoreError::from_sqlite(&path, &error))?;
            snapshot.finish().map_err(|error| StoreError::from_sqlite(&path, &error))?;
            // A connection is used again only if nothing failed on it.
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            Ok(value)
        });
        task.await.unwrap_or_else(|error| Err(StoreError::unavailable(&self.path, error)))
    }

    /// Waits for running reads and closes the connections. Later reads get [`StoreError::Closed`].
    pub(super) async fn close(&self) {
        let all = u32::try_from(READERS_MAX).expect("there are few");
        // An error means that it was closed before.
        let _idle = self.permits.acquire_many(all).await;
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
