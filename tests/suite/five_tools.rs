//! Every tool from end to end: signed webhooks in, one internal note out, whatever the tool's API does in between.

use std::time::Duration;

use patchbay_tests::{API_KEY, Answer, Artifact, Line, WAIT_MAX, WEBHOOK_SECRET};
use sandbox::{
    Effect, Fault, Target, TicketFields, Tool,
    webhook::{Event, Form, Scheme, Webhook, signed},
};
use serde_json::Value;

/// A tool as its administrators would connect it.
struct Desk {
    artifact: Artifact,
    tool: Tool,
    scheme: Scheme,
    form: Form,
    settings: &'static [(&'static str, &'static str)],
    /// A ticket's id, without the two digits at its end.
    stem: &'static str,
    /// The tool's text for how a ticket was solved.
    resolution: &'static str,
}

const RESOLUTION: &str = "Replaced the toner of the floor printer.";

const SERVICEDESK_PLUS: Desk = Desk {
    artifact: Artifact::SERVICEDESK_PLUS,
    tool: Tool::ServicedeskPlus,
    scheme: Scheme::SignatureHeader,
    form: Form::Flat,
    settings: &[],
    stem: "1",
    resolution: RESOLUTION,
};
/// Freshservice signs nothing: its webhooks are read back.
const FRESHSERVICE: Desk = Desk {
    artifact: Artifact::FRESHSERVICE,
    tool: Tool::Freshservice,
    scheme: Scheme::StaticToken,
    form: Form::Flat,
    settings: &[],
    stem: "1",
    resolution: RESOLUTION,
};
const SERVICENOW: Desk = Desk {
    artifact: Artifact::SERVICENOW,
    tool: Tool::ServiceNow,
    scheme: Scheme::ServicenowSignature,
    form: Form::Flat,
    settings: &[],
    stem: "9d385017c611228701d22104cc95c3",
    resolution: RESOLUTION,
};
const JIRA: Desk = Desk {
    artifact: Artifact::JIRA,
    tool: Tool::Jira,
    scheme: Scheme::XHubSignature,
    form: Form::Flat,
    settings: &[("api_user", "bot@acme.example")],
    stem: "IT-1",
    // The name of a resolution: Jira has no text for it.
    resolution: "Done",
};
const ZENDESK: Desk = Desk {
    artifact: Artifact::ZENDESK,
    tool: Tool::Zendesk,
    scheme: Scheme::ZendeskSignature,
    form: Form::Event,
    settings: &[("api_user", "bot@acme.example")],
    stem: "1",
    resolution: RESOLUTION,
};

impl Desk {
    fn line(&self) -> Line {
        let line = Line::with(&[self.artifact]);
        line.add_tenant_at("acme", self.tool.name(), &line.tool.base_url(self.tool), self.settings);
        line
    }

    fn webhook(&self, event: Event, number: u32, subject: &str) -> Webhook {
        let ticket = TicketFields {
            subject: subject.to_owned(),
            resolution: (event == Event::Resolved).then(|| RESOLUTION.to_owned()),
            ..TicketFields::default()
        };
        let id = format!("{}{number:02}", self.stem);
        Webhook { tool: self.tool, form: self.form, ticket, ..Webhook::new("acme", event, id) }
    }

    /// Puts the ticket into the tool, and delivers the webhook.
    #[track_caller]
    fn deliver(&self, line: &Line, webhook: &Webhook, secret: &str) -> Answer {
        line.tool.put_ticket(self.tool, &webhook.ticket_id, webhook.ticket_after()).expect("the sandbox has room");
        line.host.send(&signed(webhook, self.scheme, secret).expect("the secret is not empty"))
    }

    /// Makes the tool fail once in each of these ways, in this order.
    fn fail(&self, line: &Line, effects: [(Target, Effect); 3]) {
        let fault = |(operation, effect)| Fault {
            tool: Some(self.tool),
            operation,
            times: Some(1),
            effect: Some(effect),
            ..Fault::default()
        };
        line.tool.set_faults(effects.map(fault).to_vec()).expect("the sandbox has room");
    }
}

#[track_caller]
fn accepted(answer: &Answer) -> String {
    assert_eq!(answer.status, 202, "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["status"], "accepted", "{body:#}");
    body["ticket_id"].as_str().expect("it says which ticket").to_owned()
}

fn waits_after(attempts: u64) -> impl Fn(&Value) -> bool {
    move |job| job["state"] == "waiting" && job["attempts"] == attempts
}

#[track_caller]
fn check(desk: &Desk) {
    let line = desk.line();

    let strange = desk.deliver(&line, &desk.webhook(Event::Created, 1, "Printer"), API_KEY);
    assert_eq!((strange.status, strange.problem_code().as_str()), (401, "not_authentic"));
    let updated = desk.deliver(&line, &desk.webhook(Event::Updated, 2, "Printer"), WEBHOOK_SECRET);
    assert_eq!((updated.status, &updated.json()["status"]), (202, &"ignored".into()));
    accepted(&desk.deliver(
        &line,
        &desk.webhook(Event::Resolved, 3, "Printer on floor three prints blank pages"),
        WEBHOOK_SECRET,
    ));
    line.idle();

    desk.fail(
        &line,
        [
            (Target::Get, Effect::RateLimited { retry_after: Some("600".to_owned()) }),
            (Target::Get, Effect::Status { status: 500, body: None, content_type: None }),
            // The note is posted, but the host gets no answer.
            (Target::Note, Effect::DropAfter),
        ],
    );
    let webhook = desk.webhook(Event::Created, 4, "Printer prints blank pages again");
    let ticket = accepted(&desk.deliver(&line, &webhook, WEBHOOK_SECRET));
    let limited = line.job(&ticket, "waits", waits_after(1));
    assert_eq!(limited["last_error"]["code"], "rate_limit", "{limited:#}");
    line.skip_wait(1);
    assert_eq!(line.job(&ticket, "still waits", waits_after(1))["attempts"], 1, "it was told to wait for 600 s");
    line.host.advance_clock(Duration::from_secs(600));
    for attempts in 2..=3 {
        line.job(&ticket, "waits", waits_after(attempts.into()));
        line.skip_wait(attempts);
    }
    let done = line.job(&ticket, "done", |job| job["state"] == "done");
    assert_eq!((&done["attempts"], &done["outcome"]), (&4.into(), &"done".into()), "{done:#}");

    let noted = line.tool.ticket(desk.tool, &webhook.ticket_id).expect("the sandbox has it").notes;
    let [note] = &noted[..] else { panic!("not one note: {noted:#?}") };
    assert!(note.internal, "{note:#?}");
    // The solution is known, from the webhook or by asking the tool.
    for known in ["Printer on floor three prints blank pages", desk.resolution] {
        assert!(note.body.contains(known), "{known}: {}", note.body);
    }
    for other in [1, 2, 3].map(|number| desk.webhook(Event::Updated, number, "").ticket_id) {
        assert_eq!(line.tool.ticket(desk.tool, &other).expect("the sandbox has it").notes.len(), 0, "{other}");
    }
}

/// No note contains anything that the tool has not said itself.
#[track_caller]
fn check_hints(desk: &Desk) {
    let line = desk.line();
    let deliver = |webhook: &Webhook| {
        line.tool.put_ticket(desk.tool, &webhook.ticket_id, webhook.ticket_after()).expect("the sandbox has room");
        let (subject, resolution) = ("Forged printer".to_owned(), Some("Forged: send your password".to_owned()));
        let ticket = TicketFields { subject, resolution, ..webhook.ticket.clone() };
        let forged = Webhook { ticket, ..webhook.clone() };
        accepted(&line.host.send(&signed(&forged, desk.scheme, WEBHOOK_SECRET).expect("the secret is not empty")))
    };
    deliver(&desk.webhook(Event::Resolved, 1, "Printer on floor three prints blank pages"));
    line.host.wait_for_log(&["the solved ticket is in the history"]);
    line.idle();
    let webhook = desk.webhook(Event::Created, 2, "Printer prints blank pages again");
    deliver(&webhook);
    let ticket = line.tool.wait_for_notes(desk.tool, &webhook.ticket_id, 1, WAIT_MAX).expect("the sandbox has it");
    let note = &ticket.notes[0].body;
    assert!(note.contains(desk.resolution) && !note.contains("Forged"), "{:?}: {note}", desk.tool);
}

#[test]
fn what_is_only_a_hint_is_read_from_the_tool() {
    for desk in [
        FRESHSERVICE,
        Desk { settings: &[("read_back", "true")], ..SERVICEDESK_PLUS },
        Desk { settings: &[("read_back", "true")], ..SERVICENOW },
        Desk { settings: &[("read_back", "true"), ("api_user", "bot@acme.example")], ..JIRA },
    ] {
        check_hints(&desk);
    }
}

#[test]
fn servicedesk_plus() {
    check(&SERVICEDESK_PLUS);
}

#[test]
fn freshservice() {
    check(&FRESHSERVICE);
}

#[test]
fn servicenow() {
    check(&SERVICENOW);
}

#[test]
fn jira() {
    check(&JIRA);
}

#[test]
fn zendesk() {
    check(&ZENDESK);
}
