//! `plugin-ctl conformance`: a plugin that keeps its contract passes, and each broken rule is noticed by the case for
//! it.

use patchbay_tests::{Artifact, Ctl, Host};
use plugin_abi::testing::hex_mac;
use serde_json::Value;

const BARE: &str = r#"{ scheme = "bare", header = "X-Signature", secret = "webhook_secret" }"#;
const TOKEN: &str = r#"{ scheme = "token", header = "X-Signature", secret = "webhook_secret" }"#;
const TIMED: &str = r#"{ scheme = "timestamped", signature_header = "X-Signature", timestamp_header = "X-Time",
    separator = ".", secret = "webhook_secret" }"#;

/// The data for the careless plugin, with the rule that it should break.
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
        method = "GET"
        path = "/tickets/7/notes"
        noted = true
        status = 200
        body = '[{{"html":"<p>{{{{marker}}}}</p>"}}]'
        [[answer]]
        method = "GET"
        path = "/tickets/7/notes"
        status = 200
        body = '[]'
        [[answer]]
        method = "POST"
        path = "/tickets/7/notes"
        expect_json = {{ "/visibility" = "internal" }}
        status = 201
        "#
    )
}

/// The same data with a webhook of literal headers, signed under the given secret, and these additional keys.
fn literal(breaks: &str, keys: &str) -> String {
    let mac = hex_mac(b"conformance-webhook-secret", &[br#"{"id":"7"}"#]);
    let headers = format!("headers = {{ X-Signature = \"{mac}\", X-Time = \"1772442905\" }}\n{keys}");
    given(breaks, BARE).replace(&format!("sign = {BARE}"), &headers)
}

/// The results of these cases.
fn outcomes<'r>(report: &'r Value, names: &[&str]) -> Vec<&'r Value> {
    let cases = report["cases"].as_array().unwrap();
    names.iter().map(|name| cases.iter().find(|case| case["name"] == *name).unwrap()).collect()
}

fn conformance(host: &Host, plugin: Artifact, given: &str, args: &[&str]) -> Ctl {
    std::fs::write(host.folder().join("conformance.toml"), given).unwrap();
    let path = plugin.path();
    host.try_ctl(&[&["conformance", path.to_str().unwrap()][..], args].concat())
}

/// Checks that this case, run alone, fails with this text.
#[track_caller]
fn check(host: &Host, breaks: &str, sign: &str, case: &str, said: &str) {
    check_given(host, breaks, &given(breaks, sign), case, said);
}

#[track_caller]
fn check_given(host: &Host, breaks: &str, given: &str, case: &str, said: &str) {
    let ended = conformance(host, Artifact::CARELESS, given, &["--case", case, "--fuzz-time", "10s"]);
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
    // A webhook without a signed time is never too old.
    let (idle, tried): (Vec<_>, Vec<_>) = cases.iter().partition(|case| case["applies"] == false);
    assert!(tried.iter().all(|case| case["outcome"] == "passed"), "{report:#}");
    assert_eq!(
        idle.iter().map(|case| (&case["name"], &case["outcome"])).collect::<Vec<_>>(),
        [(&"webhook-stale".into(), &"skipped".into())]
    );
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
fn what_proves_literal_headers_is_not_guessed() {
    const UNTRIED: &[&str] = &["webhook-missing-header", "webhook-repeated-header", "webhook-altered-body"];
    let host = Host::builder().stopped();
    let args = ["--level", "2"];
    let ended = conformance(&host, Artifact::CARELESS, &literal("nothing", ""), &args);
    let report = ended.json();
    assert_eq!((ended.code, &report["verdict"]), (0, &"partly".into()), "{ended:?}");
    for case in outcomes(&report, UNTRIED).into_iter().chain(outcomes(&report, &["webhook-stale"])) {
        assert_eq!((&case["outcome"], &case["applies"]), (&"skipped".into(), &true.into()), "{case:#}");
        assert!(case["reason"].as_str().unwrap().starts_with("webhook \"created\" needs "), "{case:#}");
    }

    let keys = "proof_headers = [\"x-signature\"]\nsigns_body = true\nsigns_time = false";
    let report = conformance(&host, Artifact::CARELESS, &literal("nothing", keys), &args).json();
    assert_eq!(report["verdict"], "passed", "{report:#}");
    assert!(outcomes(&report, UNTRIED).iter().all(|case| case["outcome"] == "passed"), "{report:#}");
}

#[test]
fn literal_headers_are_tried_as_far_as_they_are_said_to_prove() {
    let host = Host::builder().stopped();
    let good_then = "received_at = \"2026-03-02T09:15:05Z\"";
    for (breaks, keys, case, said) in [
        ("takes the unsigned", "proof_headers = [\"x-signature\"]", "webhook-missing-header", "without x-signature"),
        ("takes the first", "proof_headers = [\"x-signature\"]", "webhook-repeated-header", "x-signature twice"),
        ("trims", "signs_body = true", "webhook-altered-body", "with a blank behind"),
        // The header's time is that of the arrival, so it counts as signed.
        ("takes the late", good_then, "webhook-stale", "signed hours ago"),
        ("nothing", "signs_time = true", "webhook-stale", "signed hours ago"),
    ] {
        check_given(&host, breaks, &literal(breaks, keys), case, said);
    }
}

#[test]
fn without_a_word_on_what_makes_a_note_internal_the_verdict_is_partly() {
    let host = Host::builder().stopped();
    let silent = given("posts publicly", BARE).replace("expect_json", "#");
    let ended = conformance(&host, Artifact::CARELESS, &silent, &["--level", "2"]);
    let report = ended.json();
    assert_eq!((ended.code, &report["verdict"]), (0, &"partly".into()), "{ended:?}");
    let internal = outcomes(&report, &["note-internal"])[0];
    assert_eq!(internal["outcome"], "skipped", "{report:#}");
    assert!(internal["reason"].as_str().unwrap().contains("expect_json"), "{report:#}");
}

#[test]
fn without_an_answer_that_shows_the_note_it_is_not_said_to_be_found() {
    let host = Host::builder().stopped();
    let silent = given("nothing", BARE).replace("{{marker}}", "another");
    let report = conformance(&host, Artifact::CARELESS, &silent, &["--level", "2"]).json();
    let found = outcomes(&report, &["note-found"])[0];
    assert_eq!(found["outcome"], "skipped", "{report:#}");
    assert!(found["reason"].as_str().unwrap().contains("GET /tickets/7/notes"), "{report:#}");
    let silent = given("is sure", BARE).replace("{{marker}}", "another");
    check_given(&host, "is sure", &silent, "note-found", "no answer has shown its marker");
    check_given(&host, "is sure", &silent, "ticket-update", "has sent it nothing");
    // A plugin that does not claim it has nothing to prove.
    let path = Artifact::SCHEMES.path();
    let report = host.ctl(&["conformance", path.to_str().unwrap(), "--case", "note-found"]);
    assert_eq!((&report["verdict"], &report["cases"][0]["applies"]), (&"passed".into(), &false.into()), "{report:#}");
}

#[test]
fn times_in_milliseconds_and_in_one_header_with_the_signature_are_signed() {
    const MS: &str = r#"{ scheme = "timestamped", signature_header = "X-Signature", timestamp_header = "X-Timestamp",
        encoding = "base64", timestamp = "milliseconds", secret = "webhook_secret" }"#;
    const STRIPE: &str = r#"{ scheme = "stripe", header = "X-Signature", secret = "webhook_secret" }"#;
    let host = Host::builder().stopped();
    let given = |scheme: &str, sign: &str| {
        given("nothing", sign)
            .replace("breaks = \"nothing\"", &format!("scheme = \"{scheme}\""))
            .replace(r#"{"id":"7"}"#, r#"{"ticket_id":"7","event":"ticket_created"}"#)
    };
    for (scheme, sign) in [("millis", MS), ("stripe", STRIPE)] {
        for case in ["webhook-valid", "webhook-stale", "webhook-altered-body", "webhook-repeated-header"] {
            let ended = conformance(&host, Artifact::SCHEMES, &given(scheme, sign), &["--case", case]);
            assert_eq!(ended.json()["verdict"], "passed", "{scheme}, {case}: {ended:?}");
        }
    }
    // A plugin that reads seconds accepts no milliseconds.
    let ended = conformance(&host, Artifact::SCHEMES, &given("timestamped", MS), &["--case", "webhook-valid"]);
    let message = ended.failure()["causes"][0]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("validate_webhook answered Ok(false)"), "{message}");
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
        ("posts publicly", "note-internal", "/visibility is \"public\", not \"internal\""),
        ("does not look", "note-found", "without looking for the note"),
        ("looks elsewhere", "note-found", "without looking for the note"),
        ("looks away", "note-found", "although the answer before it shows the note's marker"),
        ("takes any answer", "answer-401", "not Authentication"),
        ("takes any answer", "answer-404", "not NotFound"),
        ("does not wait", "answer-429", "not RateLimit with a wait of 7 s"),
        ("takes any answer", "answer-500", "not Api"),
        ("takes pages", "answer-html", "update_ticket answered Ok(true) at request 1 of 1, attempt 1, not Api"),
        ("reads anything", "answer-half", "from the body"),
        ("reads anything", "answer-odd", "from the body"),
        ("swallows", "answer-cut", "get_ticket answered Ok(None)"),
        ("swallows", "answer-slow", "get_ticket answered Ok(None)"),
        ("swallows", "answer-lost", "get_ticket answered Ok(None)"),
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
        ("leaves a thread", "threads", "1 thread that the plugin started still ran after the plugin was dropped"),
        ("keeps memory", "create-destroy", "it grew by"),
        ("counts", "parallel-calls", "another subject than it answered among many"),
        ("looks at the clock", "determinism", "minutes later another occurred_at"),
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
    assert!(message.contains("the webhook's body was \"") && message.contains("\\x00"), "{message}");
    let seed = message.strip_prefix("seed ").and_then(|rest| rest.split(':').next()).unwrap_or_default();
    let again = format!("--case fuzz --seed {seed} --fuzz-time 1s");
    assert!(message.ends_with(&again) && message.contains("once more: plugin-ctl conformance '"), "{message}");
    // The first round of that seed is the one that failed. Without a first round, a time that is over at once would
    // find nothing.
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
