//! Logs to standard error: flat lines for people or for programs, with a level that changes while the host runs.

pub mod metrics;
pub mod seldom;

use std::fmt;

use serde_json::{Map, Value};
use tracing::{Event, Level, Subscriber, field::Field, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer as _, Registry,
    filter::Targets,
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
    reload,
};

use crate::config;

/// Names of the fields that tie log lines together. A span or event that knows one of these things uses this name.
pub mod field {
    /// The id of a webhook and of all that follows from it.
    pub const CORRELATION_ID: &str = "correlation_id";
    /// The tenant's id.
    pub const TENANT: &str = "tenant";
    /// The tool type.
    pub const TOOL_TYPE: &str = "tool_type";
    /// The plugin generation's number.
    pub const GENERATION: &str = "generation";
    /// The job's id.
    pub const JOB: &str = "job";
    /// The number of the job's attempt, from 1.
    pub const ATTEMPT: &str = "attempt";
}

/// What code of this project logs under: the host's crate, and the plugins that log through it.
const OWN_TARGETS: [&str; 2] = ["patchbay", "plugin"];

/// A line under this target goes all the way through the log, but is not written: see
/// [`threads::register`](crate::threads::register).
pub const REHEARSAL_TARGET: &str = "rehearsal";

/// Sends this process's `tracing` events to standard error from now on. Records of the `log` crate are not taken:
/// the HTTP client writes request headers, and so credentials, there.
///
/// # Errors
/// When something else in the process was first.
pub fn init(config: &config::Log) -> Result<LogControl, TelemetryError> {
    let (subscriber, control) = subscriber(config, std::io::stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::AlreadyStarted)?;
    Ok(control)
}

/// Changes the level of a running log. Cheap to clone; any thread.
#[derive(Clone, Debug)]
pub struct LogControl {
    filter: reload::Handle<Targets, Registry>,
}

impl LogControl {
    /// Events less important than `level` are dropped from now on. Libraries never write more than warnings.
    ///
    /// # Errors
    /// When the log is gone; the level is as it was then.
    pub fn set_level(&self, level: Level) -> Result<(), TelemetryError> {
        self.filter.reload(targets(level)).map_err(|_| TelemetryError::Gone)
    }
}

/// Why the log could not be started or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TelemetryError {
    /// A process has one log.
    #[error("this process already has a log")]
    AlreadyStarted,
    /// The subscriber was dropped.
    #[error("the log has ended, its level cannot be changed")]
    Gone,
}

fn subscriber<W>(config: &config::Log, writer: W) -> (impl Subscriber + Send + Sync, LogControl)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(targets(config.level));
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .fmt_fields(tracing_subscriber::fmt::format::JsonFields::new())
        .event_format(Line(config.format))
        .with_writer(writer)
        // Its report of a failed write would go to standard error as well, and panic there.
        .log_internal_errors(false)
        .boxed();
    (tracing_subscriber::registry().with(filter).with(lines), LogControl { filter: handle })
}

fn targets(level: Level) -> Targets {
    let level = LevelFilter::from_level(level);
    let libraries =
        Targets::new().with_default(level.min(LevelFilter::WARN)).with_target(REHEARSAL_TARGET, LevelFilter::ERROR);
    OWN_TARGETS.iter().fold(libraries, |targets, own| targets.with_target(*own, level))
}

/// Writes one event as one line, whatever its texts hold: line breaks and terminal codes in them are escaped.
struct Line(config::LogFormat);

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if event.metadata().target() == REHEARSAL_TARGET {
            return Err(fmt::Error);
        }
        let mut fields = Fields::default();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(formatted) = span.extensions().get::<FormattedFields<N>>()
                && let Ok(of_span) = serde_json::from_str::<Map<String, Value>>(&formatted.fields)
            {
                fields.0.extend(of_span);
            }
        }
        event.record(&mut fields);
        let Fields(mut fields) = fields;
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let level = *event.metadata().level();
        let message = fields.remove("message").unwrap_or_default();
        match self.0 {
            config::LogFormat::Text => {
                write!(out, "{time} {level:>5} ")?;
                write_plain(&mut out, message.as_str().unwrap_or_default())?;
                for (name, value) in &fields {
                    write!(out, " {name}=")?;
                    write_value(&mut out, value)?;
                }
            }
            config::LogFormat::Json => {
                fields.insert("timestamp".into(), time.into());
                fields.insert("level".into(), level.as_str().into());
                fields.insert("target".into(), event.metadata().target().into());
                fields.insert("message".into(), message);
                write!(out, "{}", Value::Object(fields))?;
            }
        }
        writeln!(out)
    }
}

fn write_plain(out: &mut Writer<'_>, text: &str) -> fmt::Result {
    text.chars()
        .try_for_each(|c| if c.is_control() { write!(out, "{}", c.escape_default()) } else { out.write_char(c) })
}

fn write_value(out: &mut Writer<'_>, value: &Value) -> fmt::Result {
    match value {
        Value::String(text) if is_bare(text) => out.write_str(text),
        Value::String(text) => write!(out, "{text:?}"),
        value => write!(out, "{value}"),
    }
}

/// Whether a text can stand after `name=` without quotes and still be told apart.
fn is_bare(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'=' | b'\\'))
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl tracing::field::Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests;
