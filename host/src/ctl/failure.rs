//! Failures of commands: their exit codes, and their texts for people and programs.

use std::{fmt::Write as _, process::ExitCode};

use super::table::{plain, plain_lines};
use crate::admin::wire::Problem;

/// The exit codes other than 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The command was refused, or it failed.
    Failed,
    /// The command line is wrong.
    Usage,
    /// The host cannot be reached, or went away before it answered.
    Unreachable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
        })
    }
}

/// A command that did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What went wrong. Boxed, because it is large and most commands succeed.
    pub problem: Box<Problem>,
}

impl Failure {
    /// A command that was refused or failed.
    pub fn failed(problem: Problem) -> Self {
        Self { exit: Exit::Failed, problem: Box::new(problem) }
    }

    /// A wrong command line.
    pub fn usage(problem: Problem) -> Self {
        Self { exit: Exit::Usage, problem: Box::new(problem) }
    }

    /// A host that cannot be reached.
    pub fn unreachable(problem: Problem) -> Self {
        Self { exit: Exit::Unreachable, problem: Box::new(problem) }
    }

    /// The failure as one JSON object in one line.
    pub fn json(&self) -> String {
        serde_json::to_string(&self.problem).expect("texts always have a JSON form")
    }

    /// The failure as lines for people: what, where, why, what is still true, and how to fix it.
    pub fn text(&self, color: bool) -> String {
        let mut text = String::new();
        write_problem(&mut text, &self.problem, color);
        for cause in &self.problem.causes {
            write_problem(&mut text, cause, color);
        }
        text
    }
}

fn write_problem(text: &mut String, problem: &Problem, color: bool) {
    let (on, off) = if color { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    let infallible = "a String takes all that is written";
    writeln!(text, "{on}error[{}]{off}: {}", plain(&problem.code), plain_lines(&problem.message)).expect(infallible);
    let parts = [("file", &problem.file), ("why", &problem.why), ("state", &problem.state), ("mend", &problem.mend)];
    for (label, value) in parts {
        if let Some(value) = value {
            let label = format!("{label}:");
            writeln!(text, "  {label:<7} {}", plain_lines(value)).expect(infallible);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Problem {
        Problem {
            file: Some("plugins/libacme_desk.so  (sha256 9f2c)".to_owned()),
            ..Problem::new("VERSION", "acme_desk 1.4.0 was refused")
                .why("it was built for plugin ABI 2, this host speaks ABI 1")
                .state("nothing changed; 1.3.2 (generation 17) still serves")
                .mend("ask the vendor for a build with plugin-abi 1.x, or update the host")
        }
    }

    #[test]
    fn people_read_what_where_why_what_is_still_true_and_how_to_mend_it() {
        let expected = "\
error[VERSION]: acme_desk 1.4.0 was refused
  file:   plugins/libacme_desk.so  (sha256 9f2c)
  why:    it was built for plugin ABI 2, this host speaks ABI 1
  state:  nothing changed; 1.3.2 (generation 17) still serves
  mend:   ask the vendor for a build with plugin-abi 1.x, or update the host
";
        assert_eq!(Failure::failed(refused()).text(false), expected);
        assert!(Failure::failed(refused()).text(true).starts_with("\x1b[1;31merror[VERSION]\x1b[0m: acme"));
    }

    #[test]
    fn several_failures_are_one_object_and_a_block_each() {
        let mut several = Problem::new("REFUSED", "2 files were refused");
        several.causes = vec![Problem::new("A", "first"), Problem::new("B", "second")];
        let failure = Failure::failed(several);
        assert_eq!(failure.text(false), "error[REFUSED]: 2 files were refused\nerror[A]: first\nerror[B]: second\n");
        assert_eq!(
            failure.json(),
            r#"{"code":"REFUSED","message":"2 files were refused","causes":[{"code":"A","message":"first"},{"code":"B","message":"second"}]}"#
        );
    }

    #[test]
    fn what_others_wrote_does_not_steer_the_terminal() {
        let failure = Failure::failed(Problem::new("X", "a\x1b[2Jb\rc"));
        assert_eq!(failure.text(false), "error[X]: a\u{fffd}[2Jb\u{fffd}c\n");
    }
}
