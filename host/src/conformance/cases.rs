//! The table of all cases: what each requires of a plugin, and how to fix a failure.

mod lifetime;
mod payloads;
mod random;
mod threads;
mod tool;
mod webhooks;

use super::{
    Random,
    given::Given,
    subject::{Checked, Subject},
    tried::Tried,
    workshop::Workshop,
};

/// A test of one requirement.
pub(super) struct Case {
    pub(super) level: u8,
    pub(super) group: &'static str,
    /// The stable name for `--case`.
    pub(super) name: &'static str,
    /// What the plugin must do.
    pub(super) asks: &'static str,
    /// What to do if it does not.
    pub(super) mend: &'static str,
    pub(super) needs: Needs,
    pub(super) run: Run,
}

/// What a case needs from `conformance.toml`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    /// Webhooks that the plugin accepts.
    Webhooks,
    /// A ticket, and the tool's answers about it.
    Ticket,
}

/// How a case is run.
#[derive(Clone, Copy)]
pub(super) enum Run {
    /// The file's bytes are inspected, which has been done when a run begins.
    Inspected,
    /// The host's own probe.
    Probe,
    /// In its own process, with an instance of the plugin.
    Calls(fn(&Subject) -> Checked<()>),
    /// In its own process, as far as the given data allows.
    CallsAsFarAsKnown(fn(&Subject) -> Checked<Tried>),
    /// In its own process, with a seed and a duration.
    Random(fn(&Subject, &Random) -> Checked<()>),
    /// In its own process, which opens the library itself.
    Whole(fn(&mut Workshop<'_>) -> Checked<()>),
}

impl Case {
    /// Why this case cannot be tried with the given data.
    pub(super) fn missing(&self, given: Option<&Given>) -> Option<&'static str> {
        match self.needs {
            Needs::Webhooks if given.is_none_or(|given| given.webhook.is_empty()) => {
                Some("no webhook is given in conformance.toml")
            }
            Needs::Ticket if given.is_none_or(|given| given.ticket.is_none()) => {
                Some("no ticket is given in conformance.toml")
            }
            _ => None,
        }
    }
}

const ANSWER_FALSE: &str =
    "answer Ok(false) or Authentication for whatever is not proven to be the sender's, before anything of it is read";
const READ_ANY_BODY: &str = "answer Malformed or Validation for a body that cannot be read; nothing in it may decide how deep or how long you work";
const SAY_WHAT_FAILED: &str = "pass errors of tenant.http on, and turn each answer into its error (Response::success, \
    Response::json) before anything is taken for done";

macro_rules! cases {
    ($($level:literal $group:literal { $($name:literal $needs:ident $run:expr, $asks:expr, $mend:expr;)* })*) => {
        /// All cases, in the order in which they run.
        pub(super) static CASES: &[Case] = &[$($(Case {
            level: $level, group: $group, name: $name, needs: Needs::$needs, run: $run, asks: $asks, mend: $mend,
        },)*)*];
    };
}

cases! {
    1 "identity" {
        "file" Nothing Run::Inspected, "an ELF library that says what it is, linked as a host takes it", "the code says what to mend";
        "probe" Nothing Run::Probe, "it opens, fits the ABI, is made, reads two bodies and is dropped in the host's own probe", "the code says what to mend";
    }
    2 "webhooks" {
        "webhook-valid" Webhooks Run::Calls(webhooks::valid), "each webhook that is given is authentic and says what is expected", "compare the webhook, its settings and expect in conformance.toml with what your plugin reads";
        "webhook-unsigned" Nothing Run::Calls(webhooks::unsigned), "no webhook without a proof is taken", ANSWER_FALSE;
        "webhook-odd-headers" Nothing Run::Calls(webhooks::odd_headers), "headers that are empty, huge, no text or many prove nothing", ANSWER_FALSE;
        "webhook-missing-header" Webhooks Run::CallsAsFarAsKnown(webhooks::missing_header), "without one of the headers that sign it, no webhook is taken", ANSWER_FALSE;
        "webhook-repeated-header" Webhooks Run::CallsAsFarAsKnown(webhooks::repeated_header), "with a signing header twice, no webhook is taken", "read headers with Webhook::header, which refuses repeated ones";
        "webhook-wrong-secret" Webhooks Run::Calls(webhooks::wrong_secret), "what another secret has signed is not taken", ANSWER_FALSE;
        "webhook-empty-secret" Webhooks Run::Calls(webhooks::empty_secret), "a tenant whose secrets are empty takes nothing", ANSWER_FALSE;
        "webhook-absent-secret" Webhooks Run::Calls(webhooks::absent_secret), "a tenant without secrets takes nothing", ANSWER_FALSE;
        "webhook-altered-body" Webhooks Run::CallsAsFarAsKnown(webhooks::altered_body), "a body that was changed after it was signed is not taken", "verify over webhook.body(), the raw bytes";
        "webhook-stale" Webhooks Run::CallsAsFarAsKnown(webhooks::stale), "a signed time stamp from hours ago is not taken", "compare the signed time with tenant.replay_window() (signature::fresh)";
    }
    2 "payloads" {
        "body-empty" Nothing Run::Calls(payloads::empty), "an empty body is an error value", READ_ANY_BODY;
        "body-not-utf8" Nothing Run::Calls(payloads::not_utf8), "invalid UTF-8 is an error value", READ_ANY_BODY;
        "body-deep" Nothing Run::Calls(payloads::deep), "nesting of 200,000 levels is an error value", READ_ANY_BODY;
        "body-huge" Nothing Run::Calls(payloads::huge), "a body of a mebibyte is answered within the deadline", READ_ANY_BODY;
        "body-wrong-types" Nothing Run::Calls(payloads::wrong_types), "values of other types than expected are error values", READ_ANY_BODY;
        "body-cut" Webhooks Run::Calls(payloads::cut), "a webhook that is cut anywhere is an error value", READ_ANY_BODY;
    }
    2 "tool" {
        "ticket-get" Ticket Run::Calls(tool::get), "get_ticket finds the ticket that is given", "compare the ticket and the answers in conformance.toml with the requests that your plugin makes";
        "ticket-update" Ticket Run::Calls(tool::update), "update_ticket posts a note, at the first attempt and at a later one", "compare the answers in conformance.toml with the requests that your plugin makes";
        "note-internal" Ticket Run::CallsAsFarAsKnown(tool::internal), "the request with the note says what makes it internal", "say with every note that it is internal, whatever the tool's default: requesters can read all others";
        "note-found" Ticket Run::CallsAsFarAsKnown(tool::found), "with FINDS_NOTES, a note that is on the ticket is found and not posted again", "where tenant.attempt() is above 1, read the ticket's notes first and look for note.marker(); else leave FINDS_NOTES false";
        "ticket-odd-ids" Nothing Run::Calls(tool::odd_ids), "no ticket id changes the path or the query of a request", "build targets with Request::path and Request::query, which encode";
        "answer-401" Nothing Run::Calls(tool::unauthorized), "a refused credential is Authentication", SAY_WHAT_FAILED;
        "answer-404" Nothing Run::Calls(tool::not_found), "a missing ticket is None or NotFound", "for a 404, answer Ok(None) from get_ticket, and NotFound from update_ticket: Response::success makes that error of it";
        "answer-429" Nothing Run::Calls(tool::rate_limited), "a rate limit is RateLimit with the tool's wait", SAY_WHAT_FAILED;
        "answer-500" Nothing Run::Calls(tool::server_error), "a fault of the tool is Api", SAY_WHAT_FAILED;
        "answer-html" Nothing Run::Calls(tool::html), "a page of HTML with status 200 is Api", "look at Response::is_html before a 2xx is taken for done: login and maintenance pages are 200";
        "answer-half" Nothing Run::Calls(tool::half), "half of a JSON answer is Malformed, or Api, where it is read", SAY_WHAT_FAILED;
        "answer-cut" Nothing Run::Calls(tool::cut), "an answer that breaks off is Api", SAY_WHAT_FAILED;
        "answer-slow" Nothing Run::Calls(tool::slow), "an answer that does not end in time is Api", SAY_WHAT_FAILED;
        "answer-lost" Nothing Run::Calls(tool::lost), "a lost connection is Api", SAY_WHAT_FAILED;
        "answer-odd" Nothing Run::Calls(tool::odd), "JSON of another shape is an error value where it is read", SAY_WHAT_FAILED;
        "answer-draining" Nothing Run::Calls(tool::draining), "while the host drains, Cancelled comes back", SAY_WHAT_FAILED;
    }
    3 "lifetime" {
        "two-generations" Nothing Run::Whole(lifetime::two_generations), "two generations live at once, each goes when it is drained, and nothing stays mapped", "keep no thread, no atexit handler and no global that needs another's";
        "create-destroy" Nothing Run::Whole(lifetime::create_destroy), "1,000 times made and dropped, it keeps no memory", "drop what new makes; keep nothing in statics";
        "threads" Nothing Run::Calls(lifetime::threads), "after calls of all methods and the drop, no thread of it is left", "join every thread before the call returns";
    }
    4 "concurrency" {
        "parallel-calls" Nothing Run::Calls(threads::parallel), "many threads at once get the answers that one gets", "share nothing that changes, or lock it";
        "determinism" Webhooks Run::Calls(threads::determinism), "extract answers the same for the same webhook, at any time", "take times from the webhook, not from the clock; put no random or counted value into metadata";
    }
    5 "random" {
        "fuzz" Nothing Run::Random(random::fuzz), "damaged webhooks and answers are error values, for as long as asked", "the command at the failure's end tries that round alone";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_page_lists_every_case_in_order() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/conformance.md");
        let page = std::fs::read_to_string(page).unwrap();
        let after = page.split("## The cases").nth(1).unwrap();
        let rows: Vec<_> = after.lines().filter(|line| line.starts_with("| `")).take(CASES.len()).collect();
        let expected = CASES.iter().map(|Case { level, group, name, asks, needs, .. }| {
            let needs = match needs {
                Needs::Nothing => "",
                Needs::Webhooks => "webhooks",
                Needs::Ticket => "a ticket",
            };
            format!("| `{name}` | {level} {group} | {asks} | {needs} |")
        });
        assert_eq!(rows, expected.collect::<Vec<_>>());
    }

    #[test]
    fn names_are_unique_and_levels_rise() {
        let names: std::collections::BTreeSet<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
        assert!(CASES.is_sorted_by_key(|case| case.level));
    }
}
