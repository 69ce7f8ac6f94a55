//! `sandbox send`: sends webhooks over HTTP, and shows the receiver's answers.

use std::{fs, io::Write, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, bail, ensure};
use clap::Args;
use sandbox::{
    TicketFields, Tool,
    webhook::{self, Event, Form, Scheme, SignedRequest, Webhook},
};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use ureq::Agent;

/// Timeout of one request with its answer.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(crate) struct SendArgs {
    /// The receiving host, such as http://127.0.0.1:8080.
    #[arg(long)]
    to: String,
    /// The tenant's id at that host.
    #[arg(long)]
    tenant: String,
    /// The tool that sends.
    #[arg(long, value_enum, default_value_t = Tool::ServicedeskPlus)]
    tool: Tool,
    /// What happened to the ticket.
    #[arg(long, value_enum, default_value_t = Event::Created)]
    event: Event,
    /// The ticket's id.
    #[arg(long)]
    ticket: String,
    /// The webhook secret that tool and host share.
    #[arg(long, required_unless_present = "secret_file", conflicts_with = "secret_file")]
    secret: Option<String>,
    /// A file with the secret; a newline at its end does not count.
    #[arg(long)]
    secret_file: Option<PathBuf>,
    /// How the webhook proves where it comes from.
    #[arg(long, value_enum, default_value_t = Scheme::SignatureHeader)]
    scheme: Scheme,
    /// How the body is built.
    #[arg(long, value_enum, default_value_t = Form::Flat)]
    form: Form,
    /// The ticket's subject.
    #[arg(long)]
    subject: Option<String>,
    /// The ticket's priority, by its name in the tool.
    #[arg(long)]
    priority: Option<String>,
    /// When the ticket was opened (RFC 3339); now if not given.
    #[arg(long, value_parser = |text: &str| OffsetDateTime::parse(text, &Rfc3339))]
    created_at: Option<OffsetDateTime>,
    /// A running sandbox, in which the ticket is made first.
    #[arg(long)]
    sandbox: Option<String>,
    /// How many webhooks; the number at the end of --ticket counts up.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Print one JSON object per webhook.
    #[arg(long)]
    json: bool,
}

/// Sends, prints each answer to `out`, and returns an exit code that says whether all of them were 2xx.
pub(crate) fn run(args: &SendArgs, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let secret = args.secret()?;
    let agent = agent();
    let mut accepted = 0;
    for ticket_id in args.ticket_ids()? {
        let webhook = args.webhook(ticket_id);
        if let Some(sandbox) = &args.sandbox {
            make_ticket(&agent, sandbox, &webhook)?;
        }
        let request = webhook::signed(&webhook, args.scheme, &secret)?;
        let (status, body) = post(&agent, &args.to, &request)?;
        accepted += u64::from((200..300).contains(&status));
        if args.json {
            // JSON bodies are shown as JSON, all others as text.
            let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
            writeln!(out, "{}", json!({ "ticket_id": webhook.ticket_id, "status": status, "body": body }))?;
        } else {
            writeln!(out, "{status} {body}")?;
        }
    }
    Ok(if accepted == args.count { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl SendArgs {
    fn secret(&self) -> anyhow::Result<String> {
        match (&self.secret, &self.secret_file) {
            (Some(secret), _) => Ok(secret.clone()),
            (None, Some(file)) => {
                let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
                Ok(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            (None, None) => bail!("--secret or --secret-file is needed"),
        }
    }

    fn ticket_ids(&self) -> anyhow::Result<Vec<String>> {
        if self.count == 1 {
            return Ok(vec![self.ticket.clone()]);
        }
        let stem = self.ticket.trim_end_matches(|last: char| last.is_ascii_digit());
        let digits = &self.ticket[stem.len()..];
        let first: u64 = digits.parse().context("--count counts up from the number at the end of --ticket")?;
        let end = first.checked_add(self.count).context("--ticket and --count are too large together")?;
        // Ids of a fixed length keep their length.
        Ok((first..end).map(|number| format!("{stem}{number:0width$}", width = digits.len())).collect())
    }

    fn webhook(&self, ticket_id: String) -> Webhook {
        let mut ticket = TicketFields::default();
        if let Some(subject) = &self.subject {
            ticket.subject.clone_from(subject);
        }
        if let Some(priority) = &self.priority {
            ticket.priority.clone_from(priority);
        }
        ticket.created_at = self.created_at.unwrap_or(ticket.created_at);
        let tenant_id = self.tenant.clone();
        Webhook { tool: self.tool, tenant_id, event: self.event, form: self.form, ticket_id, ticket }
    }
}

fn agent() -> Agent {
    Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .max_redirects(0)
        // Everything here is on loopback, which no proxy of the environment reaches.
        .proxy(None)
        .build()
        .into()
}

fn make_ticket(agent: &Agent, sandbox: &str, webhook: &Webhook) -> anyhow::Result<()> {
    let url =
        format!("{}/_sandbox/tickets/{}/{}", sandbox.trim_end_matches('/'), webhook.tool.name(), webhook.ticket_id);
    let body = serde_json::to_vec(&webhook.ticket_after())?;
    let mut answer = agent.put(&url).send(&body[..]).with_context(|| format!("cannot reach {url}"))?;
    let text = answer.body_mut().read_to_string()?;
    ensure!(answer.status().is_success(), "the sandbox made no ticket: {} {text}", answer.status().as_u16());
    Ok(())
}

fn post(agent: &Agent, to: &str, request: &SignedRequest) -> anyhow::Result<(u16, String)> {
    let url = format!("{}{}", to.trim_end_matches('/'), request.path);
    let mut post = agent.post(&url);
    for (name, value) in &request.headers {
        post = post.header(*name, value);
    }
    let mut answer = post.send(&request.body[..]).with_context(|| format!("cannot reach {url}"))?;
    let text = answer.body_mut().read_to_string().context("the answer broke off")?;
    Ok((answer.status().as_u16(), text))
}

#[cfg(test)]
mod tests;
