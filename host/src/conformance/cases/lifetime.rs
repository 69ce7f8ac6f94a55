//! Level 3: the whole life of a plugin, from opening until nothing is left, also twice at once and a thousand times.

use super::webhooks::refused;
use crate::{
    conformance::{
        subject::{Checked, Subject},
        workshop::Workshop,
    },
    plugin::loader::LoadedLibrary,
};

/// Rounds of creating and dropping before memory is first measured, and between two measurements.
const WARM_UP: usize = 100;
const ROUNDS: usize = 1_000;
/// Maximum growth over all rounds, in KiB: about a quarter of a KiB for each round.
const GROWTH_KIB_MAX: u64 = 256;
/// Consecutive measurements that must grow. A kernel may add a huge page once, but a leak grows every time.
const LOOKS: usize = 3;

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
        let mut library = rounds(workshop, workshop.first()?.end()?, WARM_UP)?;
        let mut growth = 0;
        for _ in 0..LOOKS {
            let before = workshop.memory_kib()?;
            library = rounds(workshop, library, ROUNDS)?;
            growth = workshop.memory_kib()?.saturating_sub(before);
            if growth <= GROWTH_KIB_MAX {
                return Ok(());
            }
        }
        Err(format!("{ROUNDS} times made and dropped, it grew by {growth} KiB"))
    })
}

fn rounds(workshop: &Workshop<'_>, mut library: LoadedLibrary, rounds: usize) -> Checked<LoadedLibrary> {
    for _ in 0..rounds {
        library = used(Subject::make(library, &workshop.given)?)?.end()?;
    }
    Ok(library)
}

/// The threads are counted after this case, as after every other.
pub(super) fn threads(subject: &Subject) -> Checked<()> {
    call_all(subject)
}

fn used(subject: Subject) -> Checked<Subject> {
    call_all(&subject)?;
    Ok(subject)
}

/// Calls each method once, whatever it answers.
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
