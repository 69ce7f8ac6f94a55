//! Level 3: from opening to nothing left, also twice at once and a thousand times.

use super::webhooks::refused;
use crate::conformance::{
    subject::{Checked, Subject},
    workshop::Workshop,
};

/// How often it is made and dropped before memory is looked at, and after.
const WARM_UP: usize = 100;
const ROUNDS: usize = 1_000;
/// Most KiB that all rounds may leave: a KiB for each, less than the smallest thing that grows.
const GROWTH_KIB_MAX: u64 = 1_024;

pub(super) fn two_generations(workshop: &mut Workshop<'_>) -> Checked<()> {
    let first = workshop.on_a_thread(|workshop| used(workshop.first()?))?;
    let second = workshop.on_a_thread(|workshop| used(workshop.second()?))?;
    let first = workshop.on_a_thread(|_| used(first)?.end())?;
    first.close().map_err(|fault| format!("the first generation could not be closed: {fault}"))?;
    let second = workshop.on_a_thread(|_| used(second)?.end())?;
    second.close().map_err(|fault| format!("the second generation could not be closed: {fault}"))?;
    match workshop.is_mapped()? {
        false => Ok(()),
        true => Err("both generations are closed, and the library is still mapped".to_owned()),
    }
}

pub(super) fn create_destroy(workshop: &mut Workshop<'_>) -> Checked<()> {
    workshop.on_a_thread(|workshop| {
        let mut library = workshop.first()?.end()?;
        let mut before = 0;
        for round in 0..WARM_UP + ROUNDS {
            if round == WARM_UP {
                before = workshop.memory_kib()?;
            }
            library = used(Subject::make(library, &workshop.given)?)?.end()?;
        }
        let growth = workshop.memory_kib()?.saturating_sub(before);
        if growth > GROWTH_KIB_MAX {
            return Err(format!("{ROUNDS} times made and dropped, it grew by {growth} KiB"));
        }
        Ok(())
    })
}

/// The threads are counted after the case, as after every one.
pub(super) fn threads(subject: &Subject) -> Checked<()> {
    call_all(subject)
}

fn used(subject: Subject) -> Checked<Subject> {
    call_all(&subject)?;
    Ok(subject)
}

/// Each method once, whatever it answers.
fn call_all(subject: &Subject) -> Checked<()> {
    let delivery = subject.unsigned("{}");
    refused(subject, "an empty object", &delivery)?;
    let _said = subject.extract("an empty object", &delivery)?;
    subject.script().answers();
    let id = subject.given.ticket.as_ref().map_or("1", |ticket| ticket.id.as_str());
    let _said = subject.get(id)?;
    let _said = subject.update(id, 1)?;
    Ok(())
}
