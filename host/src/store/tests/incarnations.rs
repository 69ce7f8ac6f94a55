//! Data stored for a tenant is its own: it is deleted with the tenant, or hidden from a later tenant with the same id.
//! When the store learns to keep something new, extend the first test.

use super::*;
use crate::store::{EnhancementRecord, Holdings, Keeping, Owned, ReopenedTicket, ResolvedTicket, TenantRoom};

const DAY_MS: i64 = 24 * HOUR_MS;

impl Bed {
    fn record(&self, job: JobId, incarnation: Incarnation) -> EnhancementRecord {
        EnhancementRecord {
            job_id: job,
            tenant: id("acme"),
            incarnation,
            tool_type: ToolType::parse("jira").unwrap(),
            ticket_id: "note".to_owned(),
            correlation_id: CorrelationId::parse("c-1").unwrap(),
            outcome: crate::store::DONE.to_owned(),
            note: Some("its gryphon".to_owned()),
            attempts: 1,
            errors: Vec::new(),
            accepted_ms: self.clock.now_ms(),
            retried_ms: None,
            finished_ms: self.clock.now_ms(),
        }
    }

    fn solved(&self, ticket: &str, incarnation: Incarnation) -> ResolvedTicket {
        let now_ms = self.clock.now_ms();
        ResolvedTicket {
            tenant: id("acme"),
            incarnation,
            tool_type: ToolType::parse("jira").unwrap(),
            ticket_id: ticket.to_owned(),
            subject: Some("the gryphon".to_owned()),
            description: None,
            resolution: Some("fed it".to_owned()),
            tags: Vec::new(),
            url: None,
            resolved_ms: now_ms,
            as_of_ms: now_ms,
            told_ms: now_ms,
            kept_by: kept_by(JobId::fresh()),
        }
    }

    /// Stores one of everything for `acme`. Returns its number, and the id of a finished job.
    async fn one_of_each(&self) -> (Incarnation, JobId) {
        let incarnation = there(&self.store, "acme").await;
        self.accept("acme", "dead").await;
        let lease = self.lease("acme").await;
        assert_eq!(self.store.dead(lease, "api", failure(1)).await, Ok(Fenced::Done));
        let done = self.accept("acme", "note").await;
        let lease = self.lease("acme").await;
        self.store.record_enhancement(self.record(done, incarnation)).await.unwrap();
        // Repeated, as after a crash.
        self.store.record_enhancement(self.record(done, incarnation)).await.unwrap();
        assert_eq!(self.store.complete(lease).await, Ok(Fenced::Done));
        for ticket in ["solved", "open again", "solved"] {
            self.store.record_resolved(self.solved(ticket, incarnation)).await.unwrap();
        }
        let now_ms = self.clock.now_ms() + HOUR_MS;
        let ticket_id = "open again".to_owned();
        let reopened =
            ReopenedTicket { tenant: id("acme"), incarnation, ticket_id, reopened_ms: now_ms, told_ms: now_ms };
        self.store.record_reopened(reopened).await.unwrap();
        self.accept("acme", "live").await;
        (incarnation, done)
    }

    async fn similar(&self, incarnation: Incarnation) -> usize {
        self.store.similar_resolved((&id("acme"), incarnation), "gryphon", 10).await.unwrap().len()
    }

    async fn listed(&self, state: Option<JobState>) -> usize {
        let filter = crate::store::JobFilter { state, tenant: Some(id("acme")), limit: 100, ..Default::default() };
        self.store.jobs(filter).await.unwrap().len()
    }

    async fn held(&self, incarnation: Incarnation) -> Holdings {
        self.store.holdings(Owned::by(&id("acme"), incarnation)).await.unwrap()
    }
}

const EACH: Holdings = Holdings { jobs: 1, dead_letters: 1, solved_tickets: 2, notes: 1 };

#[tokio::test]
async fn nothing_of_a_removed_tenant_is_its_successors() {
    for keep_ms in [None, Some(7 * DAY_MS)] {
        let bed = Bed::new();
        let (first, done) = bed.one_of_each().await;
        assert_eq!(bed.held(first).await, EACH);
        // While it is the same tenant, all of it is its own.
        let as_own = (bed.similar(first).await, bed.listed(None).await, bed.listed(Some(JobState::Done)).await);
        assert_eq!(as_own, (1, 2, 3), "a job has kept the note, and one each solved ticket");
        assert_eq!(bed.deliver("acme", "note").await, Accepted::Duplicate);

        let removed = bed.store.remove_tenant(&id("acme"), keep_ms).await.unwrap();
        if keep_ms.is_none() {
            bed.store.erase_tenant(&id("acme"), removed.incarnation).await.unwrap();
        }
        assert_eq!((removed.holdings, removed.kept_until_ms.is_some()), (EACH, keep_ms.is_some()));
        let kept = Holdings { jobs: 0, dead_letters: 2, ..EACH };
        let expected = if keep_ms.is_some() { kept } else { Holdings::default() };
        assert_eq!(bed.held(first).await, expected);

        let second = bed.store.insert_tenant(tenant("acme"), Vec::new()).await.unwrap();
        assert!(second > first);
        assert_eq!(bed.held(second).await, Holdings::default());
        assert_eq!(bed.store.remains(&id("acme")).await, Ok(expected));
        let as_own = (bed.similar(second).await, bed.listed(None).await, bed.listed(Some(JobState::Done)).await);
        assert_eq!(as_own, (0, 0, 0));
        assert_eq!(bed.store.retry_dead(DeadLetters::ALL).await, Ok(0));
        assert_eq!(bed.store.was_enhanced(done).await, Ok(keep_ms.is_some()), "it is asked by the job's own id");
        let (mut late, key) = bed.job("acme", "late").await;
        late.incarnation = first;
        assert_eq!(bed.store.accept(late, key, TenantRoom::UNBOUNDED).await, Ok(Accepted::OtherTenant));
        // The same tickets and deliveries are new to the second tenant.
        assert_eq!(bed.one_of_each().await.0, second);
        assert_eq!((bed.held(second).await, bed.similar(second).await), (EACH, 1));

        // An attempt that was running ends late.
        bed.store.record_resolved(bed.solved("late", first)).await.unwrap();
        bed.clock.advance_ms(keep_ms.unwrap_or(0) + 1_000);
        bed.store.erase_removed().await.unwrap();
        assert_eq!(bed.held(first).await, Holdings::default());
        assert_eq!((bed.held(second).await, bed.similar(second).await), (EACH, 1), "its successor's stay");
        bed.clock.advance_ms(2 * DAY_MS);
        bed.store.erase_removed().await.unwrap();
        let rows = bed.store.inner.main_reads.read(|connection| {
            connection.query_row("SELECT count(*) FROM removed_tenants", [], |row| row.get::<_, i64>(0))
        });
        assert_eq!(rows.await, Ok(0));
    }
}

#[tokio::test]
async fn what_is_kept_is_erased_when_somebody_says_so() {
    let bed = Bed::new();
    let (first, _) = bed.one_of_each().await;
    bed.store.remove_tenant(&id("acme"), Some(DAY_MS)).await.unwrap();
    let (second, _) = bed.one_of_each().await;
    assert_eq!(bed.store.erase_remains(&id("acme")).await, Ok(Holdings { jobs: 0, dead_letters: 2, ..EACH }));
    assert_eq!((bed.held(first).await, bed.held(second).await), (Holdings::default(), EACH));
    bed.store.remove_tenant(&id("acme"), Some(DAY_MS)).await.unwrap();
    bed.store.erase_remains(&id("acme")).await.unwrap();
    assert_eq!(bed.store.remains(&id("acme")).await, Ok(Holdings::default()));
    assert_eq!(bed.store.remove_tenant(&id("acme"), None).await, Err(StoreError::UnknownTenant(id("acme"))));
}

#[tokio::test]
async fn what_an_older_program_left_is_not_taken_for_the_tenants_own() {
    let bed = Bed::new();
    let (first, _) = bed.one_of_each().await;
    // The file as an older program left it: no numbers, and a tenant that was added after its rows were written.
    let added_ms = bed.clock.now_ms() - HOUR_MS;
    let as_before = move |connection: &rusqlite::Connection| {
        connection.execute("UPDATE meta SET value = 0 WHERE key = 'history_incarnations'", [])?;
        connection.execute("UPDATE tenants SET incarnation = 1, created_ms = ?1", [added_ms])
    };
    bed.store.inner.main.apply(as_before).await.unwrap();
    let number = move |connection: &rusqlite::Connection| {
        connection.execute_batch(
            "UPDATE ticket_history SET incarnation = 1, recorded_ms = recorded_ms - 7200000;
             UPDATE enhancement_history SET incarnation = 1, accepted_ms = accepted_ms - 7200000",
        )
    };
    bed.store.inner.history.apply(number).await.unwrap();
    assert_eq!(bed.similar(Incarnation::FIRST).await, 2, "the reopening is of another number");
    let bed = bed.reopened().await;
    assert_eq!(bed.similar(Incarnation::FIRST).await, 0);
    assert!(first > Incarnation::FIRST);
    let remains = bed.store.remains(&id("acme")).await.unwrap();
    assert!(remains.dead_letters > 0, "{remains:?}");
    assert_eq!((remains.solved_tickets, remains.notes), (EACH.solved_tickets, EACH.notes));
    assert_eq!(bed.held(Incarnation::FIRST).await.solved_tickets, 0);
}

#[tokio::test]
async fn a_full_tenant_is_refused_alone_until_it_has_room() {
    let bed = Bed::new();
    let deliver = async |tenant: &str, ticket: &str, room| {
        let (job, key) = bed.job(tenant, ticket).await;
        bed.store.accept(job, key, room).await.unwrap()
    };
    let two_jobs = TenantRoom { jobs_max: 2, ..TenantRoom::UNBOUNDED };
    for ticket in ["1", "2"] {
        assert!(matches!(deliver("acme", ticket, two_jobs).await, Accepted::New(_)));
    }
    assert_eq!(deliver("acme", "3", two_jobs).await, Accepted::TenantFull);
    assert!(matches!(deliver("other", "3", two_jobs).await, Accepted::New(_)));
    let lease = bed.claim("acme", 1).await.remove(0).lease;
    assert_eq!(bed.store.complete(lease).await, Ok(Fenced::Done));
    assert!(matches!(deliver("acme", "3", two_jobs).await, Accepted::New(_)));

    // Dead letters and the history take room too.
    let bytes = |bytes_max| TenantRoom { bytes_max, ..TenantRoom::UNBOUNDED };
    assert!(matches!(deliver("acme", "4", bytes(5_000)).await, Accepted::New(_)));
    assert_eq!(bed.store.dead_letter_tenant(&id("acme")).await, Ok(3));
    assert_eq!(deliver("acme", "5", bytes(100)).await, Accepted::TenantFull);
    assert_eq!(bed.store.purge_dead(DeadLetters::ALL).await, Ok(3));
    assert!(matches!(deliver("acme", "5", bytes(100)).await, Accepted::New(_)));
    let incarnation = there(&bed.store, "acme").await;
    let mut solved = bed.solved("big", incarnation);
    solved.description = Some("x".repeat(10_000));
    bed.store.record_resolved(solved).await.unwrap();
    bed.store.measure_history().await.unwrap();
    assert_eq!(deliver("acme", "6", bytes(10_000)).await, Accepted::TenantFull);
    assert!(matches!(deliver("acme", "6", bytes(20_000)).await, Accepted::New(_)));
}

/// The counts of the triggers and the host match the rows.
#[tokio::test]
async fn what_is_counted_is_what_is_there() {
    let bed = Bed::new();
    bed.one_of_each().await;
    let (incarnation, _) = bed.one_of_each_again().await;
    let counted = |connection: &rusqlite::Connection, counts: &str, rows: &str| {
        let read = |sql: &str| -> rusqlite::Result<Vec<(i64, i64)>> {
            connection.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        Ok((read(counts)?, read(rows)?))
    };
    let (counts, rows) = bed
        .store
        .inner
        .main_reads
        .read(move |connection| {
            counted(
                connection,
                "SELECT jobs, bytes FROM job_usage WHERE jobs > 0",
                "SELECT count(*), (SELECT sum(octet_length(metadata) + octet_length(errors)) FROM jobs)
                        + (SELECT coalesce(sum(octet_length(metadata) + octet_length(errors)), 0) FROM dead_letters)
                 FROM jobs",
            )
        })
        .await
        .unwrap();
    assert_eq!(counts, rows);
    let (counts, rows) = bed
        .store
        .inner
        .history_reads
        .read(move |connection| {
            counted(
                connection,
                "SELECT tickets + notes, bytes FROM history_usage",
                "SELECT (SELECT count(*) FROM ticket_history) + (SELECT count(*) FROM enhancement_history),
                        (SELECT sum(coalesce(octet_length(subject), 0) + coalesce(octet_length(description), 0)
                                    + coalesce(octet_length(resolution), 0) + octet_length(tags)) FROM ticket_history)
                        + (SELECT sum(octet_length(note) + octet_length(errors)) FROM enhancement_history)",
            )
        })
        .await
        .unwrap();
    assert_eq!(counts, rows);
    assert_eq!(bed.held(incarnation).await.solved_tickets, 2);
}

impl Bed {
    /// Changes some of the rows that [`one_of_each`](Self::one_of_each) stored.
    async fn one_of_each_again(&self) -> (Incarnation, JobId) {
        let incarnation = there(&self.store, "acme").await;
        let lease = self.lease("acme").await;
        assert_eq!(self.store.retry(lease, self.in_ms(0), failure(1)).await, Ok(Fenced::Done));
        let lease = self.lease("acme").await;
        let longer = ResolvedTicket { description: Some("ü".repeat(100)), ..self.solved("solved", incarnation) };
        self.store.record_resolved(longer).await.unwrap();
        let record = EnhancementRecord { note: Some("longer".repeat(20)), ..self.record(lease.id, incarnation) };
        self.store.record_enhancement(record.clone()).await.unwrap();
        self.store.record_enhancement(EnhancementRecord { errors: vec![failure(1)], ..record }).await.unwrap();
        assert_eq!(self.store.retry_dead(DeadLetters::ALL).await, Ok(1));
        (incarnation, lease.id)
    }
}

#[tokio::test]
async fn what_has_ended_longer_ago_than_it_is_kept_goes() {
    let bed = Bed::new();
    let (incarnation, _) = bed.one_of_each().await;
    let none = Keeping::default();
    bed.clock.advance_ms(400 * DAY_MS);
    assert_eq!(bed.store.forget_ended(none).await, Ok(0), "for ever");
    let kept = Some(401 * DAY_MS);
    let keeping = Keeping { dead_letters_ms: kept, solved_ms: kept, notes_ms: kept };
    assert_eq!(bed.store.forget_ended(keeping).await, Ok(0));
    for (keeping, gone, left) in [
        (Keeping { dead_letters_ms: Some(DAY_MS), ..none }, 1, Holdings { dead_letters: 0, ..EACH }),
        (Keeping { solved_ms: Some(DAY_MS), ..none }, 2, Holdings { dead_letters: 0, solved_tickets: 0, ..EACH }),
        (Keeping { notes_ms: Some(DAY_MS), ..none }, 1, Holdings { jobs: 1, ..Holdings::default() }),
    ] {
        assert_eq!(bed.store.forget_ended(keeping).await, Ok(gone));
        assert_eq!(bed.held(incarnation).await, left);
    }
}
