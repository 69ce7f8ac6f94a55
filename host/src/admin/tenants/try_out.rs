//! `POST /v1/tenants/{id}/try`: shows how a webhook would be answered, without accepting it.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use plugin_abi::types::{Event, TicketMetadata};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Answer, Parts};
use crate::{
    admin::{
        fault::{Body, Fault},
        wire,
    },
    clock::rfc3339,
    http::{answer::Refusal, counted},
    ids::{CorrelationId, TenantId},
    ingest::{self, Delivery, Rejection, Status, Tried},
    plugin::redact,
    store::StoreError,
    tenant::{Tenant, directory::TenantDirectory},
};

pub(super) async fn try_out(
    State(parts): State<Parts>,
    Path(id): Path<String>,
    Body(wanted): Body<wire::Try>,
) -> Answer<wire::Tried> {
    let id = TenantId::parse(&id)?;
    let tenant = parts.directory.get(id.as_str()).ok_or_else(|| StoreError::UnknownTenant(id.clone()))?;
    let delivery = delivery(&id, wanted, parts.clock.now())?;
    let tried = ingest::try_out(&parts.routes, tenant.clone(), delivery).await;
    Ok(Json(shown(tried, &parts.directory, &tenant)))
}

fn delivery(id: &TenantId, wanted: wire::Try, now: OffsetDateTime) -> Result<Delivery, Fault> {
    let body = STANDARD.decode(wanted.body).map_err(|error| wrong("body", &error))?;
    let mut headers = HeaderMap::new();
    for wire::Header { name, value } in wanted.headers {
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|error| wrong("name of a header", &error))?;
        headers
            .append(parsed, HeaderValue::from_str(&value).map_err(|error| wrong(&format!("header {name}"), &error))?);
    }
    let at = |text: String| OffsetDateTime::parse(&text, &Rfc3339).map_err(|error| wrong("time", &error));
    Ok(Delivery {
        tenant_id: Some(id.to_string()),
        correlation_id: CorrelationId::fresh(),
        source: None,
        method: Method::POST,
        path: wanted.path.unwrap_or_else(|| format!("/webhooks/{id}")),
        query: wanted.query,
        headers,
        body: Bytes::from(body),
        received_at: wanted.at.map(at).transpose()?.unwrap_or(now),
    })
}

fn wrong(what: &str, why: &dyn std::fmt::Display) -> Fault {
    Fault::bad_request(format!("the webhook's {what} cannot be used: {why}"))
}

fn shown(tried: Tried, directory: &TenantDirectory, tenant: &Tenant) -> wire::Tried {
    let Tried { by, outcome, metadata, unread } = tried;
    let (generation, version) = by.map(|by| (by.generation, by.version.to_string())).unzip();
    let told = |rejection: &Rejection| counted::told(directory, tenant, rejection, counted::reason(rejection, None));
    let (word, status, reason, job) = match &outcome {
        Ok(Some(kind)) => (Status::Accepted.as_str(), 202, None, Some(kind.as_str().to_owned())),
        Ok(None) => (Status::Ignored.as_str(), 202, None, None),
        Err(rejection) => {
            let status = Refusal::of(rejection).status.as_u16();
            ("refused", status, Some(told(rejection)), None)
        }
    };
    wire::Tried {
        tenant: tenant.id.to_string(),
        tool_type: tenant.tool_type.to_string(),
        version,
        generation,
        outcome: word.to_owned(),
        status,
        reason,
        job,
        metadata: metadata.map(|metadata| fields(metadata, directory, tenant)),
        unread: unread.map(|error| told(&Rejection::Plugin(error))),
    }
}

/// The webhook's fields. If they contain any of the tenant's secrets, those are removed.
fn fields(metadata: TicketMetadata, directory: &TenantDirectory, tenant: &Tenant) -> wire::Metadata {
    let clean = |mut text: String| {
        redact::clean_webhook_text(directory, tenant, &mut text);
        text
    };
    let time = |at: OffsetDateTime| rfc3339(i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX));
    let (resolution, resolved_at, tags) = match metadata.event.clone() {
        Event::Resolved { resolution, resolved_at, tags } => (resolution, resolved_at, tags),
        _ => (None, None, Vec::new()),
    };
    wire::Metadata {
        tenant_id: metadata.tenant_id.map(clean),
        ticket_id: clean(metadata.ticket_id),
        event: metadata.event.as_str().to_owned(),
        subject: metadata.subject.map(clean),
        description: metadata.description.map(clean),
        priority: metadata.priority.as_str().to_owned(),
        raw_priority: metadata.raw_priority.map(clean),
        created_at: metadata.created_at.map(time),
        occurred_at: metadata.occurred_at.map(time),
        delivery_id: metadata.delivery_id.map(clean),
        url: metadata.url.map(clean),
        read_back: metadata.read_back,
        resolution: resolution.map(clean),
        resolved_at: resolved_at.map(time),
        tags: tags.into_iter().map(clean).collect(),
    }
}
