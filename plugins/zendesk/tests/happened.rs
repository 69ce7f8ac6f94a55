//! What happened to a ticket: which ends are solutions, what opens a ticket again, and what a body without an event means.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use plugin_abi::{
    prelude::*,
    serde_json::{Value, json},
    testing::{FakeHost, FakeWebhook},
};
use zendesk::Zendesk;

const CREATED: &str = "/api/webhooks/ticket-created";
const RESOLVED: &str = "/webhook/servicedesk/resolved-ticket";

fn host() -> FakeHost {
    FakeHost::new().secret("api_key", "k").setting("api_auth", "bearer")
}

#[track_caller]
fn extract(path: &str, body: &Value) -> TicketMetadata {
    let webhook = FakeWebhook::post(body.to_string()).path(path);
    Zendesk.extract_metadata(&host().tenant(), &webhook.borrow()).unwrap_or_else(|error| panic!("{body}: {error}"))
}

#[track_caller]
fn check(path: &str, body: &Value, expected: &str) -> TicketMetadata {
    let metadata = extract(path, body);
    assert!(format!("{:?}", metadata.event).starts_with(expected), "{expected}: {path} {body}: {metadata:?}");
    metadata
}

fn status_changed(previous: &str, current: &str, tags: &Value) -> Value {
    json!({
        "type": "zen:event-type:ticket.status_changed", "id": "e1", "time": "2026-03-03T16:40:00Z",
        "detail": {"id": "1337", "status": current, "tags": tags},
        "event": {"previous": previous, "current": current},
    })
}

#[test]
fn changes_of_the_status() {
    let merged = json!(["badge", "closed_by_merge"]);
    for (previous, current, tags, expected) in [
        ("OPEN", "CLOSED", &merged, "Updated"),
        ("new", "closed", &merged, "Updated"),
        ("PENDING", "CLOSED", &merged, "Updated"),
        ("OPEN", "CLOSED", &json!(["not_closed_by_merge", "closed_by_merge_2"]), "Resolved"),
        // The follow-up of a merged ticket inherits its tags, and is solved as any other.
        ("OPEN", "SOLVED", &merged, "Resolved"),
        ("SOLVED", "OPEN", &json!([]), "Reopened"),
        ("Solved", "Pending", &json!(null), "Reopened"),
        ("SOLVED", "HOLD", &json!(["x"]), "Reopened"),
        ("SOLVED", "NEW", &json!([]), "Reopened"),
        ("SOLVED", "DELETED", &json!([]), "Updated"),
        ("SOLVED", "CLOSED", &json!([]), "Updated"),
        // Closed is final: whatever this is, it opens nothing again.
        ("CLOSED", "OPEN", &json!([]), "Updated"),
        ("OPEN", "PENDING", &json!([]), "Updated"),
    ] {
        check("/webhooks/acme", &status_changed(previous, current, tags), expected);
    }
    // Many tags before it make no difference.
    let mut tags = vec!["a"; 5_000];
    tags.push("closed_by_merge");
    check("/webhooks/acme", &status_changed("OPEN", "CLOSED", &json!(tags)), "Updated");
}

#[test]
fn words_of_triggers() {
    const END: &str = "This request was closed and merged into request #949 \"Badge reader\"";
    let trigger = |event: &str, more: Value| {
        let mut body = json!({"ticket_id": "1337", "event": event});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (event, more, expected, read_back) in [
        ("reopened", json!({}), "Reopened", false),
        (" Re-Opened ", json!({}), "Reopened", false),
        ("closed", json!({"tags": "badge closed_by_merge"}), "Updated", false),
        ("solved", json!({"resolution": END}), "Updated", false),
        ("resolved", json!({"resolution": END, "tags": "closed_by_merge"}), "Updated", false),
        // The tag alone may be inherited: the ticket is asked.
        ("solved", json!({"tags": "closed_by_merge", "resolution": "Swapped the reader."}), "Resolved", true),
        (
            "solved",
            json!({"resolution": "Request #8 \"x\" was closed and merged into this request."}),
            "Resolved",
            true,
        ),
        ("solved", json!({"tags": "closed_by_merger", "resolution": "Swapped the reader."}), "Resolved", false),
    ] {
        let body = trigger(event, more);
        let metadata = check("/webhooks/acme", &body, expected);
        assert_eq!(metadata.read_back, read_back, "{body}");
    }
}

#[test]
fn a_body_without_an_event_means_what_its_route_says() {
    let bare = json!({"ticket_id": 1337});
    for (path, body, expected) in [
        (CREATED, &bare, "Created"),
        (RESOLVED, &bare, "Resolved"),
        ("/api//webhooks/ticket-created/", &json!({"ticket_id": 1337, "event": null}), "Created"),
        (RESOLVED, &json!({"ticket_id": 1337, "event": " "}), "Resolved"),
        // Its own event counts for more.
        (CREATED, &json!({"ticket_id": 1337, "event": "solved"}), "Resolved"),
        (RESOLVED, &json!({"ticket_id": 1337, "event": "updated"}), "Updated"),
        (RESOLVED, &json!({"ticket_id": 1337, "event": "whatever"}), "Other"),
        (RESOLVED, &status_changed("SOLVED", "OPEN", &json!([])), "Reopened"),
        (CREATED, &status_changed("OPEN", "SOLVED", &json!([])), "Resolved"),
    ] {
        check(path, body, expected);
    }
    assert!(extract(RESOLVED, &bare).read_back, "it says no resolution");
    for (path, body) in [("/webhooks/acme", &bare), (CREATED, &json!({"ticket_id": 1337, "event": 7}))] {
        let webhook = FakeWebhook::post(body.to_string()).path(path);
        let refused = Zendesk.extract_metadata(&host().tenant(), &webhook.borrow()).unwrap_err();
        assert!(matches!(&refused, PluginError::Validation(faults) if faults[0].field == "event"), "{refused}");
    }
}

#[test]
fn a_merged_ticket_is_not_solved() {
    let notice = |html: &str, public: bool, author: u32| {
        json!({"comments": [
            {"author_id": author, "public": public, "html_body": html},
            {"author_id": 99, "public": true, "html_body": "<p>Have you tried the other door?</p>"},
        ]})
    };
    let end = "<div class=\"zd-comment\"><p>This request was closed and merged into request #949 &quot;Badge&quot;.</p></div>";
    let ticket = |status: &str, tags: Value| {
        json!({"ticket": {"status": status, "requester_id": 7, "tags": tags,
            "metric_set": {"solved_at": "2026-03-03T16:40:00Z"}}})
    };
    for (ticket, comments, status) in [
        (ticket("closed", json!(["closed_by_merge"])), None, "closed (merged)"),
        (ticket("closed", json!([])), Some(notice(end, true, 99)), "closed (merged)"),
        (ticket("Closed", json!(null)), Some(notice(end, false, 98)), "Closed (merged)"),
        (ticket("solved", json!([])), Some(notice(end, true, 7)), "solved (merged)"),
        (
            ticket("closed", json!(7)),
            Some(notice("this request was closed and merged into request #1", true, 9)),
            "closed (merged)",
        ),
    ] {
        let host = host().answer(200, &ticket.to_string());
        let host = comments.iter().fold(host, |host, list| host.answer(200, &list.to_string()));
        let read = Zendesk.get_ticket(&host.tenant(), "1337").unwrap().unwrap();
        assert_eq!(read.status.as_deref(), Some(status), "{ticket}");
        assert_eq!((read.resolved_at, read.resolution), (None, None), "{ticket}");
        assert_eq!(host.requests().len(), 1 + comments.iter().len(), "{ticket}");
    }
    // What was merged into a ticket does not answer it, and the tag of a solved one is inherited.
    let addition = "<p>Request #8 \"Badge\" was closed and merged into this request.</p>";
    for tags in [json!([]), json!(["closed_by_merge"])] {
        let host = host().answer(200, &ticket("solved", tags).to_string());
        let host = host.answer(200, &notice(addition, true, 99).to_string());
        let read = Zendesk.get_ticket(&host.tenant(), "1337").unwrap().unwrap();
        assert_eq!(read.resolution.as_deref(), Some("Have you tried the other door?"));
        assert!(read.resolved_at.is_some());
    }
}
