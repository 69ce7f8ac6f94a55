//! Text for people, and tables at the widths of terminals. `snapshots/` has the expected output.

use std::{env, fs, path::Path};

use serde_json::{Value, json};
use time::macros::datetime;

use super::*;
use crate::ctl::{events, jobs, plugins, tenants};

const WIDTHS: [Option<usize>; 5] = [Some(60), Some(80), Some(120), Some(200), None];
const JOB: &str = "0192f3a4-7b1c-7def-8a90-123456789abc";

fn layout(width: Option<usize>) -> Layout {
    Layout { width, color: false, wide: false, now: datetime!(2026-11-20 10:00:00 UTC) }
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn plugin(tool_type: Option<&str>, state: &str) -> Value {
    let generation = (state == "active").then_some(17);
    json!({
        "tool_type": tool_type, "version": generation.map(|_| "1.0.0"), "state": state, "generation": generation,
        "path": "/var/lib/patchbay/plugins/liba.so", "sha256": "9f2c".repeat(16), "signature": "unsigned",
        "loaded_at": generation.map(|_| "2026-11-20T06:30:00.000Z"), "in_flight": 3, "calls": 123_456, "errors": 2,
        "last_error": null, "candidate": null,
    })
}

fn plugins() -> Vec<crate::admin::wire::Plugin> {
    let mut rolled_back = plugin(Some("servicedesk_plus"), "active");
    rolled_back["candidate"] = json!({
        "path": "/var/lib/patchbay/plugins/libservicedesk_plus.so", "version": "1.0.0", "sha256": "fc48".repeat(16),
        "code": "ROLLED_BACK", "reason": "it was rolled back: validate_webhook panicked at src/lib.rs:14:9: index out \
        of bounds: the len is 3 but the index is 7",
    });
    let mut refused = plugin(None, "refused");
    refused["last_error"] = json!({
        "code": "NOT_A_PLUGIN", "message": "it begins with <!DOCTYPE html>\u{1b}[2J", "at": "2026-11-20T09:00:00.000Z",
    });
    let tool_type_max = "a".repeat(50);
    [
        plugin(Some("jira"), "active"),
        plugin(Some("zendesk"), "quarantined"),
        rolled_back,
        refused,
        plugin(Some(&tool_type_max), "active"),
    ]
    .map(read)
    .into()
}

fn jobs() -> Vec<crate::admin::wire::Job> {
    let job = |state: &str, tenant: &str, ticket: &str| {
        json!({
            "id": JOB, "state": state, "tenant": tenant, "tool_type": "servicedesk_plus", "kind": "enhance",
            "ticket_id": ticket, "correlation_id": "c", "attempts": 4, "accepted_at": "2026-11-20T09:57:00.000Z",
            "due_at": "2026-11-20T10:15:00.000Z", "ended_at": null, "outcome": null, "last_error": null,
        })
    };
    let mut waiting = job("waiting", "tenant-001", "600");
    waiting["last_error"] = json!({
        "code": "api", "message": "https://desk.acme.example/api/v3/requests/600 answered 500: <html>\u{1b}[2J the tool \
        is down for maintenance", "at": "2026-11-20T09:59:00.000Z",
    });
    [job("running", "acme", "17"), waiting, job("queued", &"long-".repeat(12), &"9".repeat(100))].map(read).into()
}

fn events() -> Vec<crate::admin::wire::PluginEvent> {
    let event = |code: &str, tool_type: Option<&str>, why: Option<&str>| {
        json!({
            "id": 1, "at": "2026-11-20T09:59:00.123Z", "tool_type": tool_type, "generation": 17, "version": "1.0.0",
            "code": code, "message": "1.0.0 (fc48fc48) is passed over until its file changes; 1.0.0 (9f2c9f2c) serves",
            "sha256": "fc48".repeat(16), "who": "uid 0", "why": why,
        })
    };
    [event("rolled_back", Some("servicedesk_plus"), Some("notes look odd since build 2")), event("ready", None, None)]
        .map(read)
        .into()
}

fn tenants() -> Vec<crate::admin::wire::Tenant> {
    let tenant = |id: &str, base_url: &str| {
        json!({
            "id": id, "tool_type": "servicedesk_plus", "base_url": base_url, "enabled": true, "settings": {},
            "allow_origins": [], "replay_window_s": 300, "enhance_on": ["created"], "secrets": [], "live_jobs": null,
        })
    };
    [
        tenant("acme", "https://acme.example/"),
        tenant(&"z".repeat(64), "https://servicedesk.a-customer-with-a-long-name.example:8443/support/"),
    ]
    .map(read)
    .into()
}

/// All tables at one width.
fn all(layout: &Layout) -> String {
    let users = crate::ctl::users::Users::parse("root:x:0:0::/:");
    [
        ("list", plugins::list_text(&plugins(), layout)),
        ("list --wide", plugins::list_text(&plugins()[..1], &Layout { wide: true, ..*layout })),
        ("job list", jobs::list_text(&jobs(), 3, layout)),
        ("job list --wide", jobs::list_text(&jobs()[..2], 3, &Layout { wide: true, ..*layout })),
        ("events", events::list_text(&events(), 100, &users, layout)),
        ("tenant list", tenants::list_text(&tenants(), layout)),
    ]
    .map(|(command, text)| format!("$ plugin-ctl {command}\n{text}\n"))
    .concat()
}

/// `PATCHBAY_WRITE_SNAPSHOTS=1` writes the snapshots anew.
#[test]
fn tables_look_as_they_must_at_each_width() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ctl/table/snapshots");
    for width in WIDTHS {
        let text = all(&layout(width));
        let file = folder.join(width.map_or_else(|| "pipe.txt".to_owned(), |width| format!("{width}.txt")));
        if env::var_os("PATCHBAY_WRITE_SNAPSHOTS").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&file, &text).unwrap();
        }
        assert_eq!(text, fs::read_to_string(&file).unwrap(), "{}", file.display());
    }
}

#[test]
fn no_word_is_broken_and_no_line_longer_than_it_must_be() {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    let whole = words(&all(&layout(None)));
    let headings = [&plugins::COLUMNS, &jobs::COLUMNS, &events::COLUMNS, &tenants::COLUMNS];
    let headings = headings.iter().flat_map(|columns| columns.short.iter().chain(columns.wide));
    let labels =
        words(&headings.map(|heading| format!("{} {0}:", heading.to_lowercase())).collect::<Vec<_>>().join(" "));
    for width in [1, 20, 40, 60, 80, 120, 200] {
        let text = all(&layout(Some(width)));
        for word in words(&text) {
            assert!(whole.contains(&word) || labels.contains(&word), "{word} at {width}");
        }
        for line in text.lines().filter(|line| !line.starts_with("These are") && !line.starts_with('$')) {
            let is_one_word = line.split_whitespace().count() <= 2;
            assert!(line.chars().count() <= width || is_one_word, "{width}: {line}");
        }
        assert!(text.contains(JOB), "{text}");
    }
}

#[test]
fn colour_changes_nothing_but_colour() {
    for width in WIDTHS {
        let plain = layout(width);
        let coloured = all(&Layout { color: true, ..plain });
        assert!(coloured.contains("\x1b["));
        let mut bare = String::new();
        let mut rest = coloured.as_str();
        while let Some((text, after)) = rest.split_once("\x1b[") {
            bare.push_str(text);
            rest = after.split_once('m').unwrap().1;
        }
        bare.push_str(rest);
        let lines = |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
        assert_eq!(lines(&bare), lines(&all(&plain)), "{width:?}");
    }
}

/// Tables in the pages have the current headings.
#[test]
fn tables_in_the_documentation_have_these_headings() {
    let tables = [
        &plugins::COLUMNS,
        &plugins::FILE_COLUMNS,
        &jobs::COLUMNS,
        &events::COLUMNS,
        &tenants::COLUMNS,
        &crate::ctl::status::COLUMNS,
    ];
    let mut heads = Vec::new();
    for Columns { short, wide, below } in tables {
        for middle in [&[][..], wide] {
            let head = [short, middle].concat();
            heads.push(head.iter().copied().chain(*below).collect::<Vec<_>>());
            heads.push(head);
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = vec![root.join("README.md")];
    for folder in ["docs/tutorial", "docs/how-to", "docs/reference"] {
        pages.extend(fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()));
    }
    let mut seen = 0;
    for page in pages {
        for line in fs::read_to_string(&page).unwrap().lines() {
            let words: Vec<_> = line.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
            let is_head =
                words.len() > 2 && heads.iter().any(|head| head[0] == words[0]) && line == line.to_uppercase();
            if is_head {
                assert!(heads.contains(&words), "{}: {line}", page.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 5, "only {seen} tables were found");
}

#[test]
fn the_command_lines_page_has_the_headings() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/cli.md")).unwrap();
    for (command, Columns { short, wide, below }) in [
        ("list", &plugins::COLUMNS),
        ("list --files", &plugins::FILE_COLUMNS),
        ("events", &events::COLUMNS),
        ("status", &crate::ctl::status::COLUMNS),
        ("tenant list", &tenants::COLUMNS),
        ("job list", &jobs::COLUMNS),
    ] {
        let cells = [short.join(", "), wide.join(", "), below.unwrap_or_default().to_owned()];
        let row = cells.iter().fold(format!("| `{command}` |"), |row, cell| match cell.as_str() {
            "" => format!("{row} |"),
            cell => format!("{row} {cell} |"),
        });
        assert!(page.contains(&row), "{row}");
    }
}

#[test]
fn broken_states_come_first() {
    assert!(severity("refused") < severity("draining") && severity("draining") < severity("active"));
}

#[test]
fn a_cut_list_says_how_to_see_more() {
    assert_eq!(cut("jobs", 7, 1000), "These are the newest 7 jobs, and there may be more: --limit N, at most 1000");
    assert!(cut("jobs", 1000, 1000).ends_with("1000 is the most that are listed"));
}

#[test]
fn a_text_of_others_stays_in_its_cell() {
    for (text, expected) in [
        ("17", "17"),
        ("a\nb\tc", "a b c"),
        ("\x1b]0;owned\x07", "\u{fffd}]0;owned\u{fffd}"),
        ("\u{9b}2J", "\u{fffd}2J"),
        ("\u{202e}evil", "\u{fffd}evil"),
        ("Übung – 株", "Übung – 株"),
    ] {
        assert_eq!(plain(text), expected);
    }
    assert_eq!(plain_lines("a\nb\x1b"), "a\nb\u{fffd}");
}

#[test]
fn fields_stand_in_columns() {
    let text = fields([("id", Some("acme".to_owned())), ("none", None), ("tool type", Some("jira".to_owned()))]);
    assert_eq!(text, "id:         acme\ntool type:  jira\n");
}
