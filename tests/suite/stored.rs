//! Jobs that are in the host's store before it runs.

use patchbay::{
    clock::Clock,
    ids::{CorrelationId, TenantId, ToolType},
    queue::job::{Accepted, DedupKey, JobKind, NewJob},
    store::{Hooks, Store, StoreConfig, TenantRoom},
};
use patchbay_tests::{Line, TOOL};
use plugin_abi::types::TicketMetadata;
use tokio::task::JoinSet;

/// Number of concurrent writes to the store.
const WRITES_AT_ONCE: usize = 1_000;

/// Stores a job for each webhook of the tenant, whose tool type is `desk_good`, by the store's own operation. The host
/// must not be running.
pub(super) fn put_in(line: &Line, tenant: &str, webhooks: impl IntoIterator<Item = TicketMetadata>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (path, hooks) = (line.host.state().join("patchbay.db"), Hooks::default());
        let store = Store::open(StoreConfig { path, dedup_hours: 72, hooks }, Clock::system()).unwrap();
        let known = store.tenants().await.unwrap();
        let incarnation = known.iter().find(|known| known.id.as_str() == tenant).unwrap().incarnation;
        let mut writes: JoinSet<bool> = JoinSet::new();
        for metadata in webhooks {
            if writes.len() == WRITES_AT_ONCE {
                assert!(writes.join_next().await.unwrap().unwrap());
            }
            let tenant = TenantId::parse(tenant).unwrap();
            let key = DedupKey::new(&tenant, incarnation, &metadata, b"");
            let (tool_type, kind) = (ToolType::parse("desk_good").unwrap(), JobKind::Enhance);
            let base_url = line.tool.base_url(TOOL).parse().unwrap();
            let correlation_id = CorrelationId::fresh();
            let job = NewJob { tenant, incarnation, tool_type, base_url, kind, correlation_id, metadata };
            let store = store.clone();
            writes.spawn(
                async move { matches!(store.accept(job, key, TenantRoom::UNBOUNDED).await, Ok(Accepted::New(_))) },
            );
        }
        assert!(writes.join_all().await.into_iter().all(|is_new| is_new));
        store.close().await.unwrap();
    });
}
