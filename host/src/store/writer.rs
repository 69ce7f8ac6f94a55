//! Group commit: one thread owns the write connection of one file, and one fsync confirms everything that waited for it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Instant,
};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::{
    Hooks, StoreFile,
    connection::{bound_wal, open_writer},
    error::{StoreError, shown},
};

/// Operations that may wait for the writer; one more is refused as [`StoreError::Saturated`].
pub const WRITES_WAITING_MAX: usize = 8_192;
/// Operations that one transaction takes.
pub const WRITES_PER_COMMIT_MAX: usize = 1_024;

/// One commit, as the observer is told about it.
#[derive(Debug, Clone, Copy)]
pub struct CommitStats {
    /// The file.
    pub file: StoreFile,
    /// Operations in the transaction.
    pub operations: usize,
    /// From BEGIN until the disk has confirmed, or until the failure, in seconds.
    pub seconds: f64,
    /// Whether the transaction is on disk.
    pub committed: bool,
}

/// The handle to a file's writer thread. The thread ends when the handle is dropped or closed, after what is queued.
pub(super) struct Writer {
    path: PathBuf,
    queue: Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Message {
    Apply(Box<dyn Operation>),
    Close,
}

impl Writer {
    /// Starts the thread on a connection that is ready to write.
    pub(super) fn start(
        file: StoreFile,
        path: &Path,
        connection: Connection,
        hooks: Hooks,
    ) -> Result<Self, StoreError> {
        let (queue, incoming) = crossbeam_channel::bounded(WRITES_WAITING_MAX);
        let work = WriterThread {
            file,
            path: path.to_owned(),
            incoming,
            connection: Some(connection),
            on_commit: hooks.on_commit,
            closing: false,
        };
        let thread = std::thread::Builder::new()
            .name(format!("write-{}", file.as_str()))
            .spawn(move || {
                (hooks.on_thread_start)();
                work.run();
            })
            .map_err(|error| StoreError::unavailable(path, error))?;
        Ok(Self { path: path.to_owned(), queue, thread: Mutex::new(Some(thread)) })
    }

    /// Queues `operation` and waits until the transaction that holds it is on disk. It runs on the writer's thread and
    /// shares its transaction: an SQL error in it fails everything in the same commit, so refusals that belong to the
    /// domain are values of `T`. Dropping the future does not take the operation back.
    pub(super) async fn apply<T, F>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let pending = Pending { operation: Some(operation), value: None, reply: Some(reply) };
        self.queue.try_send(Message::Apply(Box::new(pending))).map_err(|refused| match refused {
            TrySendError::Full(_) => StoreError::Saturated { file: shown(&self.path), waiting_max: WRITES_WAITING_MAX },
            TrySendError::Disconnected(_) => self.closed(),
        })?;
        answer.await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// Commits what is queued, then ends the thread and waits for it. Blocks. Later operations get
    /// [`StoreError::Closed`].
    pub(super) fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A send that fails says that the thread has ended already; so does the join.
        drop(self.queue.send(Message::Close));
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!(file = %self.path.display(), "the writer thread ended by a panic");
        }
    }

    fn closed(&self) -> StoreError {
        StoreError::Closed { file: shown(&self.path) }
    }
}

/// An operation whose types have been forgotten, so that one queue holds all kinds.
trait Operation: Send {
    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    fn answer(&mut self, outcome: &Result<(), StoreError>);
}

struct Pending<T, F> {
    operation: Option<F>,
    value: Option<T>,
    reply: Option<oneshot::Sender<Result<T, StoreError>>>,
}

impl<T, F> Operation for Pending<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> rusqlite::Result<T> + Send,
{
    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if let Some(operation) = self.operation.take() {
            self.value = Some(operation(connection)?);
        }
        Ok(())
    }

    fn answer(&mut self, outcome: &Result<(), StoreError>) {
        let (Some(reply), value) = (self.reply.take(), self.value.take()) else { return };
        let answer = match outcome {
            Ok(()) => Ok(value.expect("a committed operation has been applied")),
            Err(error) => Err(error.clone()),
        };
        // Whoever asked may have gone away in the meantime; what was committed stays.
        drop(reply.send(answer));
    }
}

struct WriterThread {
    file: StoreFile,
    path: PathBuf,
    incoming: Receiver<Message>,
    /// None after a failure, until the next tick has opened the file anew.
    connection: Option<Connection>,
    on_commit: Arc<dyn Fn(CommitStats) + Send + Sync>,
    closing: bool,
}

impl WriterThread {
    fn run(mut self) {
        let mut tick = Vec::with_capacity(WRITES_PER_COMMIT_MAX);
        while self.gather(&mut tick) {
            self.settle(&mut tick);
        }
    }

    /// Waits for one operation and takes what else is there. False when there will be no more.
    fn gather(&mut self, tick: &mut Vec<Box<dyn Operation>>) -> bool {
        while tick.len() < WRITES_PER_COMMIT_MAX {
            let next = if tick.is_empty() && !self.closing {
                self.incoming.recv().ok()
            } else {
                self.incoming.try_recv().ok()
            };
            match next {
                Some(Message::Apply(operation)) => tick.push(operation),
                Some(Message::Close) => self.closing = true,
                None => break,
            }
        }
        !tick.is_empty()
    }

    fn settle(&mut self, tick: &mut Vec<Box<dyn Operation>>) {
        let started = Instant::now();
        let outcome = self.commit(tick);
        (self.on_commit)(CommitStats {
            file: self.file,
            operations: tick.len(),
            seconds: started.elapsed().as_secs_f64(),
            committed: outcome.is_ok(),
        });
        if let Err(error) = &outcome {
            tracing::error!(file = %self.path.display(), operations = tick.len(), %error, "nothing of this commit was kept");
        }
        for mut operation in tick.drain(..) {
            operation.answer(&outcome);
        }
        self.bound_log();
    }

    /// A connection on which anything has failed is closed: after a failed fsync nobody knows which of its pages
    /// the disk holds, and a second fsync would say "fine".
    fn commit(&mut self, tick: &mut [Box<dyn Operation>]) -> Result<(), StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => open_writer(&self.path)?,
        };
        let all_of_it = || -> rusqlite::Result<()> {
            let transaction = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate)?;
            for operation in tick.iter_mut() {
                operation.apply(&transaction)?;
            }
            transaction.commit()
        };
        match catch_unwind(AssertUnwindSafe(all_of_it)) {
            Ok(Ok(())) => {
                self.connection = Some(connection);
                Ok(())
            }
            Ok(Err(error)) => Err(StoreError::from_sqlite(&self.path, &error)),
            Err(_) => Err(StoreError::unavailable(&self.path, "an operation panicked")),
        }
    }

    fn bound_log(&mut self) {
        if let Some(connection) = &self.connection
            && let Err(error) = bound_wal(connection, &self.path)
        {
            tracing::warn!(file = %self.path.display(), %error, "the write-ahead log could not be cut back");
        }
    }
}

#[cfg(test)]
mod tests;
