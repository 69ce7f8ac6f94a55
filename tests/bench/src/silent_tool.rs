//! A ticketing tool that accepts connections and never answers, so that a worker that makes one call at a time does
//! nothing.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// The configuration for it.
pub(crate) const ONE_CALL_AT_A_TIME: &str = "[worker]\nconcurrency = 1\nper_tenant = 1\n";

/// The listening tool. Its address is free again after this is dropped.
pub(crate) struct SilentTool {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl SilentTool {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// When there is no port or thread.
    pub(crate) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ended);
        let thread = thread::Builder::new().name("silent-tool".to_owned()).spawn(move || {
            let mut kept = Vec::new();
            for stream in listener.incoming() {
                if seen.load(Ordering::SeqCst) {
                    return;
                }
                kept.extend(stream);
            }
        })?;
        Ok(Self { address, ended, thread: Some(thread) })
    }

    /// The listening address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for SilentTool {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // This connection wakes the thread. If it fails, there is no thread to wait for.
        if TcpStream::connect(self.address).is_ok()
            && let Some(thread) = self.thread.take()
        {
            drop(thread.join());
        }
    }
}
