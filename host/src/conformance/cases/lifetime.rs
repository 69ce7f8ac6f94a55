//! Level 3: from opening to nothing left, also twice at once and a thousand times.

use super::webhooks::refused;
use crate::{
    conformance::{
        subject::{Checked, Subject},
        workshop::Workshop,
    },
    plugin::loader::LoadedLibrary,
};

/// How often it is made and dropped before memory is looked at, and between two looks.
const WARM_UP: usize = 100;
const ROUNDS: usize = 1_000;
/// Most KiB that all rounds may leave, which is about a quarter of a KiB for each.
const GROWTH_KIB_MAX: u64 = 256;
/// How often in a row it must grow: a kernel may give a huge page once, and a leak leaks every time.
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
