//! Text for people: tables, fields under a heading, and nothing in either that steers the terminal.

use std::{borrow::Cow, fmt::Write as _};

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};

/// A text of others in one line: ticket ids, file names and messages may hold what a terminal would obey.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if text.chars().any(|c| steers(c) || matches!(c, '\n' | '\t')) {
        Cow::Owned(text.chars().map(|c| if matches!(c, '\n' | '\t') { ' ' } else { shown(c) }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// The same with its line ends.
pub(super) fn plain_lines(text: &str) -> Cow<'_, str> {
    if text.chars().any(steers) { Cow::Owned(text.chars().map(shown).collect()) } else { Cow::Borrowed(text) }
}

fn shown(c: char) -> char {
    if steers(c) { char::REPLACEMENT_CHARACTER } else { c }
}

/// Control characters, and those that change the direction of what follows.
fn steers(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t'))
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Rows under a heading; fits a terminal's width, and is as wide as it needs to be elsewhere.
pub(super) fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<Cell>>, color: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
        // Without a terminal to ask there is no width, and nothing is broken into lines.
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table.set_header(headings.iter().map(|heading| Cell::new(heading).add_attribute(Attribute::Bold)));
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.lines() {
        writeln!(text, "{}", line.trim_end()).expect("a String takes all that is written");
    }
    text
}

/// A cell with a text of others; `-` for none.
pub(super) fn cell(text: Option<&str>) -> Cell {
    Cell::new(plain(text.unwrap_or("-")))
}

/// A number.
pub(super) fn number(value: impl std::fmt::Display) -> Cell {
    Cell::new(value).set_alignment(comfy_table::CellAlignment::Right)
}

/// The word for a state, in the colour of how bad it is.
pub(super) fn state(word: &str) -> Cell {
    let cell = cell(Some(word));
    match severity(word) {
        Severity::Broken => cell.fg(Color::Red),
        Severity::Odd => cell.fg(Color::Yellow),
        Severity::Good => cell.fg(Color::Green),
    }
}

/// How bad a state is; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// Somebody has to act.
    Broken,
    /// On its way, or held back.
    Odd,
    /// As it should be.
    Good,
}

/// How bad a plugin, tenant or job in this state is. A word that a newer host made up is odd.
pub(super) fn severity(state: &str) -> Severity {
    match state {
        "refused" | "missing" | "quarantined" | "dead" => Severity::Broken,
        "active" | "enabled" | "queued" | "running" | "done" => Severity::Good,
        _ => Severity::Odd,
    }
}

/// What [`fields`] shows: a label and, where there is one, a value.
pub(super) type Field = (&'static str, Option<String>);

/// `label:  value` lines; those without a value are left out.
pub(super) fn fields(fields: impl IntoIterator<Item = Field>) -> String {
    let fields: Vec<_> = fields.into_iter().filter_map(|(label, value)| Some((label, value?))).collect();
    let width = fields.iter().map(|(label, _)| label.len() + 1).max().unwrap_or(0);
    let mut text = String::new();
    for (label, value) in fields {
        let label = format!("{label}:");
        writeln!(text, "{label:<width$}  {}", plain(&value)).expect("a String takes all that is written");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_plain_without_a_terminal() {
        let row = |a: &str, b: &str| vec![cell(Some(a)), state(b)];
        let rows = vec![row("jira", "active"), row("a much longer tool type", "refused")];
        let text = table(&["TOOL TYPE", "STATE"], rows, false);
        let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines, ["TOOL TYPE STATE", "jira active", "a much longer tool type refused"]);
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn colour_is_for_states() {
        assert!(table(&["STATE"], vec![vec![state("refused")]], true).contains('\x1b'));
        assert!(severity("refused") < severity("draining") && severity("draining") < severity("active"));
    }

    #[test]
    fn a_text_of_others_stays_in_its_cell() {
        for (text, expected) in [
            ("17", "17"),
            ("a\nb\tc", "a b c"),
            ("\x1b]0;owned\x07", "\u{fffd}]0;owned\u{fffd}"),
            ("\u{9b}2J", "\u{fffd}2J"),
            ("\u{202e}evil", "\u{fffd}evil"),
            ("Übung – 株", "Übung – 株"),
        ] {
            assert_eq!(plain(text), expected);
        }
        assert_eq!(plain_lines("a\nb\x1b"), "a\nb\u{fffd}");
    }

    #[test]
    fn fields_stand_in_columns() {
        let text = fields([("id", Some("acme".to_owned())), ("none", None), ("tool type", Some("jira".to_owned()))]);
        assert_eq!(text, "id:         acme\ntool type:  jira\n");
    }
}
