//! Arguments of commands about a single tenant.

use std::path::PathBuf;

use clap::ArgAction;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::Why;
use crate::{admin::KEEP_DAYS_MAX, ids::TenantId};

/// A tenant, and the reason for the command.
#[derive(Debug, Clone, clap::Args)]
pub struct OneTenant {
    /// Its id
    #[arg(value_parser = TenantId::parse)]
    pub id: TenantId,
    /// Why
    #[command(flatten)]
    pub why: Why,
}

/// Arguments of `tenant remove`.
#[derive(Debug, clap::Args)]
pub struct RemoveTenant {
    /// The tenant, and why
    #[command(flatten)]
    pub about: OneTenant,
    /// Keep what is stored for so many days, hidden from whoever gets the id; its jobs become dead letters
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=i64::from(KEEP_DAYS_MAX)))]
    pub keep: Option<u32>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// Arguments of `tenant try`.
#[derive(Debug, clap::Args)]
pub struct TryTenant {
    /// Its id
    #[arg(value_parser = TenantId::parse)]
    pub id: TenantId,
    /// The webhook's body, byte for byte: a file, or - for standard input
    #[arg(long, value_name = "FILE")]
    pub body: PathBuf,
    /// A header of the webhook
    #[arg(long = "header", value_name = "NAME: VALUE", action = ArgAction::Append)]
    pub headers: Vec<String>,
    /// Its path [default: /webhooks/ID]
    #[arg(long)]
    pub path: Option<String>,
    /// Its query, without the question mark
    #[arg(long, default_value = "", hide_default_value = true)]
    pub query: String,
    /// When it came, where its signature has a time: 2026-11-20T10:00:00Z [default: now]
    #[arg(long, value_name = "RFC3339", value_parser = |text: &str| OffsetDateTime::parse(text, &Rfc3339))]
    pub at: Option<OffsetDateTime>,
}
