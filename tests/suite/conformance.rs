//! `plugin-ctl conformance`: a plugin that keeps its contract passes, and each rule that one breaks is noticed by the case
//! that asks for it.

use patchbay_tests::{Artifact, Ctl, Host};

const BARE: &str = r#"{ scheme = "bare", header = "X-Signature", secret = "webhook_secret" }"#;
const TOKEN: &str = r#"{ scheme = "token", header = "X-Signature", secret = "webhook_secret" }"#;
const TIMED: &str = r#"{ scheme = "timestamped", signature_header = "X-Signature", timestamp_header = "X-Time",
    separator = ".", secret = "webhook_secret" }"#;

/// What the careless plugin needs, with the rule that it is to break.
fn given(breaks: &str, sign: &str) -> String {
    let sign = sign.replace('\n', " ");
    format!(
        r#"
        [settings]
        breaks = "{breaks}"
        [secrets]
        webhook_secret = "conformance-webhook-secret"
        api_key = "conformance-api-key"
        [[webhook]]
        name = "created"
        body = '{{"id":"7"}}'
        sign = {sign}
        expect = {{ event = "created", ticket_id = "7" }}
        [ticket]
        id = "7"
        [[answer]]
        method = "GET"
        path = "/tickets/7"
        status = 200
        body = '{{"id":"7"}}'
        [[answer]]
        method = "POST"
        path = "/tickets/7/notes"
        status = 201
        "#
    )
}

fn conformance(host: &Host, plugin: Artifact, given: &str, args: &[&str]) -> Ctl {
    std::fs::write(host.folder().join("conformance.toml"), given).unwrap();
    let path = plugin.path();
    host.try_ctl(&[&["conformance", path.to_str().unwrap()][..], args].concat())
}

/// The case, alone, fails with this in its sentence.
#[track_caller]
fn check(host: &Host, breaks: &str, sign: &str, case: &str, said: &str) {
    let ended = conformance(host, Artifact::CARELESS, &given(breaks, sign), &["--case", case, "--fuzz-time", "10s"]);
    assert_eq!(ended.code, 1, "{breaks}: {ended:?}");
    let failure = ended.failure();
    assert_eq!((&failure["code"], &failure["causes"][0]["code"]), (&"CONFORMANCE".into(), &case.into()), "{breaks}");
    let message = failure["causes"][0]["message"].as_str().unwrap();
    assert!(message.contains(said), "{breaks}: {message}");
    assert!(failure["causes"][0]["mend"].as_str().is_some_and(|mend| !mend.is_empty()), "{failure:#}");
}

#[test]
fn a_plugin_that_keeps_its_contract_passes() {
    let host = Host::builder().stopped();
    let junit = host.folder().join("report.xml");
    let args = ["--fuzz-time", "1s", "--junit", junit.to_str().unwrap()];
    let ended = conformance(&host, Artifact::CARELESS, &given("nothing", BARE), &args);
    let report = ended.json();
    assert_eq!((ended.code, &report["verdict"]), (0, &"passed".into()), "{ended:?}");
    let cases = report["cases"].as_array().unwrap();
    assert!(cases.iter().all(|case| case["outcome"] == "passed"), "{report:#}");
    for level in 1..=5 {
        assert!(cases.iter().any(|case| case["level"] == level), "{report:#}");
    }
    let xml = std::fs::read_to_string(junit).unwrap();
    assert_eq!(xml.matches("<testcase ").count(), cases.len(), "{xml}");
    assert!(!xml.contains("<failure"), "{xml}");
}

#[test]
fn without_what_it_needs_a_case_is_skipped_and_said_to_be() {
    let host = Host::builder().stopped();
    let path = Artifact::GOOD.path();
    let ended = host.try_ctl(&["conformance", path.to_str().unwrap(), "--case", "webhook-valid"]);
    let report = ended.json();
    assert_eq!((ended.code, &report["verdict"]), (0, &"partly".into()), "{ended:?}");
    assert_eq!(report["cases"][0]["outcome"], "skipped");
}

#[test]
fn each_broken_rule_of_webhooks_is_noticed() {
    let host = Host::builder().stopped();
    for (breaks, sign, case, said) in [
        ("takes all", BARE, "webhook-unsigned", "for authentic"),
        ("takes all", BARE, "webhook-odd-headers", "for authentic"),
        ("takes all", BARE, "webhook-wrong-secret", "signed with another secret"),
        ("takes all", BARE, "webhook-empty-secret", "under an empty secret"),
        ("takes all", BARE, "webhook-absent-secret", "without a secret"),
        ("takes the unsigned", BARE, "webhook-missing-header", "created without x-signature"),
        ("takes the first", BARE, "webhook-repeated-header", "x-signature twice"),
        ("trims", BARE, "webhook-altered-body", "with a blank behind"),
        ("takes the old", TIMED, "webhook-stale", "signed hours ago"),
        ("logs", TOKEN, "webhook-valid", "the secret webhook_secret stands in"),
        ("is sorry", BARE, "webhook-valid", "not now"),
        ("reads first", BARE, "webhook-unsigned", "malformed"),
    ] {
        check(&host, breaks, sign, case, said);
    }
}

#[test]
fn each_broken_rule_of_payloads_is_noticed() {
    let host = Host::builder().stopped();
    for (breaks, case, said) in [
        ("is sorry", "body-empty", "the sender tries for ever"),
        ("panics", "body-not-utf8", "panicked at"),
        ("recurses", "body-deep", "died of SIG"),
        ("takes long", "body-huge", "ms of a processor"),
        ("takes no id", "fuzz", "a ticket id of 0 characters"),
    ] {
        check(&host, breaks, BARE, case, said);
    }
}

#[test]
fn each_broken_rule_about_the_tool_is_noticed() {
    let host = Host::builder().stopped();
    for (breaks, case, said) in [
        ("pastes", "ticket-odd-ids", "became part of the target"),
        ("posts nothing", "ticket-update", "has sent it nothing"),
        ("takes any answer", "answer-401", "not Authentication"),
        ("takes any answer", "answer-404", "not NotFound"),
        ("does not wait", "answer-429", "not RateLimit with a wait of 7 s"),
        ("takes any answer", "answer-500", "not Api"),
        ("takes pages", "answer-html", "update_ticket answered"),
        ("reads anything", "answer-half", "from the body"),
        ("reads anything", "answer-odd", "from the body"),
        ("swallows", "answer-cut", "get_ticket answered None"),
        ("swallows", "answer-slow", "get_ticket answered None"),
        ("swallows", "answer-lost", "get_ticket answered None"),
        ("swallows", "answer-draining", "not Cancelled"),
        ("exits", "answer-500", "ended the process"),
    ] {
        check(&host, breaks, BARE, case, said);
    }
}

#[test]
fn each_broken_rule_of_lifetime_and_concurrency_is_noticed() {
    let host = Host::builder().stopped();
    for (breaks, case, said) in [
        ("leaves a thread", "threads", "still run after it was dropped"),
        ("keeps memory", "create-destroy", "it grew by"),
        ("counts", "parallel-calls", "many hear"),
        ("looks at the clock", "determinism", "minutes later"),
    ] {
        check(&host, breaks, BARE, case, said);
    }
}

#[test]
fn a_seed_brings_a_failure_back() {
    let host = Host::builder().stopped();
    let text = given("panics on zero", BARE);
    let found = conformance(&host, Artifact::CARELESS, &text, &["--case", "fuzz", "--fuzz-time", "30s"]);
    let message = found.failure()["causes"][0]["message"].as_str().unwrap_or_default().to_owned();
    let seed = message.strip_prefix("seed ").and_then(|rest| rest.split(':').next()).unwrap_or_default();
    // The first round of that seed is the one that failed: a time that is over when it begins would find nothing.
    let again = conformance(&host, Artifact::CARELESS, &text, &["--case", "fuzz", "--fuzz-time", "1s", "--seed", seed]);
    assert_eq!(again.failure()["causes"][0]["message"], message.as_str(), "{again:?}");
}

#[test]
fn what_a_host_refuses_is_refused_here() {
    let host = Host::builder().stopped();
    for (plugin, code) in [(Artifact::NO_PLUGIN, "NOT_A_PLUGIN"), (Artifact::PANICS_IN_NEW, "CONFORMANCE")] {
        let ended = conformance(&host, plugin, "", &["--level", "2"]);
        assert_eq!((ended.code, &ended.failure()["code"]), (1, &code.into()), "{ended:?}");
    }
    let ended = conformance(&host, Artifact::GOOD, "[[webhok]]", &[]);
    assert_eq!((ended.code, &ended.failure()["code"]), (1, &"CONFORMANCE_FILE".into()), "{ended:?}");
    assert!(ended.failure()["why"].as_str().is_some_and(|why| why.contains("webhok")), "{ended:?}");
}
