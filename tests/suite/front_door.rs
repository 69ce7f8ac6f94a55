//! The host's own handling of requests from any tool: addresses, encodings, and the tenant in a body.

use patchbay_tests::{Answer, Artifact, Host, Line, WEBHOOK_SECRET, created, http};
use sandbox::webhook::{Scheme, SignedRequest, proof};

const CREATED: &str = "/api/webhooks/ticket-created";
const RESOLVED: &str = "/webhook/servicedesk/resolved-ticket";

/// Two tenants whose plugin reads bodies with the SDK's reader.
fn line() -> Line {
    let line = Line::with(&[Artifact::SCHEMES]);
    line.add_tenant("acme", "desk_schemes", &[]);
    line.add_tenant("ac-me1", "desk_schemes", &[]);
    line
}

/// Any body, properly signed.
fn signed(path: &str, content_type: &str, body: &[u8]) -> SignedRequest {
    let proof = proof(Scheme::HubHeader, WEBHOOK_SECRET, body).unwrap();
    let headers = vec![("content-type", content_type.to_owned()), proof];
    SignedRequest { path: path.to_owned(), headers, body: body.to_vec() }
}

fn ticket(id: &str) -> Vec<u8> {
    format!(r#"{{"tenant_id":"acme","ticket_id":"{id}","event":"ticket_created"}}"#).into_bytes()
}

#[test]
fn addresses_that_mean_the_same_are_the_same() {
    let line = line();
    let paths = [
        "/webhooks/acme",
        "/webhooks/acme/",
        "//webhooks/acme",
        "/webhooks//acme//",
        "/webhooks/%61cme",
        "/%77ebhook%73/ac%6De/",
        "/webhooks/ac%2Dme1",
        "/webhooks/ac-me%31/?a=b",
        CREATED,
        "/api/webhooks/ticket-created/",
        "//api/webhooks//ticket%2Dcreated",
        RESOLVED,
        "/webhook/servicedesk/resolved-ticket//?x",
    ];
    for (path, id) in paths.into_iter().zip(1..) {
        let id = id.to_string();
        let answer = line.host.send(&signed(path, "application/json", &ticket(&id)));
        assert_eq!((answer.status, &answer.json()["ticket_id"]), (202, &id.into()), "{path}: {}", answer.text());
    }
    for (path, status) in [
        ("/webhooks/acme%2F", 401),
        ("/webhooks/a%2Fb", 401),
        ("/webhooks/acme%20", 401),
        ("/webhooks/%2561cme", 401),
        ("/webhooks/ACME", 401),
        ("/webhooks/acme/x", 404),
        ("/webhooks/./acme", 404),
        ("/Webhooks/acme", 404),
        ("/webhooks%2Facme", 404),
        ("/api/webhooks/ticket_created", 404),
    ] {
        let answer = line.host.send(&signed(path, "application/json", &ticket("1")));
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    let metrics = line.host.metrics().text();
    for route in ["/webhooks/{tenant_id}", CREATED, RESOLVED, "unknown"] {
        assert!(metrics.contains(&format!("route=\"{route}\"")), "{route} is not in {metrics}");
    }
    assert!(!metrics.contains("acme") && !metrics.contains("%2D"), "paths make no metrics: {metrics}");
}

#[test]
fn every_other_address_is_exact() {
    let host = Host::builder().start();
    for path in ["/healthz/", "//healthz", "/health%7a", "/healthz%2F", "/readyz/", "//readyz", "/%72eadyz"] {
        assert_eq!(host.http("GET", path, &[], b"").status, 404, "{path}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(host.http("GET", path, &[], b"").status, 200, "{path}");
    }
}

/// Atlassian signs the path in its own canonical form, so the plugin must get it unchanged.
#[test]
fn a_plugin_sees_the_path_as_it_came() {
    let line = Line::with(&[Artifact::JIRA]);
    line.add_tenant_at(
        "acme",
        "jira",
        "http://127.0.0.1:9",
        &[("webhook_auth", "connect"), ("api_user", "a@b.example")],
    );
    let body = br#"{"event":"created","issue":{"key":"IT-7"}}"#;
    let status = |path: &str, signed_path: &str| {
        let request = format!("POST&{signed_path}&");
        let proof = proof(Scheme::ConnectJwt, WEBHOOK_SECRET, request.as_bytes()).unwrap();
        let headers = vec![("content-type", "application/json".to_owned()), proof];
        line.host.send(&SignedRequest { path: path.to_owned(), headers, body: body.to_vec() }).status
    };
    for (path, signed_path) in [
        ("/webhooks/acme", "/webhooks/acme"),
        ("/webhooks/acme/", "/webhooks/acme"),
        ("//webhooks/acme", "//webhooks/acme"),
        ("/webhooks/%61cme", "/webhooks/%61cme"),
    ] {
        assert_eq!(status(path, signed_path), 202, "{path}");
    }
    assert_eq!(status("//webhooks/acme", "/webhooks/acme"), 401);
    assert_eq!(status("/webhooks/%61cme", "/webhooks/acme"), 401);
}

/// The parts of an answer that may not differ between tenants.
fn shown(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let is_own = |name: &str| matches!(name, "date" | "x-correlation-id");
    let headers = answer.headers.iter().filter(|(name, _)| !is_own(name)).cloned().collect();
    let mut body = answer.json();
    body["correlation_id"].take();
    (answer.status, headers, body.to_string())
}

#[test]
fn what_nobody_can_read_is_told_before_anybody_is_asked() {
    let line = line();
    line.add_tenant("asleep", "desk_schemes", &[]);
    line.host.ctl(&["tenant", "disable", "asleep"]);
    line.add_tenant("later", "desk_of_tomorrow", &[]);
    let check = |name: &'static str, value: &str, code: &str, told: &str| {
        let paths = ["/webhooks/acme", "/webhooks/nobody", "/webhooks/asleep", "/webhooks/later", CREATED];
        let answers: Vec<_> = paths
            .map(|path| {
                let mut request = signed(path, "application/json", &ticket("1"));
                request.headers.retain(|(header, _)| *header != name);
                request.headers.push((name, value.to_owned()));
                line.host.send(&request)
            })
            .into_iter()
            .collect();
        assert_eq!((answers[0].status, answers[0].problem_code().as_str()), (415, code), "{name}: {value}");
        let detail = answers[0].json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(told), "{value}: {detail}");
        for (answer, path) in answers.iter().zip(paths) {
            assert_eq!(shown(answer), shown(&answers[0]), "{path} {value}");
        }
        let accepted = answers[0].header("accept-encoding");
        assert_eq!(accepted, (name == "content-encoding").then_some("identity"), "{value}");
    };
    for encoding in ["gzip", "br", "deflate", "identity, gzip", "GZIP", "aws-chunked"] {
        check("content-encoding", encoding, "unsupported_encoding", "identity");
    }
    for charset in ["klingon", "utf-7", "\"cp437\"", "ISO-2022-KR"] {
        let content_type = format!("application/json; charset={charset}");
        check("content-type", &content_type, "unsupported_charset", charset.trim_matches('"'));
        check("content-type", &content_type.replace("json", "vnd.desk+json"), "unsupported_charset", "UTF-8");
    }
    let metrics = line.host.metrics().text();
    let counted = metrics.lines().any(|line| line.contains("route=\"/webhooks/{tenant_id}\"") && line.contains("415"));
    assert!(counted, "{metrics}");
    let jobs = line.host.ctl(&["job", "list"]);
    assert_eq!(jobs.as_array().map(Vec::len), Some(0), "{jobs:#}");
}

#[test]
fn an_encoding_that_changes_nothing_and_any_other_content_type_are_the_plugins() {
    let line = line();
    let headers = [
        ("content-encoding", "identity"),
        ("content-encoding", ""),
        ("content-encoding", "Identity, identity"),
        ("content-type", "text/plain; charset=klingon"),
        ("content-type", "application/x-www-form-urlencoded; charset=utf-7"),
        ("content-type", "application/json; charset=windows-1252"),
        ("x-unrelated", "gzip"),
    ];
    for ((name, value), id) in headers.into_iter().zip(1..) {
        let mut request = signed("/webhooks/acme", "application/json", &ticket(&id.to_string()));
        request.headers.retain(|(header, _)| *header != name);
        request.headers.push((name, value.to_owned()));
        assert_eq!(line.host.send(&request).status, 202, "{name}: {value}");
    }
}

#[test]
fn the_tenant_is_read_from_bodies_as_senders_write_them() {
    let line = line();
    let plain = |id: &str| String::from_utf8(ticket(id)).unwrap();
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let cut = |id: &str| plain(id).replace('{', r#"{"subject":"cut \ud83d","#);
    let latin = |id: &str| [b"{\"subject\":\"B\xfcro\",", &ticket(id)[1..]].concat();
    let bodies = [
        ("application/json", format!("\u{feff}{}", plain("1")).into_bytes()),
        ("application/json; charset=utf-8", format!("\u{feff}\u{feff} {}", plain("2")).into_bytes()),
        ("application/json", cut("3").into_bytes()),
        ("application/json", plain("4").replace('{', r#"{"cut \udc00":[1e400],"#).into_bytes()),
        ("application/json; charset=ISO-8859-1", latin("5")),
        ("application/json", latin("6")),
        ("application/json; charset=utf-16", utf16(&plain("7"))),
        ("application/json", utf16(&format!("\u{feff}{}", cut("8")))),
        ("text/plain", plain("9").replace("tenant_id", r"\u0074enant_id").into_bytes()),
    ];
    for ((content_type, body), id) in bodies.into_iter().zip(1..) {
        for path in [CREATED, RESOLVED] {
            let answer = line.host.send(&signed(path, content_type, &body));
            assert_eq!(answer.status, 202, "{id} {content_type}: {}", answer.text());
            assert_eq!(answer.json()["ticket_id"], id.to_string());
        }
    }
    // A repeated name counts as missing, even if only the reader notices it.
    for body in [
        plain("1").replace('{', "{\"tenant_id\":\"acme\","),
        format!("\u{feff}{}", plain("1").replace('{', r#"{"tenant_i\u0064":"other","#)),
        cut("1").replace('{', r#"{"tenant_id":"nobody","#),
    ] {
        assert_eq!(line.host.send(&signed(CREATED, "application/json", body.as_bytes())).status, 401, "{body}");
    }
    let twice = utf16(&plain("1").replace('{', "{\"tenant_id\":\"acme\","));
    assert_eq!(line.host.send(&signed(CREATED, "application/json", &twice)).status, 401);
}

/// The answer comes before the body, whether the tenant exists or not.
#[test]
fn a_415_does_not_wait_for_the_body() {
    let line = line();
    for path in ["/webhooks/acme", "/webhooks/nobody"] {
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\ncontent-encoding: gzip\r\n\r\n");
        let answer = http::over_tcp(line.host.address(), head.as_bytes());
        assert_eq!((answer.status, answer.closed), (415, true), "{path}: {answer:?}");
    }
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
}
