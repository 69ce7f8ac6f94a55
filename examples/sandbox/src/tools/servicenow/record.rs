//! A record of the table `incident` as the Table API shows it: all values are texts, with display values and links on
//! request.

use std::str::FromStr;

use serde_json::{Map, Value, json};
use time::{OffsetDateTime, macros::format_description};

use crate::state::{Note, Ticket};

/// The requested parts of a record. By default it has all columns, by value, and references with links.
#[derive(Debug)]
pub(super) struct View {
    pub(super) values: Values,
    pub(super) links: bool,
    /// The requested columns; `None` for all.
    pub(super) columns: Option<Vec<String>>,
}

/// The form of a column's value: `sysparm_display_value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    /// `false`: the stored value.
    Stored,
    /// `true`: the displayed value, in the user's language, format and time zone.
    Displayed,
    /// `all`: both values.
    Both,
}

impl FromStr for Values {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "false" => Ok(Self::Stored),
            "true" => Ok(Self::Displayed),
            "all" => Ok(Self::Both),
            _ => Err(()),
        }
    }
}

impl Default for View {
    fn default() -> Self {
        Self { values: Values::Stored, links: true, columns: None }
    }
}

impl View {
    /// Shows a record. Unknown columns are left out.
    pub(super) fn record(&self, ticket: &Ticket) -> Value {
        let is_asked = |name: &str| self.columns.as_ref().is_none_or(|asked| asked.iter().any(|one| one == name));
        let columns = columns(ticket).into_iter().filter(|(name, _)| is_asked(name));
        Value::Object(columns.map(|(name, column)| (name.to_owned(), self.column(&column))).collect::<Map<_, _>>())
    }

    fn column(&self, column: &Column) -> Value {
        let link = column
            .table
            .filter(|_| self.links && !column.stored.is_empty())
            .map(|table| format!("https://instance.service-now.com/api/now/table/{table}/{}", column.stored));
        match (self.values, link) {
            (Values::Stored, None) => json!(column.stored),
            (Values::Stored, Some(link)) => json!({ "link": link, "value": column.stored }),
            (Values::Displayed, None) => json!(column.displayed),
            (Values::Displayed, Some(link)) => json!({ "link": link, "display_value": column.displayed }),
            (Values::Both, None) => json!({ "display_value": column.displayed, "value": column.stored }),
            (Values::Both, Some(link)) => {
                json!({ "display_value": column.displayed, "value": column.stored, "link": link })
            }
        }
    }
}

/// The number that people see.
pub(super) fn number(ticket: &Ticket) -> String {
    format!("INC{:07}", ticket.display_id)
}

/// The value of a state, by its name. An unknown name means new.
pub(super) fn state(name: &str) -> (&'static str, &'static str) {
    match name {
        "In Progress" => ("2", "In Progress"),
        "On Hold" => ("3", "On Hold"),
        "Resolved" => ("6", "Resolved"),
        "Closed" => ("7", "Closed"),
        "Canceled" => ("8", "Canceled"),
        _ => ("1", "New"),
    }
}

/// The value of a priority, by its name. An unknown name means moderate.
pub(super) fn priority(name: &str) -> (&'static str, &'static str) {
    match name {
        "Critical" => ("1", "1 - Critical"),
        "High" => ("2", "2 - High"),
        "Low" => ("4", "4 - Low"),
        "Planning" => ("5", "5 - Planning"),
        _ => ("3", "3 - Moderate"),
    }
}

/// A time as records store it: UTC.
pub(super) fn stored_time(at: OffsetDateTime) -> String {
    let form = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    at.format(form).expect("a date has all of these parts")
}

struct Column {
    stored: String,
    displayed: String,
    /// The table that a reference points into.
    table: Option<&'static str>,
}

fn columns(ticket: &Ticket) -> Vec<(&'static str, Column)> {
    let fields = &ticket.fields;
    let resolved_at = fields.resolved_at.map(time);
    let changes = ticket.notes.len() + usize::from(fields.resolved_at.is_some());
    let mut columns = vec![
        ("sys_id", plain(&ticket.id)),
        ("number", plain(&number(ticket))),
        ("sys_class_name", labelled("incident", "Incident")),
        ("short_description", plain(&fields.subject)),
        ("description", plain(&fields.description)),
        ("priority", labelled(priority(&fields.priority).0, priority(&fields.priority).1)),
        ("state", labelled(state(&fields.status).0, state(&fields.status).1)),
        // Not maintained, as in the vendor's own sample data.
        ("incident_state", labelled("2", "In Progress")),
        ("caller_id", reference("sys_user", "62826bf03710200044e0bfc8bcbe5df1", &fields.requester_name)),
        ("opened_by", reference("sys_user", "6816f79cc0a8016401c5a33be04be441", "System Administrator")),
        ("assignment_group", reference("sys_user_group", "d625dccec0a8016700a222a0f7900d06", "Service Desk")),
        ("assigned_to", reference("sys_user", "", "")),
        ("sys_created_on", time(fields.created_at)),
        ("opened_at", time(fields.created_at)),
        ("sys_updated_on", time(ticket.updated_at)),
        ("resolved_at", resolved_at.unwrap_or_else(|| plain(""))),
        ("closed_at", plain("")),
        ("close_code", plain(if fields.resolution.is_some() { "Solution provided" } else { "" })),
        ("close_notes", plain(fields.resolution.as_deref().unwrap_or(""))),
        ("sys_mod_count", plain(&changes.to_string())),
        ("work_notes", journal("Work notes", ticket.notes.iter().filter(|note| note.internal))),
        ("comments", journal("Additional comments", ticket.notes.iter().filter(|note| !note.internal))),
    ];
    columns.extend(CONSTANT.map(|(name, value)| (name, plain(value))));
    columns
}

/// Columns that nothing here depends on.
const CONSTANT: [(&str, &str); 12] = [
    ("active", "true"),
    ("approval", "not requested"),
    ("category", "inquiry"),
    ("contact_type", "phone"),
    ("correlation_id", ""),
    ("due_date", ""),
    ("escalation", "0"),
    ("impact", "2"),
    ("severity", "3"),
    ("subcategory", ""),
    ("sys_created_by", "admin"),
    ("urgency", "2"),
];

fn plain(text: &str) -> Column {
    labelled(text, text)
}

fn labelled(stored: &str, displayed: &str) -> Column {
    Column { stored: stored.to_owned(), displayed: displayed.to_owned(), table: None }
}

fn reference(table: &'static str, sys_id: &str, displayed: &str) -> Column {
    Column { table: Some(table), ..labelled(sys_id, displayed) }
}

/// A time, displayed in a user's own format.
fn time(at: OffsetDateTime) -> Column {
    let form = format_description!("[day]/[month]/[year] [hour]:[minute]:[second]");
    labelled(&stored_time(at), &at.format(form).expect("a date has all of these parts"))
}

/// The entries, newest first. Their stored form is elsewhere.
fn journal<'a>(label: &str, notes: impl DoubleEndedIterator<Item = &'a Note>) -> Column {
    let entry = |note: &Note| format!("{} - Patchbay ({label})\n{}\n\n", stored_time(note.created_at), note.body);
    labelled("", &notes.rev().map(entry).collect::<String>())
}
