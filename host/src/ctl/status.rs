//! `status`: shows in a few lines what serves, what is wrong and what waits.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;

use super::{
    Shown,
    client::Client,
    console::Console,
    failure::Failure,
    layout::Layout,
    plugins::remark,
    table::{Columns, Row, cell, fields, state, table},
    tenants::{count, counted, state_of},
};
use crate::admin::{
    JOBS_LISTED_MAX,
    wire::{Host, Job, Plugin, Queue, Refusals, Tenant},
};

/// Maximum number of problems shown to people; `--json` shows all.
const SHOWN_MAX: usize = 6;
/// How long ago a tenant's last refusal may be to count as a problem, in seconds.
const REFUSED_S_MAX: i64 = 3600;

/// The headings of the problems.
pub(super) const COLUMNS: Columns = Columns { short: &["WRONG", "WHERE"], wide: &[], below: Some("REASON") };

/// The state of a host.
#[derive(Debug, Serialize)]
struct Status {
    host: Host,
    /// The number of plugins in each state.
    plugins: BTreeMap<String, u64>,
    /// The number of tenants in each state.
    tenants: BTreeMap<String, u64>,
    jobs: Queue,
    /// Problems that somebody should look at, worst first.
    wrong: Vec<Wrong>,
}

/// A problem that somebody should look at.
#[derive(Debug, Serialize)]
struct Wrong {
    /// The problem as a stable word.
    what: &'static str,
    /// The tool type, file or tenant.
    #[serde(rename = "where")]
    place: String,
    /// The problem as a sentence, if there is more to say.
    reason: Option<String>,
    /// How to fix it.
    mend: String,
}

/// Fails only if the host cannot be asked: problems are what the command is for.
pub(super) fn run(client: &Client, console: &Console) -> Result<Shown, Failure> {
    let host: Host = client.get("/v1/host")?;
    let plugins: Vec<Plugin> = client.get("/v1/plugins")?;
    let tenants: Vec<Tenant> = client.get("/v1/tenants")?;
    let jobs: Queue = client.get("/v1/jobs/depth")?;
    let waiting: Vec<Job> = client.get(&format!("/v1/jobs?limit={JOBS_LISTED_MAX}"))?;
    let layout = console.layout();
    let mut wrong: Vec<_> = plugins.iter().filter_map(plugin_at_fault).collect();
    wrong.extend(paused(&jobs));
    wrong.extend(credentials(&waiting));
    wrong.extend(dead_letters(&jobs));
    wrong.extend(tenants.iter().filter_map(|tenant| refused(tenant, layout)));
    wrong.extend(plugins.iter().filter_map(plugin_held_back));
    wrong.extend(tenants.iter().filter_map(|tenant| tenant_held_back(tenant, &jobs)));
    let status = Status {
        host,
        plugins: tally(plugins.iter().map(|plugin| plugin.state.as_str())),
        tenants: tally(tenants.iter().map(|tenant| state_of(tenant))),
        jobs,
        wrong,
    };
    Ok(Shown::new(text(&status, layout), &status))
}

fn tally<'a>(states: impl Iterator<Item = &'a str>) -> BTreeMap<String, u64> {
    states.fold(BTreeMap::new(), |mut tally, state| {
        *tally.entry(state.to_owned()).or_default() += 1;
        tally
    })
}

/// The problem of a tool type that nothing serves, or of a file without a tool type.
fn plugin_at_fault(plugin: &Plugin) -> Option<Wrong> {
    let what = match plugin.state.as_str() {
        "missing" => "missing",
        "quarantined" => "quarantined",
        "refused" => "refused",
        _ => return None,
    };
    let mend = match (what, &plugin.tool_type) {
        ("missing", Some(tool_type)) => {
            format!(
                "plugin-ctl install --kept {tool_type} brings back what is kept, plugin-ctl install FILE another file"
            )
        }
        ("quarantined", Some(tool_type)) => {
            format!("plugin-ctl install a better version, or plugin-ctl enable {tool_type}")
        }
        (_, Some(tool_type)) => format!("plugin-ctl info {tool_type}"),
        (_, None) => {
            "plugin-ctl verify FILE says more; take it out of the folder if it does not belong there".to_owned()
        }
    };
    Some(Wrong { what, place: place(plugin), reason: remark(plugin), mend })
}

/// The problem of a plugin that serves but not as it should, or that an operator keeps from serving.
fn plugin_held_back(plugin: &Plugin) -> Option<Wrong> {
    let (what, mend) = match (plugin.state.as_str(), &plugin.candidate) {
        ("disabled", _) => ("disabled", "plugin-ctl enable"),
        ("active", Some(_)) => ("newer file refused", "plugin-ctl info"),
        _ => return None,
    };
    Some(Wrong { what, place: place(plugin), reason: remark(plugin), mend: format!("{mend} {}", place(plugin)) })
}

fn place(plugin: &Plugin) -> String {
    plugin.tool_type.clone().or_else(|| plugin.path.clone()).unwrap_or_default()
}

fn paused(jobs: &Queue) -> Option<Wrong> {
    let reason = Some(format!("{}, and webhooks are still accepted", counted(jobs.live, "live job")));
    let place = "all tenants".to_owned();
    jobs.paused.then(|| Wrong { what: "jobs paused", place, reason, mend: "plugin-ctl job resume".to_owned() })
}

/// Tenants whose jobs wait because the tool refuses their credentials.
fn credentials(waiting: &[Job]) -> Vec<Wrong> {
    let mut by_tenant: BTreeMap<&str, &Job> = BTreeMap::new();
    for job in waiting.iter().filter(|job| job.credential_refused) {
        by_tenant.entry(&job.tenant).or_insert(job);
    }
    let wrong = by_tenant.into_iter().map(|(tenant, job)| Wrong {
        what: "credential refused",
        place: format!("tenant {tenant}"),
        reason: job.last_error.as_ref().map(|error| error.message.clone()),
        mend: format!("renew it: plugin-ctl tenant rotate-secret {tenant} NAME @FILE"),
    });
    wrong.collect()
}

fn dead_letters(jobs: &Queue) -> Option<Wrong> {
    (jobs.dead > 0).then(|| Wrong {
        what: "dead letters",
        place: count(jobs.dead),
        reason: None,
        mend: "plugin-ctl job list --state dead says why; plugin-ctl job retry --dead tries them again".to_owned(),
    })
}

/// A tenant whose last webhook was refused recently.
fn refused(tenant: &Tenant, layout: &Layout) -> Option<Wrong> {
    let (status, last) =
        tenant.refusals.iter().filter(|(_, refusals)| refusals.count > 0).max_by_key(|(_, last)| &last.last_at)?;
    let Refusals { count, last_at, last_reason } = last;
    let lately = layout.seconds_since(last_at.as_deref()).is_some_and(|seconds| seconds <= REFUSED_S_MAX);
    if !lately || tenant.last_accepted_at >= *last_at {
        return None;
    }
    let age = layout.age(last_at.as_deref());
    let why = last_reason.as_deref().unwrap_or("no reason is known");
    Some(Wrong {
        what: "webhooks refused",
        place: format!("tenant {}", tenant.id),
        reason: Some(format!("{} with {status}, the last {age} ago: {why}", counted(*count, "webhook"))),
        mend: format!("plugin-ctl tenant show {}", tenant.id),
    })
}

fn tenant_held_back(tenant: &Tenant, jobs: &Queue) -> Option<Wrong> {
    let (what, mend) = match state_of(tenant) {
        "disabled" => ("disabled", "plugin-ctl tenant enable"),
        "paused" if !jobs.paused => ("jobs paused", "plugin-ctl tenant resume"),
        _ => return None,
    };
    let place = format!("tenant {}", tenant.id);
    Some(Wrong { what, place, reason: None, mend: format!("{mend} {}", tenant.id) })
}

fn text(status: &Status, layout: &Layout) -> String {
    let Host { version, process_id, .. } = &status.host;
    let Queue { live, dead, oldest_age_ms, paused } = &status.jobs;
    let oldest = if *live > 0 { format!(", the oldest for {}", layout.millis(*oldest_age_ms)) } else { String::new() };
    let held = if *paused { "; paused" } else { "" };
    let mut text = fields([
        ("patchbay", Some(format!("{version}, process {process_id}"))),
        ("plugins", Some(listed(&status.plugins, "none"))),
        ("tenants", Some(listed(&status.tenants, "none"))),
        ("waiting", Some(format!("{}{oldest}{held}", count(*live)))),
        ("dead letters", Some(dead.to_string())),
    ]);
    let infallible = "a String takes all";
    if status.wrong.is_empty() {
        writeln!(text, "\nNothing is wrong.").expect(infallible);
        return text;
    }
    let rows = status.wrong.iter().take(SHOWN_MAX).map(|wrong| Row {
        short: vec![state(wrong.what), cell(Some(&wrong.place))],
        wide: Vec::new(),
        below: Some(wrong.reason.iter().chain([&wrong.mend]).cloned().collect::<Vec<_>>().join("; ")),
    });
    write!(text, "\n{}", table(&COLUMNS, rows, layout)).expect(infallible);
    let more = status.wrong.len().saturating_sub(SHOWN_MAX);
    if more > 0 {
        writeln!(text, "and {more} more: plugin-ctl status --json").expect(infallible);
    }
    text
}

/// A tally in words: `4 active, 1 missing`.
fn listed(tally: &BTreeMap<String, u64>, none: &str) -> String {
    let parts: Vec<_> = tally.iter().map(|(state, number)| format!("{number} {state}")).collect();
    if parts.is_empty() { none.to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests;
