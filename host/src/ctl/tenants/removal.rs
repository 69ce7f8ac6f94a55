//! `tenant remove` and `tenant erase`: both first say what will be deleted.

use super::{counted, newest};
use crate::{
    admin::wire::{Holdings, Remains, RemovedTenant, Tenant},
    ctl::{
        Shown,
        args::{OneTenant, RemoveTenant},
        client::Client,
        console::Console,
        failure::Failure,
    },
};

pub(super) fn remove(client: &Client, given: &RemoveTenant, console: &Console) -> Result<Shown, Failure> {
    let RemoveTenant { about: OneTenant { id, why }, keep, yes } = given;
    let tenant: Tenant = client.get(&format!("/v1/tenants/{id}"))?;
    let holdings: Holdings = client.get(&format!("/v1/tenants/{id}/holdings"))?;
    let (secrets, held) = (counted(newest(&tenant) as u64, "secret"), held(&holdings));
    let question = match *keep {
        None => format!("Remove tenant {id} with {secrets}, {held}? All of it is erased."),
        Some(days) => {
            format!("Remove tenant {id} with {secrets}, and keep for {}: {held}?", counted(days.into(), "day"))
        }
    };
    console.confirm(&question, *yes)?;
    let query = keep.map(|days| format!("?keep_days={days}")).unwrap_or_default();
    let removed: RemovedTenant = client.delete(&why.on(format!("/v1/tenants/{id}{query}")))?;
    let held = self::held(&removed.holdings);
    let text = match &removed.kept_until {
        None => format!("Tenant {id} is removed, and what was stored for it is erased: {held}.\n"),
        Some(until) => format!("Tenant {id} is removed. Kept until {until}: {held}.\n"),
    };
    Ok(Shown::new(text, &removed))
}

pub(super) fn erase(client: &Client, about: &OneTenant, yes: bool, console: &Console) -> Result<Shown, Failure> {
    let OneTenant { id, why } = about;
    let path = format!("/v1/tenants/{id}/remains");
    let remains: Remains = client.get(&path)?;
    console.confirm(&format!("Erase what removed tenants left behind as {id}: {}?", held(&remains.holdings)), yes)?;
    let erased: Remains = client.delete(&why.on(path))?;
    Ok(Shown::new(format!("Erased what removed tenants left behind as {id}: {}.\n", held(&erased.holdings)), &erased))
}

/// What is stored, in words: `1 job, 2 dead letters, …`.
fn held(holdings: &Holdings) -> String {
    let Holdings { jobs, dead_letters, solved_tickets, notes } = *holdings;
    [(jobs, "job"), (dead_letters, "dead letter"), (solved_tickets, "solved ticket"), (notes, "note")]
        .map(|(number, what)| counted(number, what))
        .join(", ")
}
