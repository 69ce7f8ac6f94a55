//! Tickets that were reopened recently. There are nearly always none, so all of them are mirrored in memory.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::views::column;
use crate::ids::TenantId;

/// Maximum number of remembered tickets: some megabytes. Beyond it, the tenth that has not changed for longest is
/// forgotten.
pub(super) const REOPENINGS_MAX: usize = 65_536;

/// The tickets, as the table has them.
pub(super) struct Reopenings {
    tickets: HashMap<(TenantId, String), Reopening>,
    tickets_max: usize,
}

#[derive(Debug, Clone, Copy)]
struct Reopening {
    times: u32,
    /// Whether no solution was reported since.
    open: bool,
    changed_ms: i64,
}

impl Reopenings {
    /// Reads all tickets from the file.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let tickets = connection
            .prepare("SELECT tenant, ticket_id, times, open, changed_ms FROM reopenings")?
            .query_map([], |row| {
                let reopening = Reopening { times: row.get(2)?, open: row.get(3)?, changed_ms: row.get(4)? };
                Ok(((column(row, 0, TenantId::parse)?, row.get(1)?), reopening))
            })?
            .collect::<rusqlite::Result<_>>()?;
        Ok(Self { tickets, tickets_max: REOPENINGS_MAX })
    }

    /// How often the ticket was reopened.
    pub(super) fn times(&self, tenant: &TenantId, ticket_id: &str) -> u32 {
        self.get(tenant, ticket_id).map_or(0, |known| known.times)
    }

    /// The number of the reopening that a webhook reports: the current one while the ticket is open, otherwise the
    /// next.
    pub(super) fn told(&self, tenant: &TenantId, ticket_id: &str) -> u32 {
        match self.get(tenant, ticket_id) {
            Some(Reopening { times, open: true, .. }) => times,
            known => known.map_or(0, |known| known.times).saturating_add(1),
        }
    }

    /// Records a reopening. While the ticket is open, a further report means the same reopening.
    pub(super) fn opened(
        &mut self,
        connection: &Connection,
        tenant: &TenantId,
        ticket_id: &str,
        now_ms: i64,
    ) -> rusqlite::Result<()> {
        let times = self.told(tenant, ticket_id);
        self.set(connection, tenant, ticket_id, Reopening { times, open: true, changed_ms: now_ms })?;
        if self.tickets.len() > self.tickets_max {
            self.forget_oldest(connection, self.tickets_max / 10)?;
        }
        Ok(())
    }

    /// Records a solution.
    pub(super) fn closed(
        &mut self,
        connection: &Connection,
        tenant: &TenantId,
        ticket_id: &str,
        now_ms: i64,
    ) -> rusqlite::Result<()> {
        match self.get(tenant, ticket_id) {
            Some(known) if known.open => {
                self.set(connection, tenant, ticket_id, Reopening { open: false, changed_ms: now_ms, ..known })
            }
            _ => Ok(()),
        }
    }

    /// Forgets tickets that have not changed since `before_ms`, milliseconds since the epoch.
    pub(super) fn forget(&mut self, connection: &Connection, before_ms: i64) -> rusqlite::Result<()> {
        self.tickets.retain(|_, known| known.changed_ms >= before_ms);
        connection.prepare_cached("DELETE FROM reopenings WHERE changed_ms < ?1")?.execute([before_ms]).map(drop)
    }

    /// Forgets all tickets of a tenant.
    pub(super) fn forget_tenant(&mut self, connection: &Connection, tenant: &TenantId) -> rusqlite::Result<()> {
        self.tickets.retain(|(of, _), _| of != tenant);
        connection
            .prepare_cached("DELETE FROM reopenings WHERE slot = ?1 AND tenant = ?2")?
            .execute(params![tenant.slot(), tenant.as_str()])
            .map(drop)
    }

    fn forget_oldest(&mut self, connection: &Connection, count: usize) -> rusqlite::Result<()> {
        let mut oldest: Vec<_> =
            self.tickets.iter().map(|(ticket, known)| (known.changed_ms, ticket.clone())).collect();
        oldest.select_nth_unstable(count);
        let mut delete =
            connection.prepare_cached("DELETE FROM reopenings WHERE slot = ?1 AND tenant = ?2 AND ticket_id = ?3")?;
        for (_, ticket) in oldest.drain(..count) {
            delete.execute(params![ticket.0.slot(), ticket.0.as_str(), ticket.1])?;
            self.tickets.remove(&ticket);
        }
        Ok(())
    }

    fn get(&self, tenant: &TenantId, ticket_id: &str) -> Option<Reopening> {
        // The usual case costs nothing.
        if self.tickets.is_empty() {
            return None;
        }
        self.tickets.get(&(tenant.clone(), ticket_id.to_owned())).copied()
    }

    fn set(
        &mut self,
        connection: &Connection,
        tenant: &TenantId,
        ticket_id: &str,
        reopening: Reopening,
    ) -> rusqlite::Result<()> {
        let Reopening { times, open, changed_ms } = reopening;
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO reopenings (slot, tenant, ticket_id, times, open, changed_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![tenant.slot(), tenant.as_str(), ticket_id, times, open, changed_ms])?;
        self.tickets.insert((tenant.clone(), ticket_id.to_owned()), reopening);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
