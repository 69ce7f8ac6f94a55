//! Which ends of a request are solutions, in webhooks and in the API's answers, through the plugin's trait.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use plugin_abi::{
    prelude::*,
    testing::{FakeHost, FakeWebhook},
};
use servicedesk_plus::ServiceDeskPlus;

/// A request that is over, with what the API says of its end.
fn ended(status: &str, closure: &str) -> String {
    format!(
        r#"{{"id":"7","status":{status},{closure}"created_time":{{"value":"1000"}},"last_updated_time":{{"value":"9000"}},
            "resolved_time":{{"value":"8000"}},"resolution":{{"content":"<p>See request 3.</p>"}}}}"#
    )
}

fn extract(body: &str) -> Event {
    let webhook = FakeWebhook::post(body);
    ServiceDeskPlus.extract_metadata(&FakeHost::new().tenant(), &webhook.borrow()).unwrap().event
}

fn get(request: &str) -> Ticket {
    let answer = format!(r#"{{"request":{request},"response_status":{{"status_code":2000}}}}"#);
    let host = FakeHost::new().secret("api_key", "k").answer(200, &answer);
    ServiceDeskPlus.get_ticket(&host.tenant(), "7").unwrap().unwrap()
}

const CLOSED: &str = r#"{"name":"Closed","in_progress":false}"#;
const OPEN: &str = r#"{"name":"Open","internal_name":"Open","in_progress":true}"#;

fn code(name: &str) -> String {
    format!(r#""closure_info":{{"requester_ack_resolution":true,"closure_code":{{"id":"3","name":"{name}"}}}},"#)
}

#[test]
fn what_solves_nothing_is_no_solution() {
    for (status, closure, shown) in [
        (CLOSED, code("Duplicate"), "Closed (Duplicate)"),
        (CLOSED, code("Cancelled"), "Closed (Cancelled)"),
        (CLOSED, code("Unable to Reproduce"), "Closed (Unable to Reproduce)"),
        (r#""Closed""#, code("Rejected"), "Closed (Rejected)"),
        (r#"{"name":"Resolved"}"#, r#""closure_info":{"closure_code":"Merged"},"#.to_owned(), "Resolved (Merged)"),
        (CLOSED, r#""closure_code":"Withdrawn by requester","#.to_owned(), "Closed (Withdrawn by requester)"),
        (r#"{"name":"Cancelled","in_progress":false}"#, String::new(), "Cancelled"),
        (r#""Canceled""#, String::new(), "Canceled"),
        (
            r#"{"name":"Annulliert","internal_name":"Canceled","in_progress":false}"#,
            String::new(),
            "Annulliert (Canceled)",
        ),
        (r#"{"name":"Merged","in_progress":false}"#, code("Success"), "Merged"),
    ] {
        let request = ended(status, &closure);
        for body in [
            request.clone(),
            format!(r#"{{"request":{request}}}"#),
            format!(r#"{{"request":{request},"event":"request_closed"}}"#),
        ] {
            assert_eq!(extract(&body), Event::Updated, "{body}");
        }
        let ticket = get(&request);
        assert_eq!(ticket.status.as_deref(), Some(shown));
        assert_eq!((ticket.resolved_at, ticket.resolution), (None, None), "{request}");
    }
}

#[test]
fn what_solves_something_is_a_solution() {
    for (status, closure) in [
        (CLOSED, code("Success")),
        (CLOSED, code("Failed disk replaced")),
        (CLOSED, r#""closure_info":null,"#.to_owned()),
        (CLOSED, r#""closure_info":{"closure_code":7},"closure_code":[1],"#.to_owned()),
        (r#"{"name":"Erledigt","internal_name":"Resolved"}"#, String::new()),
        (r#"{"name":"Done","in_progress":false}"#, String::new()),
    ] {
        let request = ended(status, &closure);
        assert!(matches!(extract(&request), Event::Resolved { resolution: Some(text), resolved_at: Some(_), .. }
            if text == "See request 3."));
        let ticket = get(&request);
        assert!(ticket.resolved_at.is_some() && ticket.resolution.is_some(), "{request}");
    }
}

#[test]
fn a_request_that_was_opened_again_is_not_solved() {
    // Time and code of the end that did not last are still there.
    for (status, closure) in [(OPEN, code("Success")), (OPEN, code("Duplicate")), (OPEN, String::new())] {
        let request = ended(status, &closure);
        assert_eq!(extract(&request), Event::Updated, "nobody says that it was opened again");
        assert_eq!(extract(&format!(r#"{{"request":{request},"event":"ticket_reopened"}}"#)), Event::Reopened);
        let ticket = get(&request);
        assert_eq!((ticket.status.as_deref(), ticket.resolved_at), (Some("Open"), None));
    }
}
