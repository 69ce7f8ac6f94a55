//! `events`: shows the journal of plugins, tenants and jobs, newest last; `--follow` shows new events as they come.

use std::{
    fmt::Write as _,
    io, thread,
    time::{Duration, Instant},
};

use super::{
    Shown,
    client::Client,
    console::Console,
    failure::{Exit, Failure},
    layout::Layout,
    plugins::short,
    table::{Columns, Row, cell, cut, number, plain, table},
    users::Users,
};
use crate::{
    admin::{
        EVENTS_LISTED_MAX,
        wire::{Plugin, PluginEvent, Problem, Tenant},
    },
    ids::{TenantId, ToolType},
    nearest::did_you_mean,
};

/// How long a request waits for an event, in seconds. A reader that has gone is noticed after this time.
const WAIT_S: u64 = 2;
/// How long to wait for a host that has gone.
const AWAY_MAX: Duration = Duration::from_secs(60);
/// Time between two tries to reach it.
const TRY_EVERY: Duration = Duration::from_millis(200);

/// The headings of `events`.
pub(super) const COLUMNS: Columns = Columns {
    short: &["TIME", "TOOL TYPE", "EVENT", "GEN", "VERSION", "WHO", "SHA-256"],
    wide: &[],
    below: Some("MESSAGE"),
};
/// Minimum width of each column when rows are written one by one.
const WIDTHS: [usize; 7] = [24, 18, 12, 4, 9, 12, 12];
/// The index of the numeric column.
const NUMBERS: usize = 3;

/// Which events to show. All conditions must match.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) tool_type: Option<ToolType>,
    pub(super) tenant: Option<TenantId>,
}

pub(super) fn list(client: &Client, console: &Console, limit: u32, wanted: &Wanted) -> Result<Shown, Failure> {
    let events = newest(client, limit, wanted)?;
    Ok(Shown::new(list_text(&events, limit, &Users::of_this_machine(), console.layout()), &events))
}

/// Shows the newest events and then new ones as they come, until the reader has gone.
///
/// # Errors
/// If the host cannot be reached at first, or stays away.
pub(super) fn follow(client: &Client, console: &Console, limit: u32, wanted: &Wanted) -> Result<Shown, Failure> {
    let users = Users::of_this_machine();
    let mut events = newest(client, limit, wanted)?;
    let mut last = 0;
    let mut written = console.head(&head());
    loop {
        for event in &events {
            last = event.id;
            written = written.and_then(|()| console.row(&line(&columns(event, &users), &message(event)), event));
        }
        match written {
            Ok(()) if !console.reader_is_gone() => {}
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(Console::unwritable(&error)),
            _ => return Ok(Shown::already()),
        }
        events = news(client, console, last, wanted)?;
    }
}

/// Waits for events after this one, even across a restart of the host.
fn news(client: &Client, console: &Console, last: i64, wanted: &Wanted) -> Result<Vec<PluginEvent>, Failure> {
    let path = format!("/v1/events?after={last}&limit={EVENTS_LISTED_MAX}&wait_s={WAIT_S}{}", wanted.query());
    let mut away: Option<Instant> = None;
    loop {
        match client.get(&path) {
            Err(failure)
                if failure.exit == Exit::Unreachable && away.is_none_or(|since| since.elapsed() < AWAY_MAX) =>
            {
                if away.is_none() {
                    console.warn(&format!(
                        "{}; waiting up to {} s for it to come back",
                        failure.problem.message,
                        AWAY_MAX.as_secs()
                    ));
                }
                away.get_or_insert_with(Instant::now);
                thread::sleep(TRY_EVERY);
            }
            answer => return answer,
        }
    }
}

/// The newest events. Fails if there are none because the filter names something unknown.
fn newest(client: &Client, limit: u32, wanted: &Wanted) -> Result<Vec<PluginEvent>, Failure> {
    let events: Vec<PluginEvent> = client.get(&format!("/v1/events?limit={limit}{}", wanted.query()))?;
    if events.is_empty() {
        wanted.check(client)?;
    }
    Ok(events)
}

impl Wanted {
    fn query(&self) -> String {
        let tool_type = self.tool_type.as_ref().map(|tool_type| format!("&tool_type={tool_type}"));
        let tenant = self.tenant.as_ref().map(|tenant| format!("&tenant={tenant}"));
        [tool_type, tenant].into_iter().flatten().collect()
    }

    /// # Errors
    /// If the host has no such tool type or tenant, and never had an event about it.
    fn check(&self, client: &Client) -> Result<(), Failure> {
        let has_events = |wanted: Self| -> Result<bool, Failure> {
            let events: Vec<PluginEvent> = client.get(&format!("/v1/events?limit=1{}", wanted.query()))?;
            Ok(!events.is_empty())
        };
        if self.tool_type.is_none() && self.tenant.is_none() {
            return Ok(());
        }
        let tenants: Vec<Tenant> = client.get("/v1/tenants")?;
        if let Some(tool_type) = &self.tool_type {
            let plugins: Vec<Plugin> = client.get("/v1/plugins")?;
            let of_plugins = plugins.iter().filter_map(|plugin| plugin.tool_type.as_deref());
            let known: Vec<_> = of_plugins.chain(tenants.iter().map(|tenant| tenant.tool_type.as_str())).collect();
            let alone = Self { tool_type: Some(tool_type.clone()), tenant: None };
            if !known.contains(&tool_type.as_str()) && !has_events(alone)? {
                return Err(unknown("UNKNOWN_PLUGIN", "tool type", "list", tool_type.as_str(), &known));
            }
        }
        if let Some(tenant) = &self.tenant {
            let known: Vec<_> = tenants.iter().map(|tenant| tenant.id.as_str()).collect();
            let alone = Self { tenant: Some(tenant.clone()), tool_type: None };
            if !known.contains(&tenant.as_str()) && !has_events(alone)? {
                return Err(unknown("UNKNOWN_TENANT", "tenant", "tenant list", tenant.as_str(), &known));
            }
        }
        Ok(())
    }
}

/// The failure for a filter that names something unknown; `list` is the command that shows the known names.
fn unknown(code: &str, what: &str, list: &str, name: &str, known: &[&str]) -> Failure {
    let nearest = did_you_mean(name, known);
    let problem = Problem::new(code, format!("there is no {what} {name}, and no event is about one"))
        .mend(format!("{nearest}plugin-ctl {list} shows which there are"));
    Failure::failed(problem)
}

pub(super) fn list_text(events: &[PluginEvent], limit: u32, users: &Users, layout: &Layout) -> String {
    if events.is_empty() {
        return "Nothing like that has happened yet.\n".to_owned();
    }
    let rows = events.iter().map(|event| {
        let columns = columns(event, users).into_iter().enumerate();
        let short = columns.map(|(at, text)| if at == NUMBERS { number(text) } else { cell(Some(&text)) });
        Row { short: short.collect(), wide: Vec::new(), below: Some(message(event)) }
    });
    let mut text = table(&COLUMNS, rows, layout);
    if u32::try_from(events.len()).is_ok_and(|listed| listed >= limit) {
        writeln!(text, "{}", cut("events", limit, EVENTS_LISTED_MAX)).expect("a String takes all");
    }
    text
}

/// The values under [`COLUMNS`], without the message.
fn columns(event: &PluginEvent, users: &Users) -> [String; 7] {
    let or_none = |text: Option<&str>| text.unwrap_or("-").to_owned();
    [
        event.at.clone(),
        or_none(event.tool_type.as_deref()),
        event.code.clone(),
        event.generation.map_or_else(|| "-".to_owned(), |generation| generation.to_string()),
        or_none(event.version.as_deref()),
        users.shown(&event.who),
        or_none(event.sha256.as_deref().map(short)),
    ]
}

fn message(event: &PluginEvent) -> String {
    event.why.as_ref().map_or_else(|| event.message.clone(), |why| format!("{}; why: {why}", event.message))
}

fn head() -> String {
    let mut headings = COLUMNS.short.iter().map(|heading| (*heading).to_owned());
    let columns = std::array::from_fn(|_| headings.next().unwrap_or_default());
    line(&columns, COLUMNS.below.unwrap_or_default())
}

/// A row on its own. Its columns have fixed widths that suit most rows, because later rows are not known.
fn line(columns: &[String; 7], message: &str) -> String {
    let mut line = String::new();
    for (at, (text, width)) in columns.iter().zip(WIDTHS).enumerate() {
        let text = plain(text);
        let padded = if at == NUMBERS { format!("{text:>width$}  ") } else { format!("{text:<width$}  ") };
        line.push_str(&padded);
    }
    line + &plain(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(generation: Option<u64>) -> PluginEvent {
        PluginEvent {
            id: 1,
            at: "2026-11-20T10:00:00Z".to_owned(),
            tool_type: Some("jira".to_owned()),
            generation,
            version: generation.map(|_| "1.3.2".to_owned()),
            who: generation.map_or("host", |_| "uid 4711").to_owned(),
            why: generation.map(|_| "ticket 7".to_owned()),
            code: "retained".to_owned(),
            message: "a thread\x1b[2J still runs".to_owned(),
            sha256: Some("9f2c".repeat(16)),
            tenant: None,
        }
    }

    fn users() -> Users {
        Users::parse("alice:x:4711:4711::/:")
    }

    #[test]
    fn a_row_by_itself_stands_under_its_heading() {
        let (head, event) = (head(), event(Some(17)));
        let row = line(&columns(&event, &users()), &message(&event));
        for (heading, text) in [("TOOL TYPE", "jira"), ("VERSION", "1.3.2"), ("WHO", "alice"), ("MESSAGE", "a thread")]
        {
            assert_eq!(head.find(heading), row.find(text), "{head}\n{row}");
        }
        assert!(!row.contains('\x1b'), "{row}");
    }

    #[test]
    fn events_stay_in_order_with_short_digests_and_a_cut_list_says_so() {
        let events = [event(Some(17)), event(None)];
        let layout = Layout { width: None, color: false, wide: false, now: time::OffsetDateTime::UNIX_EPOCH };
        let text = list_text(&events, 2, &users(), &layout);
        let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "TIME TOOL TYPE EVENT GEN VERSION WHO SHA-256 MESSAGE",
                "2026-11-20T10:00:00Z jira retained 17 1.3.2 alice (4711) 9f2c9f2c9f2c a thread\u{fffd}[2J still runs; why: ticket 7",
                "2026-11-20T10:00:00Z jira retained - - host 9f2c9f2c9f2c a thread\u{fffd}[2J still runs",
                "These are the newest 2 events, and there may be more: --limit N, at most 10000",
            ]
        );
        assert!(!list_text(&events, 3, &users(), &layout).contains("--limit"));
        assert_eq!(list_text(&[], 1, &users(), &layout), "Nothing like that has happened yet.\n");
    }
}
