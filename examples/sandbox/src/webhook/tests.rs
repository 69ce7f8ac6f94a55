use serde_json::Value;
use time::macros::datetime;

use super::*;

const FOX: &[u8] = b"The quick brown fox jumps over the lazy dog";
/// HMAC-SHA256 of FOX with "key", as published in Wikipedia's article on HMAC.
const FOX_MAC: &str = "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";

#[test]
fn each_scheme_has_its_header() {
    let check = |scheme, name, value: &str| assert_eq!(proof(scheme, "key", FOX), Ok((name, value.to_owned())));
    check(Scheme::SignatureHeader, "x-servicedesk-signature", FOX_MAC);
    check(Scheme::HubHeader, "x-webhook-signature", &format!("sha256={FOX_MAC}"));
    check(Scheme::StaticToken, "x-webhook-token", "key");
    check(Scheme::Basic, "authorization", "Basic cGF0Y2hiYXk6a2V5");
    // FOX_MAC in Base64.
    check(Scheme::ServicenowSignature, "x-servicenow-signature", "97yD9DBThCSxMpjmqm+xQ+9NWaFJRhdZl0edvC0aPNg=");
    check(Scheme::ZendeskSignature, "x-zendesk-webhook-signature", "97yD9DBThCSxMpjmqm+xQ+9NWaFJRhdZl0edvC0aPNg=");
    check(Scheme::Timestamped, "x-webhook-signature", FOX_MAC);
    check(Scheme::Stripe, "x-webhook-signature", FOX_MAC);
    check(Scheme::XHubSignature, "x-hub-signature", &format!("sha256={FOX_MAC}"));
    for scheme in Scheme::value_variants() {
        assert_eq!(proof(*scheme, "", FOX), Err(EmptySecret));
    }
}

fn body(form: Form, event: Event) -> Value {
    let mut webhook = Webhook::new("acme", event, "101");
    webhook.form = form;
    webhook.ticket.created_at = datetime!(2025-11-05 12:00 UTC);
    let request = signed(&webhook, Scheme::StaticToken, "s").unwrap();
    assert_eq!(request.path, "/webhooks/acme");
    serde_json::from_slice(&request.body).unwrap()
}

#[test]
fn the_flat_form_names_tenant_ticket_and_event() {
    let created = body(Form::Flat, Event::Created);
    for (field, expected) in [
        ("tenant_id", "acme"),
        ("ticket_id", "101"),
        ("event", "ticket_created"),
        ("priority", "high"),
        ("created_at", "2025-11-05T12:00:00Z"),
    ] {
        assert_eq!(created[field], expected, "{field}");
    }
    assert!(created.get("resolution").is_none());
    let resolved = body(Form::Flat, Event::Resolved);
    assert_eq!(resolved["event"], "ticket_resolved");
    assert!(resolved["resolution"].is_string() && resolved["resolved_date"].is_string());
    assert_eq!(body(Form::Flat, Event::Updated)["event"], "ticket_updated");
}

#[test]
fn the_request_form_shows_the_event_in_the_request() {
    let created = &body(Form::Request, Event::Created)["request"];
    assert_eq!((&created["id"], &created["status"]["name"]), (&"101".into(), &"Open".into()));
    assert_eq!(created["created_time"]["value"], "1762344000000");
    assert_eq!(created["created_time"]["display_value"], "Nov 5, 2025 12:00 PM");
    assert_eq!(created["last_updated_time"], created["created_time"]);
    let resolved = &body(Form::Request, Event::Resolved)["request"];
    assert_eq!((&resolved["status"]["name"], &resolved["status"]["in_progress"]), (&"Resolved".into(), &false.into()));
    assert!(resolved["resolution"]["content"].is_string() && resolved["resolved_time"]["value"].is_string());
    let updated = &body(Form::Request, Event::Updated)["request"];
    assert_ne!(updated["last_updated_time"], updated["created_time"]);
}

#[test]
fn a_time_that_is_signed_is_sent() {
    let mut webhook = Webhook::new("acme", Event::Created, "4f1c0e9a2b7d4c55a1e8300d9b6c7f21");
    webhook.tool = Tool::ServiceNow;
    let request = signed(&webhook, Scheme::ServicenowSignature, "key").unwrap();
    let header = |name| request.headers.iter().find(|(known, _)| *known == name).unwrap().1.as_str();
    let sent_at = header("x-servicenow-timestamp");
    assert!(OffsetDateTime::parse(sent_at, &Rfc3339).is_ok(), "{sent_at}");
    let whole = [sent_at.as_bytes(), b":", &request.body].concat();
    let (name, mac) = proof(Scheme::ServicenowSignature, "key", &whole).unwrap();
    assert_eq!(header(name), mac);
}

#[test]
fn stripes_header_has_the_time_that_it_signs() {
    let webhook = Webhook { tool: Tool::Generic, ..Webhook::new("acme", Event::Created, "101") };
    let request = signed(&webhook, Scheme::Stripe, "key").unwrap();
    let value = &request.headers.iter().find(|(name, _)| *name == "x-webhook-signature").unwrap().1;
    let (stamp, digits) = value.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    assert!(stamp.parse::<i64>().is_ok(), "{value}");
    let whole = [stamp.as_bytes(), b".", &request.body].concat();
    assert_eq!(proof(Scheme::Stripe, "key", &whole), Ok(("x-webhook-signature", digits.to_owned())));
}
