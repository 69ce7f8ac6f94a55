//! Text for people: tables and fields. Nothing in them can control the terminal.

use std::{borrow::Cow, fmt::Write as _};

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use textwrap::core::display_width;

use super::layout::Layout;

/// Blanks between two columns.
const GAP: u16 = 2;

/// Foreign text in one line. Ticket ids, file names and messages may contain terminal control sequences.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if text.chars().any(|c| steers(c) || matches!(c, '\n' | '\t')) {
        Cow::Owned(text.chars().map(|c| if matches!(c, '\n' | '\t') { ' ' } else { shown(c) }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// Foreign text with its line ends.
pub(super) fn plain_lines(text: &str) -> Cow<'_, str> {
    if text.chars().any(steers) { Cow::Owned(text.chars().map(shown).collect()) } else { Cow::Borrowed(text) }
}

fn shown(c: char) -> char {
    if steers(c) { char::REPLACEMENT_CHARACTER } else { c }
}

/// Whether this is a control character, or one that changes the direction of text.
fn steers(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t'))
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The headings of a table. A test compares the tables in the documentation with them.
#[derive(Debug)]
pub(super) struct Columns {
    /// Headings that are always shown.
    pub(super) short: &'static [&'static str],
    /// Headings that `--wide` adds.
    pub(super) wide: &'static [&'static str],
    /// The heading of the text on lines of its own below its row. If lines are not broken, it is the last column.
    pub(super) below: Option<&'static str>,
}

/// A row: a cell for each of the [`Columns`].
pub(super) struct Row {
    pub(super) short: Vec<Cell>,
    pub(super) wide: Vec<Cell>,
    pub(super) below: Option<String>,
}

/// Rows under their headings. No word is ever broken: columns that exceed the width go below their row, each with its
/// heading.
pub(super) fn table(columns: &Columns, rows: impl IntoIterator<Item = Row>, layout: &Layout) -> String {
    let mut headings = columns.short.to_vec();
    if layout.wide {
        headings.extend(columns.wide);
    }
    let at_the_end = columns.below.filter(|_| layout.width.is_none());
    headings.extend(at_the_end);
    let (rows, below): (Vec<_>, Vec<_>) = rows
        .into_iter()
        .map(|Row { short: mut cells, wide, below }| {
            if layout.wide {
                cells.extend(wide);
            }
            match at_the_end {
                Some(_) => {
                    cells.push(cell(below.as_deref()));
                    (cells, None)
                }
                None => (cells, below),
            }
        })
        .unzip();
    let widths: Vec<_> = rows.iter().map(|row| widths(&headings, row)).collect();
    let fit = layout.width.map_or_else(|| Fit::all(headings.len(), rows.len()), |width| Fit::within(width, &widths));
    let usual = rows.iter().zip(&fit.usual).filter(|(_, usual)| **usual);
    let shown: Vec<_> = usual.map(|(row, _)| row[..fit.columns].to_vec()).collect();
    let grid = grid(&headings[..fit.columns], &shown, layout);
    let mut grid_lines = grid.lines();
    let mut lines: Vec<String> = grid_lines.next().into_iter().collect();
    for ((row, below), usual) in rows.iter().zip(below).zip(fit.usual) {
        let in_line = if usual { fit.columns } else { 1 };
        lines.extend(if usual { grid_lines.next() } else { Some(row[0].content()) });
        lines.extend(overflow(&headings[in_line..], &row[in_line..], layout));
        lines.extend(below.iter().flat_map(|below| layout.below(&plain(below))));
    }
    let mut text = String::new();
    for line in lines {
        writeln!(text, "{}", line.trim_end()).expect("a String takes all that is written");
    }
    text
}

fn grid(headings: &[&str], rows: &[Vec<Cell>], layout: &Layout) -> Table {
    let mut table = Table::new();
    // The library must not use its own idea of the width, because colours would change it.
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if layout.color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(headings.iter().map(|heading| Cell::new(heading).add_attribute(Attribute::Bold)));
    table.add_rows(rows.iter().cloned());
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    table
}

/// The column widths of a table with only this row.
fn widths(headings: &[&str], row: &[Cell]) -> Vec<usize> {
    let cells = headings.iter().zip(row);
    cells.map(|(heading, cell)| display_width(heading).max(display_width(&cell.content()))).collect()
}

/// The part of a table that fits in its lines.
struct Fit {
    /// The number of columns, from the first one on.
    columns: usize,
    /// Whether each row fits in the columns. A few rows may be too long for a line without making it too short for the
    /// others.
    usual: Vec<bool>,
}

impl Fit {
    fn all(columns: usize, rows: usize) -> Self {
        Self { columns, usual: vec![true; rows] }
    }

    /// As many columns as fit the width, so that at most a third of the rows exceed it.
    fn within(width: usize, rows: &[Vec<usize>]) -> Self {
        let columns = rows.first().map_or(0, Vec::len);
        let line = |widths: &[usize]| widths.iter().sum::<usize>() + usize::from(GAP) * widths.len().saturating_sub(1);
        for columns in (2..=columns).rev() {
            let usual: Vec<_> = rows.iter().map(|row| line(&row[..columns]) <= width).collect();
            let counted = || rows.iter().zip(&usual).filter(|(_, usual)| **usual).map(|(row, _)| row);
            let widest = |at: usize| counted().map(|row| row[at]).max().unwrap_or(0);
            let widest: Vec<_> = (0..columns).map(widest).collect();
            if 3 * (rows.len() - counted().count()) <= rows.len() && line(&widest) <= width {
                return Self { columns, usual };
            }
        }
        Self::all(1, rows.len())
    }
}

/// The columns that did not fit, as `heading: value`, as many in a line as possible.
fn overflow(headings: &[&str], cells: &[Cell], layout: &Layout) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let pairs = headings.iter().zip(cells.iter().map(Cell::content)).filter(|(_, value)| value != "-");
    for (heading, value) in pairs {
        let pair = format!("{}: {value}", heading.to_lowercase());
        let mut pieces = layout.below(&pair).into_iter();
        match (lines.last_mut(), pieces.next()) {
            (Some(line), Some(piece))
                if layout.width.is_none_or(|width| display_width(line) + display_width(&piece) <= width) =>
            {
                line.push_str(&format!("  {}", piece.trim_start()));
            }
            (_, piece) => lines.extend(piece),
        }
        lines.extend(pieces);
    }
    lines
}

/// The note below a list that may have been cut short.
pub(super) fn cut(things: &str, limit: u32, limit_max: u32) -> String {
    if limit >= limit_max {
        return format!(
            "These are the newest {limit} {things}, and there may be more; {limit} is the most that are listed"
        );
    }
    format!("These are the newest {limit} {things}, and there may be more: --limit N, at most {limit_max}")
}

/// A cell with foreign text; `-` for none.
pub(super) fn cell(text: Option<&str>) -> Cell {
    Cell::new(plain(text.unwrap_or("-")))
}

/// A cell with a number.
pub(super) fn number(value: impl std::fmt::Display) -> Cell {
    Cell::new(value).set_alignment(comfy_table::CellAlignment::Right)
}

/// A cell with the name of a state, coloured by severity.
pub(super) fn state(word: &str) -> Cell {
    let cell = cell(Some(word));
    match severity(word) {
        Severity::Broken => cell.fg(Color::Red),
        Severity::Odd => cell.fg(Color::Yellow),
        Severity::Good => cell.fg(Color::Green),
    }
}

/// How bad a state is, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// Somebody has to act.
    Broken,
    /// It is in transition, or held back.
    Odd,
    /// It is as it should be.
    Good,
}

/// The severity of this state of a plugin, tenant or job. A state unknown to this program is odd.
pub(super) fn severity(state: &str) -> Severity {
    match state {
        "refused" | "missing" | "quarantined" | "dead" => Severity::Broken,
        "active" | "enabled" | "queued" | "running" | "done" => Severity::Good,
        _ => Severity::Odd,
    }
}

/// A row of [`fields`]: a label and, if there is one, a value.
pub(super) type Field = (&'static str, Option<String>);

/// Lines of `label:  value`. Fields without a value are left out.
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
mod tests;
