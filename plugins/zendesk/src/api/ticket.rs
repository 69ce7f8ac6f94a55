//! A ticket as the API shows it, with what is loaded beside it.

use plugin_abi::{
    json::{self, Json},
    payload::{Part, Scalar, instant},
    prelude::*,
    serde::{Deserialize, de::Error as _},
    serde_json::{self, value::RawValue},
};

use crate::{
    merged,
    payload::{is_closed, is_solved, priority},
};

/// An answer that shows a ticket.
pub(super) struct Shown<'a> {
    raw: &'a str,
    fields: Fields<'a>,
    users: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(crate = "plugin_abi::serde")]
struct Answer<'a> {
    #[serde(borrow)]
    ticket: Option<&'a RawValue>,
    #[serde(borrow, default)]
    users: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Fields<'a> {
    #[serde(borrow)]
    subject: Scalar<'a>,
    #[serde(borrow)]
    description: Scalar<'a>,
    #[serde(borrow)]
    status: Scalar<'a>,
    #[serde(borrow)]
    priority: Scalar<'a>,
    #[serde(borrow)]
    requester_id: Scalar<'a>,
    #[serde(borrow)]
    created_at: Scalar<'a>,
    #[serde(borrow)]
    updated_at: Scalar<'a>,
    #[serde(borrow)]
    tags: Option<&'a RawValue>,
    #[serde(borrow)]
    metric_set: Part<'a, Metrics<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Metrics<'a> {
    #[serde(borrow)]
    solved_at: Scalar<'a>,
}

#[derive(Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct User<'a> {
    #[serde(borrow)]
    id: Scalar<'a>,
    #[serde(borrow)]
    name: Scalar<'a>,
    #[serde(borrow)]
    email: Scalar<'a>,
}

impl<'a> Shown<'a> {
    /// # Errors
    /// `Malformed` when the answer shows no ticket, `Api` when a page came in its place.
    pub(super) fn read(response: &'a Response) -> Result<Self, PluginError> {
        response.read(|body| {
            let answer: Answer<'a> = json::parse(body)?;
            let raw = answer.ticket.map(RawValue::get).filter(|raw| raw.starts_with('{'));
            let raw = raw.ok_or_else(|| serde_json::Error::custom("ticket must be an object"))?;
            Ok(Self { raw, fields: serde_json::from_str(raw)?, users: answer.users })
        })
    }

    /// The ticket in the host's terms. Its description is plain text at Zendesk too.
    pub(super) fn ticket(&self, ticket_id: &str) -> Ticket {
        let Fields { subject, description, status, priority: urgency, created_at, updated_at, .. } = &self.fields;
        let text = |value: &Scalar<'_>| value.text().map(str::to_owned);
        let time = |value: &Scalar<'_>| value.text().and_then(instant);
        let mut ticket = Ticket::new(ticket_id);
        ticket.subject = text(subject);
        ticket.description = text(description);
        ticket.status = text(status);
        ticket.priority = priority(urgency.text());
        ticket.requester = self.requester_name();
        ticket.created_at = time(created_at);
        ticket.updated_at = time(updated_at);
        // A ticket that was opened again keeps the time at which it was solved before.
        ticket.resolved_at =
            self.fields.metric_set.object().filter(|_| self.is_solved()).and_then(|set| time(&set.solved_at));
        self.raw.clone_into(&mut ticket.raw);
        ticket
    }

    pub(super) fn is_solved(&self) -> bool {
        self.fields.status.text().is_some_and(is_solved)
    }

    /// Whether it was closed as part of another ticket, as far as its tags say.
    pub(super) fn is_merged(&self) -> bool {
        self.fields.status.text().is_some_and(is_closed) && self.fields.tags.is_some_and(merged::is_among)
    }

    /// The id of who asked.
    pub(super) fn requester(&self) -> &Scalar<'a> {
        &self.fields.requester_id
    }

    fn requester_name(&self) -> Option<String> {
        let id = self.requester().word()?;
        let users: Vec<&RawValue> = serde_json::from_str(self.users?.get()).ok()?;
        users.into_iter().filter_map(|raw| named(raw, &id)).next()
    }
}

/// The name, or else the address, of this user if it is the one with this id.
fn named(raw: &RawValue, id: &str) -> Option<String> {
    let said = |value: &Scalar<'_>| value.text().filter(|text| !text.is_empty()).map(str::to_owned);
    let name = Json::from(raw).object(|user| {
        let user: User<'_> = json::from_slice(user)?;
        Ok((user.id.word().as_deref() == Some(id)).then(|| said(&user.name).or_else(|| said(&user.email))))
    });
    name.ok()??
}
