//! Rescues jobs that were running when the host was cut off: they run again, unless they are too old or must be what
//! ends the host.

use rusqlite::{Connection, params};

use super::{Store, StoreError, dead::bury, jobs::keep_error, views::column};
use crate::{
    ids::{JobId, TenantId},
    queue::job::{JobError, Lease, Suspect},
};

/// Error code of an attempt that was cut off with its host.
const HOST_ENDED: &str = "host_ended";
/// Reason of the dead letter of a job that ended its host repeatedly.
pub const ENDS_THE_HOST: &str = "ends_the_host";
/// How many times a job may be running alone, and only briefly, when its host is cut off. Then it is given up.
const CUT_OFF_ALONE_MAX: u32 = 3;
/// How soon after a job's start the host must end for the job to be suspected, in milliseconds.
const ENDS_WITHIN_MS: i64 = 60_000;

/// What is known about the end of the previous host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastEnd {
    /// The cause is unknown. If the host did not end in order, a job may have done it.
    Unexplained,
    /// The cause is known: a plugin did it and has been charged, someone asked for it, or the machine ended.
    Explained,
}

/// What became of the jobs that were running when a host was cut off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rescued {
    /// Jobs that are due again.
    pub put_back: usize,
    /// Jobs that were too old and are dead letters.
    pub given_up: usize,
    /// Jobs that ended the host repeatedly and are dead letters.
    pub end_the_host: usize,
}

impl Store {
    /// Jobs that may be what ends the host, those that ran alone the fewest times first.
    pub async fn suspects(&self) -> Result<Vec<Suspect>, StoreError> {
        self.inner
            .main_reads
            .read(|connection| {
                connection
                    .prepare_cached(
                        "SELECT tenant, id, due_ms, cut_off_alone FROM jobs WHERE cut_off >= 2
                         ORDER BY cut_off_alone, due_ms, seq",
                    )?
                    .query_map([], |row| {
                        let id = JobId::from_bytes(row.get(1)?);
                        let tenant = column(row, 0, TenantId::parse)?;
                        Ok(Suspect { tenant, id, due_ms: row.get(2)?, cut_off_alone: row.get(3)? })
                    })?
                    .collect()
            })
            .await
    }

    /// Ends the leases of a host that was cut off. This host is the only one on the file, and nothing runs yet. Each
    /// interrupted attempt counts and leaves an error with its job. The jobs are due now. Those accepted or put back
    /// `give_up_ms` ago move to the dead letters with `reason`, and those that must have ended the host with
    /// [`ENDS_THE_HOST`]. The host's last sign of life is its last lease extension, which was good for `lease_ms`.
    pub async fn rescue(
        &self,
        give_up_ms: i64,
        lease_ms: i64,
        last_end: LastEnd,
        reason: &'static str,
    ) -> Result<Rescued, StoreError> {
        let clock = self.inner.clock.clone();
        self.inner
            .main
            .apply(move |connection| {
                let (now_ms, mut rescued) = (clock.now_ms(), Rescued::default());
                let leased = leased(connection)?;
                let suspected = last_end == LastEnd::Unexplained;
                let alone = suspected && leased.len() == 1;
                for Leased { lease, attempt, queued_ms, began_ms, ends_ms, cut_off, cut_off_alone } in leased {
                    let ran_ms = ends_ms.saturating_sub(lease_ms).saturating_sub(began_ms);
                    let cut_off_alone = cut_off_alone + u32::from(alone && ran_ms < ENDS_WITHIN_MS);
                    let cut_off = cut_off + u32::from(suspected);
                    let error = JobError::new(attempt, now_ms, HOST_ENDED, "the host ended while this attempt ran");
                    keep_error(connection, lease, &error)?;
                    let (slot, id) = (lease.slot, lease.id.as_bytes());
                    if cut_off_alone >= CUT_OFF_ALONE_MAX {
                        rescued.end_the_host += bury(connection, slot, id, now_ms, ENDS_THE_HOST)?;
                    } else if now_ms.saturating_sub(queued_ms) >= give_up_ms {
                        rescued.given_up += bury(connection, slot, id, now_ms, reason)?;
                    } else {
                        rescued.put_back += connection
                            .prepare_cached(
                                "UPDATE jobs SET running = 0, due_ms = ?3, cut_off = ?5, cut_off_alone = ?4
                                 WHERE slot = ?1 AND id = ?2",
                            )?
                            .execute(params![slot, id, now_ms, cut_off_alone, cut_off])?;
                    }
                }
                Ok(rescued)
            })
            .await
    }
}

/// A job that was running when its host was cut off.
struct Leased {
    lease: Lease,
    attempt: u32,
    queued_ms: i64,
    began_ms: i64,
    ends_ms: i64,
    cut_off: u32,
    cut_off_alone: u32,
}

fn leased(connection: &Connection) -> rusqlite::Result<Vec<Leased>> {
    connection
        .prepare(
            "SELECT slot, id, fence, attempt, accepted_ms, began_ms, due_ms, cut_off, cut_off_alone FROM jobs
             WHERE running = 1",
        )?
        .query_map([], |row| {
            Ok(Leased {
                lease: Lease { slot: row.get(0)?, id: JobId::from_bytes(row.get(1)?), fence: row.get(2)? },
                attempt: row.get(3)?,
                queued_ms: row.get(4)?,
                began_ms: row.get(5)?,
                ends_ms: row.get(6)?,
                cut_off: row.get(7)?,
                cut_off_alone: row.get(8)?,
            })
        })?
        .collect()
}
