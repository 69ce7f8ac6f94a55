//! What happened to an issue: by a transition, by a change, by a word or by the route; and which ends are solutions.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use jira::Jira;
use plugin_abi::{
    prelude::*,
    serde_json::{self, Value, json},
    testing::{FakeHost, FakeWebhook},
};

const TRANSITION: &str = include_str!("fixtures/transition-reopen.json");
const EVENT: &str = include_str!("fixtures/event-resolved.json");
const BARE: &str = include_str!("fixtures/bare-resolved.json");
const RULE: &str = include_str!("fixtures/rule-created.json");

fn extract(webhook: &FakeWebhook) -> TicketMetadata {
    let host = FakeHost::new().setting("api_auth", "bearer").setting("webhook_auth", "token");
    Jira.extract_metadata(&host.tenant(), &webhook.borrow()).unwrap()
}

#[track_caller]
fn check(webhook: &FakeWebhook, expected: &str, of: impl std::fmt::Display) -> TicketMetadata {
    let metadata = extract(webhook);
    assert!(format!("{:?}", metadata.event).starts_with(expected), "{expected}: {of}: {metadata:?}");
    assert_eq!(metadata.ticket_id, "IT-42");
    metadata
}

/// A fixture with the values at these pointers replaced.
fn with(fixture: &str, changes: &[(&str, Value)]) -> String {
    let mut body: Value = serde_json::from_str(fixture).unwrap();
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[name] = value.clone();
    }
    body.to_string()
}

fn status(name: &str, category: &str) -> Value {
    json!({"name": name, "statusCategory": {"key": category}})
}

#[test]
fn a_transition_says_it_and_not_the_issue_before_it() {
    let solved = || (status("Resolved", "done"), json!({"name": "Fixed"}));
    let open = || (status("In Progress", "indeterminate"), Value::Null);
    for (name, from, to, (status, resolution), expected) in [
        ("Back to work", json!("Resolved"), json!("In Progress"), solved(), "Reopened"),
        ("Reopen Issue", json!("Closed"), json!("Reopened"), solved(), "Reopened"),
        ("Respond", json!("Done"), json!("Waiting for support"), solved(), "Reopened"),
        ("Zurück", json!("Done"), json!("In Arbeit"), solved(), "Reopened"),
        // A post function may name another status than the issue has: both were before.
        ("Reopen Issue", json!("To Do"), json!("In Progress"), solved(), "Reopened"),
        ("Go on", json!("To Do"), json!("In Progress"), solved(), "Reopened"),
        ("Resolve", json!("In Progress"), json!("Resolved"), open(), "Resolved"),
        ("Done", json!("To Do"), json!("DONE"), open(), "Resolved"),
        ("Close", json!("Waiting for customer"), json!(" closed "), open(), "Resolved"),
        ("Close", json!("Resolved"), json!("Closed"), solved(), "Resolved"),
        ("Create", json!("Open"), json!("Open"), open(), "Created"),
        ("create issue", Value::Null, json!("To Do"), open(), "Created"),
        ("Los", json!(""), json!("Offen"), open(), "Created"),
        ("Cancel", json!("Open"), json!("Canceled"), open(), "Updated"),
        ("Decline", json!("Waiting for approval"), json!("Declined"), open(), "Updated"),
        ("Reject", json!("Resolved"), json!("Closed as duplicate"), solved(), "Updated"),
        ("Start progress", json!("Open"), json!("In Progress"), open(), "Updated"),
        ("Escalate", json!("In Progress"), json!("In Progress"), open(), "Updated"),
        // Of statuses with names of the site's own no more is known than that they changed.
        ("Weiter", json!("Offen"), json!("Gelöst"), open(), "Updated"),
        ("Weiter", json!("Gelöst"), json!("Geschlossen"), solved(), "Updated"),
        ("Odd", json!(7), Value::Null, solved(), "Updated"),
    ] {
        let transition = json!({"transitionName": name, "from_status": from, "to_status": to});
        let body = with(
            TRANSITION,
            &[
                ("/transition", transition.clone()),
                ("/issue/fields/status", status),
                ("/issue/fields/resolution", resolution),
            ],
        );
        let metadata = check(&FakeWebhook::post(body), expected, &transition);
        // Its resolution is read from the issue after it.
        let resolved = expected == "Resolved";
        assert_eq!(metadata.read_back, resolved, "{transition}");
        let none = Event::Resolved { resolution: None, resolved_at: None, tags: Vec::new() };
        assert!(!resolved || metadata.event == none, "{transition}");
        assert_eq!(metadata.delivery_id.as_deref(), Some("1772632800000.0"));
    }
    let odd = with(TRANSITION, &[("/transition", json!({}))]);
    check(&FakeWebhook::post(odd), "Updated", "a transition that says nothing");
    let hint =
        FakeHost::new().setting("api_auth", "bearer").setting("webhook_auth", "token").setting("read_back", "true");
    let reopened = Jira.extract_metadata(&hint.tenant(), &FakeWebhook::post(TRANSITION).borrow()).unwrap();
    assert_eq!(reopened.event, Event::Reopened);
}

#[test]
fn changes_of_an_event() {
    let item = |field: &str, from: Value, from_name: Value, to: Value| {
        json!([{"field": "assignee", "from": null, "to": "x"},
            {"field": field, "from": from, "fromString": from_name, "to": to, "toString": "x"}])
    };
    let todo = || status("To Do", "new");
    let done = || status("Closed", "done");
    let none = || Value::Null;
    for (items, status, resolution, expected) in [
        (item("resolution", json!("10000"), json!("Done"), none()), todo(), none(), "Reopened"),
        (item("resolution", none(), json!("Fixed"), none()), todo(), none(), "Reopened"),
        (item("status", json!("10002"), json!("Done"), json!("3")), todo(), none(), "Reopened"),
        (item("status", json!("5"), json!("Erledigt"), json!("4")), todo(), none(), "Reopened"),
        (item("status", json!(6), none(), json!(1)), todo(), none(), "Reopened"),
        // Its resolution was not taken away, but its status says more.
        (item("status", json!("5"), json!("Resolved"), json!("3")), todo(), json!({"name": "Fixed"}), "Reopened"),
        // Older sites have no category.
        (item("resolution", json!("1"), json!("Fixed"), none()), json!({"name": "Open"}), none(), "Reopened"),
        (item("status", json!("1"), json!("Open"), json!("3")), todo(), none(), "Updated"),
        (item("priority", json!("5"), json!("Done"), json!("3")), todo(), none(), "Updated"),
        (item("resolution", none(), none(), none()), todo(), none(), "Updated"),
        (item("status", json!("5"), json!("Resolved"), json!("6")), done(), json!({"name": "Done"}), "Resolved"),
        (item("resolution", none(), none(), json!("2")), done(), json!({"name": "Duplicate"}), "Updated"),
        (item("resolution", none(), none(), json!("2")), done(), json!({"name": "Won't Do"}), "Updated"),
        (item("status", json!("1"), json!("Open"), json!("9")), status("Declined", "done"), none(), "Updated"),
        (
            item("status", json!("1"), json!("Open"), json!("9")),
            status("Cancelled", "done"),
            json!({"name": "Done"}),
            "Updated",
        ),
        (item("resolution", json!("2"), json!("Duplicate"), json!("1")), done(), json!({"name": "Fixed"}), "Resolved"),
    ] {
        let body = with(
            EVENT,
            &[
                ("/changelog/items", items.clone()),
                ("/issue/fields/status", status.clone()),
                ("/issue/fields/resolution", resolution.clone()),
            ],
        );
        check(&FakeWebhook::post(body), expected, format_args!("{items} {status} {resolution}"));
    }
    let named = |name: &str, category: &str| {
        with(
            EVENT,
            &[
                ("/issue_event_type_name", json!(name)),
                ("/changelog/items", json!([{"field": "status", "from": "10", "fromString": "Fertig", "to": "11"}])),
                ("/issue/fields/status", status("x", category)),
            ],
        )
    };
    check(&FakeWebhook::post(named("issue_reopened", "new")), "Reopened", "by its name");
    check(&FakeWebhook::post(named("issue_generic", "new")), "Updated", "a status of the site's own");
    check(&FakeWebhook::post(named("issue_reopened", "done")), "Resolved", "what it is after it counts for more");
    // Without a changelog the transition says it.
    let both = with(TRANSITION, &[("/webhookEvent", json!("jira:issue_updated"))]);
    check(&FakeWebhook::post(both), "Reopened", "a transition in an event");
}

#[test]
fn ends_that_solve_nothing() {
    for end in [
        "Duplicate",
        "Won't Do",
        "Won\u{2019}t Fix",
        "Declined",
        "Cannot Reproduce",
        "Cancelled",
        "Canceled by the customer",
        "Withdrawn",
        "Rejected",
        "Incomplete",
        "Known Error",
        "Closed - Duplicate",
        "WONTFIX",
    ] {
        for (fixture, pointer) in [(EVENT, "/issue/fields/resolution"), (BARE, "/fields/resolution")] {
            let body = with(fixture, &[(pointer, json!({"name": end}))]);
            check(&FakeWebhook::post(body.clone()), "Updated", end);
            check(&FakeWebhook::post(body).path("/webhook/servicedesk/resolved-ticket"), "Updated", end);
        }
        let word = json!({"event": "resolved", "issue": {"key": "IT-42", "fields": {"resolution": end}}});
        check(&FakeWebhook::post(word.to_string()), "Updated", end);
    }
    for end in ["Done", "Fixed", "Hardware failure", "Workaround", "Duplicate address removed"] {
        check(&FakeWebhook::post(with(EVENT, &[("/issue/fields/resolution", json!({"name": end}))])), "Resolved", end);
    }
}

#[test]
fn words_and_routes() {
    const CREATED: &str = "/api/webhooks/ticket-created";
    const RESOLVED: &str = "/webhook/servicedesk/resolved-ticket";
    let key = r#"{"issue":{"key":"IT-42"}}"#.to_owned();
    let word = |word: &str| json!({"event": word, "issue": {"key": "IT-42"}}).to_string();
    for (path, query, body, expected) in [
        ("/webhooks/acme", "", word("reopened"), "Reopened"),
        ("/webhooks/acme", "", word("Issue_Reopened"), "Reopened"),
        ("/webhooks/acme", "event=ticket_reopened", key.clone(), "Reopened"),
        ("/webhooks/acme", "", word("solved"), "Resolved"),
        (CREATED, "", key.clone(), "Created"),
        (RESOLVED, "", key.clone(), "Resolved"),
        ("//webhook/servicedesk/resolved-ticket/", "", key.clone(), "Resolved"),
        (RESOLVED, "", word(" "), "Resolved"),
        ("/webhooks/acme", "event=updated", word(""), "Updated"),
        // The status of the issue is no event.
        (CREATED, "", BARE.to_owned(), "Created"),
        (RESOLVED, "", RULE.to_owned(), "Resolved"),
        // Whatever says it itself counts for more.
        (CREATED, "", word("resolved"), "Resolved"),
        (RESOLVED, "event=updated", key, "Updated"),
        (CREATED, "", EVENT.to_owned(), "Resolved"),
        (RESOLVED, "", TRANSITION.to_owned(), "Reopened"),
    ] {
        let webhook = FakeWebhook::post(body.clone()).path(path).query(query);
        check(&webhook, expected, format_args!("{path}?{query} {body}"));
    }
    // A body that shows the issue unsolved does not say how it was solved.
    assert!(extract(&FakeWebhook::post(RULE).path(RESOLVED)).read_back);
    assert!(!extract(&FakeWebhook::post(BARE).path(RESOLVED)).read_back);
    assert!(extract(&FakeWebhook::post(TRANSITION).query("event=resolved")).read_back);
}
