//! What happened to a record: bodies that show it before the change too, ends that solve nothing, and the addresses that say
//! what happened; through the plugin's trait.

#![allow(clippy::unwrap_used, reason = "in a test, also in the functions that its tests share")]

use plugin_abi::{
    prelude::*,
    testing::{FakeHost, FakeWebhook},
};
use servicenow::ServiceNow;

const ANY: &str = "/webhooks/acme";
const CREATED: &str = "/api/webhooks/ticket-created";
const RESOLVED: &str = "/webhook/servicedesk/resolved-ticket";
const SYS_ID: &str = "4f1c0e9a2b7d4c55a1e8300d9b6c7f21";

#[track_caller]
fn check(path: &str, body: &str, expected: &str) -> TicketMetadata {
    let webhook = FakeWebhook::post(body).path(path);
    let metadata = ServiceNow.extract_metadata(&FakeHost::new().tenant(), &webhook.borrow()).unwrap();
    assert!(format!("{:?}", metadata.event).starts_with(expected), "{path} {body}: {metadata:?}");
    metadata
}

#[test]
fn a_body_that_shows_the_record_before_is_read_by_the_change() {
    let state = |value: &str| format!(r#"{{"number":"INC7","state":{value},"close_notes":"Rebooted."}}"#);
    for (previous, current, expected) in [
        (r#""2""#, r#""6""#, "Resolved"),
        ("1", "7", "Resolved"),
        (r#""On Hold""#, r#""Closed""#, "Resolved"),
        (r#"{"value":"2","display_value":"In Bearbeitung"}"#, r#"{"value":"6","display_value":"Gelöst"}"#, "Resolved"),
        (r#""8""#, r#""6""#, "Resolved"),
        (r#""20""#, r#""6""#, "Resolved"),
        (r#""6""#, r#""2""#, "Reopened"),
        ("7.0", "1.0", "Reopened"),
        (r#""Resolved""#, r#""In Progress""#, "Reopened"),
        (r#"{"value":"3","display_value":"Closed"}"#, r#"{"value":"10","display_value":"Open"}"#, "Reopened"),
        (r#""6""#, r#""8""#, "Reopened"),
        (r#""6""#, r#""7""#, "Updated"),
        (r#""6""#, r#""6""#, "Updated"),
        (r#""1""#, r#""2""#, "Updated"),
        (r#""2""#, r#""Canceled""#, "Updated"),
        ("[]", r#""6""#, "Updated"),
    ] {
        let (before, now) = (state(previous), state(current));
        let bare = now.replacen('{', &format!(r#"{{"previous":{before},"#), 1);
        for body in [
            format!(r#"{{"current":{now},"previous":{before}}}"#),
            format!(r#"{{"previous":{before},"record":{now},"event":"update"}}"#),
            format!(r#"{{"result":{now},"previous":{before},"tenant_id":"acme"}}"#),
            bare,
        ] {
            check(ANY, &body, expected);
        }
        if previous == "[]" {
            continue;
        }
        for body in [
            now.replacen('{', &format!(r#"{{"previous_state":{previous},"#), 1),
            now.replacen('{', &format!(r#"{{"old_state":{previous},"event":"state_changed","#), 1)
                .replace("state_changed", "incident_updated"),
            format!(r#"{{"record":{now},"previousState":{previous}}}"#),
            format!(r#"{{"incidentId":"INC7","action":"updated","data":{{"state":{current},"oldState":{previous}}}}}"#),
            format!(r#"{{"incidentId":"INC7","state":{current},"previous_state":{previous},"data":{{}}}}"#),
        ] {
            check(ANY, &body, expected);
        }
    }
}

#[test]
fn what_was_before_is_never_taken_for_what_is() {
    let before = format!(r#"{{"sys_id":"{SYS_ID}","number":"INC7","state":"6","close_notes":"Rebooted."}}"#);
    for (body, expected) in [
        (format!(r#"{{"previous":{before}}}"#), "Updated"),
        (format!(r#"{{"event":"updated","previous":{before}}}"#), "Updated"),
        (format!(r#"{{"event":"deleted","previous":{before},"current":null}}"#), "Other"),
        (format!(r#"{{"event":"reopened","previous":{before}}}"#), "Reopened"),
        (format!(r#"{{"current":{{"number":"INC7"}},"previous":{before}}}"#), "Updated"),
        (format!(r#"{{"current":{{"number":"INC7","state":""}},"previous":{before},"event":"assigned"}}"#), "Other"),
        // Which of the two the record is cannot be told: only that something was changed.
        (r#"{"number":"INC7","state":"6","previous":{"number":"INC7"}}"#.to_owned(), "Updated"),
    ] {
        let metadata = check(ANY, &body, expected);
        assert!([SYS_ID, "INC7"].contains(&metadata.ticket_id.as_str()), "{body}: {metadata:?}");
    }
    let told = check(ANY, &format!(r#"{{"event":"resolved","previous":{before}}}"#), "Resolved");
    assert_eq!(told.event, Event::Resolved { resolution: None, resolved_at: None, tags: Vec::new() });
}

#[test]
fn a_record_that_was_inserted_has_nothing_before() {
    for previous in ["null", "{}", r#"{"sys_id":"","number":"","state":""}"#, r#"{"state":null}"#, "[]", "7", r#""""#] {
        let body =
            |state: &str| format!(r#"{{"number":"INC7","state":"{state}","sys_mod_count":0,"previous":{previous}}}"#);
        check(ANY, &body("1"), "Created");
        check(ANY, &body("6"), "Resolved");
    }
    for previous in ["null", r#""""#, "[]", "{}"] {
        check(ANY, &format!(r#"{{"number":"INC7","state":"1","previous_state":{previous}}}"#), "Created");
    }
}

#[test]
fn a_change_that_ends_or_opens_says_more_than_a_word() {
    let body = |event: &str, before: &str, now: &str| {
        format!(r#"{{"event":"{event}","number":"INC7","state":"{now}","previous":{{"state":"{before}"}}}}"#)
    };
    for (event, before, now, expected) in [
        ("update", "2", "6", "Resolved"),
        ("state_changed", "6", "2", "Reopened"),
        ("resolved", "6", "2", "Reopened"),
        ("closed", "6", "7", "Resolved"),
        ("created", "1", "1", "Created"),
        ("reopened", "2", "2", "Reopened"),
        ("commented", "6", "6", "Other"),
    ] {
        check(ANY, &body(event, before, now), expected);
    }
}

#[test]
fn what_solves_nothing_is_no_solution() {
    for (state, code, shown) in [
        (r#""7""#, r#""Duplicate""#, "7 (Duplicate)"),
        (
            r#"{"value":"6","display_value":"Resolved"}"#,
            r#"{"value":"Duplicate","display_value":"Duplikat"}"#,
            "Resolved (Duplikat)",
        ),
        (r#""Closed""#, r#""Not Solved (Too Costly)""#, "Closed (Not Solved (Too Costly))"),
        (r#""Resolved""#, r#""No resolution provided""#, "Resolved (No resolution provided)"),
        (r#""Resolved""#, r#""Cancelled by caller""#, "Resolved (Cancelled by caller)"),
        (r#"{"value":"8","display_value":"Canceled"}"#, r#""""#, "Canceled"),
        (r#"{"value":"4","display_value":"Closed Incomplete"}"#, "null", "Closed Incomplete"),
        (r#"{"value":"7","display_value":"Closed Skipped"}"#, "[]", "Closed Skipped"),
    ] {
        let record = format!(
            r#"{{"sys_id":"{SYS_ID}","state":{state},"close_code":{code},"close_notes":"See INC3.",
                "resolved_at":"2026-03-03 16:40:00","closed_at":"2026-03-03 16:40:00"}}"#
        );
        if code != "[]" {
            check(ANY, &record, "Updated");
            check(RESOLVED, &record, "Updated");
            check(ANY, &format!(r#"{{"event":"closed","record":{record}}}"#), "Updated");
            check(ANY, &format!(r#"{{"current":{record},"previous":{{"state":"2"}}}}"#), "Updated");
        }
        let host = FakeHost::new().secret("api_key", "k").answer(200, &format!(r#"{{"result":{record}}}"#));
        let ticket = ServiceNow.get_ticket(&host.tenant(), SYS_ID).unwrap().unwrap();
        assert_eq!(ticket.status.as_deref(), Some(shown));
        assert_eq!((ticket.resolved_at, ticket.resolution), (None, None), "{record}");
    }
    for data in
        [r#"{"closeCode":"Duplicate"}"#, r#"{"state":"8"}"#, r#"{"state":"7","closeCode":"Not Solved (Too Costly)"}"#]
    {
        check(ANY, &format!(r#"{{"incidentId":"INC7","action":"resolved","data":{data}}}"#), "Updated");
    }
}

#[test]
fn what_solves_something_is_a_solution() {
    for code in
        ["Solved (Permanently)", "Closed/Resolved by Caller", "User error", "Known error", "Workaround provided", ""]
    {
        let record = format!(
            r#"{{"sys_id":"{SYS_ID}","state":{{"value":"6","display_value":"Resolved"}},"close_code":"{code}",
                "close_notes":"Rebooted.","resolved_at":"2026-03-03 16:40:00"}}"#
        );
        check(ANY, &record, "Resolved { resolution: Some(\"Rebooted.\")");
        let host = FakeHost::new().secret("api_key", "k").answer(200, &format!(r#"{{"result":{record}}}"#));
        let ticket = ServiceNow.get_ticket(&host.tenant(), SYS_ID).unwrap().unwrap();
        assert!(ticket.resolved_at.is_some() && ticket.status.as_deref() == Some("Resolved"), "{ticket:?}");
    }
}

#[test]
fn a_record_that_was_opened_again_is_not_solved() {
    for state in [
        r#"{"value":"2","display_value":"In Progress"}"#,
        r#""New""#,
        r#"{"value":"2","display_value":"In Bearbeitung"}"#,
    ] {
        let record = format!(
            r#"{{"state":{state},"close_code":"Duplicate","close_notes":"Rebooted.","resolved_at":"2026-03-03 16:40:00"}}"#
        );
        let host = FakeHost::new().secret("api_key", "k").answer(200, &format!(r#"{{"result":{record}}}"#));
        let ticket = ServiceNow.get_ticket(&host.tenant(), SYS_ID).unwrap().unwrap();
        assert_eq!(ticket.resolved_at, None, "the time of the solution that did not last");
        assert!(!ticket.status.unwrap().contains('('));
    }
}

#[test]
fn a_body_without_an_event_means_what_its_address_says() {
    for (path, body, expected) in [
        (CREATED, r#"{"number":"INC7"}"#, "Created"),
        (CREATED, r#"{"number":"INC7","state":"6","sys_mod_count":"9"}"#, "Created"),
        (RESOLVED, r#"{"number":"INC7","state":"1","close_notes":"Rebooted."}"#, "Resolved { resolution: Some"),
        ("//webhook/servicedesk/resolved%2Dticket/", r#"{"record":{"number":"INC7"}}"#, "Resolved"),
        (RESOLVED, r#"{"incidentId":"INC7","data":{}}"#, "Resolved"),
        (CREATED, r#"{"incidentId":"INC7"}"#, "Created"),
        (CREATED, r#"{"number":"INC7","event":"resolved"}"#, "Resolved"),
        (RESOLVED, r#"{"incidentId":"INC7","action":"created"}"#, "Created"),
        (RESOLVED, r#"{"number":"INC7","state":"2","previous":{"state":"2"}}"#, "Updated"),
    ] {
        check(path, body, expected);
    }
    let refused = FakeWebhook::post(r#"{"tenant_id":7,"data":{}}"#).path(CREATED);
    let fault = ServiceNow.extract_metadata(&FakeHost::new().tenant(), &refused.borrow()).unwrap_err();
    let PluginError::Validation(faults) = fault else { panic!("{fault}") };
    let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(fields, ["data.sysId", "tenant_id"], "the address says what happened");
}
