//! Counts what a tool sends for one request. ureq bounds the head of an answer, and its reader the body; what comes before
//! the head, between the parts of the body and after it (interim answers, sizes of chunks, trailers) has no end of its own.

use ureq::{
    Error,
    unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport},
};

/// Puts a meter on every connection.
#[derive(Debug)]
pub(super) struct Metering {
    /// Most bytes that may come for one request, as they come out of TLS.
    pub(super) bytes_max: u64,
}

/// More came than may.
#[derive(Debug, thiserror::Error)]
#[error("more than {bytes_max} bytes came for one request")]
pub(super) struct TooMuchSent {
    bytes_max: u64,
}

#[derive(Debug)]
pub(super) struct Metered {
    inner: Box<dyn Transport>,
    bytes: u64,
    bytes_max: u64,
}

impl Connector<Box<dyn Transport>> for Metering {
    type Out = Metered;

    fn connect(
        &self,
        _details: &ConnectionDetails<'_>,
        chained: Option<Box<dyn Transport>>,
    ) -> Result<Option<Metered>, Error> {
        Ok(chained.map(|inner| Metered { inner, bytes: 0, bytes_max: self.bytes_max }))
    }
}

impl Transport for Metered {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        // Connections are used again: what came before belongs to another request.
        self.bytes = 0;
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let before = self.buffers().input().len();
        let came = self.inner.await_input(timeout)?;
        let bytes = self.buffers().input().len().saturating_sub(before);
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.bytes > self.bytes_max {
            return Err(Error::Other(Box::new(TooMuchSent { bytes_max: self.bytes_max })));
        }
        Ok(came)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

impl TooMuchSent {
    /// This, when it is why a request failed.
    pub(super) fn of(error: &Error) -> Option<&Self> {
        if let Error::Other(inner) = error { inner.downcast_ref() } else { None }
    }
}
