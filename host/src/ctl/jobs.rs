//! `job …`: looking at jobs, putting dead letters back, and throwing them away.

use std::{borrow::Cow, fmt::Write as _};

use super::{
    Shown,
    args::JobCommand,
    client::Client,
    console::Console,
    failure::Failure,
    layout::Layout,
    table::{Columns, Row, cell, cut, fields, number, plain, plain_lines, severity, state, table},
    tenants::count,
};
use crate::{
    admin::{
        JOBS_LISTED_MAX,
        wire::{Changed, Job, JobDetail, Queue},
    },
    store::POSSIBLY_TWICE,
};

pub(super) fn run(command: JobCommand, client: &Client, console: &Console) -> Result<Shown, Failure> {
    match command {
        JobCommand::List { state, tenant, limit } => {
            let mut path = format!("/v1/jobs?limit={limit}");
            if let Some(state) = state {
                write!(path, "&state={}", state.as_str()).expect("a String takes all");
            }
            if let Some(tenant) = tenant {
                write!(path, "&tenant={tenant}").expect("a String takes all");
            }
            let jobs: Vec<Job> = client.get(&path)?;
            Ok(Shown::new(list_text(&jobs, limit, console.layout()), &jobs))
        }
        JobCommand::Show { id } => Ok(one(&client.get(&format!("/v1/jobs/{id}"))?)),
        JobCommand::Retry { id: Some(id), .. } => Ok(one(&client.post(&format!("/v1/jobs/{id}/retry"), &())?)),
        JobCommand::Retry { id: None, .. } => {
            let changed: Changed = client.post("/v1/jobs/retry-dead", &())?;
            let queue: Queue = client.get("/v1/jobs/depth")?;
            let mut text = format!("{} put back into the queue.\n", count(changed.jobs));
            if queue.dead > 0 {
                writeln!(text, "{} stay dead letters: tenants that are gone, or given up since.", count(queue.dead))
                    .expect("a String takes all");
            }
            Ok(Shown::new(text, &changed))
        }
        JobCommand::Pause => {
            let queue: Queue = client.post("/v1/jobs/pause", &())?;
            Ok(Shown::new(format!("Jobs are paused; {} will wait.\n", count(queue.live)), &queue))
        }
        JobCommand::Resume => {
            let queue: Queue = client.post("/v1/jobs/resume", &())?;
            Ok(Shown::new(format!("Jobs run again: {} in the queue.\n", count(queue.live)), &queue))
        }
        JobCommand::Purge { yes } => {
            let queue: Queue = client.get("/v1/jobs/depth")?;
            console.confirm(&format!("Delete all dead letters for good ({})?", count(queue.dead)), yes)?;
            let changed: Changed = client.post("/v1/jobs/purge-dead", &())?;
            Ok(Shown::new(format!("{} deleted for good.\n", count(changed.jobs)), &changed))
        }
    }
}

/// The headings of `job list`.
pub(super) const COLUMNS: Columns = Columns {
    short: &["JOB", "STATE", "TENANT", "TICKET", "ATTEMPTS", "AGE"],
    wide: &["TOOL TYPE", "KIND", "ACCEPTED", "DUE", "ENDED"],
    below: Some("REASON"),
};

pub(super) fn list_text(jobs: &[Job], limit: u32, layout: &Layout) -> String {
    if jobs.is_empty() {
        return "There are no such jobs.\n".to_owned();
    }
    let mut sorted: Vec<_> = jobs.iter().collect();
    sorted.sort_by_key(|job| severity(&job.state));
    let mut text = table(&COLUMNS, sorted.into_iter().map(|job| row(job, layout)), layout);
    if u32::try_from(jobs.len()).is_ok_and(|listed| listed >= limit) {
        writeln!(text, "{}", cut("jobs", limit, JOBS_LISTED_MAX)).expect("a String takes all");
    }
    text
}

fn row(job: &Job, layout: &Layout) -> Row {
    // A running job's time is the end of its lease: nobody waits for that.
    let due = job.due_at.as_deref().filter(|_| job.state != "running");
    Row {
        short: vec![
            cell(Some(&job.id)),
            state(&job.state),
            cell(Some(&job.tenant)),
            cell(Some(&job.ticket_id)),
            number(job.attempts),
            number(layout.age(Some(&job.accepted_at))),
        ],
        wide: vec![
            cell(Some(&job.tool_type)),
            cell(Some(&job.kind)),
            cell(Some(&job.accepted_at)),
            cell(due),
            cell(job.ended_at.as_deref()),
        ],
        below: remark(job, layout.until(due)),
    }
}

/// What keeps the job from running, when it is tried again, and why it was not done yet or how it ended.
fn remark(job: &Job, until: Option<String>) -> Option<String> {
    let held = match job {
        Job { paused: true, .. } => Some("paused".to_owned()),
        Job { credential_refused: true, .. } => Some("credential refused".to_owned()),
        _ => until.map(|until| format!("next attempt in {until}")),
    };
    let error = job.last_error.as_ref().map(|error| format!("{}: {}", error.code, error.message));
    let parts: Vec<_> = held.into_iter().chain(error.or_else(|| job.outcome.clone())).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn one(detail: &JobDetail) -> Shown {
    let job = &detail.job;
    let mut text = fields([
        ("job", Some(job.id.clone())),
        ("state", Some(shown_state(job).into_owned())),
        ("tenant", Some(job.tenant.clone())),
        ("tool type", Some(job.tool_type.clone())),
        ("kind", Some(job.kind.clone())),
        ("ticket", Some(job.ticket_id.clone())),
        ("correlation id", Some(job.correlation_id.clone())),
        ("attempts", Some(job.attempts.to_string())),
        ("may have posted", Some(if detail.sent { "yes" } else { "no" }.to_owned())),
        ("accepted", Some(job.accepted_at.clone())),
        ("due", job.due_at.clone()),
        ("ended", job.ended_at.clone()),
        ("outcome", job.outcome.as_deref().map(outcome)),
    ]);
    for error in detail.errors.iter().rev() {
        let line = format!("attempt {} at {}: {}: {}", error.attempt, error.at, error.code, error.message);
        writeln!(text, "{}", plain(&line)).expect("a String takes all");
    }
    if let Some(note) = &detail.note {
        writeln!(text, "note:\n{}", plain_lines(note)).expect("a String takes all");
    }
    Shown::new(text, detail)
}

/// The state, and what keeps the job from running.
fn shown_state(job: &Job) -> Cow<'_, str> {
    match job {
        Job { paused: true, .. } => format!("{}, paused", job.state).into(),
        Job { credential_refused: true, .. } => format!("{}, credential refused", job.state).into(),
        _ => job.state.as_str().into(),
    }
}

/// How a job ended, where the code alone says too little.
fn outcome(code: &str) -> String {
    match code {
        POSSIBLY_TWICE => {
            "possibly twice: an earlier attempt may have posted the note too, and the plugin cannot look".to_owned()
        }
        code => code.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::wire::{JobError, LastError};

    fn layout() -> Layout {
        Layout { width: None, color: false, wide: false, now: time::OffsetDateTime::UNIX_EPOCH }
    }

    fn job(id: &str, state: &str) -> Job {
        Job {
            id: id.to_owned(),
            state: state.to_owned(),
            tenant: "acme".to_owned(),
            tool_type: "jira".to_owned(),
            kind: "enhance".to_owned(),
            ticket_id: "17\x1b[2J".to_owned(),
            correlation_id: "c".to_owned(),
            attempts: 2,
            accepted_at: "2026-11-20T10:00:00Z".to_owned(),
            due_at: None,
            ended_at: None,
            outcome: None,
            last_error: Some(LastError { code: "api".to_owned(), message: "500".to_owned(), at: "t".to_owned() }),
            paused: false,
            credential_refused: false,
        }
    }

    #[test]
    fn dead_letters_come_first_and_a_cut_list_says_so() {
        let jobs = [job("1", "queued"), job("2", "dead")];
        let text = list_text(&jobs, 2, &layout());
        let ids: Vec<_> = text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(ids, ["2", "1", "These"]);
        assert!(text.contains("api: 500") && !text.contains('\x1b'), "{text}");
        assert!(!list_text(&jobs, 3, &layout()).contains("--limit"));
        let paused = Job { paused: true, ..job("1", "queued") };
        assert!(list_text(&[paused], 3, &layout()).contains("paused; api: 500"));
        let refused = Job { credential_refused: true, ..job("1", "queued") };
        assert!(list_text(&[refused], 3, &layout()).contains("credential refused; api: 500"));
    }

    #[test]
    fn attempts_are_shown_newest_first() {
        let error = |attempt| JobError { attempt, at: "t".to_owned(), code: "api".to_owned(), message: "m".to_owned() };
        let note = Some("line 1\nline 2".to_owned());
        let text = one(&JobDetail { job: job("1", "done"), errors: vec![error(1), error(2)], sent: true, note }).text;
        assert!(text.find("attempt 2") < text.find("attempt 1"), "{text}");
        assert!(text.ends_with("note:\nline 1\nline 2\n"), "{text}");
    }

    #[test]
    fn what_may_have_been_done_twice_is_said_in_words() {
        let ended = |outcome: &str| {
            let job = Job { outcome: Some(outcome.to_owned()), ..job("1", "done") };
            one(&JobDetail { job, errors: Vec::new(), sent: true, note: None }).text
        };
        assert!(ended(POSSIBLY_TWICE).contains("possibly twice"));
        assert!(ended("not_found").contains("not_found"));
    }
}
