//! The expected fields of a plugin's answers. Fields that are not given are not compared.

use plugin_abi::{
    time::format_description::well_known::Rfc3339,
    types::{Event, Ticket, TicketMetadata},
};
use serde::{Deserialize, Serialize};

use crate::conformance::told::event_word;

/// The expected metadata. Fields that are not given are not compared.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectedMetadata {
    event: Option<String>,
    ticket_id: Option<String>,
    tenant_id: Option<String>,
    subject: Option<String>,
    description: Option<String>,
    priority: Option<String>,
    raw_priority: Option<String>,
    delivery_id: Option<String>,
    created_at: Option<String>,
    url: Option<String>,
    resolution: Option<String>,
}

/// The expected ticket. Fields that are not given are not compared.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectedTicket {
    subject: Option<String>,
    description: Option<String>,
    status: Option<String>,
    priority: Option<String>,
    requester: Option<String>,
    resolution: Option<String>,
}

impl ExpectedMetadata {
    /// The first field that differs, as a sentence.
    pub(in crate::conformance) fn difference(&self, found: &TicketMetadata) -> Option<String> {
        let resolution = match &found.event {
            Event::Resolved { resolution, .. } => resolution.as_deref(),
            _ => None,
        };
        let created_at = found.created_at.and_then(|at| at.format(&Rfc3339).ok());
        first_difference(&[
            ("event", &self.event, Some(event_word(&found.event))),
            ("ticket_id", &self.ticket_id, Some(&found.ticket_id)),
            ("tenant_id", &self.tenant_id, found.tenant_id.as_deref()),
            ("subject", &self.subject, found.subject.as_deref()),
            ("description", &self.description, found.description.as_deref()),
            ("priority", &self.priority, Some(found.priority.as_str())),
            ("raw_priority", &self.raw_priority, found.raw_priority.as_deref()),
            ("delivery_id", &self.delivery_id, found.delivery_id.as_deref()),
            ("created_at", &self.created_at, created_at.as_deref()),
            ("url", &self.url, found.url.as_deref()),
            ("resolution", &self.resolution, resolution),
        ])
    }
}

impl ExpectedTicket {
    /// The first field that differs, as a sentence.
    pub(in crate::conformance) fn difference(&self, found: &Ticket) -> Option<String> {
        first_difference(&[
            ("subject", &self.subject, found.subject.as_deref()),
            ("description", &self.description, found.description.as_deref()),
            ("status", &self.status, found.status.as_deref()),
            ("priority", &self.priority, Some(found.priority.as_str())),
            ("requester", &self.requester, found.requester.as_deref()),
            ("resolution", &self.resolution, found.resolution.as_deref()),
        ])
    }
}

fn first_difference(fields: &[(&str, &Option<String>, Option<&str>)]) -> Option<String> {
    let different = fields.iter().find(|(_, expected, found)| expected.is_some() && expected.as_deref() != *found)?;
    let (name, expected, found) = different;
    let expected = expected.as_deref().unwrap_or_default();
    Some(match found {
        Some(found) => format!("{name} is {found:?}, not {expected:?}"),
        None => format!("{name} is missing, {expected:?} is expected"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_given_is_compared() {
        let mut found = TicketMetadata::new("7", Event::Created);
        let expected = ExpectedMetadata { ticket_id: Some("7".to_owned()), ..ExpectedMetadata::default() };
        assert_eq!(expected.difference(&found), None);
        found.ticket_id = "8".to_owned();
        assert_eq!(expected.difference(&found).as_deref(), Some("ticket_id is \"8\", not \"7\""));
        let expected = ExpectedMetadata { subject: Some("s".to_owned()), ..ExpectedMetadata::default() };
        assert_eq!(expected.difference(&found).as_deref(), Some("subject is missing, \"s\" is expected"));
    }
}
