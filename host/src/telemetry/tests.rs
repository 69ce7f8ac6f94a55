//! What a log line looks like, and what is not written.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing::{Level, debug, debug_span, info, info_span, warn};

use super::*;
use crate::config::{Log, LogFormat};

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that `act` writes, each without its time when it is a text.
fn lines(format: LogFormat, level: Level, act: impl FnOnce(&LogControl)) -> Vec<String> {
    let written = Written::default();
    let (subscriber, control) = subscriber(&Log { format, level }, {
        let written = written.clone();
        move || written.clone()
    });
    tracing::subscriber::with_default(subscriber, || act(&control));
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    text.lines()
        .map(
            |line| if format == LogFormat::Text { line.split_once(' ').unwrap().1.to_owned() } else { line.to_owned() },
        )
        .collect()
}

#[test]
fn a_text_line_has_the_fields_of_its_spans_and_its_own() {
    let found = lines(LogFormat::Text, Level::INFO, |_| {
        let delivery = info_span!("delivery", correlation_id = "c-1", tenant = "acme", job = tracing::field::Empty);
        let _in = delivery.enter();
        delivery.record("job", "j-1");
        info_span!("attempt", attempt = 2).in_scope(|| warn!(wait_s = 4, error = %"HTTP 503", "tried"));
        info!(tenant = "umbrella", "an event's own field wins");
    });
    assert_eq!(
        found,
        [
            r#" WARN tried attempt=2 correlation_id=c-1 error="HTTP 503" job=j-1 tenant=acme wait_s=4"#,
            " INFO an event's own field wins correlation_id=c-1 job=j-1 tenant=umbrella",
        ]
    );
}

#[test]
fn a_json_line_is_one_flat_object() {
    let found = lines(LogFormat::Json, Level::INFO, |_| {
        info_span!("delivery", tenant = "acme")
            .in_scope(|| info!(attempt = 1, late = true, level = "mine", "two\nlines"));
    });
    let mut object: Map<String, Value> = serde_json::from_str(&found[0]).unwrap();
    assert!(object.remove("timestamp").unwrap().as_str().unwrap().ends_with('Z'));
    let expected = serde_json::json!({
        "level": "INFO", "target": "patchbay::telemetry::tests", "message": "two\nlines",
        "tenant": "acme", "attempt": 1, "late": true,
    });
    assert_eq!((found.len(), Value::Object(object)), (1, expected));
}

#[test]
fn nothing_in_a_text_breaks_the_line_or_reaches_the_terminal() {
    let found = lines(LogFormat::Text, Level::INFO, |_| {
        info!(subject = "a\n2026 ERROR forged", title = %"\u{9b}31m", empty = "", equal = "a=b", "x\r\n\u{1b}[2J");
    });
    assert_eq!(
        found,
        [r#" INFO x\r\n\u{1b}[2J empty="" equal="a=b" subject="a\n2026 ERROR forged" title="\u{9b}31m""#]
    );
}

#[test]
fn the_level_changes_while_running_and_libraries_only_warn() {
    let say = || {
        debug_span!("inner", tenant = "acme").in_scope(|| debug!("ours"));
        debug!(target: "hyper::proto", "theirs");
        info!(target: "plugin::acme_desk", "a plugin's");
        warn!(target: "hyper::proto", "their warning");
    };
    let found = lines(LogFormat::Text, Level::WARN, |control| {
        say();
        control.set_level(Level::DEBUG).unwrap();
        say();
        control.set_level(Level::ERROR).unwrap();
        say();
    });
    let expected = [" WARN their warning", "DEBUG ours tenant=acme", " INFO a plugin's", " WARN their warning"];
    assert_eq!(found, expected);
}

#[test]
fn a_log_that_ended_says_so() {
    let (subscriber, control) = subscriber(&Log { format: LogFormat::Text, level: Level::INFO }, io::sink);
    drop(subscriber);
    assert_eq!(control.set_level(Level::DEBUG), Err(TelemetryError::Gone));
}
