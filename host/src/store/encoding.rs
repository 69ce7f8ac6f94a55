//! Versioned JSON forms of stored values. The code's types may change; rows on disk do not.

use std::borrow::Cow;

use plugin_abi::types::{Event, Priority, TicketMetadata};
use rusqlite::{
    ToSql,
    types::{FromSql, FromSqlResult, ToSqlOutput, ValueRef},
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{ids::Incarnation, queue::job::JobError};

const METADATA_VERSION: u32 = 1;

impl ToSql for Incarnation {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.number().into())
    }
}

impl FromSql for Incarnation {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Self::new)
    }
}

/// The JSON of a job's metadata.
pub(super) fn metadata_json(metadata: &TicketMetadata) -> String {
    let stored = StoredMetadata {
        version: METADATA_VERSION,
        tenant_id: metadata.tenant_id.as_deref().map(Cow::Borrowed),
        ticket_id: Cow::Borrowed(&metadata.ticket_id),
        event: StoredEvent::from(&metadata.event),
        subject: metadata.subject.as_deref().map(Cow::Borrowed),
        description: metadata.description.as_deref().map(Cow::Borrowed),
        priority: Cow::Borrowed(metadata.priority.as_str()),
        raw_priority: metadata.raw_priority.as_deref().map(Cow::Borrowed),
        created_ms: metadata.created_at.map(to_ms),
        occurred_ms: metadata.occurred_at.map(to_ms),
        delivery_id: metadata.delivery_id.as_deref().map(Cow::Borrowed),
        url: metadata.url.as_deref().map(Cow::Borrowed),
    };
    serde_json::to_string(&stored).expect("texts and numbers always have a JSON form")
}

/// Reads the output of [`metadata_json`]; the error is for people.
pub(super) fn metadata_from_json(json: &str) -> Result<TicketMetadata, String> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_str(json).map_err(|error| error.to_string())?;
    if version != METADATA_VERSION {
        return Err(format!("metadata of version {version}; this program knows {METADATA_VERSION}"));
    }
    let stored: StoredMetadata<'_> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let mut metadata = TicketMetadata::new(stored.ticket_id, stored.event.into());
    metadata.tenant_id = stored.tenant_id.map(Cow::into_owned);
    metadata.subject = stored.subject.map(Cow::into_owned);
    metadata.description = stored.description.map(Cow::into_owned);
    metadata.priority = match &*stored.priority {
        "high" => Priority::High,
        "low" => Priority::Low,
        _ => Priority::Medium,
    };
    metadata.raw_priority = stored.raw_priority.map(Cow::into_owned);
    metadata.created_at = stored.created_ms.and_then(from_ms);
    metadata.occurred_at = stored.occurred_ms.and_then(from_ms);
    metadata.delivery_id = stored.delivery_id.map(Cow::into_owned);
    metadata.url = stored.url.map(Cow::into_owned);
    Ok(metadata)
}

/// The JSON object of one error.
pub(super) fn error_json(error: &JobError) -> String {
    serde_json::to_string(&StoredError::from(error)).expect("texts and numbers always have a JSON form")
}

/// The JSON list of several errors.
pub(super) fn errors_json(errors: &[JobError]) -> String {
    let stored: Vec<_> = errors.iter().map(StoredError::from).collect();
    serde_json::to_string(&stored).expect("texts and numbers always have a JSON form")
}

/// Reads a list of errors; the error is for people.
pub(super) fn errors_from_json(json: &str) -> Result<Vec<JobError>, String> {
    let stored: Vec<StoredError<'_>> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    Ok(stored
        .into_iter()
        .map(|error| JobError {
            attempt: error.attempt,
            at_ms: error.at_ms,
            kind: error.kind.into_owned(),
            message: error.message.into_owned(),
        })
        .collect())
}

#[derive(Serialize, Deserialize)]
struct StoredMetadata<'a> {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<Cow<'a, str>>,
    ticket_id: Cow<'a, str>,
    event: StoredEvent<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Cow<'a, str>>,
    priority: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_priority: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    occurred_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredEvent<'a> {
    Created,
    Updated,
    Resolved { resolution: Option<Cow<'a, str>>, resolved_ms: Option<i64>, tags: Cow<'a, [String]> },
    Reopened,
    Other,
}

#[derive(Serialize, Deserialize)]
struct StoredError<'a> {
    attempt: u32,
    at_ms: i64,
    kind: Cow<'a, str>,
    message: Cow<'a, str>,
}

impl<'a> From<&'a Event> for StoredEvent<'a> {
    fn from(event: &'a Event) -> Self {
        match event {
            Event::Created => Self::Created,
            Event::Updated => Self::Updated,
            Event::Resolved { resolution, resolved_at, tags } => Self::Resolved {
                resolution: resolution.as_deref().map(Cow::Borrowed),
                resolved_ms: resolved_at.map(to_ms),
                tags: Cow::Borrowed(tags),
            },
            Event::Reopened => Self::Reopened,
            // An event unknown to this host makes no job, so it is never read back.
            _ => Self::Other,
        }
    }
}

impl From<StoredEvent<'_>> for Event {
    fn from(stored: StoredEvent<'_>) -> Self {
        match stored {
            StoredEvent::Created => Self::Created,
            StoredEvent::Updated => Self::Updated,
            StoredEvent::Resolved { resolution, resolved_ms, tags } => Self::Resolved {
                resolution: resolution.map(Cow::into_owned),
                resolved_at: resolved_ms.and_then(from_ms),
                tags: tags.into_owned(),
            },
            StoredEvent::Reopened => Self::Reopened,
            StoredEvent::Other => Self::Other,
        }
    }
}

impl<'a> From<&'a JobError> for StoredError<'a> {
    fn from(error: &'a JobError) -> Self {
        Self {
            attempt: error.attempt,
            at_ms: error.at_ms,
            kind: Cow::Borrowed(&error.kind),
            message: Cow::Borrowed(&error.message),
        }
    }
}

fn to_ms(date: OffsetDateTime) -> i64 {
    // Years ±9999 in milliseconds are far inside i64.
    i64::try_from(date.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX)
}

fn from_ms(ms: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn check(metadata: &TicketMetadata) {
        assert_eq!(metadata_from_json(&metadata_json(metadata)).as_ref(), Ok(metadata));
    }

    #[test]
    fn metadata_survives_the_database() {
        let mut full = TicketMetadata::new("INC-17", Event::Created);
        full.tenant_id = Some("acme".to_owned());
        full.subject = Some("\"quoted\" ä \u{0} 💡".to_owned());
        full.description = Some("line\nline".to_owned());
        full.priority = Priority::High;
        full.raw_priority = Some("P1".to_owned());
        full.created_at = Some(datetime!(2026-11-20 15:40:01.123 UTC));
        full.occurred_at = Some(datetime!(1969-12-31 23:59:59.999 UTC));
        full.delivery_id = Some("d".to_owned());
        full.url = Some("https://desk.example/17".to_owned());
        check(&full);
        for event in [
            Event::Updated,
            Event::Reopened,
            Event::Other,
            Event::Resolved { resolution: None, resolved_at: None, tags: Vec::new() },
            Event::Resolved {
                resolution: Some("rebooted".to_owned()),
                resolved_at: full.created_at,
                tags: vec!["vpn".to_owned(), "".to_owned()],
            },
        ] {
            let mut metadata = TicketMetadata::new("1", event);
            metadata.priority = Priority::Low;
            check(&metadata);
        }
    }

    #[test]
    fn the_form_on_disk_does_not_change() {
        let json = r#"{"version":1,"ticket_id":"1","event":"created","priority":"medium"}"#;
        assert_eq!(metadata_json(&TicketMetadata::new("1", Event::Created)), json);
        let resolved = Event::Resolved { resolution: None, resolved_at: None, tags: Vec::new() };
        assert_eq!(
            metadata_json(&TicketMetadata::new("1", resolved)),
            r#"{"version":1,"ticket_id":"1","event":{"resolved":{"resolution":null,"resolved_ms":null,"tags":[]}},"priority":"medium"}"#
        );
    }

    #[test]
    fn a_later_version_is_named_not_guessed() {
        let error = metadata_from_json(r#"{"version":2,"ticket":{}}"#).unwrap_err();
        assert!(error.contains("version 2"), "{error}");
        assert!(metadata_from_json("{}").is_err());
    }
}
