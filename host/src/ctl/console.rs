//! Standard output for data, standard error for everything else, and questions to the user.

use std::{
    ffi::OsStr,
    io::{self, BufRead, IsTerminal, Write},
    process::ExitCode,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use time::OffsetDateTime;

use super::{
    Shown,
    failure::Failure,
    layout::{self, Layout},
};
use crate::admin::wire::Problem;

/// The terminal, or whatever stands in for it.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    json: bool,
    layout: Layout,
    error_color: bool,
    can_ask: bool,
}

/// What the command line says about output.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// JSON instead of text.
    pub json: bool,
    /// No colours.
    pub no_color: bool,
    /// No column is cut.
    pub wide: bool,
}

impl Console {
    /// The console of this process. Colours are used only on a terminal that wants them, and questions are asked only
    /// where somebody can answer.
    pub fn new(output: Output) -> Self {
        let Output { json, no_color, wide } = output;
        let unwanted =
            no_color || json || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) || is_dumb();
        Self {
            json,
            layout: Layout {
                width: layout::width(std::env::var_os("COLUMNS").as_deref()),
                color: !unwanted && io::stdout().is_terminal(),
                wide,
                now: OffsetDateTime::now_utc(),
            },
            error_color: !unwanted && io::stderr().is_terminal(),
            can_ask: !json && io::stdin().is_terminal() && io::stderr().is_terminal(),
        }
    }

    /// A console for tests: no user to ask, no colours, no width.
    #[cfg(test)]
    pub(super) fn deaf() -> Self {
        let layout = Layout { width: None, color: false, wide: false, now: OffsetDateTime::UNIX_EPOCH };
        Self { json: false, layout, error_color: false, can_ask: false }
    }

    /// The layout of tables on standard output.
    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Writes a command's output, and returns its exit code. A reader that has gone (`| head`) is no failure.
    pub fn show(&self, outcome: Result<Shown, Failure>) -> ExitCode {
        let (written, failure) = match outcome {
            Ok(shown) => (self.write(&shown), shown.failure),
            Err(failure) => (Ok(()), Some(failure)),
        };
        let failure = failure.or_else(|| match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Some(Self::unwritable(&error)),
            _ => None,
        });
        let Some(failure) = failure else { return ExitCode::SUCCESS };
        if self.json {
            self.say(&failure.json());
        } else {
            self.say(failure.text(self.error_color).trim_end());
        }
        failure.exit.into()
    }

    /// Writes the heading of rows that are written one by one. It is for people only.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub fn head(&self, line: &str) -> io::Result<()> {
        if self.json { Ok(()) } else { writeln!(io::stdout(), "{line}") }
    }

    /// Writes a row of those that are written one by one: a line, or one JSON object in one line.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub fn row(&self, line: &str, json: &impl Serialize) -> io::Result<()> {
        let json = self.json.then(|| serde_json::to_string(json)).transpose()?;
        let mut out = io::stdout().lock();
        writeln!(out, "{}", json.as_deref().unwrap_or(line))?;
        out.flush()
    }

    /// Whether the reader of standard output has gone, so that waiting for more is useless.
    pub fn reader_is_gone(&self) -> bool {
        let out = io::stdout();
        // No events are requested: the end of a pipe or socket is always reported.
        let mut polled = [PollFd::new(&out, PollFlags::empty())];
        poll(&mut polled, Some(&Timespec::default())).is_ok()
            && polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
    }

    /// The failure for standard output that cannot be written.
    pub fn unwritable(error: &io::Error) -> Failure {
        Failure::failed(Problem::new("OUTPUT", format!("standard output cannot be written: {error}")))
    }

    /// Writes a warning to standard error. With `--json` it writes nothing: there, only failures appear.
    pub fn warn(&self, message: &str) {
        if !self.json {
            self.say(&format!("warning: {message}"));
        }
    }

    /// Asks for confirmation of something that cannot be undone; `yes` confirms beforehand.
    ///
    /// # Errors
    /// If the answer is no, or nobody can answer.
    pub fn confirm(&self, question: &str, yes: bool) -> Result<(), Failure> {
        if yes {
            return Ok(());
        }
        if !self.can_ask {
            let problem = Problem::new(
                "NOT_CONFIRMED",
                format!("this needs to be confirmed, and there is no terminal to ask on: {question}"),
            )
            .state("nothing was changed")
            .mend("add --yes");
            return Err(Failure::usage(problem));
        }
        let mut answer = String::new();
        let asked = write!(io::stderr(), "{question} [y/N] ")
            .and_then(|()| io::stderr().flush())
            .and_then(|()| io::stdin().lock().read_line(&mut answer));
        if asked.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
            return Ok(());
        }
        Err(Failure::failed(Problem::new("NOT_CONFIRMED", "not confirmed").state("nothing was changed")))
    }

    fn write(&self, shown: &Shown) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if shown.json.is_null() {
            return Ok(());
        }
        if self.json {
            serde_json::to_writer_pretty(&mut out, &shown.json)?;
            writeln!(out)?;
        } else {
            out.write_all(shown.text.as_bytes())?;
        }
        out.flush()
    }

    fn say(&self, line: &str) {
        // Without standard error there is nowhere to report this; the exit code still says it.
        let _written = writeln!(io::stderr(), "{line}");
    }
}

fn is_dumb() -> bool {
    std::env::var_os("TERM").as_deref() == Some(OsStr::new("dumb"))
}
