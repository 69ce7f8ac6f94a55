//! Canary secrets take every path that secrets take. Afterwards nothing that the host has written, said or stored
//! contains one of them, in any encoding.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use memchr::memmem::find;
use patchbay_tests::{Artifact, Host, Line, TOOL, created, http::over_tcp, http::request, told};
use sandbox::{
    Effect, OauthClient, Sandbox, SandboxConfig, Target, TicketFields,
    webhook::{Event, Scheme, Webhook, signed},
};

/// A secret with characters that JSON, HTML and URLs encode.
const HOOK: &str = r#"canary-"hook"\5b1f/+&%'s"#;
const KEY: &str = r#"canary-"key"\9c3e/+&%'s"#;
const ROTATED: &str = r#"canary-"rotated"\d07a/+&%'s"#;
const PASSWORD: &str = r#"canary-"pass"\77aa/+&%'s"#;
/// The OAuth client's secret. The tokens that follow stand unchanged in headers.
const CLIENT_SECRET: &str = r#"canary-"client"\31c8/+&%'s"#;
const REFRESH: &str = r#"canary-"refresh"\e2b4/+&%'s"#;
const CLIENT: &str = r#"canary-"token"\68fd/+&%'s"#;
const GIVEN: [&str; 3] = ["access-1", "access-2", "refresh-1"];
const ALL: [&str; 6] = [HOOK, KEY, ROTATED, PASSWORD, CLIENT_SECRET, REFRESH];

/// A tool and a host whose tenants have the canaries for secrets.
fn line() -> Line {
    let plugins = [Artifact::SERVICEDESK_PLUS, Artifact::GOOD, Artifact::SCHEMES];
    let builder = plugins.iter().fold(Host::builder(), |builder, plugin| builder.plugin(*plugin));
    // Each answer of the tool is for one attempt, and no second attempt comes in between.
    let builder = builder.config("retry.base_s", 900);
    let tool = Sandbox::start(SandboxConfig { token: KEY.to_owned(), ..SandboxConfig::default() }).unwrap();
    let mut line = Line { tool, host: builder.stopped() };
    line.host.start();
    line
}

fn add_tenant(line: &Line, id: &str, tool_type: &str, hook: &str, settings: &[&str]) {
    let secret = |name: &str, text: &str| {
        let file = line.host.folder().join(name);
        fs::write(&file, text).unwrap();
        format!("--secret={name}=@{}", file.display())
    };
    let (tool_type, base_url) =
        (format!("--tool-type={tool_type}"), format!("--base-url={}", line.tool.base_url(TOOL)));
    let secrets = [secret("webhook_secret", hook), secret("api_key", KEY)];
    let mut args = vec!["tenant", "add", id, &tool_type, &base_url, &secrets[0], &secrets[1]];
    args.extend(settings);
    line.host.ctl(&args);
}

fn deliver(line: &Line, tenant: &str, ticket: &str) {
    let webhook = Webhook::new(tenant, Event::Created, ticket);
    let mut request = told(&webhook);
    let proof = signed(&webhook, Scheme::HubHeader, HOOK).unwrap();
    request.headers.retain(|(name, _)| !proof.headers.iter().any(|(known, _)| known == name));
    request.headers.extend(proof.headers);
    assert_eq!(line.host.send(&request).status, 202);
}

/// The secret as a tool, or a proxy in front of it, would echo it.
fn echo(secret: &str) -> String {
    let json = serde_json::json!({ "authtoken": secret, "authorization": format!("Bearer {secret}") });
    let basic = STANDARD.encode(format!("desk:{secret}"));
    format!("{json} {secret} {} Basic {basic} {}", percent(secret, false), hex(secret, false))
}

/// What was seen, with its place.
type Seen = Vec<(String, Vec<u8>)>;

#[test]
fn canaries_are_nowhere() {
    let (mut line, mut seen) = (line(), Seen::new());
    a_tool_echoes(&line, &mut seen);
    a_tool_echoes_tokens(&line, &mut seen);
    a_plugin_tells(&line, &mut seen);
    senders_misplace(&line, &mut seen);
    operators_look(&line, &mut seen);
    seen.push(("the metrics".to_owned(), line.host.metrics().body));
    let running = files(&line.host.state());
    assert!(running.iter().any(|path| path.ends_with("patchbay.db-wal")), "{running:#?}");
    seen.extend(contents(&running));
    let ended = line.host.terminate();
    assert!(ended.log.contains("presented was"), "the plugin has logged: {}", ended.log);
    assert!(ended.log.contains("[secret]"), "{}", ended.log);
    seen.push(("the log".to_owned(), ended.log.into_bytes()));
    seen.extend(contents(&files(&line.host.state())));

    let secrets = ALL.map(str::to_owned).into_iter().chain(GIVEN.map(given));
    let forms: Vec<_> = secrets.flat_map(|secret| forms(&secret)).collect();
    for (what, bytes) in &seen {
        let found: Vec<_> = forms.iter().filter(|form| find(bytes, form.as_bytes()).is_some()).collect();
        assert!(found.is_empty(), "{found:?} is in {what}: {}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn a_canary_would_be_found_in_each_form() {
    for told in [
        HOOK.to_owned(),
        format!("{HOOK:?}"),
        serde_json::json!({ "x": HOOK }).to_string(),
        percent(HOOK, false),
        percent(HOOK, true),
        hex(HOOK, false),
        hex(HOOK, true),
        STANDARD.encode(HOOK),
        STANDARD.encode(format!("desk:{HOOK}")),
        URL_SAFE_NO_PAD.encode(format!("a:{HOOK}:bc")),
        STANDARD.encode(format!("ab:{HOOK}:")),
    ] {
        assert!(forms(HOOK).iter().any(|form| told.contains(form.as_str())), "{told}");
    }
}

/// The tool echoes what it was sent: as errors, in place of JSON, cut at the excerpt's end, in a ticket.
fn a_tool_echoes(line: &Line, seen: &mut Seen) {
    let tenants = [("desk", "desk_good"), ("acme", "servicedesk_plus")];
    for (tenant, tool_type) in tenants {
        add_tenant(line, tenant, tool_type, HOOK, &[]);
    }
    let answers = [400, 401, 404, 422, 429, 500, 503, 200].map(|status| (status, echo(KEY), None));
    let cut = (280..300).step_by(5).map(|padding| (500, "x".repeat(padding) + KEY, Some("text/html".to_owned())));
    let mut ticket = 100;
    for (status, body, content_type) in answers.into_iter().chain(cut) {
        for (tenant, _) in tenants {
            for operation in [Target::Get, Target::Note] {
                let id = ticket.to_string();
                ticket += 1;
                line.open_ticket(&id);
                let (body, content_type) = (Some(body.clone()), content_type.clone());
                line.fail(operation, Some(1), Effect::Status { status, body, content_type });
                deliver(line, tenant, &id);
                let job = line.job(&id, "has failed or is done", |job| {
                    ["dead", "done", "waiting"].iter().any(|state| job["state"] == *state)
                });
                seen.push((format!("the job after {status} to {operation:?}"), job.to_string().into_bytes()));
            }
        }
    }
    line.repair();
    let fields = TicketFields { subject: echo(KEY), description: echo(KEY), ..TicketFields::default() };
    line.tool.put_ticket(TOOL, "99", fields).unwrap();
    for (tenant, _) in tenants {
        deliver(line, tenant, "99");
    }
    line.tool.wait_for_notes(TOOL, "99", 2, patchbay_tests::WAIT_MAX).unwrap();
}

/// A token or refresh token issued by the sandbox.
fn given(what: &str) -> String {
    format!("{CLIENT}-{what}")
}

/// As [`a_tool_echoes`], with everything that belongs to a token. The tool refuses the first one and, once renewed, the
/// second.
fn a_tool_echoes_tokens(line: &Line, seen: &mut Seen) {
    line.tool.set_oauth(OauthClient {
        client_id: CLIENT.to_owned(),
        client_secret: CLIENT_SECRET.to_owned(),
        refresh_token: Some(REFRESH.to_owned()),
        rotates: true,
        expires_in_s: None,
        failure_status: None,
    });
    add_tenant(line, "oauth", "desk_good", HOOK, &[]);
    let oauth2 = serde_json::json!({
        "token_url": line.tool.token_url(), "grant": "refresh_token", "client_id": CLIENT,
        "client_secret": CLIENT_SECRET, "refresh_token": REFRESH,
    });
    fs::write(line.host.folder().join("oauth2"), serde_json::json!({ "oauth2": oauth2 }).to_string()).unwrap();
    line.host.ctl(&["tenant", "rotate-secret", "oauth", "api_key", "@oauth2"]);
    let body: String = GIVEN.map(given).iter().map(|text| echo(text)).collect();
    let body = Some(body + &echo(CLIENT_SECRET));
    for (ticket, status, times) in [("301", 401, 2), ("302", 500, 1)] {
        line.open_ticket(ticket);
        line.fail(Target::Get, Some(times), Effect::Status { status, body: body.clone(), content_type: None });
        deliver(line, "oauth", ticket);
        let job = line.job(ticket, "has failed", |job| job["state"] == "dead" || job["state"] == "waiting");
        assert!(job.to_string().contains("[secret]"), "{job:#}");
        seen.push((format!("the job after {status} and tokens"), job.to_string().into_bytes()));
    }
    assert_eq!(line.tool.oauth_grants().len(), 2, "the first token was renewed");
    line.repair();
    let shown = line.host.ctl(&["tenant", "show", "oauth"]);
    seen.push(("tenant show oauth".to_owned(), shown.to_string().into_bytes()));
}

/// A plugin leaks what it was presented, which is the secret.
fn a_plugin_tells(line: &Line, seen: &mut Seen) {
    let basic = format!("Basic {}", STANDARD.encode(format!("desk:{PASSWORD}")));
    let presented = [("token", "x-token", HOOK, HOOK), ("basic", "authorization", &basic, PASSWORD)];
    for (scheme, header, value, secret) in presented {
        for tells in ["panic", "error", "log"] {
            let tenant = format!("{scheme}-{tells}");
            let settings = [format!("--set=scheme={scheme}"), format!("--set=tells={tells}")];
            add_tenant(line, &tenant, "desk_schemes", secret, &settings.each_ref().map(String::as_str));
            for value in [value.to_owned(), format!("{value}x")] {
                let body = created(&tenant, "1").body;
                let answer = line.host.http("POST", &format!("/webhooks/{tenant}"), &[(header, &value)], &body);
                let expected = match (tells, value.ends_with('x')) {
                    ("log", false) => 202,
                    ("log", true) => 401,
                    _ => 503,
                };
                assert_eq!(answer.status, expected, "{tenant}: {}", answer.text());
                seen.push((format!("the answer to {tenant}"), format!("{answer:?}").into_bytes()));
            }
        }
    }
}

/// Senders put a secret in the wrong place.
fn senders_misplace(line: &Line, seen: &mut Seen) {
    let hook = percent(HOOK, false);
    for (path, body) in [
        (format!("/webhooks/acme?token={hook}"), "{}".to_owned()),
        (format!("/webhooks/{hook}"), "{}".to_owned()),
        (format!("/{hook}"), String::new()),
        ("/webhooks/acme".to_owned(), echo(HOOK)),
        ("/webhooks".to_owned(), serde_json::json!({ "tenant_id": HOOK }).to_string()),
    ] {
        let answer = over_tcp(line.host.address(), &request("POST", &path, &[("x-token", HOOK)], body.as_bytes()));
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.text());
        seen.push((format!("the answer to {path}"), format!("{answer:?}").into_bytes()));
    }
}

fn operators_look(line: &Line, seen: &mut Seen) {
    let rotated = line.host.folder().join("rotated");
    fs::write(&rotated, ROTATED).unwrap();
    line.host.ctl(&["tenant", "rotate-secret", "acme", "api_key", &format!("@{}", rotated.display())]);
    deliver(line, "acme", "98");
    line.job("98", "was refused", |job| job["last_error"]["code"] == "authentication");
    for args in [
        &["tenant", "list"][..],
        &["tenant", "show", "acme"],
        &["tenant", "show", "basic-log"],
        &["tenant", "show", "nobody"],
        &["tenant", "rotate-secret", "acme", "api_key", ""],
        &["job", "list", "--limit", "1000"],
        &["job", "list", "--state", "done"],
        &["job", "list", "--state", "dead"],
        &["list"],
        &["list", "--files"],
        &["info", "desk_schemes"],
        &["events"],
    ] {
        let ended = line.host.try_ctl(args);
        seen.push((format!("plugin-ctl {args:?}"), (ended.stdout + &ended.stderr).into_bytes()));
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The contents of plain files; a socket has nothing to read.
fn contents(files: &[PathBuf]) -> Vec<(String, Vec<u8>)> {
    let plain = files.iter().filter(|path| path.is_file());
    plain.map(|path| (path.display().to_string(), fs::read(path).unwrap())).collect()
}

/// Every form that a secret may take. Of Base64, the digits that do not depend on the text around it.
fn forms(secret: &str) -> Vec<String> {
    let json = serde_json::Value::from(secret).to_string();
    let json = json[1..json.len() - 1].to_owned();
    let mut forms = vec![secret.to_owned(), json.replace('/', "\\/"), json];
    for upper in [false, true] {
        forms.extend([hex(secret, upper), percent(secret, upper)]);
    }
    for before in ["", "x", "xy"] {
        let text = format!("{before}{secret}");
        let whole = 4 * before.len().div_ceil(3) - usize::from(before.len() == 1);
        let end = 4 * (text.len() / 3);
        forms.extend(
            [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)].map(|text| text[whole..end].to_owned()),
        );
    }
    forms
}

fn hex(text: &str, upper: bool) -> String {
    text.bytes().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }).collect()
}

fn percent(text: &str, upper: bool) -> String {
    let encoded = |byte: u8| if upper { format!("%{byte:02X}") } else { format!("%{byte:02x}") };
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    text.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { encoded(byte) }).collect()
}
