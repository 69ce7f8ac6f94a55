//! Answers of a plugin's methods in words, as a vendor would write them.

use plugin_abi::{
    PluginError,
    host::Updated,
    types::{Event, Ticket, TicketMetadata},
};

/// An answer of a method.
pub(super) trait Told {
    /// The answer in words.
    fn told(&self) -> String;
}

impl Told for bool {
    fn told(&self) -> String {
        format!("Ok({self})")
    }
}

impl Told for Updated {
    fn told(&self) -> String {
        self.taken.told()
    }
}

impl Told for TicketMetadata {
    fn told(&self) -> String {
        format!("Ok with the ticket {:?} and the event {}", self.ticket_id, event_word(&self.event))
    }
}

impl Told for Option<Ticket> {
    fn told(&self) -> String {
        self.as_ref().map_or_else(|| "Ok(None)".to_owned(), |ticket| format!("Ok with the ticket {:?}", ticket.id))
    }
}

impl<T: Told> Told for Result<T, PluginError> {
    fn told(&self) -> String {
        match self {
            Ok(answer) => answer.told(),
            Err(error) => format!("the error {}: {error}", error.kind()),
        }
    }
}

/// An event as conformance.toml writes it.
pub(super) fn event_word(event: &Event) -> &'static str {
    match event {
        Event::Created => "created",
        Event::Updated => "updated",
        Event::Resolved { .. } => "resolved",
        Event::Reopened => "reopened",
        _ => "other",
    }
}

/// The names of the fields in which two readings of one webhook differ.
pub(super) fn differing(one: &TicketMetadata, other: &TicketMetadata) -> Vec<&'static str> {
    let fields = [
        ("event", one.event == other.event),
        ("ticket_id", one.ticket_id == other.ticket_id),
        ("tenant_id", one.tenant_id == other.tenant_id),
        ("subject", one.subject == other.subject),
        ("description", one.description == other.description),
        ("priority", one.priority == other.priority),
        ("raw_priority", one.raw_priority == other.raw_priority),
        ("created_at", one.created_at == other.created_at),
        ("occurred_at", one.occurred_at == other.occurred_at),
        ("delivery_id", one.delivery_id == other.delivery_id),
        ("url", one.url == other.url),
        ("read_back", one.read_back == other.read_back),
    ];
    fields.into_iter().filter(|(_, is_same)| !is_same).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_stand_in_words() {
        let metadata = TicketMetadata::new("7", Event::Created);
        for (told, expected) in [
            (Ok(true).told(), "Ok(true)"),
            (Ok(Updated { taken: false, finds_notes: true }).told(), "Ok(false)"),
            (Ok(metadata.clone()).told(), "Ok with the ticket \"7\" and the event created"),
            (Ok(Some(Ticket::new("7"))).told(), "Ok with the ticket \"7\""),
            (Ok(None::<Ticket>).told(), "Ok(None)"),
            (Err::<bool, _>(PluginError::api("no")).told(), "the error api: the tool's API failed: no"),
        ] {
            assert_eq!(told, expected);
        }
        let mut other = metadata.clone();
        other.subject = Some("s".to_owned());
        assert_eq!(differing(&metadata, &other), ["subject"]);
        assert!(differing(&metadata, &metadata).is_empty());
    }
}
