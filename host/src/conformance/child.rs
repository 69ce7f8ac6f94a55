//! The child process of a case: confined, with the library at hand, until nothing of the plugin is left.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use super::{
    TIME_MAX, Task,
    cases::{CASES, Run},
    subject::Checked,
    tried::Tried,
    workshop::Workshop,
};
use crate::plugin::{
    confine::{self, Steps, Tasks},
    probe::ProbeProcess,
    trial::{self, Order},
};

/// How long ended threads may take to leave the kernel's list.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// Runs the ordered case.
pub(super) fn attempt(here: &ProbeProcess, order: Order) -> Checked<Tried> {
    let unready = |fault: io::Error| format!("its process could not be confined: {fault}");
    trial::stage("confining the process");
    confine::close_inherited().map_err(unready)?;
    let task: Task = serde_json::from_slice(&order.input).map_err(|fault| unready(fault.into()))?;
    let case = CASES.iter().find(|case| case.name == task.case);
    let case = case.ok_or_else(|| format!("there is no case {}", task.case))?;
    let mut tasks = Tasks::open().map_err(unready)?;
    let mut workshop = Workshop::open(here, task.given.unwrap_or_default()).map_err(unready)?;
    let level =
        confine::enter(order.parent, TIME_MAX + task.random.time, &mut Steps::new(order.left_out)).map_err(unready)?;
    let whole = |()| Tried::Whole;
    let tried = match case.run {
        Run::Calls(run) => workshop.on_a_thread(|workshop| workshop.with_subject(level, run)).map(whole)?,
        Run::CallsAsFarAsKnown(run) => workshop.on_a_thread(|workshop| workshop.with_subject(level, run))?,
        Run::Random(run) => workshop
            .on_a_thread(|workshop| workshop.with_subject(level, |subject| run(subject, &task.random)))
            .map(whole)?,
        Run::Whole(run) => run(&mut workshop).map(whole)?,
        Run::Inspected | Run::Probe => return Err("this case needs no process".to_owned()),
    };
    trial::stage("counting threads");
    match left(&mut tasks).map_err(unready)? {
        0 => Ok(tried),
        left => Err(confine::threads_left(left)),
    }
}

/// Number of threads besides this one, once ended threads are gone.
fn left(tasks: &mut Tasks) -> io::Result<usize> {
    let deadline = Instant::now() + GONE_WITHIN;
    loop {
        let left = tasks.count()?.saturating_sub(1);
        if left == 0 || Instant::now() >= deadline {
            return Ok(left);
        }
        thread::sleep(Duration::from_millis(1));
    }
}
