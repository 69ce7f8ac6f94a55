//! Nobody gets a webhook in without the secret: every bit that can be flipped, and a hundred thousand mutations.

use std::{
    collections::HashMap,
    fs,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::{
    HeaderMap, Method,
    header::{HeaderName, HeaderValue},
};
use patchbay::{
    clock::Clock,
    config::{Config, Permissions},
    ids::{CorrelationId, TenantId, ToolType},
    plugin::{
        artifact,
        capability::Services,
        generation::{Generation, ReceivedWebhook, Verdict},
        lane::LaneStarter,
        probe::Prober,
        signature::Trust,
        verdicts::Verdicts,
    },
    store::{Hooks, Store, StoreConfig},
    telemetry::metrics::Metrics,
    tenant::{
        NewTenant, Tenant,
        directory::TenantDirectory,
        secrets::{KeyRing, SecretText},
    },
};
use patchbay_tests::{
    Artifact, Host, HostBuilder,
    forgeries::{Delivery, FORGED_SECRET, SignedBy},
    http::over_tcp,
};
use time::OffsetDateTime;
use tokio::task::JoinSet;

/// Number of random mutations of all schemes together.
const MUTATIONS: usize = 100_000;
/// Number of whole webhooks of each scheme, made without the secret.
const WHOLES: usize = 1_000;
/// How many of these and the bit flips go to a running host over HTTP, and how many of the tools' own schemes.
const OVER_HTTP: usize = 500;
/// Number of webhooks on the lanes at once.
const IN_FLIGHT: usize = 64;
const SEED: u64 = 20_261_120;
/// The fixed time of the lanes' webhooks.
const AT: i64 = 1_790_000_000;

/// A generation of the plugin as in the host, with its lanes and the host's own callbacks.
struct OnLanes {
    generation: Arc<Generation>,
    tenants: HashMap<&'static str, Arc<Tenant>>,
    _host: Host,
}

impl OnLanes {
    async fn start(plugin: Artifact, schemes: &[SignedBy]) -> Self {
        let host = Host::builder().plugin(plugin).stopped();
        let (folder, clock) = (host.folder().join("lanes"), Clock::system());
        fs::create_dir(&folder).unwrap();
        let mut config = Config::load(None, std::iter::empty(), &folder).unwrap();
        config.plugins.fast_lanes = 2;
        // Debug builds on a busy machine: a deadline would say nothing about forgeries.
        config.plugins.fast_deadline = Duration::from_secs(60);
        let store = StoreConfig { path: folder.join("patchbay.db"), dedup_hours: 72, hooks: Hooks::default() };
        let store = Store::open(store, clock.clone()).unwrap();
        let keys = KeyRing::load_or_create(&folder.join("secret.key"), false).unwrap();
        let directory = TenantDirectory::load(&store, keys, 60).await.unwrap();
        let mut tenants = HashMap::new();
        for scheme in schemes {
            let (tool_type, settings) = scheme.tenant();
            let (id, tool_type) = (TenantId::parse(scheme.name()).unwrap(), ToolType::parse(tool_type).unwrap());
            let mut tenant = NewTenant::new(id, tool_type, "https://desk.example");
            let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            tenant.settings.extend(settings);
            let secret = SecretText::new(FORGED_SECRET.to_owned()).unwrap();
            let tenant = directory.add(tenant, vec![("webhook_secret".to_owned(), secret)]).await.unwrap();
            tenants.insert(scheme.name(), tenant);
        }
        let file = host.plugins().join(plugin.path().file_name().unwrap());
        let prober = Prober::with_program(Artifact::PATCHBAY.path(), Duration::from_secs(60));
        let verdicts = Verdicts::load(folder.join("verdicts.json"));
        let inspected = artifact::inspect(&file, &Trust::default()).expect("the plugin can be read");
        let artifact = inspected.verify(Permissions::Strict, &prober, &verdicts, &folder, 1).expect("it is accepted");
        let services = Services::new(directory, &config.http, clock);
        let starter = LaneStarter::start().unwrap();
        let generation = Generation::load(artifact, 1, None, &config.plugins, services, &Metrics::new(), &starter);
        Self { generation: Arc::new(generation.expect("it loads")), tenants, _host: host }
    }

    /// Counts the deliveries that the plugin accepts as authentic. Panics if it gives no verdict.
    async fn judge(&self, scheme: SignedBy, deliveries: impl Iterator<Item = Delivery>) -> usize {
        let tenant = &self.tenants[scheme.name()];
        let mut shares = vec![Vec::new(); IN_FLIGHT];
        deliveries.enumerate().for_each(|(at, delivery)| shares[at % IN_FLIGHT].push(delivery));
        let mut tasks = JoinSet::new();
        for share in shares {
            let (generation, tenant) = (Arc::clone(&self.generation), Arc::clone(tenant));
            tasks.spawn(async move {
                let mut accepted = 0;
                for delivery in share {
                    match generation.receive(received(&tenant, &delivery)).await {
                        Ok(Verdict::NotAuthentic(_)) => {}
                        Ok(Verdict::Authentic(_) | Verdict::Unreadable(_)) => {
                            eprintln!("taken for authentic: {delivery:?}");
                            accepted += 1;
                        }
                        Err(error) => panic!("{scheme:?}: {error} for {delivery:?}"),
                    }
                }
                accepted
            });
        }
        tasks.join_all().await.into_iter().sum()
    }
}

fn received(tenant: &Arc<Tenant>, delivery: &Delivery) -> Arc<ReceivedWebhook> {
    let mut headers = HeaderMap::new();
    for (name, value) in &delivery.headers {
        let value = HeaderValue::from_bytes(value).expect("forgeries can arrive over HTTP");
        headers.append(HeaderName::from_static(name), value);
    }
    Arc::new(ReceivedWebhook {
        tenant: Arc::clone(tenant),
        correlation_id: CorrelationId::fresh(),
        method: Method::POST,
        path: format!("/webhooks/{}", tenant.id),
        query: String::new(),
        headers,
        body: Bytes::from(delivery.body.clone()),
        received_at: fixed_time(),
    })
}

fn fixed_time() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(AT).unwrap()
}

fn mutations(scheme: SignedBy, at: OffsetDateTime) -> impl Iterator<Item = Delivery> {
    scheme.mutations(SEED, at).take(MUTATIONS.div_ceil(SignedBy::READY.len()))
}

#[test]
fn no_bit_can_be_flipped_and_no_mutation_is_taken() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let lanes = OnLanes::start(Artifact::SCHEMES, &SignedBy::READY).await;
        for scheme in SignedBy::READY {
            let (valid, flips) = (scheme.valid(17, fixed_time()), scheme.bit_flips(17, fixed_time()));
            assert!(flips.len() > 200, "{scheme:?}: {} flips", flips.len());
            assert_eq!(lanes.judge(scheme, [valid.clone()].into_iter()).await, 1, "{scheme:?}: the valid one");
            assert_eq!(lanes.judge(scheme, flips.into_iter()).await, 0, "{scheme:?}: bit flips");
            assert_eq!(lanes.judge(scheme, mutations(scheme, fixed_time())).await, 0, "{scheme:?}: mutations");
            let wholes = scheme.wholes(fixed_time()).take(WHOLES);
            assert_eq!(lanes.judge(scheme, wholes).await, 0, "{scheme:?}: whole webhooks");
            assert_eq!(lanes.judge(scheme, [valid].into_iter()).await, 1, "{scheme:?}: the valid one afterwards");
        }
        lanes.generation.drain(Duration::from_secs(60)).await;
    });
}

/// Every scheme, with as many forgeries as there is time for: `PATCHBAY_TEST_FORGERIES` in total.
#[test]
#[ignore = "takes minutes: cargo nextest run -p patchbay-tests of_a_million --run-ignored only --no-capture"]
fn of_a_million_forgeries_over_every_scheme_none_is_taken() {
    let wanted = std::env::var("PATCHBAY_TEST_FORGERIES").map_or(1_000_000, |text| text.parse().expect("a number"));
    let share: usize = wanted / (SignedBy::READY.len() + SignedBy::TOOLS.len()) + 1;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut judged = 0;
    for (plugin, schemes) in [
        (Artifact::SCHEMES, &SignedBy::READY[..]),
        (Artifact::SERVICEDESK_PLUS, &[SignedBy::ServiceDeskPlus]),
        (Artifact::FRESHSERVICE, &[SignedBy::Freshservice]),
        (Artifact::SERVICENOW, &[SignedBy::ServiceNow]),
        (Artifact::JIRA, &[SignedBy::Jira, SignedBy::JiraConnect, SignedBy::JiraOauth]),
        (Artifact::ZENDESK, &[SignedBy::Zendesk]),
    ] {
        runtime.block_on(async {
            let lanes = OnLanes::start(plugin, schemes).await;
            for scheme in schemes {
                let valid = || [scheme.valid(17, fixed_time())].into_iter();
                assert_eq!(lanes.judge(*scheme, valid()).await, 1, "{scheme:?}: the valid one");
                let started = Instant::now();
                let half = share.div_ceil(2);
                let mutations = scheme.mutations(SEED + 1, fixed_time()).take(half);
                assert_eq!(lanes.judge(*scheme, mutations).await, 0, "{scheme:?}: mutations");
                assert_eq!(lanes.judge(*scheme, scheme.wholes(fixed_time()).take(half)).await, 0, "{scheme:?}: wholes");
                assert_eq!(lanes.judge(*scheme, valid()).await, 1, "{scheme:?}: the valid one afterwards");
                judged += 2 * half;
                eprintln!("{scheme:?}: {} forgeries in {:?}, none taken", 2 * half, started.elapsed());
            }
            lanes.generation.drain(Duration::from_secs(60)).await;
        });
    }
    assert!(judged >= wanted, "{judged}");
    eprintln!("{judged} forgeries, none taken");
}

#[test]
fn a_running_host_answers_all_forgeries_the_same() {
    let host = Host::builder().plugin(Artifact::SCHEMES).start();
    attack(&host, &SignedBy::READY);
}

#[test]
fn so_does_every_tool() {
    let plugins =
        [Artifact::SERVICEDESK_PLUS, Artifact::FRESHSERVICE, Artifact::SERVICENOW, Artifact::JIRA, Artifact::ZENDESK];
    let host = plugins.into_iter().fold(Host::builder(), HostBuilder::plugin).start();
    attack(&host, &SignedBy::TOOLS);
}

/// Attacks all schemes at once, because the host delays a 401.
#[track_caller]
fn attack(host: &Host, schemes: &[SignedBy]) {
    let secret = host.folder().join("secret");
    fs::write(&secret, FORGED_SECRET).unwrap();
    let secret = format!("--secret=webhook_secret=@{}", secret.display());
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap();
    let send = |scheme: SignedBy, delivery: &Delivery| over_tcp(host.address(), &bytes(scheme, delivery));
    let share = OVER_HTTP.div_ceil(2 * schemes.len());
    let attack = &|scheme: SignedBy| {
        let (tool_type, settings) = scheme.tenant();
        let tool_type = format!("--tool-type={tool_type}");
        let settings: Vec<_> = settings.iter().map(|(name, value)| format!("--set={name}={value}")).collect();
        let fixed = ["tenant", "add", scheme.name(), &tool_type, "--base-url=http://127.0.0.1:9", &secret];
        host.ctl(&fixed.into_iter().chain(settings.iter().map(String::as_str)).collect::<Vec<_>>());
        let valid = send(scheme, &scheme.valid(17, now));
        assert_eq!(valid.status, 202, "{scheme:?}: {}", valid.text());
        let flips = scheme.bit_flips(18, now);
        let every = flips.len() / share;
        let sample = flips.into_iter().step_by(every).take(share).chain(scheme.mutations(SEED, now).take(share));
        for delivery in sample {
            let answer = send(scheme, &delivery);
            assert_eq!(answer.status, 401, "{scheme:?}: {delivery:?}: {}", answer.text());
            assert_eq!(answer.problem_code(), "not_authentic");
        }
        assert_eq!(send(scheme, &scheme.valid(19, now)).status, 202, "{scheme:?}");
    };
    thread::scope(|scope| schemes.iter().for_each(|scheme| drop(scope.spawn(move || attack(*scheme)))));
}

/// As [`http::request`](patchbay_tests::http::request), for values that are not text.
fn bytes(scheme: SignedBy, delivery: &Delivery) -> Vec<u8> {
    let Delivery { headers, body } = delivery;
    let mut bytes = format!("POST /webhooks/{} HTTP/1.1\r\nhost: localhost\r\n", scheme.name()).into_bytes();
    bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    for (name, value) in headers {
        bytes.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}
