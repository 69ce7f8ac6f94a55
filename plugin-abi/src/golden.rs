//! Holds the ABI against `tests/golden/abi-1.txt`, which holds it for ever: what stands there must be so in every 1.x.

use std::{collections::BTreeSet, fmt::Write as _, path::Path, time::Duration};

use abi_stable::{
    StableAbi as _,
    std_types::utypeid::UTypeId,
    type_layout::{TLField, TypeLayout},
};
use time::OffsetDateTime;

use crate::{
    PluginError,
    declared::{self, DECLARATION_BYTES_MAX, DECLARATION_NOTE_TYPE, Declared},
    error::FieldError,
    export::{ABI_MAJOR, ABI_MINOR, INFO_BYTES_MAX, InfoRecord, NOTE_NAME, NOTE_TYPE, PluginInfo, ROOT_SYMBOL},
    http::{Request, Response},
    raw::{Field, Method, Operation, PluginModuleRef, Tag},
    types::{Event, KeyForm, LogLevel, Note, Priority, Ticket, TicketMetadata},
    wire,
};

/// Sections in which a minor version may have more lines than the file. In all others it has just those.
const MAY_GROW: &[&str] = &["tags", "methods", "operations", "information", "declaration", "messages"];

type Lines = Vec<String>;

#[test]
fn what_was_frozen_is_still_so() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/abi-1.txt");
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
    let (policy, frozen) = parsed(&golden);
    let (mut broken, mut new) = (String::new(), String::new());
    for (section, now) in today() {
        let then = frozen.iter().find(|(name, _)| name == section).map(|(_, lines)| lines.clone()).unwrap_or_default();
        let added = if MAY_GROW.contains(&section) { &mut new } else { &mut broken };
        for line in now.iter().filter(|line| !then.contains(line)) {
            writeln!(added, "  [{section}] is new: {line}").unwrap();
        }
        for line in then.iter().filter(|line| !now.contains(line)) {
            writeln!(broken, "  [{section}] is gone: {line}").unwrap();
        }
    }
    assert!(broken.is_empty(), "the ABI is no longer what it was:\n{broken}\n{policy}");
    if !new.is_empty() {
        eprintln!("the ABI has grown; add these lines to tests/golden/abi-1.txt:\n{new}");
    }
}

#[test]
fn no_number_is_given_twice() {
    fn check<T: Copy>(numbers: &[(&str, T)], number: impl Fn(T) -> u32) {
        let mut known = BTreeSet::new();
        numbers.iter().for_each(|(name, value)| assert!(known.insert(number(*value)), "{name} has another's number"));
    }
    check(Tag::ALL, Tag::number);
    check(Method::ALL, Method::number);
    check(Operation::ALL, Operation::number);
}

/// The file's comment, and its sections.
fn parsed(golden: &str) -> (String, Vec<(String, Lines)>) {
    let (mut policy, mut sections) = (String::new(), Vec::<(String, Lines)>::new());
    for line in golden.lines().filter(|line| !line.is_empty()) {
        if let Some(comment) = line.strip_prefix('#') {
            writeln!(policy, "{}", comment.trim()).unwrap();
        } else if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            sections.push((name.to_owned(), Lines::new()));
        } else {
            let (_, lines) = sections.last_mut().expect("the file begins with a section's name");
            lines.push(line.to_owned());
        }
    }
    (policy, sections)
}

/// What the code says now.
fn today() -> [(&'static str, Lines); 9] {
    fn numbers<T: Copy>(all: &[(&str, T)], number: impl Fn(T) -> u32) -> Lines {
        all.iter().map(|(name, value)| format!("{} {name}", number(*value))).collect()
    }
    [
        ("version", version()),
        ("tags", numbers(Tag::ALL, Tag::number)),
        ("methods", numbers(Method::ALL, Method::number)),
        ("operations", numbers(Operation::ALL, Operation::number)),
        ("module", module()),
        ("file", file()),
        ("information", information()),
        ("declaration", declaration()),
        ("messages", messages()),
    ]
}

/// What the other side must have just so. abi_stable's 0.x releases do not know each other.
fn version() -> Lines {
    vec![format!("major {ABI_MAJOR}"), format!("abi_stable {}", read_information().abi_stable)]
}

/// Every type that is reachable from the root module.
fn module() -> Lines {
    let (mut seen, mut lines) = (Vec::new(), Lines::new());
    describe(PluginModuleRef::LAYOUT, &mut seen, &mut lines);
    let mut lines: Vec<_> = lines.iter().map(|line| one_line(line)).collect();
    // A generic type is there once for each of its parameters.
    lines.sort();
    lines.dedup();
    lines
}

fn describe(layout: &'static TypeLayout, seen: &mut Vec<UTypeId>, lines: &mut Lines) {
    if seen.contains(&layout.get_utypeid()) {
        return;
    }
    seen.push(layout.get_utypeid());
    let name = layout.full_type();
    lines.push(format!("{name}: {} bytes, aligned to {}", layout.size(), layout.alignment()));
    let fields: Vec<_> = layout.get_fields().into_iter().flat_map(|fields| fields.to_vec()).collect();
    for (index, field) in fields.iter().enumerate() {
        lines.push(format!("{name} {index}: {} is {}", field.name(), declared(field)));
    }
    for field in fields.into_iter().chain(layout.phantom_fields().to_vec()) {
        describe(field.layout(), seen, lines);
        for function in field.function_range() {
            let types = function.param_type_layouts.iter().chain(function.return_type_layout());
            types.for_each(|layout| describe(layout(), seen, lines));
        }
    }
}

fn declared(field: &TLField) -> String {
    let Some(function) = field.function_range().iter().next() else { return field.full_type().to_string() };
    let name = |layout: extern "C" fn() -> &'static TypeLayout| layout().full_type().to_string();
    let parameters: Vec<_> = function.param_type_layouts.iter().map(name).collect();
    let result = function.return_type_layout().map_or_else(String::new, |layout| format!(" -> {}", name(layout)));
    format!("fn({}){result}", parameters.join(", "))
}

/// abi_stable puts blanks where a lifetime could stand.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How the file is known before it is opened.
fn file() -> Lines {
    let name = String::from_utf8_lossy(NOTE_NAME);
    vec![
        format!("note {name:?} of type {NOTE_TYPE}, at most {INFO_BYTES_MAX} bytes of JSON"),
        format!("symbol {ROOT_SYMBOL}"),
    ]
}

const INFO: PluginInfo = PluginInfo::new("desk", "name", "1.2.3", "vendor", true);

fn read_information() -> InfoRecord {
    serde_json::from_str(INFO.json()).expect("it is a record")
}

/// What a plugin says of itself, and that the oldest record can be read.
fn information() -> Lines {
    let record: serde_json::Map<String, serde_json::Value> = serde_json::from_str(INFO.json()).expect("it is JSON");
    let read = read_information();
    assert_eq!((read.abi_major, read.abi_minor), (ABI_MAJOR, ABI_MINOR), "plugin_info! writes these as literals");
    assert_eq!(read.abi_minor_needed, 0, "a plugin that says nothing of it needs nothing newer than 1.0");
    let oldest = r#"{"tool_type":"","name":"","version":"","sdk":"","abi_major":1,"abi_minor":0,"abi_stable":"","rustc":"",
        "target":"","panic":"unwind","unknown":[]}"#;
    assert!(serde_json::from_str::<InfoRecord>(oldest).is_ok(), "what came after 1.0 must have a default");
    let kind = |value: &serde_json::Value| if value.is_string() { "text" } else { "number" };
    record.iter().map(|(name, value)| format!("{name}: {}", kind(value))).collect()
}

/// What a plugin declares, in a note that hosts of 1.0 skip.
fn declaration() -> Lines {
    let name = String::from_utf8_lossy(NOTE_NAME);
    let written = |declared: Option<&[Declared]>| {
        let json = declared::json::<DECLARATION_BYTES_MAX>(declared);
        String::from_utf8_lossy(&json.bytes[..json.length]).into_owned()
    };
    vec![
        format!("note {name:?} of type {DECLARATION_NOTE_TYPE}, at most {DECLARATION_BYTES_MAX} bytes of JSON"),
        format!("none: {}", written(None)),
        format!("some: {}", written(Some(&[Declared::setting("s", "a"), Declared::secret("k", "b").required()]))),
    ]
}

/// Messages of every kind with all their parts, field by field.
fn messages() -> Lines {
    let at = OffsetDateTime::from_unix_timestamp(1_767_866_400).expect("a time") + Duration::from_nanos(7);
    let text = |text: &str| Some(text.to_owned());
    let mut lines = Lines::new();

    let resolved = Event::Resolved { resolution: text("r"), resolved_at: Some(at), tags: vec!["t".to_owned()] };
    for (name, event) in [
        ("created", Event::Created),
        ("updated", Event::Updated),
        ("resolved", resolved),
        ("reopened", Event::Reopened),
        ("other", Event::Other),
    ] {
        let mut metadata = TicketMetadata::new("7", event);
        (metadata.tenant_id, metadata.subject, metadata.description) = (text("acme"), text("s"), text("d"));
        (metadata.raw_priority, metadata.delivery_id, metadata.url) = (text("P1"), text("x"), text("u"));
        (metadata.created_at, metadata.occurred_at) = (Some(at), Some(at));
        metadata.read_back = true;
        wire::write_metadata(&metadata, |fields| written(&format!("metadata {name}"), fields, &mut lines));
    }
    for priority in [Priority::Low, Priority::Medium, Priority::High] {
        let mut ticket = Ticket::new("7");
        (ticket.subject, ticket.description, ticket.status) = (text("s"), text("d"), text("open"));
        (ticket.requester, ticket.resolution, ticket.url) = (text("q"), text("r"), text("u"));
        (ticket.created_at, ticket.updated_at, ticket.resolved_at) = (Some(at), Some(at), Some(at));
        ticket.priority = priority;
        "{}".clone_into(&mut ticket.raw);
        wire::write_ticket(&ticket, |fields| written(&format!("ticket {}", priority.as_str()), fields, &mut lines));
    }
    written("note", &wire::note_fields(&Note::new("m", "h", "t", "k")), &mut lines);
    for (name, flag) in [("yes", true), ("no", false)] {
        written(name, &[Field::new(Tag::OUTCOME, wire::flag_bytes(flag))], &mut lines);
    }
    let why = Some(wire::SaidWhy { kind: "stale".into(), text: "w".to_owned() });
    let validated = wire::Validated { authentic: false, why };
    wire::write_validated(&validated, |fields| written("not authentic", fields, &mut lines));
    for error in errors() {
        wire::write_error(&error, |fields| written(&format!("error {}", error.kind()), fields, &mut lines));
    }
    for request in requests() {
        let name = format!("request {}", request.method);
        wire::write_request(&request, |fields| written(&name, fields, &mut lines));
    }
    let response = Response::new(207, vec![("a".to_owned(), "b".to_owned())], "c");
    wire::write_response(&response, |fields| written("response", fields, &mut lines));
    for form in [KeyForm::Text, KeyForm::Base64, KeyForm::Hex] {
        written(&format!("key form {form:?}"), &[Field::new(Tag::KEY_FORM, wire::key_form_bytes(form))], &mut lines);
    }
    for level in [LogLevel::Debug, LogLevel::Info, LogLevel::Warn, LogLevel::Error] {
        written(&format!("level {level:?}"), &[Field::new(Tag::LEVEL, wire::level_bytes(level))], &mut lines);
    }
    lines
}

fn errors() -> Vec<PluginError> {
    let text = || "m".to_owned();
    vec![
        PluginError::Malformed(text()),
        PluginError::Validation(vec![FieldError::new("f", "m")]),
        PluginError::Api { status: Some(502), message: text() },
        PluginError::Authentication(text()),
        PluginError::RateLimit { retry_after: Some(Duration::from_millis(1500)), message: text() },
        PluginError::Configuration(text()),
        PluginError::NotFound(text()),
        PluginError::Cancelled,
        PluginError::Panicked { message: text(), location: "l".to_owned() },
    ]
}

/// One request of each method, each with a credential of another kind.
fn requests() -> Vec<Request> {
    vec![
        Request::get("/a").query("b", "c").header("d", "e").bearer("s").timeout(Duration::from_secs(2)),
        Request::post("/a").body("t", "b").basic("u", "s"),
        Request::put("/a").basic_user("s", "p"),
        Request::patch("/a").header_secret("h", "s"),
        Request::delete("/a").header_secret_with_scheme("h", "w", "s"),
    ]
}

fn written(message: &str, fields: &[Field<'_>], lines: &mut Lines) {
    for field in fields {
        let (name, _) = Tag::ALL.iter().find(|(_, tag)| *tag == field.tag()).expect("this side knows its own tags");
        lines.push(format!("{message}: {name} {}", field.bytes().escape_ascii()));
    }
}
