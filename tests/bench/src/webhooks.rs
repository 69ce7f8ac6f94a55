//! Signed webhooks in ServiceDesk Plus's flat form, each for another ticket, and files of them for the load generator.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    ops::Range,
    path::{Path, PathBuf},
};

use anyhow::ensure;
use plugin_abi::{
    testing::hex_mac,
    time::{OffsetDateTime, format_description::well_known::Rfc3339},
};
use tempfile::TempDir;

/// The tenant that all webhooks are for.
pub(crate) const TENANT: &str = "bench";
/// The secret that signs its webhooks.
pub(crate) const SECRET: &str = "a-secret-of-the-usual-length-0001";
/// The header that carries the signature.
pub(crate) const SIGNATURE_HEADER: &str = "x-servicedesk-signature";
/// Length of every body in bytes: about that of a real one.
pub(crate) const BODY_BYTES: usize = 504;
/// The first ticket's number: all have ten digits, so that all requests have one length.
pub(crate) const FIRST_TICKET: u64 = 1_000_000_000;

/// A body and its signature.
pub(crate) struct Webhook {
    pub(crate) body: String,
    pub(crate) signature: String,
}

/// The webhook to a tenant about this ticket's creation at `created_at`.
pub(crate) fn created(tenant: &str, ticket: u64, created_at: &str) -> Webhook {
    let head = format!(
        r#"{{"tenant_id":"{tenant}","ticket_id":"{ticket}","event":"ticket_created","subject":"Mail is slow","priority":"high","created_at":"{created_at}","description":""#
    );
    let sentence = "The mail client takes about a minute to open a message since this morning. ";
    let room = BODY_BYTES.saturating_sub(head.len() + 2);
    let description: String = sentence.chars().cycle().take(room).collect();
    let body = format!("{head}{description}\"}}");
    let signature = hex_mac(SECRET.as_bytes(), &[body.as_bytes()]);
    Webhook { body, signature }
}

/// The current time as in `created_at`, in whole seconds.
///
/// # Errors
/// When RFC 3339 cannot express it.
pub(crate) fn now() -> anyhow::Result<String> {
    let now = OffsetDateTime::now_utc();
    Ok(now.replace_nanosecond(0)?.format(&Rfc3339)?)
}

/// A file of complete HTTP requests, all of the same length. It is deleted when this is dropped.
pub(crate) struct PreparedRequests {
    _folder: TempDir,
    path: PathBuf,
    length: usize,
}

impl PreparedRequests {
    /// Writes a webhook for each of these tickets, in memory if there is a file system for it: writing to the disk
    /// would compete with the measured fsyncs.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(tickets: Range<u64>) -> anyhow::Result<Self> {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? };
        let path = folder.path().join("requests");
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
        let (now, mut length) = (now()?, None);
        for ticket in tickets {
            let request = request(&created(TENANT, ticket, &now));
            file.write_all(request.as_bytes())?;
            ensure!(*length.get_or_insert(request.len()) == request.len(), "requests differ in length");
        }
        file.flush()?;
        Ok(Self { _folder: folder, path, length: length.unwrap_or_default() })
    }

    /// The path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Length of each request, in bytes.
    pub(crate) fn length(&self) -> usize {
        self.length
    }
}

fn request(webhook: &Webhook) -> String {
    let Webhook { body, signature } = webhook;
    format!(
        "POST /webhooks/{TENANT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         {SIGNATURE_HEADER}: {signature}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_json_of_one_length_and_differ() {
        let bodies = [FIRST_TICKET, FIRST_TICKET + 1, 9_999_999_999]
            .map(|ticket| created(TENANT, ticket, "2026-03-02T09:15:00Z"));
        for webhook in &bodies {
            assert_eq!(webhook.body.len(), BODY_BYTES);
            assert!(serde_json::from_str::<serde_json::Value>(&webhook.body).is_ok(), "{}", webhook.body);
        }
        assert_ne!(bodies[0].signature, bodies[1].signature);
    }

    #[test]
    fn a_file_holds_whole_requests() {
        let requests = PreparedRequests::write(FIRST_TICKET..FIRST_TICKET + 3).unwrap();
        let bytes = std::fs::read(requests.path()).unwrap();
        assert_eq!(bytes.len(), 3 * requests.length());
        for request in bytes.chunks(requests.length()) {
            assert!(request.starts_with(b"POST /webhooks/bench HTTP/1.1\r\n") && request.ends_with(b"\"}"));
        }
    }
}
