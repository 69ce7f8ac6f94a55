//! A ticket as the API shows it, with what is loaded beside it.

use plugin_abi::{
    payload::{Scalar, instant},
    prelude::*,
    serde::Deserialize,
    serde_json::{self, value::RawValue},
};

use crate::payload::{is_solved, priority};

/// An answer that shows a ticket.
pub(super) struct Shown<'a> {
    raw: &'a str,
    fields: Fields<'a>,
    users: Vec<User<'a>>,
}

#[derive(Deserialize)]
#[serde(crate = "plugin_abi::serde")]
struct Answer<'a> {
    #[serde(borrow)]
    ticket: Option<&'a RawValue>,
    #[serde(borrow, default)]
    users: Option<Vec<User<'a>>>,
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
    metric_set: Option<Metrics<'a>>,
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
    /// `Api` when the answer shows no ticket.
    pub(super) fn read(response: &'a Response) -> Result<Self, PluginError> {
        let unreadable = |why: &str| PluginError::api(format!("the answer's ticket {why}: {}", response.excerpt()));
        let answer: Answer<'a> = response.json()?;
        let raw = answer.ticket.ok_or_else(|| unreadable("is missing"))?.get();
        if !raw.starts_with('{') {
            return Err(unreadable("is not an object"));
        }
        let fields = serde_json::from_str(raw).map_err(|fault| unreadable(&format!("cannot be read ({fault})")))?;
        Ok(Self { raw, fields, users: answer.users.unwrap_or_default() })
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
            self.fields.metric_set.as_ref().filter(|_| self.is_solved()).and_then(|set| time(&set.solved_at));
        self.raw.clone_into(&mut ticket.raw);
        ticket
    }

    pub(super) fn is_solved(&self) -> bool {
        self.fields.status.text().is_some_and(is_solved)
    }

    /// The id of who asked.
    pub(super) fn requester(&self) -> &Scalar<'a> {
        &self.fields.requester_id
    }

    fn requester_name(&self) -> Option<String> {
        let id = self.requester().number()?;
        let user = self.users.iter().find(|user| user.id.number() == Some(id))?;
        let said = |value: &Scalar<'_>| value.text().filter(|text| !text.is_empty()).map(str::to_owned);
        said(&user.name).or_else(|| said(&user.email))
    }
}
