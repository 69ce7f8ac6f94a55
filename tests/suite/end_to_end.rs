//! A webhook enters at one end, and a note appears on the ticket at the other.

use patchbay_tests::{Artifact, Host, Line, TOOL, WAIT_MAX, WEBHOOK_SECRET, created, resolved, told};
use sandbox::{
    TicketFields, Tool,
    webhook::{Event, Form, Scheme, Webhook, signed},
};

const CLOUD_TICKET: &str = "123640000000000101";

/// One accepted webhook, followed by its correlation id through the answer, the job, the log and the note.
#[track_caller]
fn check(tenant: &str, tool: Tool, form: Form, scheme: Scheme, settings: &[(&str, &str)]) {
    let line = Line::with(&[Artifact::SERVICEDESK_PLUS]);
    line.add_tenant_at(tenant, "servicedesk_plus", &line.tool.base_url(tool), settings);
    let ticket = if tool == Tool::ServicedeskPlusCloud { CLOUD_TICKET } else { "101" };
    let webhook = Webhook { tool, form, ..Webhook::new(tenant, Event::Created, ticket) };
    line.tool.put_ticket(tool, ticket, webhook.ticket.clone()).unwrap();
    let mut request = signed(&webhook, scheme, WEBHOOK_SECRET).unwrap();
    request.headers.push(("x-correlation-id", "follow-me.1".to_owned()));

    let answer = line.host.send(&request);
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(answer.header("x-correlation-id"), Some("follow-me.1"));
    let body = answer.json();
    assert_eq!(body["status"], "accepted");
    assert_eq!(body["correlation_id"], "follow-me.1");
    assert_eq!(body["ticket_id"], ticket);

    let noted = line.tool.wait_for_notes(tool, ticket, 1, WAIT_MAX).unwrap();
    assert!(noted.notes[0].internal);
    let subject = &webhook.ticket.subject;
    assert!(noted.notes[0].body.contains(subject), "{}", noted.notes[0].body);

    let job = line.job(ticket, "done", |job| job["state"] == "done");
    assert_eq!(job["correlation_id"], "follow-me.1");
    assert_eq!(job["attempts"], 1);
    assert_eq!(job["tenant"], tenant);
    assert_eq!(job["tool_type"], "servicedesk_plus");
    assert_eq!(job["kind"], "enhance");
    assert!(job["note"].as_str().is_some_and(|note| note.contains(subject)), "{job:#}");
    let id = job["id"].as_str().unwrap();
    line.host.wait_for_log(&["follow-me.1", tenant, "delivery accepted"]);
    line.host.wait_for_log(&["follow-me.1", tenant, id, "attempt"]);

    let listed = line.host.ctl(&["job", "list"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(0), "{listed:#}");
    assert_eq!(line.tool.ticket(tool, ticket).unwrap().notes.len(), 1);
}

#[test]
fn flat_form_with_bare_signature() {
    check("acme", Tool::ServicedeskPlus, Form::Flat, Scheme::SignatureHeader, &[]);
}

#[test]
fn flat_form_with_hub_signature() {
    check("acme", Tool::ServicedeskPlus, Form::Flat, Scheme::HubHeader, &[]);
}

#[test]
fn request_form_with_token() {
    check("acme", Tool::ServicedeskPlus, Form::Request, Scheme::StaticToken, &[("webhook_auth", "token")]);
}

#[test]
fn request_form_with_basic_authentication() {
    check("acme", Tool::ServicedeskPlus, Form::Request, Scheme::Basic, &[("webhook_auth", "basic")]);
}

#[test]
fn cloud_edition() {
    let settings = [("edition", "cloud"), ("portal", "itdesk")];
    check("Acme-Cloud-1", Tool::ServicedeskPlusCloud, Form::Flat, Scheme::SignatureHeader, &settings);
}

#[test]
fn any_plugin_that_is_dropped_into_the_folder_works() {
    let line = Line::with(&[]);
    line.add_tenant("acme", "desk_good", &[]);
    line.open_ticket("1");
    assert_eq!(line.host.send(&created("acme", "1")).problem_code(), "plugin_missing");
    line.host.put_plugin(Artifact::GOOD);
    line.host.ctl(&["reload"]);
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    assert!(line.note_on("1").internal);
}

#[test]
fn tenants_without_a_tool_type_are_servicedesk_plus() {
    let line = Line::with(&[Artifact::SERVICEDESK_PLUS]);
    let base_url = line.tool.base_url(TOOL);
    let added = line.host.ctl(&["tenant", "add", "acme", "--base-url", &base_url]);
    assert_eq!(added["tool_type"], "servicedesk_plus", "{added:#}");
}

#[test]
fn the_same_delivery_again_is_a_duplicate_and_one_note() {
    let line = Line::with(&[Artifact::SERVICEDESK_PLUS]);
    line.add_tenant("acme", "servicedesk_plus", &[]);
    line.add_tenant("other", "servicedesk_plus", &[]);
    line.open_ticket("7");
    line.open_ticket("8");
    let first = created("acme", "7");
    let statuses: Vec<_> = (0..3).map(|_| line.host.send(&first).json()["status"].clone()).collect();
    assert_eq!(statuses, ["accepted", "duplicate", "duplicate"]);
    line.note_on("7");
    assert_eq!(line.host.send(&first).json()["status"], "duplicate", "also when the job is done");
    // Anything left by the duplicates would be processed before this webhook.
    assert_eq!(line.host.send(&created("acme", "8")).json()["status"], "accepted");
    line.note_on("8");
    line.idle();
    assert_eq!(line.notes("7").len(), 1);
}

#[test]
fn a_resolved_ticket_is_named_in_the_note_on_one_like_it() {
    let line = Line::with(&[Artifact::SERVICEDESK_PLUS]);
    line.add_tenant("acme", "servicedesk_plus", &[]);
    line.add_tenant("stranger", "servicedesk_plus", &[]);
    let solved = TicketFields {
        subject: "Printer on floor three prints blank pages".to_owned(),
        resolution: Some("Replaced the toner of the floor printer.".to_owned()),
        ..TicketFields::default()
    };
    let webhook = Webhook { ticket: solved, ..Webhook::new("acme", Event::Resolved, "501") };
    let answer = line.host.send(&told(&webhook));
    assert_eq!((answer.status, &answer.json()["status"]), (202, &"accepted".into()));
    line.idle();

    let asked = TicketFields { subject: "Printer prints blank pages again".to_owned(), ..TicketFields::default() };
    for (tenant, ticket) in [("acme", "502"), ("stranger", "503")] {
        line.tool.put_ticket(TOOL, ticket, asked.clone()).unwrap();
        let webhook = Webhook { ticket: asked.clone(), ..Webhook::new(tenant, Event::Created, ticket) };
        assert_eq!(line.host.send(&told(&webhook)).status, 202);
    }
    let note = line.note_on("502").body;
    assert!(note.contains("501") && note.contains("Replaced the toner"), "{note}");
    let note = line.note_on("503").body;
    assert!(!note.contains("toner") && !note.contains("501"), "one tenant's tickets are told to another: {note}");
}

#[test]
fn an_update_is_ignored() {
    let line = Line::with(&[Artifact::SERVICEDESK_PLUS]);
    line.add_tenant("acme", "servicedesk_plus", &[]);
    let answer = line.host.send(&told(&Webhook::new("acme", Event::Updated, "9")));
    assert_eq!((answer.status, &answer.json()["status"]), (202, &"ignored".into()));
    let jobs = line.host.ctl(&["job", "list"]);
    assert_eq!(jobs.as_array().map(Vec::len), Some(0), "{jobs:#}");
}

#[test]
fn two_routes_read_the_tenant_from_the_body() {
    let line = Line::with(&[Artifact::SERVICEDESK_PLUS]);
    line.add_tenant("acme", "servicedesk_plus", &[]);
    line.open_ticket("11");
    let mut request = created("acme", "11");
    request.path = "/api/webhooks/ticket-created".to_owned();
    assert_eq!(line.host.send(&request).status, 202);
    line.note_on("11");
    let mut request = resolved("acme", "11");
    request.path = "/webhook/servicedesk/resolved-ticket".to_owned();
    assert_eq!(line.host.send(&request).json()["status"], "accepted");
}

#[test]
fn health_and_readiness() {
    let host = Host::builder().start();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(host.http("GET", path, &[], b"").status, 200, "{path}");
    }
    assert!(host.ready_line().contains("plugins=0"), "{}", host.ready_line());
}

#[test]
fn a_plugin_with_an_allocator_of_its_own_works_and_is_unmapped() {
    let line = Line::with(&[Artifact::ALLOCATOR]);
    line.add_tenant("acme", "desk_allocator", &[]);
    for ticket in ["1", "2"] {
        line.open_ticket(ticket);
        assert_eq!(line.host.send(&created("acme", ticket)).status, 202);
        line.note_on(ticket);
        line.host.ctl(&["reload", "desk_allocator"]);
        line.host.wait_for_log(&["plugin generation is gone", "desk_allocator"]);
    }
}
