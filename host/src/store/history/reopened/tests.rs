//! The latest event wins, in whatever order the webhooks arrive.

use super::*;
use crate::{
    clock::Clock,
    ids::{CorrelationId, JobId, ToolType},
    queue::job::{Accepted, ClaimWish, DedupKey, Fenced, JobKind, NewJob},
    store::{
        Hooks, ResolvedTicket, StoreConfig, TenantRoom,
        tests::{kept_by, there},
    },
};
use plugin_abi::types::{Event, TicketMetadata};

const HOUR_MS: i64 = 3_600_000;
const DEDUP_HOURS: u32 = 72;

struct Bed {
    store: Store,
    clock: Clock,
    _folder: tempfile::TempDir,
}

/// A message about a ticket: when it happened and when it was accepted, in milliseconds.
#[derive(Debug, Clone, Copy)]
enum Told {
    Solved(i64, i64),
    Reopened(i64, i64),
    /// The tool confirms that the ticket is solved, and since when.
    Confirmed(i64, i64),
}
use Told::{Confirmed, Reopened, Solved};

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("patchbay.db");
        let clock = Clock::system();
        let config = StoreConfig { path, dedup_hours: DEDUP_HOURS, hooks: Hooks::default() };
        Self { store: Store::open(config, clock.clone()).unwrap(), clock, _folder: folder }
    }

    async fn tell(&self, ticket: &str, told: Told) {
        let ticket_id = ticket.to_owned();
        match told {
            Reopened(reopened_ms, told_ms) => {
                let ticket =
                    ReopenedTicket { tenant: acme(), incarnation: Incarnation::FIRST, ticket_id, reopened_ms, told_ms };
                self.store.record_reopened(ticket).await.unwrap();
            }
            Solved(resolved_ms, told_ms) => self.solved(ticket_id, resolved_ms, resolved_ms, told_ms).await,
            Confirmed(resolved_ms, told_ms) => self.solved(ticket_id, resolved_ms, told_ms, told_ms).await,
        }
    }

    async fn solved(&self, ticket_id: String, resolved_ms: i64, as_of_ms: i64, told_ms: i64) {
        let ticket = ResolvedTicket {
            tenant: acme(),
            incarnation: Incarnation::FIRST,
            tool_type: ToolType::parse("jira").unwrap(),
            ticket_id,
            subject: Some("gryphon".to_owned()),
            description: None,
            resolution: Some(format!("at {resolved_ms}")),
            tags: Vec::new(),
            url: None,
            resolved_ms,
            as_of_ms,
            told_ms,
            kept_by: kept_by(JobId::fresh()),
        };
        self.store.record_resolved(ticket).await.unwrap();
    }

    /// The tickets that a search offers, with their solutions.
    async fn offered(&self) -> Vec<(String, String)> {
        let similar = self.store.similar_resolved((&acme(), Incarnation::FIRST), "gryphon", 100).await.unwrap();
        let mut offered: Vec<_> =
            similar.into_iter().map(|ticket| (ticket.ticket_id, ticket.resolution.unwrap())).collect();
        offered.sort();
        offered
    }

    async fn rows(&self) -> i64 {
        let count = |connection: &Connection| {
            connection.query_row("SELECT count(*) FROM reopened_tickets", [], |row| row.get(0))
        };
        self.store.inner.history_reads.read(count).await.unwrap()
    }
}

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

/// Every order of these messages.
fn orders(told: &[Told]) -> Vec<Vec<Told>> {
    if told.is_empty() {
        return vec![Vec::new()];
    }
    let with_first = |first: usize| {
        let mut rest = told.to_vec();
        let first = rest.remove(first);
        orders(&rest).into_iter().map(move |rest| [vec![first], rest].concat())
    };
    (0..told.len()).flat_map(with_first).collect()
}

#[tokio::test]
async fn what_happened_last_counts_in_whatever_order_it_is_told() {
    let bed = Bed::new();
    let (mut expected, mut number) = (Vec::new(), 0);
    for (told, solution) in [
        (&[Solved(10_000, 1)][..], Some("at 10000")),
        (&[Reopened(20_000, 2)], None),
        (&[Solved(10_000, 1), Reopened(20_000, 2)], None),
        (&[Solved(10_000, 1), Reopened(20_000, 2), Solved(30_000, 3)], Some("at 30000")),
        (&[Solved(10_000, 1), Reopened(20_000, 2), Solved(30_000, 3), Reopened(40_000, 4)], None),
        // Arrived late.
        (&[Solved(30_000, 1), Reopened(20_000, 2)], Some("at 30000")),
        (&[Reopened(20_000, 1), Solved(10_000, 2)], None),
        (&[Reopened(40_000, 1), Reopened(20_000, 2), Solved(30_000, 3)], None),
        // Tools report whole seconds. Within one, the webhook accepted later wins, and with equal times the ticket
        // stays open.
        (&[Solved(10_000, 1), Reopened(10_300, 2), Solved(10_000, 3)], Some("at 10000")),
        (&[Solved(10_900, 1), Reopened(10_000, 2)], None),
        (&[Reopened(10_900, 1), Solved(10_000, 2)], Some("at 10000")),
        (&[Reopened(10_000, 1), Solved(10_900, 1)], None),
        // Some tools report the time of an earlier solution that did not last, though the ticket is solved again.
        (&[Confirmed(10_000, 15_000), Reopened(20_000, 20_000)], None),
        (&[Confirmed(10_000, 15_000), Reopened(20_000, 20_000), Confirmed(10_000, 30_000)], Some("at 10000")),
        (&[Solved(-10_000, 1), Reopened(-9_999, 2)], None),
    ] {
        for order in orders(told) {
            number += 1;
            let ticket = format!("{number:03} {order:?}");
            for told in &order {
                bed.tell(&ticket, *told).await;
                bed.tell(&ticket, *told).await;
            }
            expected.extend(solution.map(|solution| (ticket, solution.to_owned())));
        }
    }
    let offered = bed.offered().await;
    assert_eq!(offered, expected);
}

#[tokio::test]
async fn a_ticket_that_the_history_does_not_know_is_kept_for_as_long_as_keys_are() {
    let window_ms = i64::from(DEDUP_HOURS) * HOUR_MS;
    let bed = Bed::new();
    let now_ms = bed.clock.now_ms();
    bed.tell("unknown", Reopened(now_ms, now_ms)).await;
    bed.tell("known", Solved(now_ms - HOUR_MS, now_ms)).await;
    bed.tell("known", Reopened(now_ms, now_ms)).await;
    bed.tell("known later", Reopened(now_ms, now_ms)).await;
    bed.tell("known later", Solved(now_ms - HOUR_MS, now_ms)).await;
    for (after_ms, rows) in [(2 * window_ms - HOUR_MS, 3), (2 * HOUR_MS, 2)] {
        bed.clock.advance_ms(after_ms);
        // The ticket was solved later, so its reopening is not kept.
        let now_ms = bed.clock.now_ms();
        bed.tell("another", Solved(now_ms, now_ms)).await;
        bed.tell("another", Reopened(now_ms - HOUR_MS, now_ms)).await;
        assert_eq!(bed.rows().await, rows, "{after_ms}");
    }
}

#[tokio::test]
async fn a_reopening_counts_as_soon_as_it_is_accepted() {
    let bed = Bed::new();
    bed.tell("7", Solved(10_000, 1)).await;
    let accept = async |ticket: &str, tenant: &str| {
        let metadata = TicketMetadata::new(ticket, Event::Reopened);
        let incarnation = there(&bed.store, tenant).await;
        let (tenant, tool_type) = (TenantId::parse(tenant).unwrap(), ToolType::parse("jira").unwrap());
        let key = DedupKey::new(&tenant, incarnation, &metadata, b"");
        let correlation_id = CorrelationId::fresh();
        let base_url = "https://desk.example".parse().unwrap();
        let kind = JobKind::Reopen;
        let job = NewJob { tenant, incarnation, tool_type, base_url, kind, correlation_id, metadata };
        assert!(matches!(bed.store.accept(job, key, TenantRoom::UNBOUNDED).await, Ok(Accepted::New(_))));
    };
    accept("7", "another").await;
    assert_eq!(bed.offered().await.len(), 1, "another tenant's");
    accept("7", "acme").await;
    assert!(bed.offered().await.is_empty());

    bed.tell("8", Solved(10_000, 1)).await;
    assert_eq!(bed.offered().await.len(), 1);
    for ticket in 1..REOPENING_MAX {
        accept(&format!("t{ticket}"), "acme").await;
    }
    assert_eq!(bed.offered().await.len(), 1, "as many as can be looked at");
    accept("one more", "acme").await;
    assert!(bed.offered().await.is_empty(), "none is better than a wrong one");
    let wish = ClaimWish { tenant: acme(), max: 1 };
    let claims = bed.store.claim(vec![wish], bed.clock.now_ms(), HOUR_MS).await.unwrap();
    assert!(bed.offered().await.is_empty(), "it runs, but the history does not have it yet");
    assert_eq!(bed.store.complete(claims[0].jobs[0].lease).await, Ok(Fenced::Done));
    assert_eq!(bed.store.reopening(&acme()).await.unwrap().map(|tickets| tickets.len()), Some(REOPENING_MAX as usize));
}

#[tokio::test]
async fn waiting_reopenings_are_found_without_reading_other_jobs() {
    let bed = Bed::new();
    let explain = |connection: &Connection| {
        let sql = format!("EXPLAIN QUERY PLAN {REOPENING}");
        connection
            .prepare(&sql)?
            .query_map((1, "acme", 1), |row| row.get::<_, String>(3))?
            .collect::<Result<Vec<_>, _>>()
    };
    let plan = bed.store.inner.main_reads.read(explain).await.unwrap();
    assert_eq!(plan, ["SEARCH jobs USING COVERING INDEX jobs_reopen (slot=? AND tenant=?)"]);
}

#[tokio::test]
async fn what_is_deleted_from_the_history_leaves_nothing_behind() {
    let bed = Bed::new();
    bed.tell("7", Solved(10_000, 1)).await;
    bed.tell("7", Reopened(20_000, 2)).await;
    assert_eq!(bed.rows().await, 1);
    let delete = |connection: &Connection| connection.execute("DELETE FROM ticket_history", []);
    assert_eq!(bed.store.inner.history.apply(delete).await, Ok(1));
    assert_eq!(bed.rows().await, 0);
}
