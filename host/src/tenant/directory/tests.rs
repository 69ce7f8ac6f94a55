//! The directory on a real store: after a change, memory has what a restart would read.

use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::{
    ids::ToolType,
    store::{Holdings, Hooks, StoreConfig},
};

mod changes;

const CACHE_S: u32 = 60;
const GRACE_MS: i64 = 3_600_000;

/// The store and the tenants in this folder, created if they do not exist.
pub(crate) async fn open_in(folder: &Path, clock: &Clock) -> (Store, TenantDirectory) {
    let config = StoreConfig { path: folder.join("patchbay.db"), dedup_hours: 72, hooks: Hooks::default() };
    let store = Store::open(config, clock.clone()).unwrap();
    let has_secrets = store.has_secrets().await.unwrap();
    let keys = KeyRing::load_or_create(&folder.join("secret.key"), has_secrets).unwrap();
    let directory = TenantDirectory::load(&store, keys, CACHE_S).await.unwrap();
    (store, directory)
}

struct Bed {
    directory: TenantDirectory,
    store: Store,
    clock: Clock,
    folder: TempDir,
}

impl Bed {
    async fn new() -> Self {
        Self::open(tempfile::tempdir().unwrap(), Clock::system()).await
    }

    async fn open(folder: TempDir, clock: Clock) -> Self {
        let (store, directory) = open_in(folder.path(), &clock).await;
        Self { directory, store, clock, folder }
    }

    async fn restarted(self) -> Self {
        self.store.close().await.unwrap();
        Self::open(self.folder, self.clock).await
    }

    async fn add(&self, tenant: &str, secrets: &[(&str, &str)]) -> Result<Arc<Tenant>, DirectoryError> {
        let new = NewTenant::new(id(tenant), ToolType::parse("jira").unwrap(), "https://desk.example");
        let secrets = secrets.iter().map(|(name, text)| ((*name).to_owned(), secret(text))).collect();
        self.directory.add(new, secrets).await
    }

    async fn rotate(&self, text: &str, grace_ms: i64) {
        self.directory.set_secret(&id("acme"), "key", secret(text), grace_ms).await.unwrap();
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, SecretError> {
        let tenant = self.directory.get("acme").unwrap();
        Ok(self.directory.secrets(&tenant, name)?.iter().map(|secret| secret.expose().to_owned()).collect())
    }

    fn opened(&self) -> usize {
        self.directory.inner.entry("acme").unwrap().opened.lock().unwrap().len()
    }
}

fn id(tenant: &str) -> TenantId {
    TenantId::parse(tenant).unwrap()
}

fn secret(text: &str) -> SecretText {
    SecretText::new(text.to_owned()).unwrap()
}

#[tokio::test]
async fn a_tenant_is_there_at_once_and_after_a_restart() {
    let bed = Bed::new().await;
    assert!(bed.directory.get("acme").is_none());
    let added = bed.add("acme", &[("key", "one")]).await.unwrap();
    bed.add("Acme", &[]).await.unwrap();
    assert_eq!(bed.directory.get("acme").unwrap(), added);
    assert_eq!(bed.texts("key").unwrap(), ["one"]);
    let bed = bed.restarted().await;
    assert_eq!(bed.directory.get("acme").unwrap(), added);
    assert_eq!(bed.texts("key").unwrap(), ["one"]);
    let listed: Vec<_> = bed.directory.list().iter().map(|tenant| tenant.id.to_string()).collect();
    assert_eq!(listed, ["Acme", "acme"]);
}

#[tokio::test]
async fn a_refused_tenant_leaves_nothing() {
    let bed = Bed::new().await;
    bed.add("acme", &[("key", "one")]).await.unwrap();
    let again = bed.add("acme", &[("key", "two")]).await;
    assert_eq!(again, Err(StoreError::TenantExists(id("acme")).into()));
    assert!(matches!(bed.add("b", &[("key", "1"), ("key", "2")]).await, Err(DirectoryError::Invalid(_))));
    assert!(matches!(bed.add("b", &[("a key", "1")]).await, Err(DirectoryError::Invalid(_))));
    let names: Vec<_> = (0..=SECRET_NAMES_MAX).map(|n| format!("s{n}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
    assert!(bed.add("b", &many).await.is_err());
    let bed = bed.restarted().await;
    assert_eq!(bed.texts("key").unwrap(), ["one"]);
    assert!(bed.directory.get("b").is_none());
    assert!(bed.add("b", &many[1..]).await.is_ok());
}

#[tokio::test]
async fn disabling_and_enabling_keep_the_secrets() {
    let bed = Bed::new().await;
    bed.add("acme", &[("key", "one")]).await.unwrap();
    assert!(!bed.directory.disable(&id("acme")).await.unwrap().enabled);
    let bed = bed.restarted().await;
    assert!(!bed.directory.get("acme").unwrap().enabled);
    bed.directory.enable(&id("acme")).await.unwrap();
    assert!(bed.directory.get("acme").unwrap().enabled);
    assert_eq!(bed.texts("key").unwrap(), ["one"]);
    let unknown = bed.directory.enable(&id("none")).await;
    assert_eq!(unknown, Err(StoreError::UnknownTenant(id("none")).into()));
}

#[tokio::test]
async fn a_removed_tenant_is_gone_with_its_secrets() {
    let bed = Bed::new().await;
    let tenant = bed.add("acme", &[("key", "one")]).await.unwrap();
    let incarnation = tenant.incarnation;
    assert_eq!(
        bed.directory.remove(&id("acme"), None).await,
        Ok(RemovedTenant { incarnation, holdings: Holdings::default(), kept_until_ms: None })
    );
    assert!(bed.directory.get("acme").is_none());
    assert!(matches!(bed.directory.secrets(&tenant, "key"), Err(SecretError::Missing { .. })));
    assert_eq!(bed.store.has_secrets().await, Ok(false));
    assert!(bed.directory.remove(&id("acme"), None).await.is_err());
}

#[tokio::test]
async fn a_rotated_secret_and_its_successor_are_good_until_the_grace_ends() {
    let bed = Bed::new().await;
    bed.add("acme", &[("key", "one"), ("other", "x")]).await.unwrap();
    assert_eq!(bed.texts("key").unwrap(), ["one"]);
    bed.rotate("two", GRACE_MS).await;
    assert_eq!(bed.texts("key").unwrap(), ["two", "one"]);
    bed.rotate("three", GRACE_MS).await;
    assert_eq!(bed.texts("key").unwrap(), ["three", "two"], "two at most");
    let bed = bed.restarted().await;
    assert_eq!(bed.texts("key").unwrap(), ["three", "two"]);
    bed.clock.advance_ms(GRACE_MS + 1_000);
    assert_eq!(bed.texts("key").unwrap(), ["three"]);
    assert_eq!(bed.directory.secret_infos(&bed.directory.get("acme").unwrap()).len(), 2);
    bed.rotate("four", 0).await;
    assert_eq!(bed.texts("key").unwrap(), ["four"], "without grace the old one ends at once");
    let bed = bed.restarted().await;
    assert_eq!(bed.texts("key").unwrap(), ["four"]);
    assert_eq!(bed.texts("other").unwrap(), ["x"]);
}

#[tokio::test]
async fn a_removed_secret_is_gone_also_for_calls_that_are_under_way() {
    let bed = Bed::new().await;
    let held = bed.add("acme", &[("key", "one"), ("other", "x")]).await.unwrap();
    bed.rotate("two", GRACE_MS).await;
    assert_eq!(bed.texts("key").unwrap(), ["two", "one"]);
    let after = bed.directory.remove_secret(&id("acme"), "key").await.unwrap();
    assert!(!Arc::ptr_eq(&held, &after), "whoever remembers how it fared sees that something has changed");
    for tenant in [&held, &after] {
        assert!(matches!(bed.directory.secrets(tenant, "key"), Err(SecretError::Missing { .. })));
        assert_eq!(bed.directory.secrets(tenant, "other").unwrap()[0].expose(), "x");
    }
    let bed = bed.restarted().await;
    assert!(matches!(bed.texts("key"), Err(SecretError::Missing { .. })));
    match bed.directory.remove_secret(&id("acme"), "key").await {
        Err(DirectoryError::NoSecret { known, .. }) => assert_eq!(known, ["other"]),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_opened_secret_is_kept_for_its_time_and_then_forgotten() {
    let bed = Bed::new().await;
    bed.add("acme", &[("key", "one")]).await.unwrap();
    let tenant = bed.directory.get("acme").unwrap();
    let first = bed.directory.secrets(&tenant, "key").unwrap();
    assert!(Arc::ptr_eq(&first, &bed.directory.secrets(&tenant, "key").unwrap()));
    bed.directory.forget_stale_secrets();
    assert_eq!(bed.opened(), 1);
    bed.clock.advance_ms(i64::from(CACHE_S) * 1_000);
    bed.directory.forget_stale_secrets();
    assert_eq!(bed.opened(), 0);
    assert_eq!(Arc::strong_count(&first), 1, "only the caller still holds it");
    assert!(!Arc::ptr_eq(&first, &bed.directory.secrets(&tenant, "key").unwrap()));
}

#[tokio::test]
async fn a_missing_secret_is_named() {
    let bed = Bed::new().await;
    bed.add("acme", &[]).await.unwrap();
    let missing = SecretError::Missing { tenant: id("acme"), name: "key".to_owned() };
    assert_eq!(bed.texts("key"), Err(missing));
}

#[tokio::test]
async fn a_secret_that_was_set_by_a_caller_who_went_away_is_in_memory_too() {
    let bed = Bed::new().await;
    bed.add("acme", &[("key", "one")]).await.unwrap();
    let turn = bed.directory.inner.changing.lock().await;
    let (acme, directory) = (id("acme"), bed.directory.clone());
    let impatient = tokio::spawn(async move { directory.set_secret(&acme, "key", secret("two"), 0).await });
    // On this single-threaded runtime, one yield lets the caller start its change, which then waits for its turn.
    tokio::task::yield_now().await;
    impatient.abort();
    assert!(impatient.await.unwrap_err().is_cancelled());
    drop(turn);
    bed.directory.enable(&id("acme")).await.unwrap();
    assert_eq!(bed.texts("key").unwrap(), ["two"]);
}
