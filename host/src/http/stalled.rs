//! A connection that fails if the other side stops reading. hyper would wait forever.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// A stream whose writes fail after nothing at all could be written for `time_max`.
pub(crate) struct NeverStalled<S> {
    stream: S,
    time_max: Duration,
    /// The timer, while a write waits.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> NeverStalled<S> {
    pub(crate) fn new(stream: S, time_max: Duration) -> Self {
        Self { stream, time_max, deadline: None }
    }

    /// Returns the write's own result, or a failure once it has waited too long.
    fn within_time<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let time_max = self.time_max;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(time_max)));
        deadline.as_mut().poll(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for NeverStalled<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for NeverStalled<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.within_time(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.within_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.within_time(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.within_time(cx, ended)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// A write larger than this waits for the other side.
    const BUFFER_BYTES: usize = 8;

    #[tokio::test]
    async fn a_write_that_nobody_takes_fails_in_time() {
        let (ours, _theirs) = duplex(BUFFER_BYTES);
        let mut ours = NeverStalled::new(ours, Duration::from_millis(20));
        ours.write_all(&[0; BUFFER_BYTES]).await.unwrap();
        let fault = ours.write_all(&[0]).await.unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_slow_side_that_takes_something_in_time_gets_all() {
        let (ours, mut theirs) = duplex(BUFFER_BYTES);
        let mut ours = NeverStalled::new(ours, Duration::from_secs(30));
        let sent = [7; 5 * BUFFER_BYTES];
        let mut received = [0; 5 * BUFFER_BYTES];
        let (written, read) = tokio::join!(ours.write_all(&sent), theirs.read_exact(&mut received));
        written.unwrap();
        read.unwrap();
        assert_eq!(received, sent);
        assert!(ours.deadline.is_none(), "no clock runs while nothing waits");
    }
}
