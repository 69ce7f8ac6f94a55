//! Changes of a tenant are all or nothing, equal on disk and in memory, and invisible to running work.

use std::time::{Duration, Instant};

use plugin_abi::types::{Event, TicketMetadata};

use super::*;
use crate::{
    ids::{CorrelationId, JobId},
    queue::job::{Accepted, DedupKey, JobKind, NewJob},
    store::{LiveJobs, TenantRoom},
    tenant::{EnhanceOn, change::TenantChange},
};

impl Bed {
    async fn change(&self, change: TenantChange, secrets: &[(&str, &str)]) -> Result<Changed, DirectoryError> {
        let secrets = secrets.iter().map(|(name, text)| ((*name).to_owned(), secret(text))).collect();
        self.directory.change(&id("acme"), change, secrets, LiveJobs::Refuse).await
    }

    async fn accept(&self, ticket: &str) -> JobId {
        let tenant = self.directory.get("acme").unwrap();
        let metadata = TicketMetadata::new(ticket, Event::Created);
        let key = DedupKey::new(&tenant.id, tenant.incarnation, &metadata, b"");
        let job = NewJob {
            tenant: tenant.id.clone(),
            incarnation: tenant.incarnation,
            tool_type: tenant.tool_type.clone(),
            base_url: tenant.base_url.clone(),
            kind: JobKind::Enhance,
            correlation_id: CorrelationId::fresh(),
            metadata,
        };
        match self.store.accept(job, key, TenantRoom::UNBOUNDED).await.unwrap() {
            Accepted::New(id) => id,
            other => panic!("{other:?}"),
        }
    }

    fn texts_of(&self, tenant: &Tenant, name: &str) -> Vec<String> {
        let secrets = self.directory.secrets(tenant, name).unwrap();
        secrets.iter().map(|secret| secret.expose().to_owned()).collect()
    }
}

fn to(base_url: &str) -> TenantChange {
    TenantChange { base_url: Some(base_url.to_owned()), ..TenantChange::default() }
}

fn set(name: &str) -> TenantChange {
    TenantChange { settings: BTreeMap::from([(name.to_owned(), String::new())]), ..TenantChange::default() }
}

fn oauth2(token_url: &str) -> String {
    let object = serde_json::json!({
        "token_url": token_url, "grant": "client_credentials", "client_id": "me", "client_secret": "hunter2",
    });
    serde_json::json!({ "oauth2": object }).to_string()
}

#[tokio::test]
async fn a_change_holds_at_once_and_after_a_restart_and_what_is_not_named_survives() {
    let bed = Bed::new().await;
    bed.add("acme", &[("key", "one"), ("other", "x")]).await.unwrap();
    bed.rotate("two", GRACE_MS).await;
    bed.directory.disable(&id("acme")).await.unwrap();
    let change = TenantChange {
        tool_type: ToolType::parse("zendesk").ok(),
        settings: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        replay_ahead_s: Some(7),
        enhance_on: Some([EnhanceOn::Updated].into()),
        ..to("https://new.example/app")
    };
    let changed = bed.change(change, &[("key", "three"), ("new", "y")]).await.unwrap();
    assert_eq!(changed.dead_lettered, 0);
    assert_eq!(bed.directory.get("acme").unwrap(), changed.tenant);
    let bed = bed.restarted().await;
    let tenant = bed.directory.get("acme").unwrap();
    assert_eq!(tenant, changed.tenant);
    assert_eq!((tenant.tool_type.as_str(), tenant.enabled, tenant.replay_window_s), ("zendesk", false, 300));
    for (name, texts) in [("key", &["three"][..]), ("other", &["x"]), ("new", &["y"])] {
        assert_eq!(bed.texts(name).unwrap(), texts, "{name}: what was replaced is over at once");
    }
}

#[tokio::test]
async fn every_fault_is_told_and_nothing_is_changed() {
    let bed = Bed::new().await;
    let before = bed.add("acme", &[("key", &oauth2("https://desk.example/token"))]).await.unwrap();
    let faults = |outcome: Result<Changed, DirectoryError>| match outcome {
        Err(DirectoryError::Change(ChangeFaults(faults))) => {
            faults.into_iter().map(|fault| fault.to_string()).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let two = TenantChange { replay_window_s: Some(0), unset: ["x".to_owned()].into(), ..to("http://desk.example") };
    assert_eq!(faults(bed.change(two, &[("a b", "x")]).await).len(), 4);
    let elsewhere = "secret key: oauth2.token_url is at https://desk.example, which this tenant may not call; add it with \
                     --allow-origin https://desk.example";
    assert_eq!(faults(bed.change(to("https://new.example"), &[]).await), [elsewhere], "a secret that it has");
    let given = bed.change(to("https://new.example"), &[("key", &oauth2("https://login.example/token"))]).await;
    assert_eq!(faults(given), [elsewhere.replace("desk.example", "login.example")], "a secret that it is to have");
    let names: Vec<_> = (0..SECRET_NAMES_MAX).map(|n| format!("s{n}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
    assert_eq!(
        faults(bed.change(set("x"), &many).await),
        [format!("secrets: there may be {SECRET_NAMES_MAX} at most")]
    );
    assert_eq!(bed.directory.get("acme").unwrap(), before);
    let bed = bed.restarted().await;
    assert_eq!(bed.directory.get("acme").unwrap(), before);

    bed.change(set("x"), &many[1..]).await.unwrap();
    let unknown = bed.directory.change(&id("none"), set("x"), Vec::new(), LiveJobs::Refuse).await;
    assert_eq!(unknown, Err(StoreError::UnknownTenant(id("none")).into()));
    let moved = TenantChange { allow_origins: vec!["https://desk.example".to_owned()], ..to("https://new.example") };
    bed.change(moved, &[]).await.unwrap();
}

#[tokio::test]
async fn only_another_tool_asks_about_live_jobs() {
    let bed = Bed::new().await;
    bed.add("acme", &[]).await.unwrap();
    let job = bed.accept("17").await;
    let same = TenantChange { tool_type: ToolType::parse("jira").ok(), ..to("https://desk.example/") };
    for change in [same, set("x")] {
        assert_eq!(bed.change(change, &[]).await.unwrap().dead_lettered, 0);
    }
    let refused = Err(StoreError::LiveJobs { tenant: id("acme"), jobs: 1 }.into());
    let converted = || TenantChange { tool_type: ToolType::parse("zendesk").ok(), ..TenantChange::default() };
    for change in [converted(), to("https://new.example"), to("https://desk.example/app")] {
        assert_eq!(bed.change(change, &[]).await, refused);
    }
    let changed = bed.directory.change(&id("acme"), converted(), Vec::new(), LiveJobs::DeadLetter).await.unwrap();
    assert_eq!(changed.dead_lettered, 1);
    assert_eq!(bed.store.job(job).await.unwrap().unwrap().outcome.as_deref(), Some("tenant_changed"));
}

#[tokio::test]
async fn what_is_under_way_goes_on_with_the_secrets_that_belong_to_its_tenant() {
    let bed = Bed::new().await;
    let first = bed.add("acme", &[("key", "one"), ("gone", "x")]).await.unwrap();
    bed.directory.pause(&id("acme")).await.unwrap();
    let second = bed.directory.get("acme").unwrap();
    let third = bed.change(to("https://new.example"), &[("key", "two")]).await.unwrap().tenant;
    for (tenant, text) in [(&first, "one"), (&second, "one"), (&third, "two")] {
        assert_eq!(bed.texts_of(tenant, "key"), [text]);
    }
    let names: Vec<_> = bed.directory.secret_infos(&first).into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["gone", "key"]);

    let earlier = || bed.directory.inner.earlier().len();
    assert_eq!(earlier(), 2);
    drop(first);
    bed.directory.forget_stale_secrets();
    assert_eq!((earlier(), bed.texts_of(&second, "key")), (1, vec!["one".to_owned()]));
    drop(second);
    bed.directory.forget_stale_secrets();
    assert_eq!(earlier(), 0, "nobody holds it");
}

#[tokio::test]
async fn what_is_under_way_for_a_removed_tenant_gets_nothing_of_its_successor() {
    let bed = Bed::new().await;
    let removed = bed.add("acme", &[("key", "one")]).await.unwrap();
    bed.directory.remove(&id("acme"), None).await.unwrap();
    let added = bed.add("acme", &[("key", "two")]).await.unwrap();
    assert!(matches!(bed.directory.secrets(&removed, "key"), Err(SecretError::Missing { .. })));
    assert_eq!((bed.directory.secret_infos(&removed), bed.texts_of(&added, "key")), (vec![], vec!["two".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_exchanges_its_secret_goes_on_with_the_new_one_over_a_change() {
    let bed = Bed::new().await;
    let held = bed.add("acme", &[("key", "one")]).await.unwrap();
    bed.change(set("x"), &[]).await.unwrap();
    let (directory, tenant) = (bed.directory.clone(), Arc::clone(&held));
    let exchange = move |version, text: &str| {
        let deadline = Instant::now() + Duration::from_secs(20);
        directory.exchange_secret(&tenant.id, "key", version, Arc::new(secret(text)), deadline)
    };
    let (version, _) = bed.directory.versioned_secrets(&held, "key").unwrap();
    let (exchange, exchanged) = tokio::task::spawn_blocking(move || {
        let exchanged = exchange(version, "two");
        (exchange, exchanged)
    })
    .await
    .unwrap();
    assert_eq!(bed.directory.versioned_secrets(&held, "key").unwrap().0, exchanged.unwrap());
    assert_eq!((bed.texts_of(&held, "key"), bed.texts("key").unwrap()), (vec!["two".into()], vec!["two".into()]));

    // A change that somebody made meanwhile is not undone, and the call does not see it.
    bed.change(set("y"), &[("key", "three")]).await.unwrap();
    let (version, _) = bed.directory.versioned_secrets(&held, "key").unwrap();
    let exchanged = tokio::task::spawn_blocking(move || exchange(version, "four")).await.unwrap();
    assert_eq!(exchanged, Err(ExchangeError::Superseded));
    assert_eq!((bed.texts_of(&held, "key"), bed.texts("key").unwrap()), (vec!["two".into()], vec!["three".into()]));
}

#[tokio::test]
async fn a_change_that_is_on_disk_although_it_was_not_confirmed_is_caught_up_with() {
    let bed = Bed::new().await;
    let before = bed.add("acme", &[("key", "one")]).await.unwrap();
    bed.add("other", &[]).await.unwrap();
    bed.directory.tally("acme").unwrap().accepted(1);
    bed.directory.catch_up(&before).await;
    assert_eq!(bed.directory.get("acme").unwrap(), before, "the store has nothing else");
    let moved = Tenant { base_url: "https://new.example".parse().unwrap(), ..Tenant::clone(&before) };
    bed.store.change_tenant(moved.clone(), Vec::new(), LiveJobs::Stay).await.unwrap();
    assert_eq!(bed.directory.get("acme").unwrap(), before);
    bed.directory.catch_up(&before).await;
    assert_eq!(*bed.directory.get("acme").unwrap(), moved);
    assert_eq!(bed.texts("key").unwrap(), ["one"]);
    assert_eq!(bed.directory.tally("acme").unwrap().counts().accepted, 1);
    bed.directory.remove(&id("acme"), None).await.unwrap();
    bed.directory.catch_up(&before).await;
    assert!(bed.directory.get("acme").is_none());
}

#[tokio::test]
async fn the_numbers_of_a_tenant_survive_its_changes_and_go_with_it() {
    let bed = Bed::new().await;
    bed.add("acme", &[("key", "one")]).await.unwrap();
    let accepted = || bed.directory.tally("acme").map(|tally| tally.counts().accepted);
    bed.directory.tally("acme").unwrap().accepted(1);
    bed.change(set("x"), &[("key", "two")]).await.unwrap();
    bed.rotate("three", 0).await;
    bed.directory.disable(&id("acme")).await.unwrap();
    assert_eq!(accepted(), Some(1));
    bed.directory.remove(&id("acme"), None).await.unwrap();
    assert_eq!(accepted(), None);
    bed.add("acme", &[]).await.unwrap();
    assert_eq!(accepted(), Some(0));
}
