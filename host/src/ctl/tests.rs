//! Commands against a server with prepared answers, and without a server.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex},
};

use axum::{Json, Router, extract::Request, http::StatusCode, response::IntoResponse};
use clap::{CommandFactory, Parser};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::UnixListener, runtime::Runtime};

use super::{args::read, failure::Exit, *};

/// A host that gives each request the same answer, and records the requests.
struct Host {
    socket: PathBuf,
    asked: Arc<Mutex<Vec<String>>>,
    _runtime: Runtime,
    _folder: TempDir,
}

impl Host {
    fn answering(answers: impl Fn(&str) -> (u16, Value) + Clone + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let runtime = Runtime::new().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let router = Router::new().fallback({
            let asked = Arc::clone(&asked);
            move |request: Request| {
                let line = format!("{} {}", request.method(), request.uri());
                let (status, body) = answers(&line);
                asked.lock().unwrap().push(line);
                async move { (StatusCode::from_u16(status).unwrap(), Json(body)).into_response() }
            }
        });
        let within = runtime.enter();
        let listener = UnixListener::bind(&socket).unwrap();
        drop(within);
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { socket, asked, _runtime: runtime, _folder: folder }
    }

    fn run(&self, line: &str) -> Result<Shown, Failure> {
        run_on(&self.socket, line)
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn run_on(socket: &std::path::Path, line: &str) -> Result<Shown, Failure> {
    let words = ["plugin-ctl", "--socket"].into_iter().map(String::from).chain([socket.display().to_string()]);
    let args = Args::try_parse_from(words.chain(line.split(' ').map(String::from))).unwrap();
    run(args, &Console::deaf())
}

fn plugins() -> Value {
    json!([{
        "tool_type": "jira", "version": "1.3.2", "state": "active", "generation": 17, "path": "plugins/libjira.so",
        "sha256": "9f", "signature": "unsigned", "loaded_at": null, "in_flight": 0, "calls": 0, "errors": 0,
        "last_error": null, "candidate": null,
    }])
}

/// The jira plugin with its declarations.
fn declaring(declares: Value) -> Value {
    let mut detail = plugins()[0].clone();
    detail.as_object_mut().unwrap().extend([("generations".to_owned(), json!([])), ("declares".to_owned(), declares)]);
    detail
}

fn tenant() -> Value {
    json!({
        "id": "acme", "tool_type": "jira", "base_url": "https://a.example/", "enabled": true, "settings": {},
        "allow_origins": [], "replay_window_s": 300, "enhance_on": ["created"], "secrets": [], "live_jobs": 41,
    })
}

#[test]
fn the_command_line_is_sound_and_what_is_wrong_is_usage() {
    Args::command().debug_assert();
    let code = |line: &str| {
        let words = std::iter::once("plugin-ctl").chain(line.split_whitespace()).map(Into::into);
        read(words).map_or_else(|code| code, |_| ExitCode::SUCCESS)
    };
    for good in [
        "list",
        "list --files --json",
        "reload",
        "reload jira",
        "reload --all",
        "enable jira",
        "events",
        "events --limit 10000",
        "events --follow --tool-type jira",
        "install lib.so --reason because --name other.so",
        "job retry --dead",
        "job retry --dead --tenant acme --reason api",
        "job retry --waiting --tenant acme",
        "job retry 019ab3c4-d5e6",
        "job purge --tenant acme --reason api --yes",
        "job list --ticket 17 --since 2h --reason api --after 019ab3c4 --tenant acme",
        "job list --since 2026-03-02T09:15:00Z",
        "job find 17",
        "tenant add acme --base-url https://a.example --enhance-on created,updated",
        "tenant try acme --body b.json --header A:b --at 2026-11-20T10:00:00Z",
        "tenant remove-secret acme key --yes --reason because",
        "tenant export",
        "tenant update acme --enhance-on updated --unset a --unset b --remove-origin https://a.example --yes",
        "--help",
    ] {
        assert_eq!(code(good), ExitCode::SUCCESS, "{good}");
    }
    for wrong in [
        "",
        "lst",
        "reload jira --all",
        "info Jira",
        "enable",
        "events --limit 0",
        "events --limit 10001",
        "events --tool-type Jira",
        "install",
        "reload --reason",
        "job retry",
        "job retry --tenant acme",
        "job retry --dead --waiting",
        "job retry 019ab3c4 --dead",
        "job retry 019ab3c4 --tenant acme",
        "job retry --waiting --reason api",
        "job show 17x",
        "job find",
        "job list --since yesterday",
        "job list --limit 0",
        "tenant add a_b",
        "tenant add acme --base-url https://a.example --enhance-on solved",
        "tenant update",
        "tenant try acme",
        "tenant try acme --body b.json --at yesterday",
        "tenant update acme --replay-window 8d",
        "tenant update acme --tool-type Jira",
    ] {
        assert_eq!(code(wrong), ExitCode::from(2), "{wrong}");
    }
}

#[test]
fn without_a_host_it_is_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("admin.sock");
    assert_eq!(run_on(&absent, "list").unwrap_err().exit, Exit::Unreachable);
    // The socket's file without a listener.
    drop(std::os::unix::net::UnixListener::bind(&absent).unwrap());
    let failure = run_on(&absent, "list").unwrap_err();
    assert_eq!((failure.exit, failure.problem.code.as_str()), (Exit::Unreachable, "HOST_UNREACHABLE"));
    assert_eq!(ExitCode::from(failure.exit), ExitCode::from(3));
    assert_eq!(failure.problem.state, None);
}

#[test]
fn a_host_that_goes_away_leaves_a_change_in_doubt() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let hangs_up = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let failure = run_on(&socket, "job retry --dead").unwrap_err();
    hangs_up.join().unwrap();
    assert_eq!(failure.exit, Exit::Unreachable);
    assert!(failure.problem.state.unwrap().contains("not known whether"));
}

#[test]
fn a_refused_request_fails_with_the_hosts_words() {
    let host = Host::answering(|_| (404, json!({"code": "UNKNOWN_TENANT", "message": "there is no tenant acme"})));
    let failure = host.run("tenant show acme").unwrap_err();
    assert_eq!(
        (failure.exit, failure.text(false).as_str()),
        (Exit::Failed, "error[UNKNOWN_TENANT]: there is no tenant acme\n")
    );
    assert_eq!(failure.json(), r#"{"code":"UNKNOWN_TENANT","message":"there is no tenant acme"}"#);
    assert_eq!(host.asked(), ["GET /v1/tenants/acme"]);
}

#[test]
fn an_answer_that_makes_no_sense_is_a_failure() {
    for (status, body) in [(200, json!({"odd": true})), (500, json!("odd")), (302, json!({}))] {
        let host = Host::answering(move |_| (status, body.clone()));
        assert_eq!(host.run("list").unwrap_err().problem.code, "BAD_ANSWER");
    }
}

#[test]
fn a_reload_and_an_enable_show_the_state_after_and_fail_when_something_was_refused() {
    let host = Host::answering(|line| match line {
        "GET /v1/plugins" => (200, plugins()),
        _ => (
            200,
            json!([{
                "tool_type": "jira", "path": "plugins/libjira.so", "version": "1.4.0", "sha256": "aa",
                "generation": null, "code": "VERSION", "reason": "it was built for plugin ABI 2", "mend": "ask",
            }]),
        ),
    });
    let expected = "\
error[VERSION]: jira 1.4.0 was refused
  file:   plugins/libjira.so  (sha256 aa)
  why:    it was built for plugin ABI 2
  state:  1.3.2 (generation 17) still serves
  mend:   ask
";
    for (line, request) in [("reload jira", "POST /v1/reload"), ("enable jira", "POST /v1/plugins/jira/enable")] {
        let shown = host.run(line).unwrap();
        assert_eq!(shown.json[0]["generation"], 17);
        let failure = shown.failure.unwrap();
        assert_eq!((failure.exit, failure.text(false).as_str()), (Exit::Failed, expected));
        assert_eq!(host.asked(), [request, "GET /v1/plugins"]);
    }
}

#[test]
fn an_info_shows_how_the_plugin_was_confined_also_of_a_host_that_does_not_say() {
    let mut detail = plugins()[0].clone();
    detail.as_object_mut().unwrap().extend([("generations".to_owned(), json!([]))]);
    let answering = |detail: Value| Host::answering(move |_| (200, detail.clone()));
    assert!(!answering(detail.clone()).run("info jira").unwrap().text.contains("confinement"));
    detail["confinement"] = json!({"files": true, "calls": true, "text": "full"});
    let shown = answering(detail).run("info jira").unwrap();
    assert!(shown.text.contains("confinement:  full\n"), "{}", shown.text);
    assert_eq!(shown.json["confinement"]["calls"], true);
}

#[test]
fn events_are_asked_for_by_their_number() {
    let event = json!({
        "id": 1, "at": "t", "tool_type": null, "generation": 3, "version": null, "code": "drained", "message": "m",
        "sha256": null, "who": "host", "why": null, "new": 1,
    });
    let host = Host::answering(move |_| (200, json!([event])));
    assert!(host.run("events").unwrap().text.contains("drained"));
    assert_eq!(host.run("events --limit 7").unwrap().json[0]["generation"], 3);
    assert_eq!(host.asked(), ["GET /v1/events?limit=100", "GET /v1/events?limit=7"]);
}

fn held(kept_until: Option<&str>) -> Value {
    json!({
        "id": "acme", "jobs": 41, "dead_letters": 1, "solved_tickets": 7, "notes": 0, "kept_until": kept_until,
    })
}

#[test]
fn nothing_is_removed_unasked() {
    let host = Host::answering(|line| match line.split(' ').next() {
        Some("DELETE") if line.contains("keep_days=7") => (200, held(Some("2026-12-06T00:00:00.000Z"))),
        Some("DELETE") => (200, held(None)),
        Some("POST") => (200, json!({"jobs": 3})),
        _ if line.contains("holdings") || line.contains("remains") => (200, held(None)),
        _ if line.contains("/v1/jobs/dead") => (200, json!({"jobs": 3})),
        _ => (200, tenant()),
    });
    for (line, question) in [
        ("tenant remove acme", "41 jobs, 1 dead letter, 7 solved tickets, 0 notes? All of it is erased."),
        ("tenant remove acme --keep 7", "and keep for 7 days: 41 jobs,"),
        ("tenant erase acme", "41 jobs, 1 dead letter,"),
        ("job purge", "3 jobs"),
    ] {
        let failure = host.run(line).unwrap_err();
        assert_eq!((failure.exit, failure.problem.code.as_str()), (Exit::Usage, "NOT_CONFIRMED"));
        assert!(failure.problem.message.contains(question), "{failure:?}");
        assert!(host.asked().iter().all(|line| line.starts_with("GET ")));
    }
    let all = "41 jobs, 1 dead letter, 7 solved tickets, 0 notes";
    for (line, text) in [
        ("tenant remove acme --yes", format!("Tenant acme is removed, and what was stored for it is erased: {all}.\n")),
        (
            "tenant remove acme --keep 7 --yes",
            format!("Tenant acme is removed. Kept until 2026-12-06T00:00:00.000Z: {all}.\n"),
        ),
        ("tenant erase acme --yes", format!("Erased what removed tenants left behind as acme: {all}.\n")),
    ] {
        assert_eq!(host.run(line).unwrap().text, text);
    }
    assert_eq!(host.run("job purge --yes").unwrap().text, "3 jobs deleted for good.\n");
}

#[test]
fn nothing_is_dead_lettered_unasked() {
    let refused = json!({"code": "LIVE_JOBS", "message": "tenant acme has 41 live jobs for the tool that it has now"});
    let mut changed = tenant();
    changed["dead_lettered"] = 41.into();
    let host = Host::answering(move |line| match line {
        "PATCH /v1/tenants/asks" => (409, refused.clone()),
        "GET /v1/plugins" => (200, plugins()),
        "GET /v1/plugins/jira" => (200, declaring(Value::Null)),
        _ => (200, changed.clone()),
    });
    let failure = host.run("tenant update asks --tool-type jira").unwrap_err();
    assert_eq!((failure.exit, failure.problem.code.as_str()), (Exit::Usage, "NOT_CONFIRMED"));
    assert!(failure.problem.message.contains("has 41 live jobs"), "{failure:?}");
    let looked = |id: &str, then: &str| {
        [&format!("GET /v1/tenants/{id}"), "GET /v1/plugins", "GET /v1/plugins/jira", then].map(str::to_owned)
    };
    assert_eq!(host.asked(), looked("asks", "PATCH /v1/tenants/asks"));
    let shown = host.run("tenant update acme --tool-type jira --yes").unwrap();
    assert!(shown.text.contains("41 jobs by this change (tenant_changed)\n"), "{}", shown.text);
    assert_eq!((&shown.json["dead_lettered"], &shown.json["id"]), (&41.into(), &"acme".into()));
    assert_eq!(host.asked(), looked("acme", "PATCH /v1/tenants/acme"));
    let nothing = host.run("tenant update acme").unwrap_err();
    assert_eq!((nothing.exit, host.asked().len()), (Exit::Usage, 0), "{nothing:?}");
}

#[test]
fn names_that_the_plugin_does_not_declare_are_refused_unless_forced() {
    let declares = json!({
        "settings": [{"name": "api_user", "about": "a"}],
        "secrets": [{"name": "api_key", "about": "b", "required": true}],
    });
    let host = Host::answering(move |line| match line {
        "GET /v1/plugins" => (200, plugins()),
        "GET /v1/plugins/jira" => (200, declaring(declares.clone())),
        "POST /v1/tenants?why=ticket-7" => (201, json!([tenant()])),
        _ => (200, tenant()),
    });
    let add = "tenant add acme --tool-type jira --base-url https://a.example";
    for (given, whys) in [
        (" --set api_usr=x", &["did you mean api_user? it reads api_user"][..]),
        (" --set api_user=x --secret webhook=x", &["it reads api_key"]),
        (" --set api_usr=x --secret api_ky=x", &["did you mean api_user?", "did you mean api_key?"]),
    ] {
        let problem = host.run(&format!("{add}{given}")).unwrap_err().problem;
        let problems = if problem.causes.is_empty() { vec![*problem.clone()] } else { problem.causes.clone() };
        let found: Vec<_> = problems.into_iter().map(|problem| problem.why.unwrap_or_default()).collect();
        assert_eq!((problem.code.as_str(), found.len()), ("UNKNOWN_NAME", whys.len()), "{given}: {found:?}");
        assert!(found.iter().zip(whys).all(|(found, why)| found.contains(why)), "{given}: {found:?}");
        assert!(!host.asked().iter().any(|line| line.starts_with("POST")), "{given}");
    }
    host.run(&format!("{add} --set api_usr=x --force --reason ticket-7")).unwrap();
    assert_eq!(host.asked().last().unwrap(), "POST /v1/tenants?why=ticket-7");
}

#[test]
fn a_secret_that_nobody_knows_is_not_set_unless_that_is_meant() {
    let host = Host::answering(move |line| match line {
        "GET /v1/plugins/jira" => (404, json!({"code": "UNKNOWN_PLUGIN", "message": "m"})),
        _ => {
            let mut tenant = tenant();
            tenant["secrets"] = json!([{"name": "api_key", "created_at": "t", "expires_at": null}]);
            (200, tenant)
        }
    });
    let problem = host.run("tenant rotate-secret acme api_ky x").unwrap_err().problem;
    assert_eq!(problem.code, "UNKNOWN_SECRET");
    assert_eq!(problem.why.as_deref(), Some("did you mean api_key? it has api_key"));
    assert!(host.asked().iter().all(|line| line.starts_with("GET")));
    host.run("tenant rotate-secret acme api_ky x --force").unwrap();
    host.run("tenant rotate-secret acme api_key x --reason because").unwrap();
    let put: Vec<_> = host.asked().into_iter().filter(|line| line.starts_with("PUT")).collect();
    let path = "PUT /v1/tenants/acme/secrets/";
    assert_eq!(put, [format!("{path}api_ky"), format!("{path}api_key?why=because")]);
}

#[test]
fn a_filter_that_nobody_knows_is_told() {
    let host = Host::answering(|line| match line {
        "GET /v1/plugins" => (200, plugins()),
        "GET /v1/tenants" => (200, json!([tenant()])),
        _ => (200, json!([])),
    });
    for (line, code, words) in [
        ("events --tool-type jirra", "UNKNOWN_PLUGIN", "did you mean jira?"),
        ("events --tenant acne", "UNKNOWN_TENANT", "did you mean acme?"),
        ("events --follow --tenant zenx", "UNKNOWN_TENANT", "plugin-ctl tenant list"),
    ] {
        let failure = host.run(line).unwrap_err();
        assert_eq!((failure.exit, failure.problem.code.as_str()), (Exit::Failed, code), "{line}");
        assert!(failure.problem.mend.unwrap().contains(words), "{line}");
    }
    for line in ["events", "events --tool-type jira --tenant acme"] {
        assert_eq!(host.run(line).unwrap().text, "Nothing like that has happened yet.\n", "{line}");
    }
}

#[test]
fn a_tenant_is_shown_with_what_became_of_its_webhooks() {
    let mut refused = tenant();
    refused.as_object_mut().unwrap().extend([
        ("accepted".to_owned(), 12.into()),
        ("ignored".to_owned(), 40.into()),
        ("last_accepted_at".to_owned(), "2026-11-20T10:00:00.000Z".into()),
        (
            "refusals".to_owned(),
            json!({
                "400": {"count": 0, "last_at": null, "last_reason": null},
                "401": {"count": 3, "last_at": "2026-11-20T10:24:47.000Z", "last_reason": "the plugin\u{1b}[2J"},
            }),
        ),
    ]);
    let answering = |tenant: Value| Host::answering(move |_| (200, tenant.clone()));
    let text = answering(refused).run("tenant show acme").unwrap().text;
    for line in [
        "accepted:       12 since the host was started, the last at 2026-11-20T10:00:00.000Z; 0 duplicate, 40 ignored\n",
        "refused:        3 with 401, the last at 2026-11-20T10:24:47.000Z: the plugin\u{fffd}[2J\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(!text.contains("400"), "{text}");
    let of_an_older_host = answering(tenant()).run("tenant show acme").unwrap().text;
    assert!(of_an_older_host.contains("accepted:       0 since") && !of_an_older_host.contains("refused"));
}

#[test]
fn a_wrong_secret_is_told_before_the_host_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent");
    for line in [
        format!("tenant add acme --base-url https://a.example --secret key=@{}", absent.display()),
        format!("tenant rotate-secret acme key @{}", absent.display()),
        format!("tenant import {}", absent.display()),
    ] {
        assert_eq!(run_on(&absent, &line).unwrap_err().exit, Exit::Failed, "{line}");
    }
}

#[test]
fn the_command_lines_own_form_never_shows_a_secret() {
    let line = "plugin-ctl tenant add acme --base-url https://a.example --secret key=hunter2";
    let args = Args::try_parse_from(line.split(' ')).unwrap();
    assert!(!format!("{args:?}").contains("hunter2"), "{args:?}");
}
