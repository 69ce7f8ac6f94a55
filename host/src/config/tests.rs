//! Precedence, paths, every fault's message, and the reference page and the example held against the code.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::limits::RELOADABLE;

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/configuration.md"));
const EXAMPLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/patchbay.toml"));

/// Loads `text` as the default file of a new folder, which is returned as well.
fn load(text: &str, env: &[(&str, &str)]) -> (tempfile::TempDir, Result<Config, ConfigError>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(DEFAULT_FILE), text).unwrap();
    let result = Config::load(None, variables(env), folder.path());
    (folder, result)
}

fn variables(env: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
}

fn good(text: &str, env: &[(&str, &str)]) -> Config {
    load(text, env).1.unwrap()
}

#[track_caller]
fn check_faults(text: &str, env: &[(&str, &str)], expected: &[&str]) {
    let error = load(text, env).1.expect_err("this has faults");
    assert_eq!(error.faults().collect::<Vec<_>>(), expected);
    assert_eq!(error.to_string(), expected.join("\n"));
}

fn defaults() -> BTreeMap<String, toml::Value> {
    layers::flat(&Config::load(None, variables(&[]), Path::new("/nowhere")).unwrap().values)
}

#[test]
fn without_a_file_the_defaults_hold() {
    let config =
        Config::load(None, variables(&[("PATH", "/bin"), ("PATCHBAY_SOCKET", "x")]), Path::new("/srv")).unwrap();
    assert_eq!(config.file(), None);
    assert_eq!(config.state_dir, Path::new("/srv/state"));
    assert_eq!(config.admin.socket, Path::new("/srv/state/admin.sock"));
    assert_eq!(config.admin.listen, Some(SocketAddr::from(([127, 0, 0, 1], 9090))));
    assert_eq!(config.plugins.dir, Path::new("/srv/plugins"));
    assert_eq!(config.plugins.settle, Duration::from_millis(200));
    assert_eq!(config.store.path, Path::new("/srv/state/patchbay.db"));
    assert_eq!(config.store.dedup, Duration::from_secs(72 * 3600));
    assert_eq!(config.retry.statuses, [408, 425, 429, 500, 502, 503, 504]);
    assert_eq!(config.log.level, tracing::Level::INFO);
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let config = good(
        "[server]\nbody_bytes_max = 0x1000\nlisten = '[::1]:0'\n[worker]\nlease_s = 30\n[retry]\nmultiplier = 3\n",
        &[
            ("PATCHBAY_SERVER__BODY_BYTES_MAX", "8192"),
            ("PATCHBAY_RETRY__STATUSES", "429, 503"),
            ("PATCHBAY_PLUGINS__TRUSTED_KEYS", ""),
            ("PATCHBAY_PLUGINS__WATCH", "false"),
            ("PATCHBAY_ADMIN__LISTEN", ""),
            ("PATCHBAY_LOG__FORMAT", "json"),
        ],
    );
    assert_eq!(config.server.body_bytes_max, 8192);
    assert_eq!(config.server.listen.to_string(), "[::1]:0");
    assert_eq!(config.worker.lease, Duration::from_secs(30));
    assert_eq!(config.worker.per_tenant, 8);
    assert!((config.retry.multiplier - 3.0).abs() < f64::EPSILON);
    assert_eq!(config.retry.statuses, [429, 503]);
    assert_eq!(config.plugins.trust.keys, []);
    assert!(!config.plugins.watch);
    assert_eq!(config.admin.listen, None);
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("etc")).unwrap();
    let text = "state_dir = 'var'\n[store]\nurl = 'sqlite:<state_dir>/deep/jobs.db'\n[plugins]\ndir = '/opt/plugins'\n\
                [secrets]\nkey_file = 'k'\n";
    std::fs::write(folder.path().join("etc/p.toml"), text).unwrap();
    let etc = folder.path().join("etc");
    let load = |env| Config::load(Some(Path::new("etc/p.toml")), variables(env), folder.path()).unwrap();
    let config = load(&[]);
    assert_eq!(config.file(), Some(&*etc.join("p.toml")));
    assert_eq!(config.state_dir, etc.join("var"));
    assert_eq!(config.store.path, etc.join("var/deep/jobs.db"));
    assert_eq!(config.admin.socket, etc.join("var/admin.sock"));
    assert_eq!(config.plugins.dir, Path::new("/opt/plugins"));
    assert_eq!(config.secrets.key_file, etc.join("k"));
    assert_eq!(load(&[("PATCHBAY_STATE_DIR", "/var/lib/p")]).admin.socket, Path::new("/var/lib/p/admin.sock"));
}

#[test]
fn unknown_names_are_faults_and_the_nearest_is_named() {
    check_faults(
        "stat_dir = 'x'\n[server]\nlisten = '127.0.0.1:0'\nbody_byte_max = 1\n\n[serve]\nlisten = 1\n[worker]\nper_tennant = 1\n[tls]\ncert = 'x'\n",
        &[
            ("PATCHBAY_SERVER__LISEN", "x"),
            ("PATCHBAY_server__listen", "x"),
            ("PATCHBAY_DIR", "not configuration"),
            ("PATCHBAY_LOGS__LEVEL", "x"),
        ],
        &[
            "patchbay.toml:1: stat_dir is not a known key; did you mean state_dir?",
            "patchbay.toml:4: server.body_byte_max is not a known key; did you mean server.body_bytes_max?",
            "patchbay.toml:6: [serve] is not a known section; did you mean [server]?",
            "patchbay.toml:9: worker.per_tennant is not a known key; did you mean worker.per_tenant?",
            "patchbay.toml:10: [tls] is not a known section",
            "environment PATCHBAY_LOGS__LEVEL: no key has this name; did you mean PATCHBAY_LOG__LEVEL?",
            "environment PATCHBAY_SERVER__LISEN: no key has this name; did you mean PATCHBAY_SERVER__LISTEN?",
            "environment PATCHBAY_server__listen: no key has this name; did you mean PATCHBAY_SERVER__LISTEN?",
        ],
    );
}

#[test]
fn wrong_types_are_faults() {
    check_faults(
        "state_dir = 3\nadmin = 'x'\n[server]\nbody_bytes_max = \"big\"\nlisten = { port = 1 }\n[plugins]\nwatch = 1\n\
         trusted_keys = [1]\n[retry]\njitter = 'x'\nstatuses = [500, '503']\n[http]\nread_s = 99999999999999999999\n\
         [log.level]\nroot = 'info'\n",
        &[
            ("PATCHBAY_WORKER__LEASE_S", "1m"),
            ("PATCHBAY_RETRY__STATUSES", "500,x"),
            ("PATCHBAY_PLUGINS__WATCH", "yes"),
        ],
        &[
            "patchbay.toml:1: state_dir must be a text, but is 3",
            "patchbay.toml:2: admin must be a section",
            "patchbay.toml:4: server.body_bytes_max must be an integer, but is \"big\"",
            "patchbay.toml:5: server.listen must be a text, but is { port = 1 }",
            "patchbay.toml:7: plugins.watch must be true or false, but is 1",
            "patchbay.toml:8: plugins.trusted_keys must be a list of texts, but is [1]",
            "patchbay.toml:10: retry.jitter must be a number, but is 'x'",
            "patchbay.toml:11: retry.statuses must be a list of integers, but is [500, '503']",
            "patchbay.toml:13: http.read_s must be an integer, but is 99999999999999999999",
            "patchbay.toml:14: log.level must be a text, but is [log.level]",
            "environment PATCHBAY_PLUGINS__WATCH: plugins.watch must be true or false, but is \"yes\"",
            "environment PATCHBAY_RETRY__STATUSES: retry.statuses must be a list of integers, but is \"500,x\"",
            "environment PATCHBAY_WORKER__LEASE_S: worker.lease_s must be an integer, but is \"1m\"",
        ],
    );
}

#[test]
fn values_that_are_not_allowed_are_faults() {
    check_faults(
        "state_dir = '/s'\n[server]\nlisten = 'localhost:80'\n[admin]\nlisten = '9090'\n[plugins]\npermissions = 'lax'\n\
         require_signature = true\n[store]\nurl = 'postgres://db/patchbay'\n[secrets]\nkey_file = '<stat_dir>/k'\n\
         [retry]\nbase_s = 60\nmax_s = 30\nmultiplier = 0.5\njitter = nan\nstatuses = [200, 503, 600]\n",
        &[("PATCHBAY_LOG__LEVEL", "INFO"), ("PATCHBAY_PLUGINS__DIR", "")],
        &[
            "patchbay.toml:3: server.listen must be an IP address and a port such as 127.0.0.1:8080, but is \"localhost:80\"",
            "patchbay.toml:5: admin.listen must be an IP address and a port such as 127.0.0.1:8080, but is \"9090\"",
            "patchbay.toml:8: plugins.require_signature needs at least one key in plugins.trusted_keys",
            "environment PATCHBAY_PLUGINS__DIR: plugins.dir must be a path, but is empty",
            "patchbay.toml:7: plugins.permissions must be one of \"strict\", \"group\", \"volume\", but is \"lax\"",
            "patchbay.toml:10: store.url must be sqlite:<path>, but is \"postgres://db/patchbay\"",
            "patchbay.toml:12: secrets.key_file may begin with <state_dir>/ and no other placeholder, but is \"<stat_dir>/k\"",
            "patchbay.toml:16: retry.multiplier must be from 1 to 10, but is 0.5",
            "patchbay.toml:17: retry.jitter must be from 0 to 1, but is NaN",
            "patchbay.toml:18: retry.statuses must be from 400 to 599, but is 200",
            "patchbay.toml:18: retry.statuses must be from 400 to 599, but is 600",
            "patchbay.toml:15: retry.max_s must be at least retry.base_s, which is 60",
            "environment PATCHBAY_LOG__LEVEL: log.level must be one of \"error\", \"warn\", \"info\", \"debug\", \"trace\", but is \"INFO\"",
        ],
    );
}

#[test]
fn single_values_that_are_not_allowed() {
    let key = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    let good_key = key(&[b"Ed".as_slice(), &[7; 40]].concat());
    good("", &[("PATCHBAY_PLUGINS__TRUSTED_KEYS", &good_key), ("PATCHBAY_PLUGINS__REQUIRE_SIGNATURE", "true")]);
    let other_kind = key(&[b"ED".as_slice(), &[7; 40]].concat());
    for wrong in [key(&[7; 42]), key(&[b"Ed".as_slice(), &[7; 41]].concat()), other_kind, "?".to_owned()] {
        let message = format!(
            "environment PATCHBAY_PLUGINS__TRUSTED_KEYS: plugins.trusted_keys has a fault at number 2, {wrong:?}: \
             this is no minisign public key; give the line of minisign.pub that begins with RW"
        );
        check_faults("", &[("PATCHBAY_PLUGINS__TRUSTED_KEYS", &format!("{good_key},{wrong}"))], &[&message]);
    }
    let proxies =
        good("", &[("PATCHBAY_SERVER__TRUSTED_PROXIES", "10.0.0.0/8,::ffff:192.0.2.7")]).server.trusted_proxies;
    assert_eq!(proxies.texts(), ["10.0.0.0/8", "192.0.2.7/32"]);
    let message = "environment PATCHBAY_SERVER__TRUSTED_PROXIES: server.trusted_proxies has a fault at number 2, \
                   \"proxy.example\": it is no address such as 203.0.113.7 and no network such as 203.0.113.0/24 or 2001:db8::/32";
    check_faults("", &[("PATCHBAY_SERVER__TRUSTED_PROXIES", "10.0.0.1,proxy.example")], &[message]);
    let answers = |one, all| [("PATCHBAY_HTTP__ANSWER_BYTES_MAX", one), ("PATCHBAY_HTTP__ANSWERS_BYTES_MAX", all)];
    good("", &answers("3000", "6000"));
    let message = "environment PATCHBAY_HTTP__ANSWERS_BYTES_MAX: http.answers_bytes_max must be at least 6000, twice \
                   http.answer_bytes_max, but is 5999";
    check_faults("", &answers("3000", "5999"), &[message]);
    let at_limit = format!("/{}", "s".repeat(106));
    assert_eq!(good("", &[("PATCHBAY_ADMIN__SOCKET", &at_limit)]).admin.socket, Path::new(&at_limit));
    let message = format!(
        "environment PATCHBAY_ADMIN__SOCKET: admin.socket must be a path of at most 107 bytes, but {at_limit}s has 108"
    );
    check_faults("", &[("PATCHBAY_ADMIN__SOCKET", &format!("{at_limit}s"))], &[&message]);
    for (url, shown) in [("sqlite:", "\"sqlite:\""), ("patchbay.db", "\"patchbay.db\"")] {
        let message = format!("environment PATCHBAY_STORE__URL: store.url must be sqlite:<path>, but is {shown}");
        check_faults("", &[("PATCHBAY_STORE__URL", url)], &[&message]);
    }
}

#[test]
fn a_request_has_to_end_before_its_call() {
    good("[http]\nread_s = 49\n", &[]);
    good("[plugins]\nslow_deadline_s = 41\n", &[]);
    good("[plugins]\nslow_deadline_s = 601\n[http]\nconnect_s = 300\n", &[("PATCHBAY_HTTP__READ_S", "300")]);
    let faulty = |text: &str, env: &[(&str, &str)], place: &str, [deadline_s, connect_s, read_s]: [u32; 3]| {
        let message = format!(
            "{place}: plugins.slow_deadline_s must be more than http.connect_s and http.read_s together, since a request \
             ends before its call; but it is {deadline_s}, and they are {connect_s} and {read_s}"
        );
        check_faults(text, env, &[&message]);
    };
    faulty("[http]\nread_s = 50\n", &[], "patchbay.toml:2", [60, 10, 50]);
    faulty("[http]\nconnect_s = 300\n", &[], "patchbay.toml:2", [60, 300, 30]);
    faulty("[http]\nread_s = 20\n[plugins]\nslow_deadline_s = 30\n", &[], "patchbay.toml:4", [30, 10, 20]);
    let variable = ("PATCHBAY_PLUGINS__SLOW_DEADLINE_S", "40");
    faulty("", &[variable], "environment PATCHBAY_PLUGINS__SLOW_DEADLINE_S", [40, 10, 30]);
}

#[test]
fn a_file_that_is_no_toml_or_cannot_be_read_is_a_fault() {
    check_faults(
        "[server]\nlisten = \nbody_bytes_max = 1\nbody_bytes_max = 2\n",
        &[],
        &["patchbay.toml:2: string values must be quoted, expected literal string", "patchbay.toml:4: duplicate key"],
    );
    let folder = tempfile::tempdir().unwrap();
    let missing = Config::load(Some(Path::new("none.toml")), variables(&[]), folder.path()).unwrap_err().to_string();
    assert_eq!(missing, "none.toml: cannot be read: No such file or directory (os error 2)");
    check_faults(
        &format!("#{}", " ".repeat(usize::try_from(FILE_BYTES_MAX).unwrap())),
        &[],
        &["patchbay.toml: cannot be read: it is larger than 1048576 bytes"],
    );
    good(&format!("#{}", " ".repeat(usize::try_from(FILE_BYTES_MAX).unwrap() - 1)), &[]);
}

/// Each integer and number, with its range as its own fault states it.
fn ranges() -> BTreeMap<String, (String, String)> {
    let mut ranges = BTreeMap::new();
    for (key, default) in defaults() {
        if !(default.is_integer() || default.is_float()) {
            continue;
        }
        let name = layers::env_name(&key);
        let error = load("", &[(&name, "-1")]).1.expect_err(&key).to_string();
        let stated = error.lines().find(|line| line.contains(" must be from ")).expect("each number has a range");
        let prefix = format!("environment {name}: {key} must be from ");
        let (low, rest) = stated.strip_prefix(&prefix).expect(stated).split_once(" to ").unwrap();
        ranges.insert(key, (low.to_owned(), rest.split_once(',').unwrap().0.to_owned()));
    }
    ranges
}

#[test]
fn each_range_holds_at_its_ends_and_not_past_them() {
    // A base at its end needs a maximum that is at least as long, and the other way round; so do one answer and all, and a
    // request and its call.
    let with = |name: &str, value: &str| {
        let mut env = vec![
            ("PATCHBAY_RETRY__BASE_S", "1"),
            ("PATCHBAY_RETRY__MAX_S", "86400"),
            ("PATCHBAY_HTTP__ANSWER_BYTES_MAX", "1024"),
            ("PATCHBAY_HTTP__ANSWERS_BYTES_MAX", "17179869184"),
            ("PATCHBAY_HTTP__CONNECT_S", "1"),
            ("PATCHBAY_HTTP__READ_S", "1"),
            ("PATCHBAY_PLUGINS__SLOW_DEADLINE_S", "3600"),
        ];
        env.retain(|(other, _)| *other != name);
        env.push((name, value));
        load("", &env).1.is_ok()
    };
    for (key, (low, high)) in ranges() {
        let name = layers::env_name(&key);
        let (below, above) = (low.parse::<i64>().unwrap() - 1, high.parse::<i64>().unwrap() + 1);
        assert!(with(&name, &low) && with(&name, &high), "{key}: {low} to {high}");
        assert!(!with(&name, &below.to_string()) && !with(&name, &above.to_string()), "{key}: {low} to {high}");
    }
}

#[test]
fn the_reference_page_has_every_key_with_its_default_and_range_and_no_other() {
    let ranges = ranges();
    let mut expected = defaults();
    let mut section = String::new();
    for line in PAGE.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading
                .strip_prefix("`[")
                .and_then(|h| h.strip_suffix("]`"))
                .map(|s| format!("{s}."))
                .unwrap_or_default();
        }
        let Some(row) = line.strip_prefix("| `") else { continue };
        let cells: Vec<_> = row.split(" | ").collect();
        let [key, default, allowed, reload, _meaning] = cells[..] else { panic!("five columns: {line}") };
        let key = format!("{section}{}", key.trim_end_matches('`'));
        let value = expected.remove(&key).unwrap_or_else(|| panic!("{key} is no key, or stands there twice"));
        assert_eq!(default, format!("`{value}`"), "{key}");
        assert_eq!(reload == "yes", RELOADABLE.contains(&key.as_str()), "{key}: {reload}");
        if let Some((low, high)) = ranges.get(&key) {
            assert!(allowed.contains(&format!("{low} to {high}")), "{key}: {low} to {high}, not {allowed}");
        }
    }
    assert_eq!(expected, BTreeMap::new(), "keys that are missing");
}

#[test]
fn the_example_loads_and_what_it_leaves_commented_out_are_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let plain = Config::load(None, variables(&[]), folder.path()).unwrap();
    let active: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if setting.starts_with(|c: char| c.is_ascii_lowercase()) => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    for text in [EXAMPLE, &active] {
        assert_eq!(plain.changed_keys(&good(text, &[])), Vec::<String>::new());
    }
    let parsed: toml::Table = active.parse().unwrap();
    assert_eq!(
        layers::flat(&parsed).into_keys().collect::<BTreeSet<_>>(),
        defaults().into_keys().collect::<BTreeSet<_>>()
    );
}

#[test]
fn reloadable_keys_are_keys() {
    let known = defaults();
    assert!(RELOADABLE.iter().all(|key| known.contains_key(*key)));
}

#[test]
fn a_variable_that_is_nearly_a_key_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let warnings = |name: &str| -> Vec<String> {
        let env = std::iter::once((name.to_owned(), "1".to_owned()));
        let config = Config::load(None, env, folder.path()).unwrap();
        config.warnings().collect()
    };
    for (name, meant) in [
        ("PATCHBAY_SERVER_LISTEN", "PATCHBAY_SERVER__LISTEN"),
        ("PATCHBAY_SERVR_LISTEN", "PATCHBAY_SERVER__LISTEN"),
        ("PATCHBY_SERVER__LISTEN", "PATCHBAY_SERVER__LISTEN"),
        ("patchbay_log__level", "PATCHBAY_LOG__LEVEL"),
        ("PATCHBAY_STATE_DIRS", "PATCHBAY_STATE_DIR"),
        ("PATCHBAY_PLUGINS_DIR", "PATCHBAY_PLUGINS__DIR"),
    ] {
        let expected = format!("environment {name}: it is no configuration, and is ignored; did you mean {meant}?");
        assert_eq!(warnings(name), [expected]);
    }
    let services = std::iter::once("PATCHBAY".to_owned())
        .chain(defaults().into_keys().map(|key| layers::env_name(key.split('.').next().unwrap())));
    let kubernetes = services.flat_map(|service| {
        [
            "SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_HTTP",
            "PORT",
            "PORT_80_TCP",
            "PORT_80_TCP_ADDR",
            "PORT_80_TCP_PROTO",
        ]
        .map(|what| format!("{service}_{what}"))
    });
    for name in kubernetes.chain(["PATCHBAY_SOCKET", "PATCHBAY_SRV_LISTEN", "PATH", "HOME"].map(str::to_owned)) {
        assert_eq!(warnings(&name), [""; 0], "{name}");
    }
}
