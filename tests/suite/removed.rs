//! A removed tenant: its data is deleted with it, or hidden from a later tenant with its id.

use patchbay_tests::{Artifact, Line, TOOL, created, minimal};
use sandbox::TicketFields;
use serde_json::{Value, json};

const SOLVED: &str = "Feed the gryphon";

/// The note on a new ticket that is similar to ticket 1000.
fn note(line: &Line, ticket: &str) -> String {
    let fields = TicketFields { subject: "As in 1000".to_owned(), ..TicketFields::default() };
    line.tool.put_ticket(TOOL, ticket, fields).unwrap();
    assert_eq!(line.host.send(&created("acme", ticket)).status, 202);
    line.note_on(ticket).body
}

#[test]
fn what_was_stored_for_a_removed_tenant_is_not_its_successors() {
    for keep in [&[][..], &["--keep", "7"]] {
        let line = Line::with(&[Artifact::GOOD]);
        line.add_tenant("acme", "desk_good", &[]);
        assert_eq!(line.host.send(&minimal("acme", "1000", "ticket_resolved")).status, 202);
        line.idle();
        // It is still the same tenant.
        assert!(note(&line, "2000").contains(SOLVED));
        // A dead letter: the ticket does not exist, and the tool always says so.
        assert_eq!(line.host.send(&created("acme", "404")).status, 202);
        line.run_out();
        line.host.ctl(&["tenant", "pause", "acme"]);
        assert_eq!(line.host.send(&created("acme", "3000")).status, 202);

        let args = [&["tenant", "remove", "acme"], keep].concat();
        let asked = line.host.try_ctl(&args);
        assert_eq!(asked.code, 2, "{asked:?}");
        let held = "1 job, 1 dead letter, 1 solved ticket";
        assert!(asked.stderr.contains(held), "{asked:?}");
        let removed = line.host.ctl(&[&args[..], &["--yes"]].concat());
        let counts = ["jobs", "dead_letters", "solved_tickets"].map(|what| &removed[what]);
        assert_eq!(counts, [&json!(1), &json!(1), &json!(1)], "{removed:#}");
        assert_eq!(removed["kept_until"].is_string(), !keep.is_empty(), "{removed:#}");
        let left = line.host.try_ctl(&["job", "list", "--tenant", "acme"]);
        if keep.is_empty() {
            assert_eq!((left.code, &left.failure()["code"]), (1, &json!("UNKNOWN_TENANT")), "{left:?}");
        } else {
            assert_eq!(left.json().as_array().unwrap().len(), 2, "{left:?}");
        }

        line.add_tenant("acme", "desk_good", &[]);
        assert_eq!(line.host.ctl(&["job", "list", "--tenant", "acme"]), json!([]));
        assert_eq!(line.host.ctl(&["job", "retry", "--dead"])["jobs"], json!(0));
        assert!(!note(&line, "2001").contains(SOLVED), "another customer's solution");
        // The previous tenant's webhook is new to this one.
        line.open_ticket("3000");
        assert_eq!(line.host.send(&created("acme", "3000")).json()["status"], "accepted");
        line.note_on("3000");

        let erased = line.host.ctl(&["tenant", "erase", "acme", "--yes"]);
        let kept = u64::from(!keep.is_empty());
        assert_eq!(erased["solved_tickets"], json!(kept), "{erased:#}");
        let again = line.host.ctl(&["tenant", "erase", "acme", "--yes"]);
        assert!(["jobs", "dead_letters", "solved_tickets", "notes"].iter().all(|what| again[*what] == json!(0)));
        assert!(!matches!(line.host.ctl(&["tenant", "show", "acme"]), Value::Null));
    }
}
