use serde_json::{Value, json};

use crate::{
    client::{ACCEPT, FORM, Fixture, ID, Reply, input},
    server::DEFAULT_TOKEN,
    state::limits,
    tools::Tool,
};

const ON_PREMISES: &str = "/servicedesk/api/v3/requests/123640000000000101";
const CLOUD: &str = "/sdpcloud/app/itdesk/api/v3/requests/123640000000000101";
const KEY: (&str, &str) = ("authtoken", DEFAULT_TOKEN);
const OAUTH: (&str, &str) = ("authorization", "Zoho-oauthtoken sandbox-token");
const V3: (&str, &str) = ("accept", ACCEPT);

#[track_caller]
fn refused(reply: &Reply, http: u16, code: u16) -> Value {
    assert_eq!(reply.status, http, "{reply:?}");
    let status = reply.json()["response_status"].clone();
    assert_eq!((&status["status_code"], &status["status"]), (&json!(4000), &json!("failed")), "{reply:?}");
    let message = status["messages"][0].clone();
    assert_eq!((&message["status_code"], &message["type"]), (&json!(code), &json!("failed")), "{reply:?}");
    message
}

#[test]
fn a_request_has_the_vendors_shape() {
    let fixture = Fixture::new();
    for (path, auth) in [(ON_PREMISES, KEY), (CLOUD, OAUTH)] {
        let reply = fixture.send("GET", path, &[auth, V3], b"");
        let answer = reply.json();
        assert_eq!(reply.status, 200);
        assert_eq!(answer["response_status"], json!({ "status_code": 2000, "status": "success" }));
        let request = &answer["request"];
        assert_eq!(request["id"], ID);
        assert_eq!(request["priority"]["name"], "High");
        assert_eq!(request["status"]["in_progress"], true);
        assert_eq!(request["requester"]["name"], "Dana Smith");
        assert!(request["created_time"]["value"].as_str().unwrap().parse::<u64>().unwrap() > 1_700_000_000_000);
        assert_eq!((&request["resolution"], &request["has_notes"]), (&Value::Null, &json!(false)));
    }
}

/// The field names of a real answer (a create/get response kept by a public integration).
#[test]
fn a_request_has_every_field_of_a_real_answer() {
    const REAL: &str = "subject resolution linked_to_request mode lifecycle is_read cancellation_requested is_trashed id \
        assigned_time group requester email_to created_time item cancel_flag_comments level approval_status impact sla \
        resolved_time priority created_by first_response_due_by_time is_escalated last_updated_time has_notes udf_fields \
        impact_details subcategory deleted_time email_cc onhold_scheduler status template email_ids_to_notify attachments \
        request_type display_id time_elapsed notification_status description responded_time is_service_request urgency \
        has_request_initiated_change department is_reopened has_draft has_attachments has_linked_requests is_overdue \
        technician has_problem due_by_time is_fcr has_project site is_first_response_overdue completed_time \
        unreplied_count email_bcc category";
    let answer = Fixture::new().send("GET", CLOUD, &[OAUTH, V3], b"").json();
    let mut ours: Vec<&str> = answer["request"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut real: Vec<&str> = REAL.split_whitespace().collect();
    ours.sort_unstable();
    real.sort_unstable();
    assert_eq!(ours, real);
}

#[test]
fn cloud_ids_have_18_digits_and_people_see_another_number() {
    let fixture = Fixture::new();
    let display_id = |path, auth| fixture.send("GET", path, &[auth, V3], b"").json()["request"]["display_id"].clone();
    assert_eq!(display_id(ON_PREMISES, KEY), ID);
    assert_eq!(display_id(CLOUD, OAUTH), "2");
    let check = |tool: Tool, id: &str, taken: bool| assert_eq!(tool.broken_id_rule(id).is_none(), taken, "{id}");
    check(Tool::ServicedeskPlus, "1", true);
    check(Tool::ServicedeskPlus, &"1".repeat(18), true);
    check(Tool::ServicedeskPlus, &"1".repeat(19), false);
    check(Tool::ServicedeskPlus, "", false);
    check(Tool::ServicedeskPlus, "TKT-1", false);
    check(Tool::ServicedeskPlusCloud, &"1".repeat(18), true);
    check(Tool::ServicedeskPlusCloud, &"1".repeat(17), false);
}

#[test]
fn headers_are_checked() {
    let fixture = Fixture::new();
    let check = |path: &str, headers: &[(&str, &str)], http, code| {
        refused(&fixture.send("GET", path, headers, b""), http, code);
    };
    check(ON_PREMISES, &[V3], 401, 4022);
    check(ON_PREMISES, &[V3, ("authtoken", "wrong")], 401, 4022);
    check(ON_PREMISES, &[V3, KEY, KEY], 401, 4022);
    check(ON_PREMISES, &[V3, ("technician_key", DEFAULT_TOKEN)], 401, 4022);
    check(ON_PREMISES, &[V3, OAUTH], 401, 4022);
    check(CLOUD, &[V3, KEY], 401, 4022);
    check(CLOUD, &[V3, ("authorization", "Bearer sandbox-token")], 401, 4022);
    check(ON_PREMISES, &[KEY], 406, 4000);
    check(ON_PREMISES, &[KEY, ("accept", "application/json")], 406, 4000);
}

#[test]
fn paths_and_methods_are_exact() {
    let fixture = Fixture::new();
    let check = |method, path: &str, auth| {
        refused(&fixture.send(method, path, &[auth, V3, ("content-type", FORM)], b""), 404, 4007);
    };
    check("GET", "/servicedesk/api/v3/tickets/123640000000000101", KEY);
    check("GET", "/servicedesk/api/v3/requests/7", KEY);
    check("GET", "/servicedesk/api/v3/requests/TKT-7", KEY);
    check("GET", "/servicedesk/api/v3/requests/", KEY);
    check("GET", &format!("{ON_PREMISES}/"), KEY);
    check("GET", &format!("{ON_PREMISES}/notes/"), KEY);
    check("GET", &format!("{ON_PREMISES}/worklogs"), KEY);
    check("PUT", &format!("{ON_PREMISES}/notes"), KEY);
    check("POST", ON_PREMISES, KEY);
    check("POST", "/servicedesk/api/v3/requests/7/notes", KEY);
    check("GET", "/servicedesk/app/itdesk/api/v3/requests/123640000000000101", KEY);
    check("GET", "/sdpcloud/api/v3/requests/123640000000000101", OAUTH);
    check("GET", "/sdpcloud/app//api/v3/requests/123640000000000101", OAUTH);
    let list = fixture.send("GET", "/servicedesk/api/v3/requests/7/notes", &[KEY, V3], b"");
    assert_eq!(list.json()["response_status"][0]["messages"][0]["status_code"], 4007, "a list fails with an array too");
}

#[test]
fn a_note_is_taken_in_the_wrapper_of_its_edition() {
    let fixture = Fixture::new();
    let check = |path, auth, wrapper: &str, shown: Value, tool| {
        let mut note = json!({ "description": "<p>a &amp; b</p>", "mark_first_response": false });
        if !shown.is_null() {
            note["show_to_requester"] = shown.clone();
        }
        let body = input(&json!({ wrapper: note }).to_string());
        let headers = [auth, V3, ("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        let reply = fixture.send("POST", &format!("{path}/notes"), &headers, body.as_bytes());
        assert_eq!(reply.status, 201, "{reply:?}");
        let answer = reply.json();
        assert_eq!(answer["response_status"]["status_code"], 2000);
        assert_eq!(answer[wrapper]["description"], "<p>a &amp; b</p>");
        assert_eq!(answer[wrapper]["show_to_requester"], shown == true);
        assert_eq!(answer[wrapper]["request"]["id"], ID);
        let kept = fixture.sandbox.ticket(tool, ID).unwrap();
        let kept = kept.notes.last().unwrap();
        assert_eq!((kept.body.as_str(), kept.internal), ("<p>a &amp; b</p>", shown != true));
    };
    check(ON_PREMISES, KEY, "note", json!(false), Tool::ServicedeskPlus);
    check(ON_PREMISES, KEY, "note", json!(true), Tool::ServicedeskPlus);
    check(ON_PREMISES, KEY, "note", Value::Null, Tool::ServicedeskPlus);
    check(CLOUD, OAUTH, "request_note", json!(false), Tool::ServicedeskPlusCloud);
    assert_eq!(fixture.get("").json()["request"]["has_notes"], true);
}

#[test]
fn a_note_of_another_shape_is_refused() {
    let fixture = Fixture::new();
    let post = |path: &str, auth, content_type, body: &str| {
        let headers = [auth, V3, ("content-type", content_type)];
        fixture.send("POST", &format!("{path}/notes"), &headers, body.as_bytes())
    };
    let check = |json: &str, code, field: &str| {
        let message = refused(&post(ON_PREMISES, KEY, FORM, &input(json)), 400, code);
        assert_eq!(message["field"], field, "{json}");
    };
    check("{", 4000, "input_data");
    check("[]", 4000, "input_data");
    check("{}", 4012, "note");
    check(r#"{"request_note":{"description":"x"}}"#, 4000, "request_note");
    check(r#"{"description":"x"}"#, 4000, "description");
    check(r#"{"note":{"description":"x"},"more":1}"#, 4000, "more");
    check(r#"{"note":"x"}"#, 4021, "note");
    check(r#"{"note":{}}"#, 4012, "description");
    check(r#"{"note":{"description":" "}}"#, 4012, "description");
    check(r#"{"note":{"description":null}}"#, 4012, "description");
    check(r#"{"note":{"description":["x"]}}"#, 4021, "description");
    check(r#"{"note":{"description":"x","show_to_requester":"false"}}"#, 4021, "show_to_requester");
    check(r#"{"note":{"description":"x","show_to_requester":null}}"#, 4021, "show_to_requester");
    check(r#"{"note":{"description":"x","notify_technician":false}}"#, 4000, "notify_technician");
    check(r#"{"note":{"description":"x","public":false}}"#, 4000, "public");

    let proper = r#"{"note":{"description":"x"}}"#;
    refused(&post(ON_PREMISES, KEY, "application/json", proper), 400, 4012);
    refused(&post(ON_PREMISES, KEY, "application/json", &input(proper)), 400, 4012);
    refused(&post(ON_PREMISES, KEY, FORM, ""), 400, 4012);
    refused(&post(ON_PREMISES, KEY, FORM, &format!("{}&x=1", input(proper))), 400, 4000);
    refused(&post(ON_PREMISES, KEY, FORM, &format!("{0}&{0}", input(proper))), 400, 4000);
    refused(&post(CLOUD, OAUTH, FORM, &input(proper)), 400, 4000);
    for tool in [Tool::ServicedeskPlus, Tool::ServicedeskPlusCloud] {
        assert!(fixture.sandbox.ticket(tool, ID).unwrap().notes.is_empty());
    }
    let cloud = post(CLOUD, OAUTH, FORM, &input(r#"{"request_note":{"description":"x","notify_technician":false}}"#));
    assert_eq!(cloud.status, 201);
}

#[test]
fn notes_are_listed_in_windows() {
    let fixture = Fixture::new();
    for number in 1..=12 {
        fixture.try_note(&number.to_string()).unwrap();
    }
    let check = |list_info: &str, expected: &[&str], more: bool| {
        let query = if list_info.is_empty() { String::new() } else { format!("?{}", input(list_info)) };
        let answer = fixture.get(&format!("/notes{query}")).json();
        assert_eq!(answer["response_status"][0]["status_code"], 2000, "{answer}");
        let notes: Vec<_> =
            answer["notes"].as_array().unwrap().iter().map(|note| note["description"].clone()).collect();
        assert_eq!(
            (notes, &answer["list_info"]["has_more_rows"]),
            (expected.iter().map(|n| json!(n)).collect(), &json!(more))
        );
    };
    check("", &["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"], true);
    check(r#"{"list_info":{"row_count":2}}"#, &["1", "2"], true);
    check(r#"{"list_info":{"row_count":2,"start_index":11}}"#, &["11", "12"], false);
    check(r#"{"list_info":{"start_index":13}}"#, &[], false);
    check(r#"{"list_info":{"row_count":1,"sort_field":"created_time","sort_order":"desc"}}"#, &["12"], true);
    for bad in [
        r#"{"list_info":{"row_count":0}}"#,
        r#"{"list_info":{"row_count":101}}"#,
        r#"{"list_info":{"start_index":0}}"#,
        r#"{"list_info":{"sort_field":"id"}}"#,
        r#"{"list_info":{"rows":1}}"#,
        r#"{"info":{}}"#,
        "nonsense",
    ] {
        let reply = fixture.get(&format!("/notes?{}", input(bad)));
        assert_eq!((reply.status, &reply.json()["response_status"][0]["status_code"]), (400, &json!(4000)), "{bad}");
    }
    assert_eq!(fixture.get("/notes?page=2").status, 400);
    assert_eq!(fixture.get(&format!("/notes?{}", input(r#"{"list_info":{"row_count":100}}"#))).status, 200);
}

#[test]
fn a_full_ticket_is_the_tools_own_trouble() {
    let fixture = Fixture::new();
    for _ in 0..limits::NOTES_PER_TICKET_MAX {
        fixture.try_note("x").unwrap();
    }
    refused(&fixture.try_note("x").unwrap(), 500, 4004);
}
