//! The command line: what can be typed, and its help.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{ArgAction, Parser, Subcommand, ValueEnum};

use super::{
    failure::Failure,
    secret::{GivenSecret, parse_grace},
};
use crate::{
    admin::{EVENTS_LISTED_DEFAULT, EVENTS_LISTED_MAX, JOBS_LISTED_DEFAULT, JOBS_LISTED_MAX, wire::Problem},
    ids::{JobId, TenantId, ToolType},
};

const EXAMPLES: &str = "Examples:
  plugin-ctl list                                  what serves, broken things first
  plugin-ctl verify libacme_desk.so                try a plugin before it goes into the folder
  plugin-ctl reload acme_desk                      load its file anew; nothing is lost meanwhile
  plugin-ctl events                                what happened to plugins, the newest last
  plugin-ctl tenant add acme --base-url https://desk.acme.example --secret webhook_secret=@key.txt
  plugin-ctl job list --state dead                 what was given up, and why
  plugin-ctl job retry --dead                      put all of it back
";

/// Looks after a running patchbay: its plugins, tenants and jobs.
#[derive(Debug, Parser)]
#[command(name = "plugin-ctl", version, before_help = EXAMPLES, after_help = AFTER)]
pub struct Args {
    /// The host's admin socket [default: ./state/admin.sock, else /run/patchbay/admin.sock]
    #[arg(long, global = true, env = "PATCHBAY_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Write JSON: data on standard output, a failure as one object on standard error
    #[arg(long, global = true)]
    pub json: bool,
    /// Write no colours, also on a terminal
    #[arg(long, global = true)]
    pub no_color: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// Reads the command line. What is not a command has been answered when this returns: help and version on standard
/// output, a fault on standard error.
///
/// # Errors
/// The exit code that is due then.
pub fn read(line: impl IntoIterator<Item = OsString>) -> Result<Args, ExitCode> {
    let line: Vec<_> = line.into_iter().collect();
    Args::try_parse_from(&line).map_err(|answer| {
        if !answer.use_stderr() {
            // A reader that has gone (`--help | head`) has read enough.
            let _read = answer.print();
            return ExitCode::SUCCESS;
        }
        let failure = Failure::usage(Problem::new("USAGE", answer.to_string().trim_end()));
        if line.iter().any(|word| word == "--json") {
            eprintln!("{}", failure.json());
        } else {
            // Without standard error there is nowhere left to complain; the exit code still says it.
            let _written = answer.print();
        }
        failure.exit.into()
    })
}

const AFTER: &str = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 host not reachable.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what serves, one row for each tool type
    List {
        /// Show the files of the plugin folder instead
        #[arg(long)]
        files: bool,
    },
    /// Show everything about one plugin
    Info {
        /// The tool type that it serves
        #[arg(value_parser = ToolType::parse)]
        tool_type: ToolType,
    },
    /// Look at the plugin folder now; returns when everything serves or is refused
    Reload {
        /// Load this one anew, also when its file has not changed
        #[arg(value_parser = ToolType::parse)]
        tool_type: Option<ToolType>,
        /// Load all anew, also those that have not changed
        #[arg(long, conflicts_with = "tool_type")]
        all: bool,
    },
    /// Let a plugin serve again that the host keeps from it: forgets its crashes and loads it anew
    Enable {
        /// The tool type that it serves
        #[arg(value_parser = ToolType::parse)]
        tool_type: ToolType,
    },
    /// Show what happened to plugins, the newest last
    Events {
        /// At most this many
        #[arg(long, default_value_t = EVENTS_LISTED_DEFAULT,
              value_parser = clap::value_parser!(u32).range(1..=i64::from(EVENTS_LISTED_MAX)))]
        limit: u32,
    },
    /// Try a plugin file as the host would; needs no running host
    Verify {
        /// The plugin
        file: PathBuf,
        /// Show also how it was built, and where its types differ the whole comparison
        #[arg(long)]
        verbose: bool,
    },
    /// Add, show, change and remove tenants
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Look at jobs, pause them, and put dead letters back
    #[command(subcommand)]
    Job(JobCommand),
}

/// The commands about tenants.
#[derive(Debug, Subcommand)]
pub enum TenantCommand {
    /// Add a tenant
    #[command(before_help = "Example:\n  plugin-ctl tenant add acme --base-url https://desk.acme.example \\\n      \
        --secret webhook_secret=@webhook.txt --secret api_key=@-\n")]
    Add(AddTenant),
    /// Show all tenants
    List,
    /// Show one tenant
    Show {
        /// Its id
        #[arg(value_parser = TenantId::parse)]
        id: TenantId,
    },
    /// Remove a tenant and its secrets; its jobs become dead letters
    Remove {
        /// Its id
        #[arg(value_parser = TenantId::parse)]
        id: TenantId,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Take a tenant's webhooks again, and run its jobs
    Enable {
        /// Its id
        #[arg(value_parser = TenantId::parse)]
        id: TenantId,
    },
    /// Refuse a tenant's webhooks; its jobs wait
    Disable {
        /// Its id
        #[arg(value_parser = TenantId::parse)]
        id: TenantId,
    },
    /// Let a tenant's jobs wait; its webhooks are taken all the same
    Pause {
        /// Its id
        #[arg(value_parser = TenantId::parse)]
        id: TenantId,
    },
    /// Let a paused tenant's jobs run again
    Resume {
        /// Its id
        #[arg(value_parser = TenantId::parse)]
        id: TenantId,
    },
    /// Set a secret; the one before it stays good for a while
    RotateSecret {
        /// The tenant's id
        #[arg(value_parser = TenantId::parse)]
        id: TenantId,
        /// The secret's name
        name: String,
        /// Its new text: @FILE is read from a file, @- from standard input
        #[arg(default_value = "@-", hide_default_value = true)]
        value: GivenSecret,
        /// For how long the text before it stays good: a number and s, m, h or d
        #[arg(long, default_value = "24h", value_parser = parse_grace, value_name = "TIME")]
        grace: u32,
    },
    /// Add many tenants: JSON lines or a JSON array; all are checked before any is added
    Import {
        /// The file, or - for standard input
        file: PathBuf,
    },
}

/// What `tenant add` is told.
#[derive(Debug, clap::Args)]
pub struct AddTenant {
    /// Its id: letters, digits and -, up to 64
    #[arg(value_parser = TenantId::parse)]
    pub id: TenantId,
    /// The kind of its tool [default: servicedesk_plus]
    #[arg(long, value_parser = ToolType::parse, value_name = "TYPE")]
    pub tool_type: Option<ToolType>,
    /// Where its tool is; https, or http on loopback
    #[arg(long, value_name = "URL")]
    pub base_url: String,
    /// A secret: @FILE is read from a file, @- from standard input
    #[arg(long = "secret", value_name = "NAME=VALUE", action = ArgAction::Append)]
    pub secrets: Vec<GivenSecret>,
    /// A setting that its plugin reads
    #[arg(long = "set", value_name = "KEY=VALUE", action = ArgAction::Append)]
    pub settings: Vec<String>,
    /// Another origin that its plugin may call
    #[arg(long = "allow-origin", value_name = "URL", action = ArgAction::Append)]
    pub allow_origins: Vec<String>,
}

/// The commands about jobs.
#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// Show jobs, the newest first; without --state all that are not done
    List {
        /// Only those in this state
        #[arg(long)]
        state: Option<State>,
        /// Only those of this tenant
        #[arg(long, value_parser = TenantId::parse, value_name = "ID")]
        tenant: Option<TenantId>,
        /// At most this many
        #[arg(long, default_value_t = JOBS_LISTED_DEFAULT,
              value_parser = clap::value_parser!(u32).range(1..=i64::from(JOBS_LISTED_MAX)))]
        limit: u32,
    },
    /// Show one job with all its failed attempts
    Show {
        /// Its id
        #[arg(value_parser = JobId::parse)]
        id: JobId,
    },
    /// Put dead letters back into the queue
    Retry {
        /// This one
        #[arg(value_parser = JobId::parse, required_unless_present = "dead")]
        id: Option<JobId>,
        /// All of them
        #[arg(long, conflicts_with = "id")]
        dead: bool,
    },
    /// Let the jobs of all tenants wait; webhooks are taken all the same
    Pause,
    /// Let jobs run again; those of tenants that are paused by themselves still wait
    Resume,
    /// Delete all dead letters for good
    Purge {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum State {
    /// Due
    Queued,
    /// Being worked on
    Running,
    /// Waits for its time
    Waiting,
    /// Given up
    Dead,
    /// Finished
    Done,
}

impl State {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Dead => "dead",
            Self::Done => "done",
        }
    }
}
