//! `events`: what happened to plugins, as a journal is read: the newest last.

use std::fmt::Write as _;

use super::{
    Shown,
    client::Client,
    console::Console,
    failure::Failure,
    plugins::short,
    table::{cell, number, table},
};
use crate::admin::wire::PluginEvent;

pub(super) fn list(client: &Client, console: &Console, limit: u32) -> Result<Shown, Failure> {
    let events: Vec<PluginEvent> = client.get(&format!("/v1/events?limit={limit}"))?;
    Ok(Shown::new(list_text(&events, limit, console.color()), &events))
}

fn list_text(events: &[PluginEvent], limit: u32, color: bool) -> String {
    if events.is_empty() {
        return "Nothing has happened to plugins yet.\n".to_owned();
    }
    let rows = events.iter().map(|event| {
        vec![
            cell(Some(&event.at)),
            cell(event.tool_type.as_deref()),
            number(event.generation.map_or_else(|| "-".to_owned(), |generation| generation.to_string())),
            cell(Some(&event.code)),
            cell(Some(&event.message)),
            cell(event.sha256.as_deref().map(short)),
        ]
    });
    let mut text = table(&["TIME", "TOOL TYPE", "GEN", "EVENT", "MESSAGE", "SHA-256"], rows, color);
    if u32::try_from(events.len()).is_ok_and(|listed| listed >= limit) {
        writeln!(text, "The newest {limit}; there may be more: --limit N").expect("a String takes all");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(generation: Option<u64>) -> PluginEvent {
        PluginEvent {
            at: "2026-11-20T10:00:00Z".to_owned(),
            tool_type: Some("jira".to_owned()),
            generation,
            code: "retained".to_owned(),
            message: "a thread\x1b[2J still runs".to_owned(),
            sha256: Some("9f2c".repeat(16)),
        }
    }

    #[test]
    fn events_stay_in_order_with_short_digests_and_a_cut_list_says_so() {
        let events = [event(Some(17)), event(None)];
        let text = list_text(&events, 2, false);
        let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "TIME TOOL TYPE GEN EVENT MESSAGE SHA-256",
                "2026-11-20T10:00:00Z jira 17 retained a thread\u{fffd}[2J still runs 9f2c9f2c9f2c",
                "2026-11-20T10:00:00Z jira - retained a thread\u{fffd}[2J still runs 9f2c9f2c9f2c",
                "The newest 2; there may be more: --limit N",
            ]
        );
        assert!(!list_text(&events, 3, false).contains("--limit"));
        assert_eq!(list_text(&[], 1, false), "Nothing has happened to plugins yet.\n");
    }
}
