//! Reading an answer's body: unpacked, within its size and the room that all answers share.

use std::io::{self, Read};

use ureq::{Body, Error};

use super::room::{SMALL_BYTES, Share};

/// Why a body was not read to its end.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is longer than it may be.
    TooLarge,
    /// There is no room for it now.
    Crowded,
    /// The connection broke, or what came is no body.
    Broken(Error),
}

/// The whole body. The share fits what has been read of it, not what the tool has announced.
///
/// One of at most [`SMALL_BYTES`] is read into a single allocation: of a secret in it no copy stays behind.
pub(super) fn whole(body: Body, bytes_max: usize, share: &mut Share) -> Result<Vec<u8>, Unread> {
    if body.content_length().is_some_and(|length| length > bytes_max as u64) {
        return Err(Unread::TooLarge);
    }
    let mut reader = body.into_reader();
    let (mut bytes, mut filled, mut next) = (Vec::new(), 0, [0]);
    // A byte for which there is no place yet.
    while read(&mut reader, &mut next)? > 0 {
        if filled == bytes_max {
            return Err(Unread::TooLarge);
        }
        // By a quarter, so that little more is taken than comes.
        let places = (filled + filled / 4).max(SMALL_BYTES).min(bytes_max);
        if !share.fit(places) {
            return Err(Unread::Crowded);
        }
        bytes.reserve_exact(places - filled);
        bytes.resize(places, 0);
        [bytes[filled]] = next;
        filled += 1;
        while filled < places {
            match read(&mut reader, &mut bytes[filled..])? {
                0 => break,
                more => filled += more,
            }
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn read(reader: &mut impl Read, into: &mut [u8]) -> Result<usize, Unread> {
    loop {
        match reader.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read.map_err(|error| Unread::Broken(error.into())),
        }
    }
}
