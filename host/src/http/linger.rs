//! The end of a connection whose sender is still sending. If it were closed at once, the kernel would reset it, and
//! most senders would see a network error instead of the answer.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// Maximum number of bytes of a refused body that are read and discarded.
const LINGER_BYTES_MAX: usize = 32 << 20;
/// Maximum time for discarding: as long as a client may by default take for its headers.
const LINGER_TIME_MAX: Duration = Duration::from_secs(10);
/// Size of one read, in bytes.
const PIECE_BYTES: usize = 16 << 10;

/// Whether the body of a connection's last request was refused unread. It is cheap to clone, and all clones share the
/// value.
#[derive(Clone, Debug, Default)]
pub(super) struct Unread(Arc<AtomicBool>);

impl Unread {
    /// Records whether the current request's body was refused unread.
    pub(super) fn set(&self, is_unread: bool) {
        self.0.store(is_unread, Ordering::Relaxed);
    }
}

/// A stream that, after the last answer, discards the rest of a refused body until the other side has closed, within a
/// size and a time.
pub(super) struct Lingering<S> {
    stream: S,
    unread: Unread,
    rest: Option<Rest>,
}

/// What may still be discarded.
struct Rest {
    bytes: usize,
    deadline: Pin<Box<Sleep>>,
}

impl<S> Lingering<S> {
    pub(super) fn new(stream: S, unread: Unread) -> Self {
        Self { stream, unread, rest: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, unread, rest } = &mut *self;
        let mut stream = Pin::new(stream);
        let rest = match rest {
            Some(rest) => rest,
            None => {
                ready!(stream.as_mut().poll_shutdown(cx))?;
                if !unread.0.load(Ordering::Relaxed) {
                    return Poll::Ready(Ok(()));
                }
                rest.insert(Rest { bytes: LINGER_BYTES_MAX, deadline: Box::pin(sleep(LINGER_TIME_MAX)) })
            }
        };
        let mut piece = [0; PIECE_BYTES];
        while rest.bytes > 0 && rest.deadline.as_mut().poll(cx).is_pending() {
            let mut piece = ReadBuf::new(&mut piece[..PIECE_BYTES.min(rest.bytes)]);
            match ready!(stream.as_mut().poll_read(cx, &mut piece)) {
                Ok(()) if !piece.filled().is_empty() => rest.bytes -= piece.filled().len(),
                // The other side has closed or is gone, and sends nothing more.
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    /// Buffer of the pipe between the two sides.
    const BUFFER_BYTES: usize = 64;

    /// Ends a connection that may discard this much; the other side may have sent before.
    async fn end(stream: DuplexStream, is_unread: bool, bytes: usize, time_max: Duration) -> Lingering<DuplexStream> {
        let unread = Unread::default();
        unread.set(is_unread);
        let rest = is_unread.then(|| Rest { bytes, deadline: Box::pin(sleep(time_max)) });
        let mut ending = Lingering { stream, unread, rest };
        ending.shutdown().await.unwrap();
        ending
    }

    #[tokio::test]
    async fn what_a_refused_sender_still_sends_is_taken_up_to_a_size() {
        for (sent, left) in [(0, 0), (10, 0), (40, 0), (41, 1), (50, 10)] {
            let (ours, mut theirs) = duplex(BUFFER_BYTES);
            theirs.write_all(&vec![0; sent]).await.unwrap();
            theirs.shutdown().await.unwrap();
            let mut ended = end(ours, true, 40, Duration::from_secs(60)).await;
            let mut rest = Vec::new();
            ended.stream.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest.len(), left, "{sent}");
        }
    }

    #[tokio::test]
    async fn one_that_neither_sends_nor_closes_is_waited_for_no_longer_than_it_may() {
        let (ours, _theirs) = duplex(BUFFER_BYTES);
        end(ours, true, BUFFER_BYTES, Duration::from_millis(20)).await;
    }

    #[tokio::test]
    async fn one_whose_requests_were_read_is_not_waited_for() {
        let (ours, mut theirs) = duplex(BUFFER_BYTES);
        theirs.write_all(b"next").await.unwrap();
        let mut ended = end(ours, false, BUFFER_BYTES, Duration::from_secs(60)).await;
        let mut next = [0; 4];
        ended.stream.read_exact(&mut next).await.unwrap();
    }

    #[tokio::test]
    async fn the_other_side_is_told_first_that_nothing_more_comes() {
        let (ours, mut theirs) = duplex(BUFFER_BYTES);
        let unread = Unread::default();
        unread.set(true);
        let mut ours = Lingering::new(ours, unread);
        let ending = tokio::spawn(async move { ours.shutdown().await });
        assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
        theirs.write_all(&[0; 10 * BUFFER_BYTES]).await.unwrap();
        drop(theirs);
        ending.await.unwrap().unwrap();
    }
}
