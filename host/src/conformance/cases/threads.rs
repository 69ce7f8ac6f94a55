//! Level 4: the answers do not depend on other calls or their timing.

use std::{thread, time::Duration};

use plugin_abi::{
    PluginError,
    host::Updated,
    types::{Ticket, TicketMetadata},
};

use crate::conformance::{
    delivery::Delivery,
    subject::{Checked, Subject},
    told::{Told, differing},
};

/// Number of threads, and rounds of each: as many threads as a host has lanes, and enough rounds for them to collide.
const THREADS: usize = 8;
const ROUNDS: usize = 50;
/// Number of repetitions of extract.
const REPEATS: u32 = 100;

type Answer<T> = Result<T, PluginError>;

/// The answers to one thread in one round.
#[derive(Debug, PartialEq)]
struct Heard {
    webhooks: Vec<(Answer<bool>, Answer<TicketMetadata>)>,
    ticket: Answer<Option<Ticket>>,
    updated: Answer<Updated>,
}

impl Heard {
    /// The first answer that differs when many threads call, as a sentence.
    fn difference(&self, among_many: &Self) -> String {
        let sentence = |method: &str, alone: &dyn Told, many: &dyn Told| {
            let same = if alone.told() == many.told() { ", which differ in what they hold" } else { "" };
            format!("{method} answered one thread {}, and among many {}{same}", alone.told(), many.told())
        };
        for ((authentic, said), (authentic_of_many, said_of_many)) in self.webhooks.iter().zip(&among_many.webhooks) {
            if authentic != authentic_of_many {
                return sentence("validate_webhook", authentic, authentic_of_many);
            }
            if let (Ok(one), Ok(other)) = (said, said_of_many)
                && one != other
            {
                let fields = differing(one, other).join(", ");
                return format!("extract_metadata answered one thread another {fields} than it answered among many");
            }
            if said != said_of_many {
                return sentence("extract_metadata", said, said_of_many);
            }
        }
        if self.ticket != among_many.ticket {
            return sentence("get_ticket", &self.ticket, &among_many.ticket);
        }
        sentence("update_ticket", &self.updated, &among_many.updated)
    }
}

pub(super) fn parallel(subject: &Subject) -> Checked<()> {
    let mut deliveries: Vec<_> = subject.webhooks().map(|webhook| webhook.delivery(&subject.given)).collect();
    deliveries.extend(["{}", "[", r#"{"id":"1"}"#].map(|body| subject.unsigned(body)));
    if let Some(first) = deliveries.first() {
        subject.script().set_now(first.received_at);
    }
    let expected = round(subject, &deliveries)?;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                thread::Builder::new().spawn_scoped(scope, || {
                    for _ in 0..ROUNDS {
                        let heard = round(subject, &deliveries)?;
                        if heard != expected {
                            return Err(expected.difference(&heard));
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        let mut outcome = Ok(());
        for thread in threads {
            let thread = thread.map_err(|fault| format!("no thread could be started: {fault}"))?;
            let ended = thread.join().unwrap_or_else(|_| Err("the case itself failed".to_owned()));
            outcome = outcome.and(ended);
        }
        outcome
    })
}

/// Runs one round. get and update use a script with its own order, so each thread owns the whole script.
fn round(subject: &Subject, deliveries: &[Delivery]) -> Checked<Heard> {
    let webhooks = deliveries
        .iter()
        .map(|delivery| Ok((subject.validate("many at once", delivery)?, subject.extract("many at once", delivery)?)));
    let webhooks = webhooks.collect::<Checked<_>>()?;
    let id = subject.given.ticket.as_ref().map_or("1", |ticket| ticket.id.as_str());
    Ok(Heard { webhooks, ticket: subject.get(id)?, updated: subject.update(id, 1)? })
}

pub(super) fn determinism(subject: &Subject) -> Checked<()> {
    for webhook in subject.webhooks() {
        let delivery = webhook.delivery(&subject.given);
        subject.script().set_now(delivery.received_at);
        let first = subject.extract(&webhook.name, &delivery)?;
        for repeat in 1..=REPEATS {
            subject.script().set_now(delivery.received_at + Duration::from_secs(60) * repeat);
            let again = subject.extract(&webhook.name, &delivery)?;
            if again != first {
                let what = match (&first, &again) {
                    (Ok(first), Ok(again)) => format!("another {}", differing(first, again).join(", ")),
                    _ => again.told(),
                };
                let first = first.told();
                return Err(format!("webhook {:?}: first {first}, and {repeat} minutes later {what}", webhook.name));
            }
        }
    }
    Ok(())
}
