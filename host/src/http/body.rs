//! Reads a request's body within limits: a size, a time, a minimum rate, and the memory shared by all bodies.

use std::{error::Error as _, io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::answer::BadRequest;

/// Minimum rate of a body that is not complete after the grace time. Without it, a long `body_timeout_s`, meant for
/// large bodies, would let a client hold a connection by sending a byte now and then.
const BODY_BYTES_PER_S_MIN: u32 = 1 << 10;
/// Time before the rate is checked.
const BODY_GRACE: Duration = Duration::from_secs(5);
/// Memory for large bodies in flight, in KiB. The first [`SMALL_BYTES`] of each body do not count.
const LARGE_BODIES_KIB_MAX: usize = 256 << 10;
/// Size up to which a body always has room, even if the memory for larger ones is full. Most webhooks are smaller.
const SMALL_BYTES: usize = 16 << 10;

/// The memory for bodies. It is cheap to clone, and all clones share it.
#[derive(Clone, Debug)]
pub struct BodyRoom {
    kib: Arc<Semaphore>,
}

/// A body's part of the memory, released when dropped.
#[derive(Debug, Default)]
pub struct Share {
    held: Option<OwnedSemaphorePermit>,
}

impl Default for BodyRoom {
    fn default() -> Self {
        Self::new(LARGE_BODIES_KIB_MAX)
    }
}

impl BodyRoom {
    fn new(kib: usize) -> Self {
        Self { kib: Arc::new(Semaphore::new(kib)) }
    }

    /// Reads a body. A body that arrives in a single piece is not copied.
    ///
    /// # Errors
    /// If it is too large or too slow, or if there is no memory for it.
    pub async fn whole(
        &self,
        mut body: Incoming,
        bytes_max: usize,
        time_max: Duration,
    ) -> Result<(Bytes, Share), BadRequest> {
        let started = Instant::now();
        let mut share = Share::default();
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while !body.is_end_stream() {
            let read = first.len() + rest.len();
            let deadline = started + time_for(read, time_max);
            let frame = timeout_at(deadline, body.frame()).await.map_err(|_| BadRequest::Slow)?;
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|fault| broken(&fault))?;
            let Ok(data) = frame.into_data() else { continue };
            if read + data.len() > bytes_max {
                return Err(BadRequest::TooLarge(bytes_max));
            }
            if !self.grow(&mut share, read + data.len()) {
                return Err(BadRequest::Crowded);
            }
            if read == 0 {
                first = data;
            } else {
                if rest.is_empty() {
                    rest.extend_from_slice(&std::mem::take(&mut first));
                }
                rest.extend_from_slice(&data);
            }
        }
        Ok((if rest.is_empty() { first } else { rest.freeze() }, share))
    }

    /// Grows a share to this many bytes of a body. Returns false if there is no room.
    fn grow(&self, share: &mut Share, bytes: usize) -> bool {
        let wanted = bytes.saturating_sub(SMALL_BYTES).div_ceil(1 << 10);
        let held = share.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let Ok(more) = u32::try_from(wanted.saturating_sub(held)) else { return false };
        if more == 0 {
            return true;
        }
        let Ok(more) = Arc::clone(&self.kib).try_acquire_many_owned(more) else { return false };
        match &mut share.held {
            Some(held) => held.merge(more),
            None => share.held = Some(more),
        }
        true
    }
}

/// Why a body ended too early. If the connection broke, nobody will read the answer.
fn broken(fault: &hyper::Error) -> BadRequest {
    let cause = fault.source().and_then(|source| source.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => BadRequest::Chunks,
        _ => BadRequest::Slow,
    }
}

/// The total time that a body has, once this many bytes have arrived.
fn time_for(bytes: usize, time_max: Duration) -> Duration {
    let earned = Duration::from_secs_f64(bytes as f64 / f64::from(BODY_BYTES_PER_S_MIN));
    (BODY_GRACE + earned).min(time_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_comes_too_slowly_has_less_time() {
        let time_max = Duration::from_secs(60);
        for (bytes, seconds) in [(0, 5), (1 << 10, 6), (10 << 10, 15), (55 << 10, 60), (56 << 10, 60), (1 << 30, 60)] {
            assert_eq!(time_for(bytes, time_max), Duration::from_secs(seconds), "{bytes} bytes");
        }
        assert_eq!(time_for(0, Duration::from_secs(1)), Duration::from_secs(1), "never more than is configured");
    }

    #[test]
    fn large_bodies_share_the_room_and_small_ones_need_none() {
        let room = BodyRoom::new(10);
        let (mut large, mut other, mut small) = <(Share, Share, Share)>::default();
        assert!(room.grow(&mut large, SMALL_BYTES + 1) && room.grow(&mut large, SMALL_BYTES + (10 << 10)));
        assert!(!room.grow(&mut large, SMALL_BYTES + (10 << 10) + 1), "one past the limit");
        assert!(!room.grow(&mut other, SMALL_BYTES + 1), "no room beside the large one");
        assert!(room.grow(&mut small, SMALL_BYTES));
        drop(large);
        assert!(room.grow(&mut other, SMALL_BYTES + (10 << 10)));
    }
}
