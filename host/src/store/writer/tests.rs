//! Group commit on a real file: what shares a commit, what a failure takes with it, and how the thread ends.

use std::sync::mpsc;

use tempfile::TempDir;

use super::*;
use crate::store::connection::make_private;

struct Bed {
    writer: Arc<Writer>,
    commits: Arc<Mutex<Vec<CommitStats>>>,
    path: PathBuf,
    _folder: TempDir,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        drop(make_private(&path).unwrap());
        let connection = open_writer(&path).unwrap();
        connection.execute_batch("CREATE TABLE t (n INTEGER PRIMARY KEY) STRICT").unwrap();
        let commits = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&commits);
        let hooks = Hooks { on_commit: Arc::new(move |stats| seen.lock().unwrap().push(stats)), ..Hooks::default() };
        let writer = Arc::new(Writer::start(StoreFile::Main, &path, connection, hooks).unwrap());
        Self { writer, commits, path, _folder: folder }
    }

    async fn insert(&self, n: i64) -> Result<usize, StoreError> {
        self.writer.apply(move |connection| connection.execute("INSERT INTO t VALUES (?1)", [n])).await
    }

    /// Keeps the writer busy until the sender is used, so that operations queued meanwhile share the next commit.
    async fn hold(&self) -> (mpsc::SyncSender<()>, tokio::task::JoinHandle<Result<(), StoreError>>) {
        let (release, held) = mpsc::sync_channel(1);
        let (started, running) = oneshot::channel();
        let writer = Arc::clone(&self.writer);
        let task = tokio::spawn(async move {
            writer
                .apply(move |_| {
                    started.send(()).unwrap();
                    held.recv().unwrap();
                    Ok(())
                })
                .await
        });
        running.await.unwrap();
        (release, task)
    }

    /// Queues the operation before it returns.
    fn queue<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, StoreError>> {
        self.writer.submit(move |connection, ()| operation(connection)).unwrap()
    }

    fn rows(&self) -> Vec<i64> {
        let connection = Connection::open(&self.path).unwrap();
        let mut statement = connection.prepare("SELECT n FROM t ORDER BY n").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }
}

fn insert(n: i64) -> impl FnOnce(&Connection) -> rusqlite::Result<usize> {
    move |connection| connection.execute("INSERT INTO t VALUES (?1)", [n])
}

#[tokio::test]
async fn what_waits_together_is_committed_together() {
    let bed = Bed::new();
    let (release, held) = bed.hold().await;
    let answers: Vec<_> = (0..10).map(|n| bed.queue(insert(n))).collect();
    release.send(()).unwrap();
    held.await.unwrap().unwrap();
    for answer in answers {
        assert_eq!(answer.await.unwrap(), Ok(1));
    }
    bed.writer.close();
    let sizes: Vec<_> =
        bed.commits.lock().unwrap().iter().map(|commit| (commit.operations, commit.committed)).collect();
    assert_eq!(sizes, [(1, true), (10, true)]);
}

#[tokio::test]
async fn a_commit_takes_no_more_than_its_limit_and_the_queue_refuses_one_past_its_own() {
    let bed = Bed::new();
    let (release, held) = bed.hold().await;
    let mut answers: Vec<_> = (0..WRITES_WAITING_MAX).map(|_| bed.queue(|_| Ok(()))).collect();
    let refused = bed.insert(1).await;
    assert!(matches!(refused, Err(StoreError::Saturated { waiting_max: WRITES_WAITING_MAX, .. })), "{refused:?}");
    release.send(()).unwrap();
    held.await.unwrap().unwrap();
    assert_eq!(answers.pop().unwrap().await.unwrap(), Ok(()));
    bed.writer.close();
    let largest = bed.commits.lock().unwrap().iter().map(|commit| commit.operations).max();
    assert_eq!(largest, Some(WRITES_PER_COMMIT_MAX));
}

#[tokio::test]
async fn a_failing_operation_takes_its_whole_commit_with_it_and_the_next_one_works() {
    for case in ["error", "panic", "commit"] {
        let bed = Bed::new();
        let (release, held) = bed.hold().await;
        let good = bed.queue(insert(1));
        let bad = bed.queue(move |connection| match case {
            "error" => connection.execute("INSERT INTO t VALUES (1)", []),
            "panic" => panic!("on purpose"),
            // The transaction is gone, so the writer's own COMMIT fails.
            _ => connection.execute_batch("ROLLBACK").map(|()| 0),
        });
        release.send(()).unwrap();
        held.await.unwrap().unwrap();
        for answer in [good.await.unwrap(), bad.await.unwrap()] {
            assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{case}: {answer:?}");
        }
        assert_eq!(bed.insert(2).await, Ok(1), "{case}");
        bed.writer.close();
        assert_eq!(bed.rows(), [2], "{case}");
        let kept: Vec<_> = bed.commits.lock().unwrap().iter().map(|commit| commit.committed).collect();
        assert_eq!(kept, [true, false, true], "{case}");
    }
}

#[tokio::test]
async fn the_file_may_be_gone_for_a_while() {
    let bed = Bed::new();
    let away = bed.path.with_extension("away");
    let failing = bed.queue(|connection| connection.execute("INSERT INTO nowhere VALUES (1)", []));
    assert!(failing.await.unwrap().is_err());
    std::fs::rename(&bed.path, &away).unwrap();
    assert!(matches!(bed.insert(1).await, Err(StoreError::Unavailable { .. })), "never made anew, empty");
    std::fs::rename(&away, &bed.path).unwrap();
    assert_eq!(bed.insert(1).await, Ok(1));
}

#[tokio::test]
async fn closing_commits_what_is_queued_and_refuses_what_comes_after() {
    let bed = Bed::new();
    let (release, held) = bed.hold().await;
    let answers: Vec<_> = (0..3).map(|n| bed.queue(insert(n))).collect();
    release.send(()).unwrap();
    bed.writer.close();
    held.await.unwrap().unwrap();
    for answer in answers {
        assert_eq!(answer.await.unwrap(), Ok(1));
    }
    assert!(matches!(bed.insert(9).await, Err(StoreError::Closed { .. })));
    bed.writer.close();
    assert_eq!(bed.rows(), [0, 1, 2]);
}

#[tokio::test]
async fn dropping_the_handle_finishes_what_is_queued_and_ends_the_thread() {
    let bed = Bed::new();
    let (release, held) = bed.hold().await;
    let answer = bed.queue(insert(7));
    let Bed { writer, path, commits, _folder } = bed;
    let thread = writer.thread.lock().unwrap().take().unwrap();
    release.send(()).unwrap();
    held.await.unwrap().unwrap();
    drop(writer);
    assert_eq!(answer.await.unwrap(), Ok(1));
    thread.join().unwrap();
    assert_eq!(commits.lock().unwrap().len(), 2);
    assert!(path.exists());
}
