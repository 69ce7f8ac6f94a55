//! The results of a run, as text, JSON and JUnit XML.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use plugin_abi::export::InfoRecord;
use serde::Serialize;
use serde_json::{Value, json};

use super::cases::Case;
use crate::plugin::artifact::Sha256Sum;

/// The result of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The plugin keeps this part of its contract.
    Passed,
    /// The plugin breaks this part of its contract.
    Failed(Failure),
    /// Part of the case could not be tried, for this reason.
    Skipped(String),
    /// There is nothing to try, according to conformance.toml, for this reason. It counts as skipped, and does not
    /// affect the verdict.
    NotApplicable(String),
}

/// How the contract was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was found, as a sentence.
    pub(super) found: String,
    /// How to fix it.
    pub(super) mend: &'static str,
}

impl Outcome {
    /// Why the case was not tried.
    fn untried(&self) -> Option<&str> {
        match self {
            Self::Skipped(why) | Self::NotApplicable(why) => Some(why),
            Self::Passed | Self::Failed(_) => None,
        }
    }
}

/// A case and its result.
pub struct CaseReport {
    pub(super) case: &'static Case,
    pub(super) outcome: Outcome,
    pub(super) took: Duration,
}

/// The results of a run.
pub struct Report {
    pub(super) info: InfoRecord,
    pub(super) sha256: Sha256Sum,
    pub(super) seed: u64,
    pub(super) cases: Vec<CaseReport>,
}

/// The overall result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All applicable cases passed.
    Passed,
    /// No case failed, but some could not be tried.
    Partly,
    /// Some failed.
    Failed,
}

const INFALLIBLE: &str = "a String takes all that is written";

impl Report {
    /// The overall result.
    pub fn verdict(&self) -> Verdict {
        let any = |found: fn(&Outcome) -> bool| self.cases.iter().any(|case| found(&case.outcome));
        if any(|outcome| matches!(outcome, Outcome::Failed(_))) {
            Verdict::Failed
        } else if any(|outcome| matches!(outcome, Outcome::Skipped(_))) {
            Verdict::Partly
        } else {
            Verdict::Passed
        }
    }

    /// Names of the failed cases, with what was found and how to fix it.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, &str, &'static str)> {
        self.cases.iter().filter_map(|case| match &case.outcome {
            Outcome::Failed(Failure { found, mend }) => Some((case.case.name, found.as_str(), *mend)),
            _ => None,
        })
    }

    /// One line for each group of cases, and the reasons for skipped ones.
    pub fn text(&self) -> String {
        let (tool_type, version, sum) = (&self.info.tool_type, &self.info.version, self.sha256.to_string());
        let mut text = format!("{tool_type} {version} (sha256 {}…)\n\n", &sum[..12]);
        for (level, group) in self.groups() {
            let cases = self.cases.iter().filter(|case| (case.case.level, case.case.group) == (level, group));
            let mut counts = [0_usize; 3];
            let mut took = Duration::ZERO;
            for case in cases {
                counts[match case.outcome {
                    Outcome::Passed => 0,
                    Outcome::Failed(_) => 1,
                    Outcome::Skipped(_) | Outcome::NotApplicable(_) => 2,
                }] += 1;
                took += case.took;
            }
            let mark = match (counts[0], counts[1]) {
                (_, 1..) => "fail",
                (0, 0) => "skip",
                _ => "ok",
            };
            let counts = [(counts[0], "passed"), (counts[1], "failed"), (counts[2], "skipped")];
            let counts = counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
            let counts = counts.collect::<Vec<_>>().join(", ");
            writeln!(
                text,
                "{:<6} level {level}  {group:<16} {counts} ({:.1} s)",
                format!("[{mark}]"),
                took.as_secs_f64()
            )
            .expect(INFALLIBLE);
        }
        let mut skipped = BTreeMap::<&str, Vec<&str>>::new();
        for CaseReport { case, outcome, .. } in &self.cases {
            if let Some(why) = outcome.untried() {
                skipped.entry(why).or_default().push(case.name);
            }
        }
        text.push('\n');
        for (why, names) in skipped {
            writeln!(text, "{} skipped ({}): {why}", names.len(), names.join(", ")).expect(INFALLIBLE);
        }
        text.push_str(match self.verdict() {
            Verdict::Passed => "It conforms.\n",
            Verdict::Partly => "It conforms, as far as was tried: partly.\n",
            Verdict::Failed => "It does not conform.\n",
        });
        text
    }

    fn groups(&self) -> Vec<(u8, &'static str)> {
        let mut groups: Vec<_> = self.cases.iter().map(|case| (case.case.level, case.case.group)).collect();
        groups.dedup();
        groups
    }

    /// The report as JSON.
    pub fn json(&self) -> Value {
        let cases = self.cases.iter().map(|CaseReport { case, outcome, took }| {
            let applies = !matches!(outcome, Outcome::NotApplicable(_));
            let (outcome, reason, mend) = match outcome {
                Outcome::Passed => ("passed", None, None),
                Outcome::Failed(Failure { found, mend }) => ("failed", Some(found), Some(mend)),
                Outcome::Skipped(why) | Outcome::NotApplicable(why) => ("skipped", Some(why), None),
            };
            json!({
                "name": case.name, "level": case.level, "group": case.group, "asks": case.asks,
                "outcome": outcome, "applies": applies, "reason": reason, "mend": mend,
                "ms": u64::try_from(took.as_millis()).ok(),
            })
        });
        json!({
            "tool_type": self.info.tool_type, "version": self.info.version, "sha256": self.sha256.to_string(),
            "verdict": self.verdict(), "seed": self.seed, "cases": cases.collect::<Vec<_>>(),
        })
    }

    /// The report as JUnit XML, with one suite for each group.
    pub fn junit(&self) -> String {
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"conformance\">\n");
        for (level, group) in self.groups() {
            writeln!(xml, "  <testsuite name=\"level {level}: {group}\">").expect(INFALLIBLE);
            for CaseReport { case, outcome, took } in &self.cases {
                if (case.level, case.group) != (level, group) {
                    continue;
                }
                let (name, class, seconds) = (case.name, escaped(&self.info.tool_type), took.as_secs_f64());
                let inner = match outcome {
                    Outcome::Passed => String::new(),
                    Outcome::Failed(Failure { found, mend }) => {
                        format!("<failure message=\"{}\">{}</failure>", escaped(found), escaped(mend))
                    }
                    Outcome::Skipped(why) | Outcome::NotApplicable(why) => {
                        format!("<skipped message=\"{}\"/>", escaped(why))
                    }
                };
                writeln!(
                    xml,
                    "    <testcase name=\"{name}\" classname=\"{class}\" time=\"{seconds:.3}\">{inner}</testcase>"
                )
                .expect(INFALLIBLE);
            }
            xml.push_str("  </testsuite>\n");
        }
        xml + "</testsuites>\n"
    }
}

/// Escapes a text for an XML attribute or content. Characters that XML does not allow become replacement characters.
fn escaped(text: &str) -> String {
    let mut xml = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\n' | '\t' => xml.push(' '),
            '\u{fffe}' | '\u{ffff}' => xml.push('\u{fffd}'),
            control if control.is_control() => xml.push('\u{fffd}'),
            other => xml.push(other),
        }
    }
    xml
}
