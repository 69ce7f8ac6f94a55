//! Configuration that is wrong ends with exit code 64 and a message that helps.

use patchbay_tests::Host;
use rustix::process::Signal;

#[track_caller]
fn check(key: &str, value: &str, words: &[&str]) {
    let host = Host::builder().config(key, value).stopped();
    for command in ["serve", "check-config"] {
        let ended = host.run_to_end(&[command, "--config", "patchbay.toml"]);
        assert_eq!(ended.code, Some(64), "{command}: {}", ended.log);
        for word in words {
            assert!(ended.log.contains(word), "{command}: no {word:?} in {}", ended.log);
        }
        assert!(!host.state().exists(), "nothing is made before the configuration is known to be good");
    }
}

#[test]
fn an_unknown_key_is_named_with_file_line_and_the_nearest_known_one() {
    check("server.lisen", "\"127.0.0.1:0\"", &["patchbay.toml", "5", "server.lisen", "server.listen"]);
    check("servre.listen", "\"127.0.0.1:0\"", &["patchbay.toml", "servre", "server"]);
}

#[test]
fn wrong_types_and_ranges_are_named() {
    check("worker.concurrency", "\"many\"", &["worker.concurrency", "integer"]);
    check("worker.concurrency", "0", &["worker.concurrency", "must be from 1 to"]);
    check("log.level", "\"loud\"", &["log.level", "loud"]);
    check("server.listen", "\"localhost\"", &["server.listen", "localhost"]);
    check("plugins.slow_deadline_s", "40", &["patchbay.toml:5", "plugins.slow_deadline_s", "http.read_s", "40", "30"]);
}

#[test]
fn a_good_configuration_is_said_to_be_good() {
    let host = Host::builder().stopped();
    let ended = host.run_to_end(&["check-config", "--config", "patchbay.toml"]);
    assert_eq!(ended.code, Some(0), "{}", ended.log);
}

#[test]
fn wrong_arguments_and_missing_files_are_usage_errors() {
    let host = Host::builder().stopped();
    for args in [&["serve", "--config", "missing.toml"][..], &["no-such-command"], &["serve", "--no-such-flag"], &[]] {
        let ended = host.run_to_end(args);
        assert_eq!(ended.code, Some(64), "{args:?}: {}", ended.log);
    }
}

#[test]
fn sighup_rereads_limits_and_keeps_the_old_ones_when_the_file_is_bad() {
    let host = Host::builder().config("server.body_bytes_max", 1_024).start();
    let status = |bytes: usize| host.http("POST", "/webhooks/nobody", &[], &vec![b'x'; bytes]).status;
    assert_eq!((status(1_024), status(1_025)), (401, 413));
    let config = |line: &str| {
        let lines =
            ["server.listen = \"127.0.0.1:0\"", "admin.listen = \"127.0.0.1:0\"", "plugins.watch = false", line];
        std::fs::write(host.folder().join("patchbay.toml"), lines.join("\n")).unwrap();
        host.signal(Signal::HUP);
    };
    config("server.body_bytes_max = 2048");
    host.wait_for_log(&["configuration reloaded"]);
    assert_eq!((status(2_048), status(2_049)), (401, 413));
    for (wrong, why) in [
        ("server.body_bytes_max = \"none\"", "must be an integer"),
        ("server.body_bytes_max = 4096\nhttp.read_s = 50", "a request ends before its call"),
    ] {
        config(wrong);
        host.wait_for_log(&["the configuration was not reloaded", why]);
        assert_eq!((status(2_048), status(2_049)), (401, 413));
    }
}
