//! Group commit: one thread owns a file's write connection, and one fsync confirms all waiting operations.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Instant,
};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use self::failing::{Failing, Tell};
use super::{
    Hooks, StoreFile,
    connection::{bound_wal, open_writer},
    error::{StoreError, shown},
};
use crate::mailbox::{Mailbox, NotPut};

mod failing;

/// Maximum number of operations in the writer's queue. Beyond it, [`StoreError::Saturated`] refuses them.
pub const WRITES_WAITING_MAX: usize = 8_192;
/// Maximum number of operations in one transaction.
pub const WRITES_PER_COMMIT_MAX: usize = 1_024;

/// Statistics of one commit, for [`Hooks`](super::Hooks).
#[derive(Debug, Clone, Copy)]
pub struct CommitStats {
    /// The file.
    pub file: StoreFile,
    /// Operations in the transaction.
    pub operations: usize,
    /// Time from BEGIN until the disk has confirmed or the commit has failed, in seconds.
    pub seconds: f64,
    /// Whether the transaction is on disk.
    pub committed: bool,
}

/// State that a writer keeps in memory about its file. It is read when the file is opened and dropped with the
/// connection, so that it is never ahead of the disk.
pub(super) trait Mirror: Sized + Send + 'static {
    /// Reads the state from the file.
    fn read(connection: &Connection) -> rusqlite::Result<Self>;

    /// Does periodic work in each transaction, after the operations.
    fn tidy(&mut self, connection: &Connection) -> rusqlite::Result<()>;
}

/// A writer without state.
impl Mirror for () {
    fn read(_: &Connection) -> rusqlite::Result<Self> {
        Ok(())
    }

    fn tidy(&mut self, _: &Connection) -> rusqlite::Result<()> {
        Ok(())
    }
}

/// The handle to a file's writer thread. Dropping or closing it ends the thread once the queue is done.
pub(super) struct Writer<M = ()> {
    path: PathBuf,
    queue: Arc<Queue<M>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

type Queue<M> = Mailbox<Box<dyn Operation<M>>>;

impl<M: Mirror> Writer<M> {
    /// Starts the thread on a connection that is ready to write.
    pub(super) fn start(
        file: StoreFile,
        path: &Path,
        connection: Connection,
        hooks: Hooks,
    ) -> Result<Self, StoreError> {
        let mirror = M::read(&connection).map_err(|error| StoreError::from_sqlite(path, &error))?;
        let queue = Arc::new(Queue::new(WRITES_WAITING_MAX));
        let work = WriterThread {
            file,
            path: path.to_owned(),
            queue: Arc::clone(&queue),
            open: Some((connection, mirror)),
            failing: Failing::default(),
            on_commit: hooks.on_commit,
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

    /// Queues `operation` and waits until its transaction is on disk. The operation runs on the writer's thread and
    /// shares a transaction with others: an SQL error in it fails the whole commit, so domain refusals must be values
    /// of `T`. Dropping the future does not cancel the operation.
    pub(super) async fn apply<T, F>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.apply_mirrored(move |connection, _| operation(connection)).await
    }

    /// As [`apply`](Self::apply), for an operation that needs the writer's state.
    pub(super) async fn apply_mirrored<T, F>(&self, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &mut M) -> rusqlite::Result<T> + Send + 'static,
    {
        self.submit(operation)?.await.unwrap_or_else(|_| Err(self.closed()))
    }

    fn submit<T, F>(&self, operation: F) -> Result<oneshot::Receiver<Result<T, StoreError>>, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &mut M) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let pending = Box::new(Pending { operation: Some(operation), value: None, reply: Some(reply) });
        match self.queue.put(pending) {
            // The writer takes the whole queue, so an operation that is not awaited is committed with those before it.
            Ok(_awaited) => Ok(answer),
            Err(NotPut::Closed) => Err(self.closed()),
            Err(NotPut::Full) => {
                Err(StoreError::Saturated { file: shown(&self.path), waiting_max: WRITES_WAITING_MAX })
            }
        }
    }

    /// Commits what is queued, then ends the thread and waits for it. Blocks. Later operations get
    /// [`StoreError::Closed`].
    pub(super) fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.queue.close();
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

impl<M> Drop for Writer<M> {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// An operation with its types erased, so that one queue holds all kinds.
trait Operation<M>: Send {
    fn apply(&mut self, connection: &Connection, mirror: &mut M) -> rusqlite::Result<()>;
    fn answer(&mut self, outcome: &Result<(), StoreError>);
}

struct Pending<T, F> {
    operation: Option<F>,
    value: Option<T>,
    reply: Option<oneshot::Sender<Result<T, StoreError>>>,
}

impl<M, T, F> Operation<M> for Pending<T, F>
where
    T: Send,
    F: FnOnce(&Connection, &mut M) -> rusqlite::Result<T> + Send,
{
    fn apply(&mut self, connection: &Connection, mirror: &mut M) -> rusqlite::Result<()> {
        if let Some(operation) = self.operation.take() {
            self.value = Some(operation(connection, mirror)?);
        }
        Ok(())
    }

    fn answer(&mut self, outcome: &Result<(), StoreError>) {
        let (Some(reply), value) = (self.reply.take(), self.value.take()) else { return };
        let answer = match outcome {
            Ok(()) => Ok(value.expect("a committed operation has been applied")),
            Err(error) => Err(error.clone()),
        };
        // The caller may have gone away meanwhile; what was committed stays.
        drop(reply.send(answer));
    }
}

struct WriterThread<M> {
    file: StoreFile,
    path: PathBuf,
    queue: Arc<Queue<M>>,
    /// The connection and its state. `None` after a failure, until the next tick reopens the file.
    open: Option<(Connection, M)>,
    failing: Failing,
    on_commit: Arc<dyn Fn(CommitStats) + Send + Sync>,
}

impl<M: Mirror> WriterThread<M> {
    fn run(mut self) {
        let mut tick = Vec::with_capacity(WRITES_PER_COMMIT_MAX);
        while self.queue.take_all(&mut tick, WRITES_PER_COMMIT_MAX) {
            self.settle(&mut tick);
        }
    }

    fn settle(&mut self, tick: &mut Vec<Box<dyn Operation<M>>>) {
        let started = Instant::now();
        let outcome = self.commit(tick);
        (self.on_commit)(CommitStats {
            file: self.file,
            operations: tick.len(),
            seconds: started.elapsed().as_secs_f64(),
            committed: outcome.is_ok(),
        });
        self.tell(&outcome, tick.len());
        for mut operation in tick.drain(..) {
            operation.answer(&outcome);
        }
        self.bound_log();
    }

    fn tell(&mut self, outcome: &Result<(), StoreError>, operations: usize) {
        let tell = self.failing.after(outcome.is_ok(), operations as u64, Instant::now());
        let (Some(tell), file) = (tell, self.path.display()) else { return };
        let error = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
        match tell {
            Tell::Begins => tracing::error!(
                %file, operations,
                "nothing of this commit was kept, and webhooks are answered 503 while that goes on; it is tried again with \
                 each write, and said when it works again: {error}"
            ),
            Tell::GoesOn { commits, operations } => tracing::error!(
                %file, commits, operations,
                "the store still cannot be written: {commits} commits failed since that began; the last: {error}"
            ),
            Tell::IsOver { commits, operations } => tracing::warn!(
                %file, commits, operations,
                "the store can be written again; {commits} commits failed since that began, and nothing of them was kept"
            ),
        }
    }

    /// Closes a connection on which anything has failed: after a failed fsync, nobody knows which of its pages are on
    /// disk, and a second fsync would report success.
    fn commit(&mut self, tick: &mut Vec<Box<dyn Operation<M>>>) -> Result<(), StoreError> {
        let (connection, mut mirror) = match self.open.take() {
            Some(open) => open,
            None => {
                let connection = open_writer(&self.path)?;
                let mirror = M::read(&connection).map_err(|error| StoreError::from_sqlite(&self.path, &error))?;
                (connection, mirror)
            }
        };
        let all_of_it = || -> rusqlite::Result<()> {
            let transaction = Transaction::new_unchecked(&connection, TransactionBehavior::Immediate)?;
            for operation in tick.iter_mut() {
                operation.apply(&transaction, &mut mirror)?;
            }
            mirror.tidy(&transaction)?;
            transaction.commit()
        };
        match catch_unwind(AssertUnwindSafe(all_of_it)) {
            Ok(Ok(())) => {
                self.open = Some((connection, mirror));
                Ok(())
            }
            Ok(Err(error)) => Err(StoreError::from_sqlite(&self.path, &error)),
            Err(_) => Err(StoreError::unavailable(&self.path, "an operation panicked")),
        }
    }

    fn bound_log(&mut self) {
        if let Some((connection, _)) = &self.open
            && let Err(error) = bound_wal(connection, &self.path)
        {
            tracing::warn!(file = %self.path.display(), %error, "the write-ahead log could not be cut back");
        }
    }
}

#[cfg(test)]
mod tests;
