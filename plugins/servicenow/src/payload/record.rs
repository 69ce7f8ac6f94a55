//! ServiceNow's own object, a table's *record*: as its Table API answers it, and as a webhook renders it.

use std::borrow::Cow;

use plugin_abi::{
    json::from_slice,
    payload::{Faults, Part, Presence, Scalar},
    prelude::*,
    serde::Deserialize,
    serde_json,
    time::OffsetDateTime,
};

use super::{
    Body,
    column::Column,
    course::{Before, Course},
    event::EventWord,
    is_given, priority,
    state::State,
    ticket_id,
};

/// The columns that are read beside those of its [`Course`]. Only the id must be there: rules differ by administrator.
#[derive(Debug, Default, Deserialize)]
#[serde(crate = "plugin_abi::serde", default)]
struct Fields<'a> {
    #[serde(borrow)]
    short_description: Column<'a>,
    #[serde(borrow)]
    description: Column<'a>,
    #[serde(borrow)]
    priority: Column<'a>,
    #[serde(borrow)]
    caller_id: Column<'a>,
    #[serde(borrow)]
    opened_by: Column<'a>,
    #[serde(borrow)]
    resolved_at: Column<'a>,
    #[serde(borrow)]
    closed_at: Column<'a>,
    #[serde(borrow)]
    close_notes: Column<'a>,
    /// The ticket's page, where the record is the whole body: scripts add it.
    #[serde(borrow)]
    url: Scalar<'a>,
}

/// Which record is meant and what happened to it: all that counts of a hint.
#[derive(Debug)]
pub(super) struct Gist<'a> {
    course: Course<'a>,
    /// The record before the change, when that is there and says anything.
    previous: Option<Course<'a>>,
    was_solved: Option<bool>,
}

impl<'a> Gist<'a> {
    /// From the body, the record in it where that is not the body itself, and the record before the change.
    pub(super) fn read(
        body: &Body<'a>,
        nested: Option<&'a [u8]>,
        previous: Option<&'a [u8]>,
    ) -> Result<Self, PluginError> {
        let course: Course<'a> = from_slice(nested.unwrap_or(body.bytes))?;
        let previous = previous.map(from_slice::<Course<'a>>).transpose()?.filter(|previous| !previous.is_empty());
        let inside = nested.map(from_slice::<Before<'_>>).transpose()?;
        let was_solved = previous.as_ref().and_then(Course::is_solved);
        let was_solved = was_solved.or_else(|| body.before.was_solved());
        let was_solved = was_solved.or_else(|| inside.and_then(|inside| inside.was_solved()));
        Ok(Self { course, previous, was_solved })
    }

    /// A body with nothing but the record before the change names it there.
    pub(super) fn ticket_id(&self, faults: &mut Faults) -> String {
        let is_named = |course: &&Course<'_>| is_given(course.sys_id.stored()) || is_given(course.number.stored());
        let named = [Some(&self.course), self.previous.as_ref()].into_iter().flatten().find(is_named);
        let course = named.unwrap_or(&self.course);
        ticket_id(faults, ("sys_id", course.sys_id.stored()), ("number", course.number.stored()))
    }

    /// `word` is the script's own.
    pub(super) fn event(&self, faults: &mut Faults, word: &Scalar<'_>, route: Option<EventWord>) -> EventWord {
        let change = self.change();
        EventWord::told(faults, ("event", word), change, route).unwrap_or_else(|| self.course.guess())
    }

    /// What was changed, where the body shows the record before it too.
    fn change(&self) -> Option<EventWord> {
        let shows_before = self.previous.is_some() || self.was_solved.is_some();
        shows_before.then(|| EventWord::of_change(self.was_solved, self.course.is_solved()))
    }
}

/// What a webhook about this record says.
pub(super) fn metadata(
    body: &Body<'_>,
    nested: Option<&[u8]>,
    previous: Option<&[u8]>,
    route: Option<EventWord>,
) -> Result<TicketMetadata, PluginError> {
    /// What a webhook may say beside a record in it.
    #[derive(Default, Deserialize)]
    #[serde(crate = "plugin_abi::serde", default)]
    struct Beside<'a> {
        #[serde(borrow)]
        url: Scalar<'a>,
    }

    let gist = Gist::read(body, nested, previous)?;
    let (course, fields) = (&gist.course, from_slice::<Fields<'_>>(nested.unwrap_or(body.bytes))?);
    let beside = nested.map(|_| from_slice::<Beside<'_>>(body.bytes)).transpose()?;
    let mut faults = Faults::default();
    let id = gist.ticket_id(&mut faults);
    check(&mut faults, course, &fields);
    let tenant_id = faults.word("tenant_id", &body.tenant_id, Presence::Optional);
    let url = beside.as_ref().map_or(&fields.url, |beside| &beside.url);
    let url = faults.text("url", url, Presence::Optional);
    let word = match gist.event(&mut faults, &body.event, route) {
        EventWord::Resolved if course.solves_nothing() => EventWord::Updated,
        word => word,
    };

    let (created_at, updated_at) = (course.sys_created_on.time(), course.sys_updated_on.time());
    let resolved_at = fields.resolved_at();
    let resolution = || fields.resolution(course);
    let solution = || Event::Resolved { resolution: resolution(), resolved_at, tags: Vec::new() };
    let mut metadata = TicketMetadata::new(id, word.event(solution));
    metadata.tenant_id = tenant_id.map(str::to_owned);
    metadata.subject = fields.short_description.words();
    metadata.description = fields.description.words();
    metadata.priority = fields.priority();
    metadata.raw_priority = fields.priority.words();
    metadata.created_at = created_at;
    metadata.occurred_at = match word {
        EventWord::Created => created_at,
        EventWord::Resolved => resolved_at.or(updated_at),
        EventWord::Updated | EventWord::Reopened | EventWord::Other => updated_at,
    };
    // It counts every change of the record; the host adds tenant, event and ticket to it.
    metadata.delivery_id = course.sys_mod_count.stored().number().map(|count| count.to_string());
    metadata.url = url.map(str::to_owned);
    faults.unless_any(metadata)
}

fn check(faults: &mut Faults, course: &Course<'_>, fields: &Fields<'_>) {
    for (field, column) in [
        ("short_description", &fields.short_description),
        ("description", &fields.description),
        ("priority", &fields.priority),
        ("state", &course.state),
        ("close_code", &course.close_code),
        ("close_notes", &fields.close_notes),
    ] {
        column.check(faults, field);
    }
    for (field, column) in [
        ("sys_created_on", &course.sys_created_on),
        ("sys_updated_on", &course.sys_updated_on),
        ("resolved_at", &fields.resolved_at),
        ("closed_at", &fields.closed_at),
    ] {
        column.check_time(faults, field);
    }
}

/// A record as the API answered it, in the host's terms; its id is `asked` where it does not say its `sys_id`. `raw` is kept
/// with it.
///
/// # Errors
/// When `raw` is not such JSON.
pub(crate) fn ticket(asked: &str, raw: &str) -> Result<Ticket, serde_json::Error> {
    let (course, fields): (Course<'_>, Fields<'_>) = (serde_json::from_str(raw)?, serde_json::from_str(raw)?);
    let mut ticket = Ticket::new(course.sys_id.value().unwrap_or(asked.into()));
    ticket.subject = fields.short_description.words();
    ticket.description = fields.description.words();
    ticket.status = course.state.words();
    ticket.priority = fields.priority();
    ticket.requester = fields.caller_id.label().or_else(|| fields.opened_by.label()).map(str::to_owned);
    ticket.created_at = course.sys_created_on.time();
    ticket.updated_at = course.sys_updated_on.time();
    match course.standing() {
        // Neither a time nor a text must look like a solution; the status says how it ended.
        Some(State::Unsolved) => ticket.status = unsolved_status(&course),
        // A record that was opened again may keep the time of the solution that did not last.
        Some(State::Open) => ticket.resolution = fields.resolution(&course),
        Some(State::Solved) | None => {
            ticket.resolved_at = fields.resolved_at();
            ticket.resolution = fields.resolution(&course);
        }
    }
    raw.clone_into(&mut ticket.raw);
    Ok(ticket)
}

/// `Closed (Duplicate)`, or `Canceled` where the state says it alone.
fn unsolved_status(course: &Course<'_>) -> Option<String> {
    let state = course.state.words()?;
    let code = course.close_code.words().filter(|_| course.has_code_of_no_solution());
    Some(code.map_or_else(|| state.clone(), |code| format!("{state} ({code})")))
}

/// The number of a record as the API answered it; `None` for what is no record.
///
/// # Errors
/// When `raw` is not such JSON.
pub(crate) fn number(raw: &str) -> Result<Option<String>, serde_json::Error> {
    let course: Part<'_, Course<'_>> = serde_json::from_str(raw)?;
    Ok(course.object().and_then(|course| course.number.value().map(Cow::into_owned)))
}

impl Fields<'_> {
    fn priority(&self) -> Priority {
        priority(self.priority.value().as_deref())
    }

    fn resolved_at(&self) -> Option<OffsetDateTime> {
        self.resolved_at.time().or_else(|| self.closed_at.time())
    }

    fn resolution(&self, course: &Course<'_>) -> Option<String> {
        self.close_notes.words().or_else(|| course.close_code.words())
    }
}
