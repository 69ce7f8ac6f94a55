//! The cost of the plugin boundary: validate and extract of one webhook through the ABI, with the host's own callbacks,
//! and over a lane, compared with direct calls of the same plugin code.

use std::{
    hint::black_box,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use hyper::{HeaderMap, Method as HttpMethod, header::HeaderValue};
use patchbay::{
    clock::Clock,
    config::Config,
    ids::{CorrelationId, TenantId, ToolType},
    plugin::{
        call_time::CallTime,
        capability::{CallScope, Capability, Services},
        generation::{Generation, ReceivedWebhook, Verdict},
        lane::LaneStarter,
        loader::LoadedPlugin,
        pulse::Pulse,
    },
    store::{Hooks, Store, StoreConfig},
    telemetry::metrics::Metrics,
    tenant::{
        NewTenant, Tenant,
        directory::TenantDirectory,
        secrets::{KeyRing, SecretText},
    },
};
use plugin_abi::{
    host::{CallContext, HostCalls, WebhookParts, extract_metadata, validate_webhook},
    prelude::TicketingToolPlugin as _,
    raw::{Field, Method},
    testing::{FakeHost, FakeWebhook},
    time::OffsetDateTime,
};
use servicedesk_plus::ServiceDeskPlus;

use crate::{
    installation::Programs,
    load::Copies,
    report::{Goal, Report, Row, median},
    webhooks::{self, FIRST_TICKET, SECRET, SIGNATURE_HEADER, TENANT},
};

/// Number of rounds of each way, alternating; the median counts.
const ROUNDS: usize = 9;
/// Number of calls in a round.
const CALLS: usize = 20_000;
/// Webhooks on a lane at once, when throughput is measured.
const IN_FLIGHT: usize = 64;
/// The way that the goal applies to.
const OVER_ABI: &str = "through the ABI";
const WEBHOOK_SECRET: &str = "webhook_secret";

/// A way to have a webhook judged repeatedly.
type Way<'a> = (&'static str, Box<dyn FnMut() -> anyhow::Result<()> + 'a>);

/// Measures the ways.
///
/// # Errors
/// When the plugin cannot be loaded, or judges the webhook wrongly.
pub(crate) fn run(programs: &Programs, report: &mut Report) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&programs.folder)?;
    let config = Config::load(None, std::iter::empty(), folder.path())?;
    let (services, tenant) = runtime.block_on(services(&config, folder.path()))?;
    let webhook = Arc::new(received(&tenant)?);
    let copies = Copies::new(programs, folder.path());

    let fake = FakeHost::new().secret(WEBHOOK_SECRET, SECRET);
    let signed = fake_webhook(&webhook);
    let unsigned = FakeWebhook::post(webhook.body.to_vec());
    let over_abi = copies.plugin(1, FakeHost::new().secret(WEBHOOK_SECRET, SECRET))?;
    let tool_type = ToolType::parse("servicedesk_plus")?;
    let capable = copies.plugin(2, Capability::new(tool_type, 2, services.clone(), 1))?;
    let (pulse, starter) = (services.pulse.clone(), LaneStarter::start()?);
    let generation = Arc::new(
        Generation::load(copies.artifact(3)?, 3, None, &config.plugins, services, &Metrics::new(), &starter)
            .map_err(|refusal| anyhow::anyhow!("{refusal}"))?,
    );

    let mut whole: Vec<Way<'_>> = vec![
        ("direct", repeated(|| directly(&fake, &signed))),
        (OVER_ABI, repeated(|| through_abi(&over_abi, 0, &webhook))),
        ("and the host's own callbacks", repeated(|| in_scope(&capable, &pulse, &webhook))),
        ("and a lane, one at a time", Box::new(|| runtime.block_on(on_lane(&generation, &webhook, 1, true)))),
        ("and a lane, 64 at once", Box::new(|| runtime.block_on(on_lane(&generation, &webhook, IN_FLIGHT, true)))),
    ];
    compare("validate + extract", &mut whole, Some((OVER_ABI, Goal::Ratio(1.10))), report)?;
    let bare = Arc::new(ReceivedWebhook { headers: HeaderMap::new(), ..received(&tenant)? });
    let mut shortest: Vec<Way<'_>> = vec![
        ("direct", repeated(|| refused_directly(&fake, &unsigned))),
        (OVER_ABI, repeated(|| refused_through_abi(&over_abi, &bare))),
        ("and a lane, one at a time", Box::new(|| runtime.block_on(on_lane(&generation, &bare, 1, false)))),
        ("and a lane, 64 at once", Box::new(|| runtime.block_on(on_lane(&generation, &bare, IN_FLIGHT, false)))),
    ];
    compare("shortest call (validate, no signature)", &mut shortest, None, report)?;
    drop((whole, shortest));
    runtime.block_on(generation.drain(Duration::from_secs(10)));
    Ok(())
}

/// Measures the ways in turns and reports each beside the first.
fn compare(what: &str, ways: &mut [Way<'_>], goal: Option<(&str, Goal)>, report: &mut Report) -> anyhow::Result<()> {
    let mut ns = vec![Vec::with_capacity(ROUNDS); ways.len()];
    for _ in 0..ROUNDS {
        for ((_, run), ns) in ways.iter_mut().zip(&mut ns) {
            let started = Instant::now();
            run()?;
            ns.push(started.elapsed().as_secs_f64() * 1e9 / CALLS as f64);
        }
    }
    let middles: Vec<f64> = ns.into_iter().map(median).collect();
    for ((way, _), product) in ways.iter().zip(&middles).skip(1) {
        report.add(Row {
            group: "boundary",
            what: format!("{what}, {way}"),
            unit: "ns",
            baseline: Some(middles[0]),
            product: *product,
            goal: goal.filter(|(name, _)| name == way).map(|(_, goal)| goal),
        });
    }
    Ok(())
}

fn repeated<'a>(call: impl Fn() -> anyhow::Result<()> + 'a) -> Box<dyn FnMut() -> anyhow::Result<()> + 'a> {
    Box::new(move || (0..CALLS).try_for_each(|_| call()))
}

fn directly(host: &FakeHost, webhook: &FakeWebhook) -> anyhow::Result<()> {
    let (tenant, webhook) = (host.tenant(), webhook.borrow());
    ensure!(black_box(ServiceDeskPlus.validate_webhook(&tenant, &webhook))?, "not authentic");
    black_box(ServiceDeskPlus.extract_metadata(&tenant, &webhook))?;
    Ok(())
}

fn refused_directly(host: &FakeHost, webhook: &FakeWebhook) -> anyhow::Result<()> {
    ensure!(!black_box(ServiceDeskPlus.validate_webhook(&host.tenant(), &webhook.borrow()))?, "authentic");
    Ok(())
}

fn through_abi<C: HostCalls>(plugin: &LoadedPlugin<C>, call: u64, webhook: &ReceivedWebhook) -> anyhow::Result<()> {
    with_request(webhook, |request| {
        let valid =
            black_box(validate_webhook(plugin.instance(), plugin.host(), call, request)).map(|valid| valid.authentic);
        ensure!(valid == Ok(true), "validate: {valid:?}");
        let metadata = black_box(extract_metadata(plugin.instance(), plugin.host(), call, request));
        ensure!(metadata.is_ok(), "extract: {metadata:?}");
        Ok(())
    })
}

fn refused_through_abi<C: HostCalls>(plugin: &LoadedPlugin<C>, webhook: &ReceivedWebhook) -> anyhow::Result<()> {
    with_request(webhook, |request| {
        let valid =
            black_box(validate_webhook(plugin.instance(), plugin.host(), 0, request)).map(|valid| valid.authentic);
        ensure!(valid == Ok(false), "validate: {valid:?}");
        Ok(())
    })
}

/// Calls as a lane does: with a scope for the callbacks.
fn in_scope(plugin: &LoadedPlugin<Capability>, pulse: &Pulse, webhook: &ReceivedWebhook) -> anyhow::Result<()> {
    let capability = &plugin.host().0;
    let scope = CallScope {
        tenant: Arc::clone(&webhook.tenant),
        method: Method::VALIDATE_WEBHOOK,
        time: Arc::new(CallTime::new(pulse, Duration::from_secs(1))),
        correlation_id: webhook.correlation_id.clone(),
        job: None,
    };
    let call = capability.begin(0, scope);
    let done = through_abi(plugin, call, webhook);
    capability.end(0, None);
    done
}

async fn on_lane(
    generation: &Arc<Generation>,
    webhook: &Arc<ReceivedWebhook>,
    in_flight: usize,
    authentic: bool,
) -> anyhow::Result<()> {
    let tasks: Vec<_> = (0..in_flight)
        .map(|_| {
            let (generation, webhook) = (Arc::clone(generation), Arc::clone(webhook));
            tokio::spawn(async move {
                for _ in 0..CALLS / in_flight {
                    let verdict = generation.receive(Arc::clone(&webhook)).await?;
                    ensure!(matches!(verdict, Verdict::Authentic(_)) == authentic, "{verdict:?}");
                }
                Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

fn with_request<R>(webhook: &ReceivedWebhook, then: impl FnOnce(&[Field<'_>]) -> R) -> R {
    let tenant = &webhook.tenant;
    let context = CallContext {
        tenant_id: tenant.id.as_str(),
        base_url: tenant.base_url.as_str(),
        settings: &tenant.settings,
        attempt: 0,
        idempotency_key: None,
        deadline: webhook.received_at,
        replay_window: Duration::from_secs(tenant.replay_window_s.into()),
        replay_ahead: Duration::from_secs(tenant.replay_ahead_s.into()),
    };
    let parts = WebhookParts {
        method: webhook.method.as_str(),
        path: &webhook.path,
        query: &webhook.query,
        headers: || webhook.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())),
        body: &webhook.body,
        received_at: webhook.received_at,
    };
    context.with_webhook(&parts, then)
}

async fn services(config: &Config, folder: &Path) -> anyhow::Result<(Services, Arc<Tenant>)> {
    let clock = Clock::system();
    let store = StoreConfig { path: folder.join("bench.db"), dedup_hours: 72, hooks: Hooks::default() };
    let store = Store::open(store, clock.clone())?;
    let keys = KeyRing::load_or_create(&folder.join("bench.key"), false)?;
    let directory = TenantDirectory::load(&store, keys, 60).await?;
    let tenant = NewTenant::new(TenantId::parse(TENANT)?, ToolType::parse("servicedesk_plus")?, "https://desk.example");
    let secret = (WEBHOOK_SECRET.to_owned(), SecretText::new(SECRET.to_owned())?);
    let tenant = directory.add(tenant, vec![secret]).await?;
    Ok((Services::new(directory, &config.http, clock), tenant))
}

/// The webhook as it arrives from the load generator.
fn received(tenant: &Arc<Tenant>) -> anyhow::Result<ReceivedWebhook> {
    let webhook = webhooks::created(TENANT, FIRST_TICKET, &webhooks::now()?);
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("localhost"));
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert(SIGNATURE_HEADER, webhook.signature.parse().context("a signature is a header's value")?);
    headers.insert("content-length", webhook.body.len().into());
    Ok(ReceivedWebhook {
        tenant: Arc::clone(tenant),
        correlation_id: CorrelationId::fresh(),
        method: HttpMethod::POST,
        path: format!("/webhooks/{TENANT}"),
        query: String::new(),
        headers,
        body: Bytes::from(webhook.body),
        received_at: OffsetDateTime::now_utc(),
    })
}

fn fake_webhook(webhook: &ReceivedWebhook) -> FakeWebhook {
    let fake = FakeWebhook::post(webhook.body.to_vec());
    webhook.headers.iter().fold(fake, |fake, (name, value)| fake.header(name.as_str(), value.as_bytes()))
}
