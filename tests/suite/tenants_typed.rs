//! An operator's commands about tenants: unknown names are reported, secrets can be removed, tenants are exported as
//! lines, and a webhook can be tried.

use std::{
    fs,
    process::{Command, Stdio},
};

use patchbay_tests::{Artifact, Ctl, Host, HostBuilder, Line, WEBHOOK_SECRET, created, resolved};
use sandbox::webhook::SignedRequest;
use serde_json::{Value, json};

const BASE_URL: &str = "--base-url=https://a.example";

/// Runs plugin-ctl as people do, and returns its standard output and error.
#[track_caller]
fn say(host: &Host, args: &[&str]) -> (String, String) {
    let mut command = Command::new(Artifact::PLUGIN_CTL.path());
    command.arg("--socket").arg(host.socket()).args(args).current_dir(host.folder());
    let ended = command.env_clear().stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(ended.stdout), text(ended.stderr));
    assert!(ended.status.success(), "{args:?}: {stderr}");
    (stdout, stderr)
}

/// Runs plugin-ctl, which must fail with this code.
#[track_caller]
fn refused(host: &Host, args: &[&str], code: &str) -> Value {
    let ended = host.try_ctl(args);
    assert_eq!((ended.code, &ended.failure()["code"]), (1, &code.into()), "{args:?}: {ended:?}");
    ended.failure()
}

#[test]
fn a_tool_type_that_nobody_serves_is_told() {
    let host = Host::builder().plugin(Artifact::JIRA).plugin(Artifact::GOOD).start();
    let (_, told) = say(&host, &["tenant", "add", "a", "--tool-type", "jirra", BASE_URL]);
    for words in ["warning: no plugin serves jirra (served: desk_good, jira)", "did you mean jira?"] {
        assert!(told.contains(words), "{told}");
    }
    let (_, told) = say(&host, &["tenant", "update", "a", "--tool-type", "jira", "--set", "api_user=me"]);
    assert!(!told.contains("no plugin serves") && told.contains("secret webhook_secret"), "{told}");
    let (_, told) = say(&host, &["tenant", "update", "a", "--tool-type", "far_from_any"]);
    assert!(told.contains("no plugin serves far_from_any") && !told.contains("did you mean"), "{told}");
}

#[test]
fn names_that_a_plugin_does_not_declare_want_force() {
    let host = Host::builder().plugin(Artifact::JIRA).plugin(Artifact::GOOD).start();
    let wrong = ["--set", "api_usr=me", "--secret", "webhok_secret=x"];
    let add = |id, tool_type| vec!["tenant", "add", id, "--tool-type", tool_type, BASE_URL];
    let failure = refused(&host, &[&add("a", "jira")[..], &wrong].concat(), "UNKNOWN_NAME").to_string();
    for words in ["did you mean api_user?", "did you mean webhook_secret?", "--force", "nothing was changed"] {
        assert!(failure.contains(words), "{failure}");
    }
    assert_eq!(host.ctl(&["tenant", "list"]), json!([]));
    let (_, told) = say(&host, &[&add("a", "jira")[..], &wrong, &["--force"]].concat());
    assert!(told.contains("plugin jira needs secret webhook_secret"), "{told}");
    refused(&host, &["tenant", "update", "a", "--set", "api_usr=you"], "UNKNOWN_NAME");
    // Values that were there before have not been typed.
    host.ctl(&["tenant", "update", "a", "--replay-ahead", "1m"]);
    host.ctl(&["tenant", "update", "a", "--unset", "api_usr", "--set", "api_user=me"]);
    // If a plugin declares nothing, names cannot be checked.
    let (_, told) = say(&host, &[&add("b", "desk_good")[..], &wrong].concat());
    assert!(told.contains("these names are not checked: api_usr, webhok_secret"), "{told}");
}

#[test]
fn a_secret_is_set_under_a_name_that_somebody_knows() {
    let host = Host::builder().plugin(Artifact::JIRA).start();
    host.ctl(&["tenant", "add", "a", "--tool-type", "jira", BASE_URL, "--secret", "webhook_secret=x"]);
    let rotate = |more: &[&str]| host.try_ctl(&[&["tenant", "rotate-secret", "a"], more].concat());
    let names = || -> Vec<String> {
        let shown = host.ctl(&["tenant", "show", "a"]);
        let secrets = shown["secrets"].as_array().unwrap().iter();
        secrets.map(|secret| secret["name"].as_str().unwrap().to_owned()).collect()
    };
    let failure = refused(&host, &["tenant", "rotate-secret", "a", "api_ky", "x"], "UNKNOWN_SECRET");
    assert!(failure["why"].as_str().unwrap().contains("did you mean api_key?"), "{failure:#}");
    assert_eq!(names(), ["webhook_secret"]);
    assert_eq!(rotate(&["api_key", "x"]).code, 0, "the plugin declares it");
    assert_eq!(rotate(&["api_ky", "x", "--force"]).code, 0);
    assert_eq!(names(), ["api_key", "api_ky", "webhook_secret"]);

    let remove = ["tenant", "remove-secret", "a", "api_ky"];
    let asked: Ctl = host.try_ctl(&remove);
    assert_eq!((asked.code, &asked.failure()["code"]), (2, &"NOT_CONFIRMED".into()), "{asked:?}");
    host.ctl(&[&remove[..], &["--yes"]].concat());
    assert_eq!(names(), ["api_key", "webhook_secret"]);
    let failure = refused(&host, &[&remove[..], &["--yes"]].concat(), "UNKNOWN_SECRET");
    assert!(failure["why"].as_str().unwrap().contains("did you mean api_key?"), "{failure:#}");
}

#[test]
fn a_removed_secret_proves_nothing_any_more() {
    let mut line = Line::with(&[Artifact::GOOD]);
    line.add_tenant("acme", "desk_good", &[]);
    line.open_ticket("1");
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    line.note_on("1");
    // The previous one is still valid: both are removed.
    line.host.ctl(&["tenant", "rotate-secret", "acme", "webhook_secret", "another"]);
    let shown = line.host.ctl(&["tenant", "remove-secret", "acme", "webhook_secret", "--yes"]);
    assert!(!shown["secrets"].to_string().contains("webhook_secret"), "{shown:#}");
    assert_eq!(line.host.send(&created("acme", "2")).status, 401);
    line.host.restart();
    assert_eq!(line.host.send(&created("acme", "3")).status, 401, "it is gone on disk too");
    let secret = format!("webhook_secret={WEBHOOK_SECRET}");
    line.host.ctl(&["tenant", "update", "acme", "--secret", &secret]);
    assert_eq!(line.host.send(&created("acme", "4")).status, 202);
}

#[test]
fn what_is_exported_is_taken_back_without_its_secrets() {
    let line = Line::with(&[Artifact::GOOD]);
    line.add_tenant("acme", "desk_good", &[("project", "HELP")]);
    let more = ["--allow-origin=https://login.example", "--allow-from=127.0.0.0/8", "--enhance-on=created,updated"];
    line.host.ctl(&[&["tenant", "update", "acme", "--replay-window", "24h"], &more[..]].concat());
    line.host.ctl(&["tenant", "add", "bare", "--tool-type", "desk_good", BASE_URL]);
    line.host.ctl(&["tenant", "disable", "bare"]);
    let shown = |id: &str| {
        let mut shown = line.host.ctl(&["tenant", "show", id]);
        let of_the_run =
            ["live_jobs", "accepted", "duplicate", "ignored", "last_accepted_at", "refusals", "secrets", "enabled"];
        shown.as_object_mut().unwrap().retain(|name, _| !of_the_run.contains(&name.as_str()));
        shown
    };
    let before = [shown("acme"), shown("bare")];
    let (lines, _) = say(&line.host, &["tenant", "export"]);
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert!(!lines.contains(WEBHOOK_SECRET), "{lines}");
    assert_eq!(say(&line.host, &["tenant", "export", "bare"]).0, lines.lines().last().unwrap().to_owned() + "\n");
    let listed = line.host.ctl(&["tenant", "list"]).to_string();

    for (what, file) in [("lines", lines), ("what show and list write", listed)] {
        fs::write(line.host.folder().join("tenants"), file).unwrap();
        for id in ["acme", "bare"] {
            line.host.ctl(&["tenant", "remove", id, "--yes"]);
        }
        let (told, _) = say(&line.host, &["tenant", "import", "tenants"]);
        for words in
            ["plugin-ctl tenant update acme --secret api_key=@FILE --secret webhook_secret=@FILE", "tenant enable acme"]
        {
            assert!(told.contains(words), "{what}: {told}");
        }
        assert!(!told.contains("Tenant bare"), "{what}: {told}");
        assert_eq!([shown("acme"), shown("bare")], before, "{what}");
        let states = line.host.ctl(&["tenant", "list"]);
        assert_eq!([&states[0]["enabled"], &states[1]["enabled"]], [false, false], "{what}");
    }
    assert_eq!(line.host.send(&created("acme", "1")).status, 401);
    let secret = format!("webhook_secret={WEBHOOK_SECRET}");
    line.host.ctl(&["tenant", "update", "acme", "--secret", &secret]);
    let one = line.host.try_ctl(&["tenant", "show", "acme"]).stdout;
    line.host.ctl(&["tenant", "remove", "acme", "--yes"]);
    let added = line.host.try_ctl_with_input(&["tenant", "import", "-"], &one).json();
    assert_eq!(added[0]["missing_secrets"], json!(["webhook_secret"]), "{added:#}");
    line.host.ctl(&["tenant", "update", "acme", "--secret", &secret]);
    line.host.ctl(&["tenant", "enable", "acme"]);
    assert_eq!(line.host.send(&created("acme", "1")).status, 202);
    for id in ["acme", "bare"] {
        line.host.ctl(&["tenant", "remove", id, "--yes"]);
    }
    let added = line.host.ctl(&["tenant", "import", "tenants"]);
    assert_eq!(added[0]["missing_secrets"], json!(["api_key", "webhook_secret"]), "{added:#}");
}

/// Tries this webhook on a tenant.
fn try_out(line: &Line, tenant: &str, webhook: &SignedRequest, more: &[&str]) -> Value {
    fs::write(line.host.folder().join("body"), &webhook.body).unwrap();
    let headers: Vec<_> = webhook.headers.iter().map(|(name, value)| format!("--header={name}: {value}")).collect();
    let headers: Vec<_> = headers.iter().map(String::as_str).collect();
    line.host.ctl(&[&["tenant", "try", tenant, "--body", "body"], &headers[..], more].concat())
}

#[test]
fn a_webhook_is_tried_and_leaves_nothing() {
    let line = Line::with(&[Artifact::GOOD]);
    line.add_tenant("acme", "desk_good", &[]);
    line.add_tenant("asleep", "desk_good", &[]);
    line.add_tenant("nowhere", "desk_gone", &[]);
    line.host.ctl(&["tenant", "disable", "asleep"]);
    let unsigned = |mut webhook: SignedRequest| {
        webhook.headers.retain(|(name, _)| !name.contains("signature"));
        webhook
    };
    let before = line.host.ctl(&["tenant", "show", "acme"]);
    for (what, tenant, webhook, outcome, status, job, ticket) in [
        ("a new ticket", "acme", created("acme", "1"), "accepted", 202, json!("enhance"), json!("1")),
        ("a solved one", "acme", resolved("acme", "2"), "accepted", 202, json!("record"), json!("2")),
        ("no signature", "acme", unsigned(created("acme", "3")), "refused", 401, Value::Null, json!("3")),
        ("another's tenant", "acme", created("other", "4"), "refused", 422, Value::Null, json!("4")),
        ("a disabled tenant", "asleep", created("asleep", "5"), "refused", 401, Value::Null, json!("5")),
        ("no plugin", "nowhere", created("nowhere", "6"), "refused", 503, Value::Null, Value::Null),
    ] {
        let tried = try_out(&line, tenant, &webhook, &[]);
        assert_eq!((&tried["outcome"], &tried["status"]), (&outcome.into(), &status.into()), "{what}: {tried:#}");
        assert_eq!((&tried["job"], &tried["metadata"]["ticket_id"]), (&job, &ticket), "{what}: {tried:#}");
        assert_eq!(tried["reason"].is_string(), outcome == "refused", "{what}: {tried:#}");
        assert_eq!(tried["version"].is_string(), status != 503, "{what}: {tried:#}");
    }
    assert_eq!(line.host.ctl(&["tenant", "show", "acme"]), before, "nothing is counted");
    for state in ["queued", "running", "waiting", "dead", "done"] {
        assert_eq!(line.host.ctl(&["job", "list", "--state", state]), json!([]));
    }
    let events = line.host.ctl(&["events", "--limit", "10000"]).to_string();
    assert!(!events.contains("tenant_refused"), "{events}");
    assert_eq!(line.host.send(&created("acme", "1")).json()["status"], "accepted", "it was not delivered before");
    refused(&line.host, &["tenant", "try", "nobody", "--body", "body"], "UNKNOWN_TENANT");
    refused(&line.host, &["tenant", "try", "acme", "--body", "absent"], "BODY_UNREADABLE");
    let (told, _) = say(&line.host, &["tenant", "try", "acme", "--body", "body"]);
    for words in ["401 refused", "what the plugin reads in it", "subject:", "nothing; it is counted nowhere"] {
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn a_webhook_is_tried_as_of_the_time_at_which_it_came() {
    let line = Line::with(&[Artifact::SERVICEDESK_PLUS]);
    line.add_tenant("acme", "servicedesk_plus", &[]);
    let webhook = created("acme", "1");
    assert_eq!(try_out(&line, "acme", &webhook, &[])["status"], 202);
    let late = try_out(&line, "acme", &webhook, &["--at", "2031-01-01T00:00:00Z"]);
    assert_eq!(late["status"], 401, "{late:#}");
}

#[test]
fn a_filter_of_events_that_nobody_knows_is_told() {
    let host = Host::builder().plugin(Artifact::GOOD).start();
    host.ctl(&["tenant", "add", "acme", "--tool-type", "desk_gone", BASE_URL]);
    for (args, code) in
        [(["events", "--tool-type", "desk_god"], "UNKNOWN_PLUGIN"), (["events", "--tenant", "acne"], "UNKNOWN_TENANT")]
    {
        let mend = refused(&host, &args, code)["mend"].to_string();
        assert!(mend.contains("did you mean"), "{mend}");
    }
    let of = |args: &[&str]| host.ctl(&[&["events"], args].concat()).as_array().unwrap().len();
    assert!(of(&["--tool-type", "desk_good"]) > 0);
    assert_eq!(of(&["--tenant", "acme"]), 1);
    assert_eq!(of(&["--tenant", "acme", "--tool-type", "desk_good"]), 0, "both are known");
}

#[test]
fn a_variable_that_is_nearly_a_key_is_a_warning() {
    let environment = |host: HostBuilder| {
        host.environment("PATCHBAY_SERVER_LISTEN", "127.0.0.1:1").environment("PATCHBAY_SERVICE_HOST", "10.0.0.1")
    };
    let host = environment(Host::builder()).stopped();
    let ended = host.run_to_end(&["check-config", "--config", "patchbay.toml"]);
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(ended.log.contains("warning: environment PATCHBAY_SERVER_LISTEN"), "{}", ended.log);
    assert!(ended.log.contains("did you mean PATCHBAY_SERVER__LISTEN?"), "{}", ended.log);
    let host = environment(Host::builder()).start();
    let log = host.log();
    host.wait_for_log(&["WARN", "PATCHBAY_SERVER_LISTEN"]);
    for log in [ended.log, log] {
        assert!(!log.contains("PATCHBAY_SERVICE_HOST"), "{log}");
    }
}
