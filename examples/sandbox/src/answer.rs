//! Answers on the connection: complete, cut in the middle, or missing.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::{
    Response, StatusCode,
    body::{Body, Bytes, Frame, SizeHint},
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde::Serialize;

/// A complete answer, not yet on its way.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

impl Answer {
    /// An answer with this text as its body.
    pub(crate) fn new(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        Self { status, headers: vec![(CONTENT_TYPE, content_type)], body: body.into() }
    }

    /// An answer whose body is this value as JSON.
    pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("text keys and plain data always make JSON");
        Self::new(status, HeaderValue::from_static("application/json;charset=UTF-8"), body)
    }

    /// Adds a header.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// How an answer is delivered.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// Delivers the whole answer.
    Whole(Answer),
    /// Announces the whole body in `Content-Length`, sends half of it, then closes the socket.
    Cut(Answer),
    /// Closes the socket without a byte of an answer.
    Dropped,
}

/// Why a connection was closed: hyper closes the socket when a service or a body fails.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed on command")]
pub(crate) struct Closed;

impl Delivery {
    /// Makes hyper send the answer, or fail and so close the socket.
    pub(crate) fn into_response(self) -> Result<Response<AnswerBody>, Closed> {
        let (answer, cut) = match self {
            Self::Whole(answer) => (answer, None),
            Self::Cut(answer) => {
                let half = answer.body.len() / 2;
                (answer, Some(half))
            }
            Self::Dropped => return Err(Closed),
        };
        let announced_bytes = answer.body.len() as u64;
        let (data, ending) = match cut {
            None => (answer.body, Ending::Complete),
            Some(half) => (answer.body.slice(..half), Ending::FlushThenClose),
        };
        let mut response = Response::new(AnswerBody { data, announced_bytes, ending });
        *response.status_mut() = answer.status;
        response.headers_mut().extend(answer.headers);
        Ok(response)
    }
}

/// The body of an answer, which may end before its announced length.
pub(crate) struct AnswerBody {
    data: Bytes,
    announced_bytes: u64,
    ending: Ending,
}

enum Ending {
    Complete,
    FlushThenClose,
    Close,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        if !self.data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(mem::take(&mut self.data)))));
        }
        match self.ending {
            Ending::Complete => Poll::Ready(None),
            // hyper flushes when a body is not ready; an immediate failure would discard the buffered half.
            Ending::FlushThenClose => {
                self.ending = Ending::Close;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Ending::Close => Poll::Ready(Some(Err(Closed))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && matches!(self.ending, Ending::Complete)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.announced_bytes)
    }
}
