//! The way of a delivery on one page: it becomes a job on disk, or is refused with a reason.
//!
//! tenant ▸ route ▸ validate the raw bytes ▸ extract ▸ source ▸ charge ▸ check ▸ dedup and durable write, in this
//! order.

use std::{net::IpAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use hyper::{HeaderMap, Method};
use plugin_abi::{
    PluginError,
    error::FieldError,
    time::OffsetDateTime,
    types::{Event, TicketMetadata},
};

use crate::{
    fault,
    housekeeping::DiskRoom,
    ids::CorrelationId,
    limits::SharedLimits,
    plugin::{
        generation::{CallError, ReceivedWebhook, Verdict},
        routes::{NoRoute, Routes},
        why::Why,
    },
    queue::{
        job::{Accepted, DedupKey, JobKind, NewJob},
        wakes::Wakes,
    },
    store::{Store, StoreError},
    tenant::{EnhanceOn, Tenant, directory::TenantDirectory, rates::TenantRates},
    texts,
};

mod try_out;

pub use self::try_out::{Examiner, Tried, try_out};

/// Maximum length of a ticket's id, in characters.
pub const TICKET_ID_CHARS_MAX: usize = 100;
/// How often a webhook is read again when its tenant switches tools each time. After that, its sender has to retry.
const LOOKS_MAX: usize = 5;
/// The code for an unknown tenant.
pub const UNKNOWN_TENANT: &str = "unknown_tenant";

/// A request to a webhook route, with its complete body.
#[derive(Debug)]
pub struct Delivery {
    /// The tenant that it names, if any.
    pub tenant_id: Option<String>,
    /// Its correlation id.
    pub correlation_id: CorrelationId,
    /// The address of its sender; `None` if the proxies do not report one.
    pub source: Option<IpAddr>,
    /// The HTTP method.
    pub method: Method,
    /// The path, unchanged.
    pub path: String,
    /// The query, unchanged.
    pub query: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The raw body.
    pub body: Bytes,
    /// When the body's last byte arrived.
    pub received_at: OffsetDateTime,
}

/// The result of an authentic delivery. For the first two statuses its job is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Whether and how it was accepted.
    pub status: Status,
    /// The ticket, if there is one.
    pub ticket_id: Option<String>,
    /// The name of the event.
    pub event: &'static str,
}

/// The status of an authentic delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It made a new job.
    Accepted,
    /// It was accepted before.
    Duplicate,
    /// Its event needs no work.
    Ignored,
}

impl Status {
    /// The name of the status in the answer.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Ignored => "ignored",
        }
    }
}

/// Why a delivery was refused. The kind says whose fault it is.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// The sender's fault: unknown, disabled, or not who it claims to be. Nobody outside learns which.
    #[error("not authentic: {0}")]
    NotAuthentic(Why),
    /// The authentic sender's fault: the body cannot be read.
    #[error("{0}")]
    Malformed(String),
    /// The authentic sender's fault: fields are missing or wrong.
    #[error("fields are missing or wrong")]
    Invalid(Vec<FieldError>),
    /// The operator's fault: nothing serves the tool type now.
    #[error("{0}")]
    NoRoute(#[from] NoRoute),
    /// The fault of the plugin or of the tenant's configuration.
    #[error("{0}")]
    Plugin(#[from] CallError),
    /// The store's fault.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The authentic sender's fault: it sends too much.
    #[error("the tenant sends more than server.tenant_rate_per_s")]
    RateLimited,
    /// The tenant has used all its room in the store.
    #[error(
        "the tenant has as much in the store as store.tenant_jobs_max or store.tenant_mb_max allows: see why its jobs wait \
         (plugin-ctl job list --tenant), purge its dead letters, set store.solved_days and store.notes_days, or raise the limit"
    )]
    TenantFull,
    /// The disk is full.
    #[error("less is free where the store lies than store.free_mb_min: make room there")]
    StoreFull,
}

/// A refused delivery, with what was known about it by then.
#[derive(Debug)]
pub struct Refused {
    /// The reason.
    pub rejection: Rejection,
    /// The name of the event that it reports.
    pub event: Option<&'static str>,
    /// The ticket.
    pub ticket_id: Option<String>,
}

impl<T: Into<Rejection>> From<T> for Refused {
    fn from(rejection: T) -> Self {
        Self { rejection: rejection.into(), event: None, ticket_id: None }
    }
}

/// The parts needed to accept deliveries.
#[derive(Clone)]
pub struct Ingest {
    /// The tenants.
    pub directory: TenantDirectory,
    /// The routes to plugins.
    pub routes: Routes,
    /// The queue.
    pub store: Store,
    /// How many webhooks each tenant may send.
    pub rates: TenantRates,
    /// The limits on what each tenant may have in the store.
    pub limits: SharedLimits,
    /// Whether the disk has room for more.
    pub disk: DiskRoom,
    /// Wakes the worker for each new job.
    pub wakes: Wakes,
}

impl Ingest {
    /// Accepts a delivery. If this returns `Accepted` or `Duplicate`, its job is on disk.
    ///
    /// # Errors
    /// [`Rejection`]; nothing has been stored then.
    pub async fn take(&self, delivery: Delivery) -> Result<Receipt, Refused> {
        let tenant = self.tenant(delivery.tenant_id.as_deref())?;
        let source = delivery.source;
        let mut webhook = Arc::new(delivery.for_tenant(tenant));
        for _ in 0..LOOKS_MAX {
            if let Some(receipt) = self.take_for_its_tool(&webhook, source).await? {
                return Ok(receipt);
            }
            // The tenant switched tools meanwhile, so the webhook is read again for its new tool.
            self.directory.catch_up(&webhook.tenant).await;
            let tenant = self.tenant(Some(webhook.tenant.id.as_str()))?;
            webhook = Arc::new(ReceivedWebhook { tenant, ..ReceivedWebhook::clone(&webhook) });
        }
        Err(CallError::Closed.into())
    }

    /// Returns `None`, and stores nothing, if its tenant has another tool by now.
    async fn take_for_its_tool(
        &self,
        webhook: &Arc<ReceivedWebhook>,
        source: Option<IpAddr>,
    ) -> Result<Option<Receipt>, Refused> {
        let (started, tenant) = (Instant::now(), &webhook.tenant);
        let plugin = self.routes.enter(&tenant.tool_type)?;
        let verdict = plugin.receive(Arc::clone(webhook)).await?;
        // Checked last, so that to its sender this refusal looks the same as a bad signature.
        check_source(tenant, source)?;
        // Only authentic webhooks are charged. Otherwise anybody could use up a tenant's rate.
        if !matches!(verdict, Verdict::NotAuthentic(_)) && !self.rates.take(&tenant.id) {
            return Err(Rejection::RateLimited.into());
        }
        let metadata = said(verdict)?;
        let event = metadata.event.as_str();
        let ticket_id = Some(metadata.ticket_id.clone()).filter(|id| !id.is_empty());
        let refused = |rejection| Refused { rejection, event: Some(event), ticket_id: ticket_id.clone() };
        let metadata = checked(metadata, tenant).map_err(refused)?;
        let generation = plugin.number();
        drop(plugin);
        let status = match kind_of_job(&metadata, tenant) {
            None => Some(Status::Ignored),
            Some(kind) => self.accept(kind, metadata, webhook).await.map_err(refused)?,
        };
        let Some(status) = status else { return Ok(None) };
        tracing::debug!(
            correlation_id = %webhook.correlation_id,
            tenant = %tenant.id,
            tool_type = %tenant.tool_type,
            platform = %tenant.tool_type,
            generation,
            event,
            ticket = ticket_id.as_deref().unwrap_or_default(),
            operation = "ingest",
            outcome = status.as_str(),
            duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "delivery {}",
            status.as_str()
        );
        Ok(Some(Receipt { status, ticket_id, event }))
    }

    fn tenant(&self, id: Option<&str>) -> Result<Arc<Tenant>, Rejection> {
        let id = id.ok_or_else(|| not_authentic("no_tenant", "it names no tenant"))?;
        let tenant = self.directory.get(id).ok_or_else(|| not_authentic(UNKNOWN_TENANT, "there is no such tenant"))?;
        check_enabled(&tenant).map(|()| tenant)
    }

    async fn accept(
        &self,
        kind: JobKind,
        metadata: TicketMetadata,
        webhook: &ReceivedWebhook,
    ) -> Result<Option<Status>, Rejection> {
        let tenant = &webhook.tenant;
        let key = DedupKey::new(&tenant.id, tenant.incarnation, &metadata, &webhook.body);
        let job = NewJob {
            tenant: tenant.id.clone(),
            incarnation: tenant.incarnation,
            tool_type: tenant.tool_type.clone(),
            base_url: tenant.base_url.clone(),
            kind,
            correlation_id: webhook.correlation_id.clone(),
            metadata: texts::cut(if metadata.read_back { hint(metadata) } else { metadata }),
        };
        if self.disk.is_full() {
            return Err(Rejection::StoreFull);
        }
        match self.store.accept(job, key, self.limits.now().tenant_room).await? {
            Accepted::New(_) => {
                fault::reached(fault::Point::Accepted);
                self.wakes.wake(&tenant.id);
                Ok(Some(Status::Accepted))
            }
            Accepted::Duplicate => Ok(Some(Status::Duplicate)),
            Accepted::TenantFull => Err(Rejection::TenantFull),
            Accepted::OtherTenant => Ok(None),
        }
    }
}

impl Delivery {
    fn for_tenant(self, tenant: Arc<Tenant>) -> ReceivedWebhook {
        ReceivedWebhook {
            tenant,
            correlation_id: self.correlation_id,
            method: self.method,
            path: self.path,
            query: self.query,
            headers: self.headers,
            body: self.body,
            received_at: self.received_at,
        }
    }
}

fn not_authentic(kind: &'static str, why: &'static str) -> Rejection {
    Rejection::NotAuthentic(Why::host(kind, why))
}

fn check_enabled(tenant: &Tenant) -> Result<(), Rejection> {
    if tenant.enabled { Ok(()) } else { Err(not_authentic("tenant_disabled", "the tenant is disabled")) }
}

/// The plugin's reading of an authentic webhook.
fn said(verdict: Verdict) -> Result<TicketMetadata, Rejection> {
    match verdict {
        Verdict::NotAuthentic(why) => Err(Rejection::NotAuthentic(why.unwrap_or_else(Why::unknown))),
        Verdict::Unreadable(PluginError::Validation(fields)) => Err(Rejection::Invalid(fields)),
        Verdict::Unreadable(error) => Err(Rejection::Malformed(error.to_string())),
        Verdict::Authentic(metadata) => Ok(*metadata),
    }
}

/// Whether the tenant accepts webhooks from this address. Without a list it accepts them from anywhere.
fn check_source(tenant: &Tenant, source: Option<IpAddr>) -> Result<(), Rejection> {
    if tenant.allow_from.is_empty() || source.is_some_and(|source| tenant.allow_from.contains(source)) {
        return Ok(());
    }
    let why = match source {
        Some(source) => format!("it came from {source}, which is not in the tenant's allow_from"),
        None => "the proxy's X-Forwarded-For names no address, and the tenant has an allow_from".to_owned(),
    };
    Err(Rejection::NotAuthentic(Why::host("source", why)))
}

/// The kind of job that a webhook makes. `Updated` makes none unless the tenant asks for it: our own note would make
/// the next job.
fn kind_of_job(metadata: &TicketMetadata, tenant: &Tenant) -> Option<JobKind> {
    match metadata.event {
        Event::Created => tenant.enhance_on.contains(&EnhanceOn::Created).then_some(JobKind::Enhance),
        Event::Updated => tenant.enhance_on.contains(&EnhanceOn::Updated).then_some(JobKind::Enhance),
        Event::Resolved { .. } if metadata.read_back => Some(JobKind::Confirm),
        Event::Resolved { .. } => Some(JobKind::Record),
        Event::Reopened => Some(JobKind::Reopen),
        _ => None,
    }
}

/// The only parts used from an unauthenticated webhook: which ticket to look at, and why.
fn hint(metadata: TicketMetadata) -> TicketMetadata {
    let event = match metadata.event {
        Event::Resolved { .. } => Event::Resolved { resolution: None, resolved_at: None, tags: Vec::new() },
        event => event,
    };
    TicketMetadata::new(metadata.ticket_id, event)
}

/// Checks a plugin's output as if a stranger had written it.
fn checked(metadata: TicketMetadata, tenant: &Tenant) -> Result<TicketMetadata, Rejection> {
    let mut faults = Vec::new();
    if metadata.tenant_id.as_ref().is_some_and(|named| named != tenant.id.as_str()) {
        faults.push(FieldError::new("tenant_id", "is another tenant than the one that this webhook came for"));
    }
    if metadata.event != Event::Other {
        let chars = metadata.ticket_id.chars().count();
        if chars == 0 || chars > TICKET_ID_CHARS_MAX || metadata.ticket_id.chars().any(char::is_control) {
            let message = format!("must have 1 to {TICKET_ID_CHARS_MAX} characters, none of them control characters");
            faults.push(FieldError::new("ticket_id", message));
        }
    }
    if faults.is_empty() { Ok(metadata) } else { Err(Rejection::Invalid(faults)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{TenantId, ToolType},
        networks::Networks,
        tenant::NewTenant,
    };

    fn tenant() -> Tenant {
        let id = TenantId::parse("acme").unwrap();
        NewTenant::new(id, ToolType::parse("desk").unwrap(), "https://desk.example").check().unwrap()
    }

    #[test]
    fn what_a_plugin_says_is_checked() {
        let long = "x".repeat(TICKET_ID_CHARS_MAX + 1);
        let limit = "ü".repeat(TICKET_ID_CHARS_MAX);
        for (ticket_id, named, event, faults) in [
            ("7", None, Event::Created, vec![]),
            ("7", Some("acme"), Event::Created, vec![]),
            ("7", Some("other"), Event::Created, vec!["tenant_id"]),
            ("", Some("other"), Event::Updated, vec!["tenant_id", "ticket_id"]),
            ("", None, Event::Other, vec![]),
            (&long, None, Event::Created, vec!["ticket_id"]),
            (&limit, None, Event::Created, vec![]),
            ("a\nb", None, Event::Created, vec!["ticket_id"]),
        ] {
            let mut metadata = TicketMetadata::new(ticket_id, event);
            metadata.tenant_id = named.map(str::to_owned);
            let found = match checked(metadata, &tenant()) {
                Ok(_) => vec![],
                Err(Rejection::Invalid(faults)) => faults.into_iter().map(|fault| fault.field).collect(),
                Err(other) => panic!("{other}"),
            };
            assert_eq!(found, faults, "{ticket_id:?} {named:?}");
        }
    }

    #[test]
    fn a_source_counts_where_a_tenant_has_a_list() {
        let mut tenant = tenant();
        let address = |text: &str| Some(text.parse().unwrap());
        assert!(check_source(&tenant, address("203.0.113.7")).is_ok() && check_source(&tenant, None).is_ok());
        tenant.allow_from = Networks::parse_all(&["203.0.113.0/24"]).unwrap();
        assert!(check_source(&tenant, address("203.0.113.7")).is_ok());
        for (source, word) in [(address("203.0.114.7"), "203.0.114.7"), (None, "X-Forwarded-For")] {
            match check_source(&tenant, source) {
                Err(Rejection::NotAuthentic(why)) => assert!(why.text.contains(word), "{why}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn updates_make_work_only_where_they_are_asked_for() {
        let resolved = Event::Resolved { resolution: None, resolved_at: None, tags: vec![] };
        let mut tenant = tenant();
        let kind = |event: &Event, tenant: &Tenant| kind_of_job(&TicketMetadata::new("7", event.clone()), tenant);
        assert_eq!(kind(&Event::Created, &tenant), Some(JobKind::Enhance));
        assert_eq!(kind(&resolved, &tenant), Some(JobKind::Record));
        assert_eq!(kind(&Event::Reopened, &tenant), Some(JobKind::Reopen));
        assert_eq!(kind(&Event::Updated, &tenant), None);
        assert_eq!(kind(&Event::Other, &tenant), None);
        tenant.enhance_on.insert(EnhanceOn::Updated);
        assert_eq!(kind(&Event::Updated, &tenant), Some(JobKind::Enhance));
    }

    #[test]
    fn of_a_webhook_that_proves_nothing_only_ticket_and_event_are_taken() {
        let now = Some(OffsetDateTime::UNIX_EPOCH);
        let text = || Some("forged".to_owned());
        let resolved = Event::Resolved { resolution: text(), resolved_at: now, tags: vec!["forged".to_owned()] };
        for (event, kind) in
            [(Event::Created, JobKind::Enhance), (resolved, JobKind::Confirm), (Event::Reopened, JobKind::Reopen)]
        {
            let mut metadata = TicketMetadata::new("7", event.clone());
            (metadata.subject, metadata.description, metadata.url) = (text(), text(), text());
            (metadata.raw_priority, metadata.delivery_id) = (text(), text());
            (metadata.created_at, metadata.occurred_at, metadata.read_back) = (now, now, true);
            assert_eq!(kind_of_job(&metadata, &tenant()), Some(kind));
            let hint = hint(metadata);
            assert_eq!((hint.ticket_id.as_str(), hint.subject.as_ref()), ("7", None));
            assert!(!format!("{hint:?}").contains("forged") && hint.occurred_at.is_none(), "{hint:?}");
            assert_eq!(std::mem::discriminant(&hint.event), std::mem::discriminant(&event));
        }
    }
}
