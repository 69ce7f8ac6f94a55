//! `job …`: lists, shows, retries and purges jobs.

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
        JOBS_LISTED_DEFAULT, JOBS_LISTED_MAX,
        wire::{Job, JobDetail, JobWait, Queue},
    },
    queue::job::{JobKind, JobState},
    store::{DONE, POSSIBLY_TWICE},
};

mod again;
mod query;

pub(super) fn run(command: JobCommand, client: &Client, console: &Console) -> Result<Shown, Failure> {
    match command {
        JobCommand::List(wanted) => {
            let jobs: Vec<Job> = client.get(&query::list(&wanted))?;
            Ok(Shown::new(list_text(&jobs, wanted.limit, console.layout()), &jobs))
        }
        JobCommand::Find { text } => {
            let jobs: Vec<Job> = client.get(&query::find(&text))?;
            Ok(Shown::new(found_text(&text, &jobs, console.layout()), &jobs))
        }
        JobCommand::Show { id } => Ok(one(&client.get(&format!("/v1/jobs/{id}"))?)),
        JobCommand::Retry(wanted) => again::retry(&wanted, client),
        JobCommand::Pause(why) => {
            let queue: Queue = client.post(&why.on("/v1/jobs/pause"), &())?;
            Ok(Shown::new(format!("Jobs are paused; {} will wait.\n", count(queue.live)), &queue))
        }
        JobCommand::Resume(why) => {
            let queue: Queue = client.post(&why.on("/v1/jobs/resume"), &())?;
            Ok(Shown::new(format!("Jobs run again: {} in the queue.\n", count(queue.live)), &queue))
        }
        JobCommand::Purge { which, yes, why } => again::purge(&which, yes, &why, client, console),
    }
}

fn found_text(text: &str, jobs: &[Job], layout: &Layout) -> String {
    if jobs.is_empty() {
        return format!(
            "No job is of a ticket or webhook {}, and no job's id begins so.\n\
             What became of a webhook that made no job, the log says, and how many there were: plugin-ctl tenant show ID\n",
            plain(text)
        );
    }
    let mut shown = list_text(jobs, u32::MAX, layout);
    if jobs.len() >= JOBS_LISTED_DEFAULT as usize {
        writeln!(
            shown,
            "These are the newest {JOBS_LISTED_DEFAULT} jobs, and there may be more: plugin-ctl job list --ticket ID --after ID"
        )
        .expect("a String takes all");
    }
    shown
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
        let last = jobs.last().map_or("ID", |job| &job.id);
        writeln!(text, "{}, or the next ones: --after {last}", cut("jobs", limit, JOBS_LISTED_MAX))
            .expect("a String takes all");
    }
    text
}

fn row(job: &Job, layout: &Layout) -> Row {
    // A running job's time is the end of its lease, which nobody waits for.
    let due = job.due_at.as_deref().filter(|_| !is(job, JobState::Running));
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

/// What keeps the job from running, when it is retried, and why it is not done or how it ended.
fn remark(job: &Job, until: Option<String>) -> Option<String> {
    let held = match job {
        Job { paused: true, .. } => Some("paused".to_owned()),
        Job { credential_refused: true, .. } => Some("credential refused".to_owned()),
        _ => until.map(|until| format!("next attempt in {until}")),
    };
    let parts: Vec<_> = held.into_iter().chain(reason(job)).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn one(detail: &JobDetail) -> Shown {
    let job = &detail.job;
    let running = is(job, JobState::Running);
    let mut text = fields([
        ("job", Some(job.id.clone())),
        ("state", Some(shown_state(job).into_owned())),
        ("tenant", Some(job.tenant.clone())),
        ("tool type", Some(job.tool_type.clone())),
        ("kind", Some(job.kind.clone())),
        ("ticket", Some(job.ticket_id.clone())),
        ("correlation id", Some(job.correlation_id.clone())),
        ("attempts", Some(job.attempts.to_string())),
        ("may have posted", may_have_posted(detail)),
        ("accepted", Some(job.accepted_at.clone())),
        ("put back", job.retried_at.clone()),
        (if running { "lease ends" } else { "due" }, job.due_at.clone()),
        ("ended", job.ended_at.clone()),
        ("outcome", job.outcome.as_deref().map(outcome)),
    ]);
    for wait in &detail.waits {
        writeln!(text, "{}", plain(&shown_wait(wait))).expect("a String takes all");
    }
    for error in detail.errors.iter().rev() {
        let line = format!("attempt {} at {}: {}: {}", error.attempt, error.at, error.code, error.message);
        writeln!(text, "{}", plain(&line)).expect("a String takes all");
    }
    if let Some(note) = &detail.note {
        writeln!(text, "note:\n{}", plain_lines(note)).expect("a String takes all");
    }
    Shown::new(text, detail)
}

/// Why the job is not done, or how it ended if that was not a success.
fn reason(job: &Job) -> Option<String> {
    if is(job, JobState::Done) {
        return job.outcome.clone().filter(|outcome| outcome != DONE);
    }
    let error = job.last_error.as_ref().map(|error| format!("{}: {}", error.code, error.message));
    error.or_else(|| job.outcome.clone())
}

/// Whether the note may be posted, only where that is in question: a finished job says how it ended, and other kinds of
/// jobs post nothing.
fn may_have_posted(detail: &JobDetail) -> Option<String> {
    let in_question = detail.job.kind == JobKind::Enhance.as_str() && !is(&detail.job, JobState::Done);
    in_question.then(|| if detail.sent { "yes" } else { "no" }.to_owned())
}

fn shown_wait(wait: &JobWait) -> String {
    let JobWait { reason, message, since, until } = wait;
    match until {
        None => format!("waits since {since}: {reason}: {message}"),
        Some(until) => format!("waited from {since} to {until}: {reason}"),
    }
}

fn is(job: &Job, state: JobState) -> bool {
    job.state == state.as_str()
}

/// The state, and what keeps the job from running.
fn shown_state(job: &Job) -> Cow<'_, str> {
    match job {
        Job { paused: true, .. } => format!("{}, paused", job.state).into(),
        Job { credential_refused: true, .. } => format!("{}, credential refused", job.state).into(),
        _ => job.state.as_str().into(),
    }
}

/// The outcome in words, if the code alone says too little.
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
            retried_at: None,
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
    fn a_list_says_why_only_where_something_is_wrong_and_when_only_what_comes() {
        let done = Job { outcome: Some(DONE.to_owned()), ..job("1", "done") };
        assert!(!list_text(std::slice::from_ref(&done), 3, &layout()).contains("api"));
        let twice = Job { outcome: Some(POSSIBLY_TWICE.to_owned()), ..done };
        assert!(list_text(&[twice], 3, &layout()).contains(POSSIBLY_TWICE));
        for (state, shown) in [("running", false), ("waiting", true)] {
            let job = Job { due_at: Some("2026-11-20T10:01:30Z".to_owned()), ..job("1", state) };
            assert_eq!(list_text(&[job], 3, &layout()).contains("next attempt in"), shown, "{state}");
        }
    }

    #[test]
    fn a_wait_is_shown_with_its_reason_and_since_when() {
        let shown = |until: Option<&str>| {
            let wait = JobWait {
                reason: "paused".to_owned(),
                message: "jobs are paused".to_owned(),
                since: "T1".to_owned(),
                until: until.map(str::to_owned),
            };
            one(&JobDetail { job: job("1", "queued"), errors: Vec::new(), waits: vec![wait], sent: false, note: None })
                .text
        };
        assert!(shown(None).contains("waits since T1: paused: jobs are paused\n"), "{}", shown(None));
        assert!(shown(Some("T2")).contains("waited from T1 to T2: paused\n"), "{}", shown(Some("T2")));
    }

    #[test]
    fn whether_a_note_was_posted_is_in_question_only_before_the_end() {
        for (kind, state, sent, expected) in [
            ("enhance", "waiting", true, Some("may have posted: yes")),
            ("enhance", "dead", false, Some("may have posted: no")),
            ("enhance", "done", true, None),
            ("record", "waiting", false, None),
        ] {
            let job = Job { kind: kind.to_owned(), ..job("1", state) };
            let text = one(&JobDetail { job, errors: Vec::new(), waits: Vec::new(), sent, note: None }).text;
            let line = text.lines().find(|line| line.starts_with("may have posted"));
            let line = line.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
            assert_eq!(line.as_deref(), expected, "{kind} {state}");
        }
    }

    #[test]
    fn what_is_not_found_says_where_to_look_next() {
        let text = found_text("17\x1b", &[], &layout());
        assert!(text.contains("plugin-ctl tenant show") && !text.contains('\x1b'), "{text}");
        let many = vec![job("1", "dead"); JOBS_LISTED_DEFAULT as usize];
        assert!(found_text("17", &many, &layout()).contains("--after ID"));
        assert!(!found_text("17", &many[1..], &layout()).contains("--after"));
    }

    #[test]
    fn attempts_are_shown_newest_first() {
        let error = |attempt| JobError { attempt, at: "t".to_owned(), code: "api".to_owned(), message: "m".to_owned() };
        let note = Some("line 1\nline 2".to_owned());
        let text = one(&JobDetail {
            job: job("1", "done"),
            errors: vec![error(1), error(2)],
            waits: Vec::new(),
            sent: true,
            note,
        })
        .text;
        assert!(text.find("attempt 2") < text.find("attempt 1"), "{text}");
        assert!(text.ends_with("note:\nline 1\nline 2\n"), "{text}");
    }

    #[test]
    fn what_may_have_been_done_twice_is_said_in_words() {
        let ended = |outcome: &str| {
            let job = Job { outcome: Some(outcome.to_owned()), ..job("1", "done") };
            one(&JobDetail { job, errors: Vec::new(), waits: Vec::new(), sent: true, note: None }).text
        };
        assert!(ended(POSSIBLY_TWICE).contains("possibly twice"));
        assert!(ended("not_found").contains("not_found"));
    }
}
