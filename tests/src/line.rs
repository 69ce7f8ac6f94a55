//! The whole line for a test: the sandbox as the tool, a host, tenants, and webhooks.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use sandbox::{
    Effect, Fault, Note, Sandbox, SandboxConfig, Target, TicketFields, Tool,
    webhook::{Event, Scheme, SignedRequest, Webhook, proof, signed},
};
use serde_json::{Value, json};

use crate::{
    artifacts::Artifact,
    host::{Host, HostBuilder},
    wait::{WAIT_MAX, wait_until},
};

/// The secret that signs tenants' webhooks. Its text appears nowhere else, so that tests can search for it.
pub const WEBHOOK_SECRET: &str = "canary-webhook-secret-5b1f";
/// The API key of the tool. Its text appears nowhere else either.
pub const API_KEY: &str = "canary-api-key-9c3e";
/// The default tool of tenants.
pub const TOOL: Tool = Tool::ServicedeskPlus;

/// A tool and a host.
#[derive(Debug)]
pub struct Line {
    /// The tool.
    pub tool: Sandbox,
    /// The host.
    pub host: Host,
}

impl Line {
    /// A tool, and a host with these plugins and its usual configuration.
    #[track_caller]
    pub fn with(plugins: &[Artifact]) -> Self {
        Self::start(plugins.iter().fold(Host::builder(), |builder, plugin| builder.plugin(*plugin)))
    }

    /// A tool, and the host of this builder.
    #[track_caller]
    pub fn start(builder: HostBuilder) -> Self {
        let mut line = Self::stopped(builder);
        line.host.start();
        line
    }

    /// A tool, and the folder of a host that something else starts.
    #[track_caller]
    pub fn stopped(builder: HostBuilder) -> Self {
        let config = SandboxConfig { token: API_KEY.to_owned(), ..SandboxConfig::default() };
        Self { tool: Sandbox::start(config).expect("a free port on loopback"), host: builder.stopped() }
    }

    /// Adds a tenant of [`TOOL`] with both secrets.
    #[track_caller]
    pub fn add_tenant(&self, id: &str, tool_type: &str, settings: &[(&str, &str)]) {
        self.add_tenant_at(id, tool_type, &self.tool.base_url(TOOL), settings);
    }

    /// Adds a tenant whose tool has this URL.
    #[track_caller]
    pub fn add_tenant_at(&self, id: &str, tool_type: &str, base_url: &str, settings: &[(&str, &str)]) {
        let secret = |name: &str, text: &str| {
            let file = self.host.folder().join(name);
            fs::write(&file, text).expect("the folder is the test's");
            format!("--secret={name}=@{}", file.display())
        };
        let mut args = vec!["tenant".to_owned(), "add".to_owned(), id.to_owned()];
        args.extend([format!("--tool-type={tool_type}"), format!("--base-url={base_url}")]);
        args.extend([secret("webhook_secret", WEBHOOK_SECRET), secret("api_key", API_KEY)]);
        args.extend(settings.iter().map(|(name, value)| format!("--set={name}={value}")));
        self.host.ctl(&args.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// Creates a ticket with default fields in [`TOOL`].
    pub fn open_ticket(&self, id: &str) {
        self.tool.put_ticket(TOOL, id, TicketFields::default()).expect("the sandbox has room");
    }

    /// Waits for the first note on a ticket of [`TOOL`], and checks that it is the only one.
    #[track_caller]
    pub fn note_on(&self, id: &str) -> Note {
        self.tool.wait_for_notes(TOOL, id, 1, WAIT_MAX).unwrap_or_else(|few| panic!("{few}"));
        let mut notes = self.notes(id);
        assert_eq!(notes.len(), 1, "{notes:#?}");
        notes.remove(0)
    }

    /// The current notes on a ticket of [`TOOL`].
    pub fn notes(&self, id: &str) -> Vec<Note> {
        self.tool.ticket(TOOL, id).map(|ticket| ticket.notes).unwrap_or_default()
    }

    /// Makes the tool fail: these requests, this many times (`None`: from now on), with this effect.
    pub fn fail(&self, operation: Target, times: Option<u32>, effect: Effect) {
        let fault = Fault { operation, times, effect: Some(effect), ..Fault::default() };
        self.tool.set_faults(vec![fault]).expect("the sandbox has room");
    }

    /// Makes the tool work again.
    pub fn repair(&self) {
        self.tool.set_faults(Vec::new()).expect("no faults need no room");
    }

    /// Waits until this ticket's job matches, and returns the output of `job show`.
    #[track_caller]
    pub fn job(&self, ticket: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait_until(&format!("the job of ticket {ticket}: {what}"), WAIT_MAX, || {
            let listed = [&["job", "list"][..], &["job", "list", "--state", "done"]].map(|args| self.host.ctl(args));
            let mut jobs = listed.iter().flat_map(|list| list.as_array().expect("job list is an array"));
            let found = jobs.find(|job| job["ticket_id"] == ticket)?;
            // Between the two commands the job may be finished or become a dead letter, so try again.
            let shown = self.host.try_ctl(&["job", "show", found["id"].as_str().expect("a job has an id")]);
            (shown.code == 0).then(|| shown.json()).filter(&wanted)
        })
    }

    /// Waits until no job is live.
    #[track_caller]
    pub fn idle(&self) {
        wait_until("no live jobs", WAIT_MAX, || self.is_idle().then_some(()));
    }

    #[track_caller]
    fn is_idle(&self) -> bool {
        let jobs = self.host.ctl(&["job", "list"]);
        jobs.as_array().expect("job list is an array").iter().all(|job| job["state"] == "dead")
    }

    /// Moves the clock forward hour by hour until no job is live. Waiting jobs are retried, and become dead letters in
    /// the end.
    #[track_caller]
    pub fn run_out(&self) {
        wait_until("no live jobs, at any time", WAIT_MAX, || {
            self.host.advance_clock(Duration::from_secs(3_600));
            self.is_idle().then_some(())
        });
    }

    /// Moves the clock past the longest wait between two attempts of a job that has failed `attempts` times.
    #[track_caller]
    pub fn skip_wait(&self, attempts: u32) {
        self.host.advance_clock(Duration::from_secs(3 << attempts));
    }
}

/// The webhook of a ticket created now, in ServiceDesk Plus's flat form.
pub fn created(tenant: &str, ticket: &str) -> SignedRequest {
    told(&Webhook::new(tenant, Event::Created, ticket))
}

/// The webhook of a ticket resolved now.
pub fn resolved(tenant: &str, ticket: &str) -> SignedRequest {
    told(&Webhook::new(tenant, Event::Resolved, ticket))
}

/// A webhook for the test plugins whose few words are the same each time: an event such as `ticket_reopened`, and the
/// resolution for plugins that read it from a webhook.
pub fn minimal(tenant: &str, ticket: &str, event: &str) -> SignedRequest {
    let body = json!({
        "tenant_id": tenant, "ticket_id": ticket, "event": event, "subject": format!("Gryphon {ticket}"),
        "resolution": "Feed the gryphon",
    });
    let body = body.to_string().into_bytes();
    let proof = proof(Scheme::HubHeader, WEBHOOK_SECRET, &body).expect("the secret is not empty");
    let headers = vec![("content-type", "application/json".to_owned()), proof];
    SignedRequest { path: format!("/webhooks/{tenant}"), headers, body }
}

/// A webhook signed for both ServiceDesk Plus and the test plugins, with a correlation id that names the ticket.
pub fn told(webhook: &Webhook) -> SignedRequest {
    let mut request = signed(webhook, Scheme::HubHeader, WEBHOOK_SECRET).expect("the secret is not empty");
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
    let id = format!("test-{}-{}", webhook.ticket_id, since_epoch.as_nanos());
    request.headers.push(("x-correlation-id", id));
    request
}
