//! A tenant that is changed while its webhooks and jobs are processed: everything named changes at once, nothing else
//! does, and nothing is lost.

use std::{
    fs,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread::{self, ScopedJoinHandle},
};

use patchbay_tests::{Artifact, Ctl, Line, TOOL, WAIT_MAX, WEBHOOK_SECRET, created, resolved, wait_until};
use sandbox::{
    Sandbox, SandboxConfig, TicketFields, Tool,
    webhook::{Event, Scheme, Webhook, proof, signed},
};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The other tool type, which works like `desk_good`.
const OTHER: &str = "desk_panics";

fn line() -> Line {
    let line = Line::with(&[Artifact::GOOD, Artifact::PANICS]);
    line.add_tenant("acme", "desk_good", &[("project", "HELP"), ("group", "ops")]);
    line
}

#[track_caller]
fn update(line: &Line, args: &[&str]) -> Value {
    line.host.ctl(&[&["tenant", "update", "acme"], args].concat())
}

fn try_update(line: &Line, args: &[&str]) -> Ctl {
    line.host.try_ctl(&[&["tenant", "update", "acme"], args].concat())
}

fn show(line: &Line) -> Value {
    line.host.ctl(&["tenant", "show", "acme"])
}

/// The jobs in this state: ticket, tool type and outcome.
fn jobs(line: &Line, state: &str) -> Vec<Value> {
    let jobs = line.host.ctl(&["job", "list", "--limit", "1000", "--state", state]);
    let mut jobs: Vec<_> = jobs
        .as_array()
        .unwrap()
        .iter()
        .map(|job| json!([job["ticket_id"], job["tool_type"], job["outcome"]]))
        .collect();
    jobs.sort_by_key(ToString::to_string);
    jobs
}

#[test]
fn each_option_changes_what_it_names_and_nothing_else() {
    let mut line = line();
    let mut expected = show(&line);
    let origin = "https://login.example";
    for (args, changes) in [
        (&["--tool-type", OTHER][..], json!({"tool_type": OTHER})),
        (&["--base-url", "https://new.example/app"], json!({"base_url": "https://new.example/app"})),
        (
            &["--set", "project=OPS", "--set", "new="],
            json!({"settings": {"group": "ops", "new": "", "project": "OPS"}}),
        ),
        (&["--unset", "group", "--unset", "new"], json!({"settings": {"project": "OPS"}})),
        (&["--allow-origin", origin, "--allow-origin", origin], json!({"allow_origins": [origin]})),
        (&["--remove-origin", "https://LOGIN.example:443/"], json!({"allow_origins": []})),
        (
            &["--allow-from", "10.0.0.0/8", "--allow-from", "::ffff:192.0.2.7"],
            json!({"allow_from": ["10.0.0.0/8", "192.0.2.7/32"]}),
        ),
        (&["--remove-from", "192.0.2.7"], json!({"allow_from": ["10.0.0.0/8"]})),
        (&["--unset", "allow_from"], json!({"allow_from": []})),
        (&["--replay-window", "24h"], json!({"replay_window_s": 86_400})),
        (&["--replay-ahead", "2m"], json!({"replay_ahead_s": 120})),
        (&["--enhance-on", "created,updated"], json!({"enhance_on": ["created", "updated"]})),
        (&["--enhance-on", ""], json!({"enhance_on": []})),
        (
            &["--tool-type", "desk_good", "--set", "group=x", "--replay-window", "60s", "--enhance-on", "created"],
            json!({
                "tool_type": "desk_good", "settings": {"group": "x", "project": "OPS"}, "replay_window_s": 60,
                "enhance_on": ["created"],
            }),
        ),
    ] {
        let mut changed = update(&line, args);
        let dead_lettered = changed.as_object_mut().unwrap().remove("dead_lettered");
        assert_eq!(dead_lettered, Some(0.into()), "{args:?}");
        expected.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        assert_eq!((&changed, &show(&line)), (&expected, &expected), "{args:?}");
    }
    line.host.restart();
    assert_eq!(show(&line), expected, "it is on disk");
}

#[test]
fn what_is_wrong_is_told_whole_and_nothing_is_changed() {
    let line = line();
    let before = show(&line);
    for (args, code, problem, words) in [
        (&[][..], 2, "USAGE", "nothing is named"),
        (&["--yes"], 2, "USAGE", "nothing is named"),
        (&["--set", "a"], 2, "USAGE", "KEY=VALUE"),
        (&["--set", "a=1", "--set", "a=2"], 2, "USAGE", "given twice"),
        (&["--tool-type", "Jira"], 2, "USAGE", "tool type must match"),
        (&["--enhance-on", "solved"], 2, "USAGE", "solved"),
        (&["--unset", "projct"], 1, "INVALID_TENANT", "did you mean project? It has group, project"),
        (&["--unset", "x", "--set", "x=1"], 1, "INVALID_TENANT", "at the same time"),
        (&["--remove-origin", "https://login.example"], 1, "INVALID_TENANT", "no origins at all"),
        (&["--allow-from", "10.0.0.1/8"], 1, "INVALID_TENANT", "the network is 10.0.0.0/8, the address alone 10.0.0.1"),
        (&["--remove-from", "10.0.0.0/8"], 1, "INVALID_TENANT", "no networks at all"),
        (&["--unset", "allow_from"], 1, "INVALID_TENANT", "anywhere already"),
        (&["--base-url", "http://desk.example"], 1, "INVALID_TENANT", "it must be https"),
        (&["--set", "project=OPS", "--replay-window", "0s"], 1, "INVALID_TENANT", "1 to 604800 seconds"),
        (&["--secret", "a b=x"], 1, "INVALID_TENANT", "must match"),
        (&["--secret", "a=@absent"], 1, "SECRET_UNREADABLE", "absent"),
    ] {
        let ended = try_update(&line, args);
        let failure = ended.failure();
        assert_eq!((ended.code, failure["code"].as_str().unwrap()), (code, problem), "{args:?}: {failure:#}");
        assert!(failure["message"].as_str().unwrap().contains(words), "{args:?}: {failure:#}");
        assert_eq!(show(&line), before, "{args:?}");
    }
    let several = try_update(
        &line,
        &["--unset", "a", "--unset", "group", "--remove-origin", "https://b.example", "--replay-window", "0s"],
    );
    assert_eq!(several.failure()["causes"].as_array().map(Vec::len), Some(3), "{several:?}");
    assert_eq!(show(&line), before);
    let unknown = line.host.try_ctl(&["tenant", "update", "none", "--set", "a=b"]);
    assert_eq!((unknown.code, &unknown.failure()["code"]), (1, &"UNKNOWN_TENANT".into()));
}

#[test]
fn another_tool_asks_about_live_jobs_and_then_gets_the_next_webhook() {
    let line = line();
    line.host.ctl(&["tenant", "pause", "acme"]);
    for ticket in ["1", "2"] {
        assert_eq!(line.host.send(&created("acme", ticket)).status, 202);
    }
    let before = show(&line);
    let moved = format!("{}/elsewhere", line.tool.base_url(TOOL));
    for other in [["--tool-type", OTHER], ["--base-url", moved.as_str()]] {
        let ended = try_update(&line, &[&other[..], &["--set", "project=OPS"]].concat());
        assert_eq!((ended.code, &ended.failure()["code"]), (2, &"NOT_CONFIRMED".into()), "{ended:?}");
        assert!(ended.failure()["message"].as_str().unwrap().contains("acme has 2 live jobs"), "{ended:?}");
        assert_eq!(show(&line), before, "{other:?}");
    }
    // A change that keeps the tool needs no confirmation.
    assert_eq!(update(&line, &["--tool-type", "desk_good", "--set", "project=OPS"])["live_jobs"], 2);

    let changed = update(&line, &["--tool-type", OTHER, "--yes"]);
    assert_eq!((&changed["dead_lettered"], &changed["live_jobs"]), (&2.into(), &0.into()), "{changed:#}");
    let dead = |ticket: &str| json!([ticket, "desk_good", "tenant_changed"]);
    assert_eq!(jobs(&line, "dead"), [dead("1"), dead("2")]);
    line.host.ctl(&["tenant", "resume", "acme"]);
    line.open_ticket("3");
    assert_eq!(line.host.send(&created("acme", "3")).status, 202);
    line.note_on("3");
    assert_eq!(line.job("3", "done", |job| job["state"] == "done")["tool_type"], OTHER);

    // The jobs belong to the previous tool, and no plugin of another one gets them.
    let retried = line.host.ctl(&["job", "retry", "--dead"]);
    assert_eq!(retried["jobs"], 0);
    let one = line.host.ctl(&["job", "list", "--state", "dead"])[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(line.host.try_ctl(&["job", "retry", &one]).failure()["code"], "TENANT_CHANGED");
    update(&line, &["--tool-type", "desk_good"]);
    ["1", "2"].iter().for_each(|ticket| line.open_ticket(ticket));
    assert_eq!(line.host.ctl(&["job", "retry", "--dead"])["jobs"], 2);
    ["1", "2"].iter().for_each(|ticket| drop(line.note_on(ticket)));
    line.host.wait_for_log(&["tenant changed: tool type: desk_panics", "tenant=acme", "dead_lettered=2"]);
}

#[test]
fn a_tenant_moves_to_a_tool_elsewhere_with_its_new_key_and_keeps_its_other_secrets() {
    let line = line();
    let config = SandboxConfig { token: "the-new-key".to_owned(), ..SandboxConfig::default() };
    let new = Sandbox::start(config).unwrap();
    new.put_ticket(TOOL, "7", TicketFields::default()).unwrap();
    fs::write(line.host.folder().join("key.txt"), "the-new-key\n").unwrap();
    let base_url = new.base_url(TOOL);
    let changed = update(&line, &["--base-url", &base_url, "--secret", "api_key=@key.txt"]);
    let names: Vec<_> = changed["secrets"].as_array().unwrap().iter().map(|secret| &secret["name"]).collect();
    assert_eq!(names, ["api_key", "webhook_secret"], "no old one is good any more: {changed:#}");
    // It is signed with the secret that was not named.
    assert_eq!(line.host.send(&created("acme", "7")).status, 202);
    assert_eq!(new.wait_for_notes(TOOL, "7", 1, WAIT_MAX).unwrap().notes.len(), 1);
    assert!(line.tool.requests().is_empty(), "{:#?}", line.tool.requests());
}

#[test]
fn a_clock_that_is_ahead_is_let_in_by_the_tenants_own_window() {
    let line = Line::with(&[Artifact::ZENDESK]);
    line.add_tenant("acme", "zendesk", &[("api_user", "me@desk.example")]);
    let ahead = |seconds: i64, ticket: &str| {
        let webhook = Webhook { tool: Tool::Zendesk, ..Webhook::new("acme", Event::Created, ticket) };
        let mut request = signed(&webhook, Scheme::ZendeskSignature, WEBHOOK_SECRET).unwrap();
        let at = OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
        let at = at.replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap();
        let covered = [at.as_bytes(), &request.body].concat();
        let proof = proof(Scheme::ZendeskSignature, WEBHOOK_SECRET, &covered).unwrap();
        request.headers = vec![("x-zendesk-webhook-signature-timestamp", at), proof];
        line.host.send(&request).status
    };
    assert_eq!((ahead(10, "1"), ahead(90, "2")), (202, 401));
    update(&line, &["--replay-ahead", "5m"]);
    assert_eq!((ahead(90, "2"), ahead(600, "3")), (202, 401));
    update(&line, &["--replay-ahead", "0s"]);
    assert_eq!(ahead(90, "4"), 401);
}

/// Number of senders of the load below.
const SENDERS: usize = 4;
const EACH: usize = 250;
/// Number of each sender's webhooks that make a note.
const NOTES_EACH: usize = 10;
/// Minimum number of answers between two changes.
const ANSWERS_PER_CHANGE: usize = 25;

/// Sends the load while `change` changes the tenant repeatedly. Returns how often it did.
fn under_load(line: &Line, mut change: impl FnMut(usize)) -> usize {
    let answered = AtomicUsize::new(0);
    let send = &|sender: usize| {
        for number in 0..EACH {
            let ticket = (sender * EACH + number).to_string();
            let is_new = number < NOTES_EACH;
            let webhook = if is_new { created("acme", &ticket) } else { resolved("acme", &ticket) };
            let answer = line.host.send(&webhook);
            assert_eq!(answer.status, 202, "{}", answer.text());
            assert_eq!(answer.json()["status"], "accepted", "{}", answer.text());
            answered.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS).map(|sender| scope.spawn(move || send(sender))).collect();
        let (mut changes, mut next) = (0, 0);
        loop {
            let is_over = wait_until("more answers", WAIT_MAX, || {
                let is_over = senders.iter().all(ScopedJoinHandle::is_finished);
                (is_over || answered.load(Ordering::Relaxed) >= next).then_some(is_over)
            });
            if is_over {
                return changes;
            }
            change(changes);
            changes += 1;
            next = answered.load(Ordering::Relaxed) + ANSWERS_PER_CHANGE;
        }
    })
}

fn open_tickets(line: &Line) -> Vec<String> {
    let new = (0..SENDERS).flat_map(|sender| (0..NOTES_EACH).map(move |number| (sender * EACH + number).to_string()));
    let new: Vec<_> = new.collect();
    new.iter().for_each(|ticket| line.open_ticket(ticket));
    new
}

#[test]
fn a_thousand_webhooks_are_taken_while_settings_change_back_and_forth() {
    let line = line();
    let tickets = open_tickets(&line);
    fs::write(line.host.folder().join("secret.txt"), WEBHOOK_SECRET).unwrap();
    let changes = under_load(&line, |at| {
        let changed = if at % 2 == 0 {
            update(
                &line,
                &[
                    "--set",
                    "extra=x",
                    "--unset",
                    "group",
                    "--replay-window",
                    "1h",
                    "--allow-origin",
                    "https://a.example",
                ],
            )
        } else {
            let secret = "--secret=webhook_secret=@secret.txt";
            update(&line, &["--unset", "extra", "--set", "group=ops", "--remove-origin", "https://a.example", secret])
        };
        let whole = [json!({"extra": "x", "project": "HELP"}), json!({"group": "ops", "project": "HELP"})];
        assert_eq!(changed["settings"], whole[at % 2], "{changed:#}");
    });
    assert!(changes > 1, "only {changes}");
    line.idle();
    let shown = show(&line);
    let refused: Vec<_> = shown["refusals"].as_object().unwrap().values().map(|refusals| &refusals["count"]).collect();
    assert_eq!((&shown["accepted"], refused), (&(SENDERS * EACH).into(), vec![&json!(0); 5]), "{shown:#}");
    assert_eq!(jobs(&line, "dead"), Vec::<Value>::new());
    for ticket in tickets {
        assert_eq!(line.notes(&ticket).len(), 1, "{ticket}");
    }
}

#[test]
fn under_load_no_job_of_the_tool_before_is_live_after_a_change() {
    let line = line();
    line.host.ctl(&["tenant", "pause", "acme"]);
    let changes = under_load(&line, |at| {
        update(&line, &["--yes", "--tool-type", [OTHER, "desk_good"][at % 2]]);
    });
    assert!(changes > 1, "only {changes}");
    let shown = show(&line);
    let (live, dead) = (jobs(&line, "queued"), jobs(&line, "dead"));
    assert_eq!((&shown["accepted"], live.len() + dead.len()), (&(SENDERS * EACH).into(), SENDERS * EACH));
    for job in live {
        assert_eq!(job[1], shown["tool_type"], "it was looked at before the last change: {job}");
    }
    for job in dead {
        assert_eq!(job[2], "tenant_changed", "{job}");
    }
}

#[test]
fn a_host_that_is_killed_in_a_change_has_made_all_of_it_or_nothing() {
    for (place, is_made) in [("tenant_changing", false), ("tenant_changed", true)] {
        let mut line = line();
        line.host.ctl(&["tenant", "pause", "acme"]);
        assert_eq!(line.host.send(&created("acme", "1")).status, 202);
        let before = show(&line);
        line.host.kill_at(place);
        let change =
            ["--tool-type", OTHER, "--set", "project=OPS", "--unset", "group", "--secret", "api_key=new", "--yes"];
        let ended = try_update(&line, &change);
        assert_eq!((ended.code, &ended.failure()["code"]), (3, &"HOST_UNREACHABLE".into()), "{place}: {ended:?}");
        assert_eq!(line.host.end().code, None, "{place}: it was killed");
        line.host.start();
        let after = show(&line);
        if is_made {
            assert_eq!(after["tool_type"], OTHER, "{place}: {after:#}");
            assert_eq!(after["settings"], json!({"project": "OPS"}), "{place}: {after:#}");
            assert_ne!(after["secrets"], before["secrets"], "{place}");
            assert_eq!(jobs(&line, "dead"), [json!(["1", "desk_good", "tenant_changed"])], "{place}");
        } else {
            for part in ["tool_type", "settings", "secrets", "live_jobs"] {
                assert_eq!(after[part], before[part], "{place}");
            }
            assert_eq!(jobs(&line, "dead"), Vec::<Value>::new(), "{place}");
        }
    }
}

/// Runs plugin-ctl for people, and returns its standard output and standard error.
#[track_caller]
fn say(line: &Line, args: &[&str]) -> (String, String) {
    let mut command = Command::new(Artifact::PLUGIN_CTL.path());
    command.arg("--socket").arg(line.host.socket()).args(args).current_dir(line.host.folder());
    let ended = command.env_clear().stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(ended.stdout), text(ended.stderr));
    assert!(ended.status.success(), "{args:?}: {stderr}");
    (stdout, stderr)
}

#[test]
fn a_secret_with_an_end_that_nobody_sees_is_taken_with_a_warning() {
    let line = line();
    let file = |name: &str, bytes: &[u8]| fs::write(line.host.folder().join(name), bytes).unwrap();
    file("good.txt", b"s3cret\r\n");
    file("bom.txt", "\u{feff}s3cret\r\n".as_bytes());
    file("two.txt", b"s3cret\n\n");
    file("blank.txt", b"s3cret \n");
    let tenant = |id: &str, secret: &str| {
        json!({"id": id, "base_url": "https://a.example", "secrets": {"key": secret}}).to_string() + "\n"
    };
    file("tenants.json", ("\u{feff}".to_owned() + &tenant("a", "good") + &tenant("b", "\ts3cret")).as_bytes());
    let base_url = "--base-url=https://a.example";
    for (args, words) in [
        (&["tenant", "update", "acme", "--secret", "api_key=@good.txt"][..], None),
        (
            &["tenant", "update", "acme", "--secret", "api_key=@bom.txt"],
            Some("secret api_key begins with a byte order mark"),
        ),
        (
            &["tenant", "add", "new", base_url, "--secret", "k=@two.txt"],
            Some("secret k ends with a line feed (U+000A)"),
        ),
        (&["tenant", "rotate-secret", "acme", "api_key", "@blank.txt"], Some("secret api_key ends with a blank")),
        (
            &["tenant", "rotate-secret", "acme", "api_key", "s3cret\u{a0}"],
            Some("secret api_key ends with a no-break space"),
        ),
        (&["tenant", "import", "tenants.json"], Some("tenant b: secret key begins with a tab")),
    ] {
        let (stdout, stderr) = say(&line, args);
        match words {
            None => assert!(!stderr.contains("nobody sees"), "{args:?}: {stderr}"),
            Some(words) => assert!(stderr.contains(words) && stderr.contains("printf %s"), "{args:?}: {stderr}"),
        }
        assert!(!stderr.contains("s3cret") && !stdout.contains("s3cret"), "{args:?}: {stderr} {stdout}");
    }
    // As accepted: the byte order mark now belongs to the text.
    say(&line, &["tenant", "update", "acme", "--secret", "webhook_secret=@bom.txt"]);
    assert_eq!(line.host.send(&created("acme", "1")).status, 401);
    file("utf16.txt", &"\u{feff}s3cret".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>());
    let ended = try_update(&line, &["--secret", "api_key=@utf16.txt"]);
    assert_eq!((ended.code, &ended.failure()["code"]), (1, &"SECRET_UNREADABLE".into()), "{ended:?}");
    assert!(ended.failure()["message"].as_str().unwrap().contains("it is UTF-16"), "{ended:?}");
}

#[test]
fn a_new_tenant_says_which_events_get_notes_and_one_is_shown_after_its_change() {
    let line = line();
    let added =
        line.host.ctl(&["tenant", "add", "new", "--base-url", "https://a.example", "--enhance-on", "created,updated"]);
    assert_eq!(added["enhance_on"], json!(["created", "updated"]));
    let (stdout, _) = say(&line, &["tenant", "update", "acme", "--set", "project=OPS"]);
    for words in
        ["tenant:         acme\n", "setting:        project = OPS\n", "accepted:       0 since the host was started"]
    {
        assert!(stdout.contains(words), "{stdout}");
    }
    assert!(!stdout.contains("dead letters"), "{stdout}");
    line.host.ctl(&["tenant", "pause", "acme"]);
    line.host.send(&created("acme", "1"));
    let (stdout, _) = say(&line, &["tenant", "update", "acme", "--tool-type", OTHER, "--yes"]);
    assert!(stdout.contains("dead letters:   1 job by this change (tenant_changed)\n"), "{stdout}");
}

#[test]
fn the_numbers_begin_anew_with_the_host() {
    let mut line = line();
    let twice = created("acme", "1");
    for webhook in [&twice, &twice, &created("acme", "2")] {
        assert_eq!(line.host.send(webhook).status, 202);
    }
    let shown = show(&line);
    assert_eq!((&shown["accepted"], &shown["duplicate"]), (&2.into(), &1.into()), "{shown:#}");
    assert!(shown["last_accepted_at"].is_string(), "{shown:#}");
    line.host.restart();
    let shown = show(&line);
    assert_eq!((&shown["accepted"], &shown["last_accepted_at"]), (&0.into(), &Value::Null), "{shown:#}");
}
