//! `job retry` and `job purge`: retries jobs, or deletes dead letters.

use std::fmt::Write as _;

use super::{
    super::{
        Shown,
        args::{Retried, RetryJobs, Which, WhyJobs},
        client::Client,
        console::Console,
        failure::Failure,
        tenants::count,
    },
    one, query,
};
use crate::admin::wire::Changed;

pub(super) fn retry(wanted: &RetryJobs, client: &Client) -> Result<Shown, Failure> {
    let RetryJobs { what: Retried { id, waiting, .. }, which, why } = wanted;
    match id {
        Some(id) => Ok(one(&client.post(&why.on(format!("/v1/jobs/{id}/retry")), &())?)),
        None if *waiting => {
            let changed: Changed = client.post(&why.on(query::which("/v1/jobs/retry-waiting", which)), &())?;
            Ok(Shown::new(format!("{} made due now.\n", count(changed.jobs)), &changed))
        }
        None => retry_dead(which, why, client),
    }
}

fn retry_dead(which: &Which, why: &WhyJobs, client: &Client) -> Result<Shown, Failure> {
    let changed: Changed = client.post(&why.on(query::which("/v1/jobs/retry-dead", which)), &())?;
    let mut text = format!("{} put back into the queue.\n", count(changed.jobs));
    let left: Changed = client.get(&query::which("/v1/jobs/dead", which))?;
    if left.jobs > 0 {
        let stay = if left.jobs == 1 { "stays a dead letter" } else { "stay dead letters" };
        writeln!(
            text,
            "{} {stay}: the tenant is gone or has another tool, or the job was given up since.",
            count(left.jobs)
        )
        .expect("a String takes all");
    }
    Ok(Shown::new(text, &changed))
}

pub(super) fn purge(
    which: &Which,
    yes: bool,
    why: &WhyJobs,
    client: &Client,
    console: &Console,
) -> Result<Shown, Failure> {
    let dead: Changed = client.get(&query::which("/v1/jobs/dead", which))?;
    let all = if which.is_all() { "all dead letters" } else { "these dead letters" };
    console.confirm(&format!("Delete {all} for good ({})?", count(dead.jobs)), yes)?;
    let changed: Changed = client.post(&why.on(query::which("/v1/jobs/purge-dead", which)), &())?;
    Ok(Shown::new(format!("{} deleted for good.\n", count(changed.jobs)), &changed))
}
