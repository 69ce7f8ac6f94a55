//! Reopened tickets, and which of two webhooks describes the later state.
//!
//! Webhooks arrive late and in any order, so the time of the event decides. Many tools report that time in whole
//! seconds: within a second, the webhook accepted later wins, and if both were accepted at once, the ticket counts as
//! open.

use rusqlite::{Connection, OptionalExtension, params};

use super::super::{Store, StoreError};
use crate::ids::{Incarnation, TenantId};

/// Maximum number of unprocessed reopenings of a tenant. Above it, none of the tenant's tickets are offered.
const REOPENING_MAX: u32 = 1_000;

/// Uses an index that contains only these jobs.
const REOPENING: &str = "SELECT ticket_id FROM jobs WHERE slot = ?1 AND tenant = ?2 AND kind = 'reopen' LIMIT ?3";

/// A solved ticket that was opened again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReopenedTicket {
    /// The tenant that owns the ticket.
    pub tenant: TenantId,
    /// Which tenant with that id.
    pub incarnation: Incarnation,
    /// The ticket.
    pub ticket_id: String,
    /// When it was opened again, milliseconds since the epoch.
    pub reopened_ms: i64,
    /// When the webhook that reported it was accepted, milliseconds since the epoch.
    pub told_ms: i64,
}

/// The ticket that a row of the history is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct TicketKey<'a> {
    tenant: &'a str,
    incarnation: Incarnation,
    ticket_id: &'a str,
}

impl<'a> TicketKey<'a> {
    pub(super) fn new(tenant: &'a TenantId, incarnation: Incarnation, ticket_id: &'a str) -> Self {
        Self { tenant: tenant.as_str(), incarnation, ticket_id }
    }

    fn params(self) -> (&'a str, Incarnation, &'a str) {
        (self.tenant, self.incarnation, self.ticket_id)
    }
}

/// When something happened, and when its webhook was accepted; milliseconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment(pub(super) i64, pub(super) i64);

impl Moment {
    fn is_later_than(self, other: Self) -> bool {
        let rank = |Self(at_ms, told_ms)| (at_ms.div_euclid(1_000), told_ms);
        rank(self) > rank(other)
    }
}

impl Store {
    /// Removes a ticket from the search results unless it was solved later. Repeating it changes nothing. A reopening
    /// of a ticket that is not in the history is kept as long as its solution may still arrive. Call it before
    /// [`complete`](Store::complete).
    pub async fn record_reopened(&self, ticket: ReopenedTicket) -> Result<(), StoreError> {
        let (now_ms, late_ms) = (self.inner.clock.now_ms(), self.inner.dedup_ms.saturating_mul(2));
        self.inner
            .history
            .apply(move |connection| {
                connection.prepare_cached("DELETE FROM reopened_tickets WHERE forget_ms < ?1")?.execute([now_ms])?;
                let key = TicketKey::new(&ticket.tenant, ticket.incarnation, &ticket.ticket_id);
                let reopened = Moment(ticket.reopened_ms, ticket.told_ms);
                let solved = last_solved(connection, key)?;
                let is_open = solved.is_none_or(|solved| !solved.is_later_than(reopened));
                let is_news = last_reopened(connection, key)?.is_none_or(|known| reopened.is_later_than(known));
                if is_open && is_news {
                    let forget_ms = solved.is_none().then(|| now_ms.saturating_add(late_ms));
                    connection
                        .prepare_cached(
                            "INSERT OR REPLACE INTO reopened_tickets
                                 (slot, tenant, incarnation, ticket_id, reopened_ms, told_ms, forget_ms)
                             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                        )?
                        .execute(params![
                            ticket.tenant.slot(),
                            key.tenant,
                            key.incarnation,
                            key.ticket_id,
                            ticket.reopened_ms,
                            ticket.told_ms,
                            forget_ms
                        ])?;
                }
                Ok(())
            })
            .await
    }

    /// Tickets whose reopening is still in the queue and not yet in the history. `None` if there are too many to check.
    pub(super) async fn reopening(&self, tenant: &TenantId) -> Result<Option<Vec<String>>, StoreError> {
        let tenant = tenant.clone();
        let tickets: Vec<String> = self
            .inner
            .main_reads
            .read(move |connection| {
                connection
                    .prepare_cached(REOPENING)?
                    .query_map(params![tenant.slot(), tenant.as_str(), REOPENING_MAX + 1], |row| row.get(0))?
                    .collect()
            })
            .await?;
        Ok((tickets.len() <= REOPENING_MAX as usize).then_some(tickets))
    }
}

/// Records that a ticket was solved at this moment. It is then no longer open, unless it was reopened later.
pub(super) fn solved(connection: &Connection, key: TicketKey<'_>, solved: Moment) -> rusqlite::Result<()> {
    let then = match last_reopened(connection, key)? {
        None => return Ok(()),
        Some(reopened) if solved.is_later_than(reopened) => {
            "DELETE FROM reopened_tickets WHERE tenant = ?1 AND incarnation = ?2 AND ticket_id = ?3"
        }
        Some(_) => {
            "UPDATE reopened_tickets SET forget_ms = NULL WHERE tenant = ?1 AND incarnation = ?2 AND ticket_id = ?3"
        }
    };
    connection.prepare_cached(then)?.execute(key.params()).map(drop)
}

/// Whether the history has this ticket.
pub(super) fn is_known(connection: &Connection, key: TicketKey<'_>) -> rusqlite::Result<bool> {
    Ok(last_solved(connection, key)?.is_some())
}

fn last_solved(connection: &Connection, key: TicketKey<'_>) -> rusqlite::Result<Option<Moment>> {
    moment(
        connection,
        "SELECT coalesce(as_of_ms, resolved_ms), coalesce(told_ms, recorded_ms) FROM ticket_history
         WHERE tenant = ?1 AND incarnation = ?2 AND ticket_id = ?3",
        key,
    )
}

fn last_reopened(connection: &Connection, key: TicketKey<'_>) -> rusqlite::Result<Option<Moment>> {
    moment(
        connection,
        "SELECT reopened_ms, told_ms FROM reopened_tickets
         WHERE tenant = ?1 AND incarnation = ?2 AND ticket_id = ?3",
        key,
    )
}

fn moment(connection: &Connection, sql: &str, key: TicketKey<'_>) -> rusqlite::Result<Option<Moment>> {
    connection.prepare_cached(sql)?.query_row(key.params(), |row| Ok(Moment(row.get(0)?, row.get(1)?))).optional()
}

#[cfg(test)]
mod tests;
