//! The five tools' plugins: the cost of validate and extract through the ABI for each tool's webhook, and the size of
//! each plugin's file.

use std::{
    fs,
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::ensure;
use plugin_abi::{
    host::{CallContext, WebhookParts, extract_metadata, validate_webhook},
    raw::Field,
    testing::FakeHost,
    time::OffsetDateTime,
};
use sandbox::{
    Tool,
    webhook::{Event, Form, Scheme, Webhook, signed},
};

use crate::{
    installation::Programs,
    load::Copies,
    report::{Goal, Report, Row, median},
    webhooks::{SECRET, TENANT},
};

/// Number of rounds for each tool; the median counts.
const ROUNDS: usize = 9;
/// Number of calls in a round.
const CALLS: usize = 10_000;
/// The goal for validate and extract together, in microseconds.
const US_MAX: f64 = 15.0;
/// The goal for the size of a plugin's file, in MiB.
const MIB_MAX: f64 = 1.5;

/// Each tool with the proof and form of its usual webhook, a ticket's id, and its tenant's settings.
type Usual = (Tool, &'static str, Scheme, Form, &'static str, &'static [(&'static str, &'static str)]);
const USUAL: [Usual; 5] = [
    (Tool::ServicedeskPlus, "libservicedesk_plus.so", Scheme::SignatureHeader, Form::Flat, "101", &[]),
    (Tool::Freshservice, "libfreshservice.so", Scheme::StaticToken, Form::Flat, "101", &[]),
    (
        Tool::ServiceNow,
        "libservicenow.so",
        Scheme::ServicenowSignature,
        Form::Flat,
        "9d385017c611228701d22104cc95c371",
        &[],
    ),
    (Tool::Jira, "libjira.so", Scheme::XHubSignature, Form::Flat, "IT-101", &[("api_auth", "bearer")]),
    (Tool::Zendesk, "libzendesk.so", Scheme::ZendeskSignature, Form::Event, "101", &[("api_auth", "bearer")]),
];

/// Measures all five.
///
/// # Errors
/// When a plugin cannot be loaded, or judges its webhook wrongly.
pub(crate) fn run(programs: &Programs, report: &mut Report) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&programs.folder)?;
    for (number, usual) in (1..).zip(USUAL) {
        let file = programs.folder.join(usual.1);
        let (us, bytes) = call(&Copies::of(programs, &file, folder.path()), number, usual)?;
        report.add(Row {
            group: "tools",
            what: format!("{}, validate + extract of {bytes} bytes", usual.0.name()),
            unit: "µs",
            baseline: None,
            product: us,
            goal: Some(Goal::Figure(US_MAX)),
        });
        report.add(Row {
            group: "tools",
            what: format!("{}, size of its file", usual.0.name()),
            unit: "MiB",
            baseline: None,
            product: mebibytes(&file)?,
            goal: Some(Goal::Figure(MIB_MAX)),
        });
    }
    Ok(())
}

/// The time of a call through the ABI, in microseconds, with the SDK's test host behind it, and the length of the body.
fn call(copies: &Copies<'_>, number: u64, usual: Usual) -> anyhow::Result<(f64, usize)> {
    let (tool, _, scheme, form, ticket, settings) = usual;
    let plugin = copies.plugin(number, FakeHost::new().secret("webhook_secret", SECRET))?;
    let webhook = Webhook { tool, form, ..Webhook::new(TENANT, Event::Created, ticket) };
    let request = signed(&webhook, scheme, SECRET)?;
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let context = CallContext {
        tenant_id: TENANT,
        base_url: "https://desk.example",
        settings: &settings,
        attempt: 0,
        idempotency_key: None,
        deadline: OffsetDateTime::now_utc(),
        replay_window: Duration::from_secs(300),
        replay_ahead: Duration::from_secs(30),
    };
    let parts = WebhookParts {
        method: "POST",
        path: &request.path,
        query: "",
        headers: || request.headers.iter().map(|(name, value)| (*name, value.as_bytes())),
        body: &request.body,
        received_at: OffsetDateTime::now_utc(),
    };
    let judge = |request: &[Field<'_>]| {
        let valid =
            black_box(validate_webhook(plugin.instance(), plugin.host(), 0, request)).map(|valid| valid.authentic);
        ensure!(valid == Ok(true), "{}: validate: {valid:?}", tool.name());
        let metadata = black_box(extract_metadata(plugin.instance(), plugin.host(), 0, request));
        ensure!(metadata.is_ok(), "{}: extract: {metadata:?}", tool.name());
        Ok(())
    };
    let round = || -> anyhow::Result<f64> {
        let started = Instant::now();
        for _ in 0..CALLS {
            context.with_webhook(&parts, judge)?;
        }
        Ok(started.elapsed().as_secs_f64() * 1e6 / CALLS as f64)
    };
    let rounds = (0..ROUNDS).map(|_| round()).collect::<anyhow::Result<Vec<_>>>()?;
    Ok((median(rounds), request.body.len()))
}

fn mebibytes(file: &Path) -> anyhow::Result<f64> {
    Ok(fs::metadata(file)?.len() as f64 / f64::from(1 << 20))
}
