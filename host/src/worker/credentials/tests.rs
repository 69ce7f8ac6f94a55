//! When a tenant's jobs wait because of its credential, and what ends the wait.

use tempfile::TempDir;

use super::*;
use crate::{
    clock::Clock,
    ids::ToolType,
    tenant::{NewTenant, directory::tests::open_in, secrets::SecretText},
};

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

/// A directory with the tenant `acme`.
async fn directory() -> (TenantDirectory, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (_store, directory) = open_in(folder.path(), &Clock::system()).await;
    let tenant = NewTenant::new(acme(), ToolType::parse("jira").unwrap(), "https://desk.example");
    directory.add(tenant, Vec::new()).await.unwrap();
    (directory, folder)
}

/// Each pause is ten times as long as the one before.
fn wait_ms(pause: u32) -> i64 {
    10_i64.pow(pause)
}

#[test]
fn after_three_in_a_row_one_at_a_time_tries_with_growing_pauses() {
    let mut refusals = Refusals::default();
    for (refused_at_ms, looks) in [
        (Some(1_000), &[(1_000, Turn::Free)][..]),
        (Some(1_001), &[(1_001, Turn::Free)]),
        (Some(1_002), &[(1_002, Turn::NotBefore(1_012)), (1_011, Turn::NotBefore(1_012)), (1_012, Turn::Single)]),
        // Two calls were under way.
        (Some(1_003), &[(1_003, Turn::NotBefore(1_012))]),
        (Some(1_011), &[(1_011, Turn::NotBefore(1_012)), (1_012, Turn::Single), (9_999, Turn::Single)]),
        // The first call that tries.
        (Some(2_000), &[(2_000, Turn::NotBefore(2_100)), (2_100, Turn::Single)]),
        (Some(2_100), &[(3_099, Turn::NotBefore(3_100)), (3_100, Turn::Single)]),
        // The clock is set back.
        (None, &[(2_099, Turn::Single), (0, Turn::Single)]),
    ] {
        if let Some(at_ms) = refused_at_ms {
            refusals.add(at_ms, wait_ms);
        }
        for (now_ms, turn) in looks {
            assert_eq!(refusals.turn(*now_ms), *turn, "refused at {refused_at_ms:?}, looked at {now_ms}");
        }
    }
}

#[tokio::test]
async fn what_was_refused_is_forgotten_when_somebody_changes_the_tenant_or_the_tool_takes_it() {
    let (directory, _folder) = directory().await;
    let (credentials, acme) = (Credentials::new(directory.clone()), acme());
    let secret = |text: &str| SecretText::new(text.to_owned()).unwrap();
    directory.set_secret(&acme, "api_key", secret("one"), 0).await.unwrap();
    let current = || directory.get("acme").unwrap();
    let refuse = |tenant: &Arc<Tenant>| {
        (0..REFUSALS_MAX).for_each(|_| credentials.refused(tenant, 1_000, |_| 500));
    };
    for change in ["none", "taken", "secret", "exchanged", "settings", "removed"] {
        let before = current();
        refuse(&before);
        assert!(credentials.are_refused(&before), "{change}");
        assert_eq!(credentials.turn(&before, 1_000), Turn::NotBefore(1_500), "{change}");
        let waited = match change {
            "taken" => {
                credentials.taken(&before);
                false
            }
            "secret" => {
                directory.set_secret(&acme, "api_key", secret("two"), 0).await.unwrap();
                true
            }
            "exchanged" => {
                let (directory, version) =
                    (directory.clone(), directory.versioned_secrets(&before, "api_key").unwrap().0);
                let exchange = move || {
                    let (acme, secret) = (self::acme(), Arc::new(SecretText::new("three".to_owned()).unwrap()));
                    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
                    directory.exchange_secret(&acme, "api_key", version, secret, deadline).unwrap()
                };
                tokio::task::spawn_blocking(exchange).await.unwrap();
                false
            }
            "settings" => {
                directory.resume(&acme).await.unwrap();
                true
            }
            "removed" => {
                directory.remove(&acme, None).await.unwrap();
                false
            }
            _ => false,
        };
        assert_eq!(credentials.forget_changed(), if waited { vec![acme.clone()] } else { vec![] }, "{change}");
        let Some(tenant) = directory.get("acme") else { continue };
        let refused = ["none", "exchanged"].contains(&change);
        assert_eq!((credentials.are_refused(&tenant), change), (refused, change));
        if waited {
            // An answer from before the change says nothing about the tenant's current settings.
            refuse(&before);
            assert!(!credentials.are_refused(&before) && !credentials.are_refused(&tenant), "{change}");
        }
        credentials.taken(&tenant);
        // Two refusals do not count, and an accepted call starts the count anew.
        for _ in 0..3 {
            credentials.refused(&tenant, 1_000, |_| 500);
            credentials.refused(&tenant, 1_000, |_| 500);
            assert!(!credentials.are_refused(&tenant), "{change}");
            credentials.taken(&tenant);
        }
    }
}
