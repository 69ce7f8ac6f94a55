//! The command line: what can be typed, and its help.

use std::{collections::BTreeSet, ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{ArgAction, Parser, Subcommand, ValueEnum, builder::PossibleValuesParser};

use super::{failure::Failure, new::Template, secret::GivenSecret, span};
use crate::{
    admin::{
        EVENTS_LISTED_DEFAULT, EVENTS_LISTED_MAX, GRACE_S_MAX, JOBS_LISTED_DEFAULT, JOBS_LISTED_MAX, KEEP_DAYS_MAX,
        wire::Problem,
    },
    conformance::{self, FUZZ_S_MAX, LEVEL_MAX},
    ids::{JobId, TenantId, ToolType},
    plugin::{journal::checked_reason, signature::TrustedKey},
    tenant::{EnhanceOn, REPLAY_WINDOW_S_MAX},
};

const EXAMPLES: &str = "Examples:
  plugin-ctl status                                what serves, what is wrong, what waits
  plugin-ctl list                                  what serves, broken things first
  plugin-ctl verify libacme_desk.so                try a plugin before it goes into the folder
  plugin-ctl conformance libacme_desk.so           try it harder: a vendor's test of the whole contract
  plugin-ctl install libacme_desk.so               try it, put it into the folder, say what serves then
  plugin-ctl reload acme_desk                      load its file anew; nothing is lost meanwhile
  plugin-ctl rollback acme_desk --reason 'notes are empty since 1.4.0'
  plugin-ctl events --follow                       what happens to plugins, as it happens
  plugin-ctl tenant add acme --base-url https://desk.acme.example --secret webhook_secret=@key.txt
  plugin-ctl tenant update acme --replay-ahead 2m  change what is named, and nothing else
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
    /// Show all columns of a table
    #[arg(long, global = true)]
    pub wide: bool,
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
    /// Show in a few lines what serves, what is wrong and what waits; exit code 0 also when something is wrong
    Status,
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
        /// Why, for the journal
        #[arg(long, value_parser = checked_reason, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Go back to the previous version; the current file is skipped until its content changes
    Rollback(Decision),
    /// Let one version serve, whatever else comes into the folder
    Pin {
        /// The plugin, and why
        #[command(flatten)]
        about: Decision,
        /// A version, or the first digits of a SHA-256, at least eight
        #[arg(value_name = "VERSION|SHA256")]
        to: String,
    },
    /// Let the highest version serve again
    Unpin(Decision),
    /// Stop a plugin: its webhooks get 503, its jobs wait
    Disable(Decision),
    /// Let a plugin serve again: undoes disable and rollback, forgets its crashes and loads it anew
    Enable(Decision),
    /// Put a plugin file into the plugin folder and take it up; says what serves then
    #[command(
        before_help = "Examples:\n  plugin-ctl install libacme_desk.so --reason 'ticket 4711: notes with tables'\n  \
            plugin-ctl install --kept acme_desk     bring back what served last, when its file is gone\n"
    )]
    Install(Install),
    /// Show what happened to plugins, the newest last
    Events {
        /// Go on and show each one as it comes, also over a restart of the host; Ctrl-C ends it
        #[arg(long)]
        follow: bool,
        /// Only those of this tool type
        #[arg(long, value_parser = ToolType::parse, value_name = "TYPE")]
        tool_type: Option<ToolType>,
        /// At most this many; 10000 is the highest
        #[arg(long, default_value_t = EVENTS_LISTED_DEFAULT,
              value_parser = clap::value_parser!(u32).range(1..=i64::from(EVENTS_LISTED_MAX)))]
        limit: u32,
    },
    /// Try a plugin file as the host would; needs no running host
    Verify {
        /// The plugin
        file: PathBuf,
        /// A minisign public key (RW…), or @FILE; one of those that are given must have signed the plugin
        #[arg(long, value_name = "KEY|@FILE", value_parser = TrustedKey::parse_given)]
        trusted_key: Vec<TrustedKey>,
        /// Show also how it was built, and where its types differ the whole comparison
        #[arg(long)]
        verbose: bool,
    },
    /// Try whether a plugin keeps its contract, case by case; needs no running host
    #[command(before_help = CONFORMANCE_EXAMPLES)]
    Conformance(Conformance),
    /// Write the crate of a new plugin, whole, into a folder of its name
    New(New),
    /// Add, show, change and remove tenants
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Look at jobs, pause them, and put dead letters back
    #[command(subcommand)]
    Job(JobCommand),
}

/// What is decided about a plugin, and why.
#[derive(Debug, clap::Args)]
pub struct Decision {
    /// The tool type that it serves
    #[arg(value_parser = ToolType::parse)]
    pub tool_type: ToolType,
    /// Why, for the journal: one line
    #[arg(long, value_parser = checked_reason, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// What `install` is told.
#[derive(Debug, clap::Args)]
pub struct Install {
    /// The plugin; FILE.minisig goes with it when it is there
    #[arg(required_unless_present = "kept")]
    pub file: Option<PathBuf>,
    /// Instead of a file, what served this tool type last and is kept by the host
    #[arg(long, value_name = "TOOL_TYPE", value_parser = ToolType::parse, conflicts_with = "file")]
    pub kept: Option<ToolType>,
    /// Why, for the journal
    #[arg(long, value_parser = checked_reason, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Its name in the plugin folder [default: the file's own]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

const CONFORMANCE_EXAMPLES: &str = "Examples:
  plugin-ctl conformance target/release/libacme_desk.so
  plugin-ctl conformance libacme_desk.so --case fuzz --fuzz-time 10m --seed 4711
  plugin-ctl conformance libacme_desk.so --junit conformance.xml
";

/// What `conformance` is told.
#[derive(Debug, clap::Args)]
pub struct Conformance {
    /// The plugin
    pub file: PathBuf,
    /// Webhooks, tickets and the tool's answers [default: conformance.toml beside the plugin, else in the current folder]
    #[arg(long, value_name = "FILE")]
    pub with: Option<PathBuf>,
    /// Up to this level: 1 identity, 2 methods, 3 lifetime, 4 concurrency, 5 random damage
    #[arg(long, default_value_t = LEVEL_MAX, value_parser = clap::value_parser!(u8).range(1..=i64::from(LEVEL_MAX)))]
    pub level: u8,
    /// This case alone
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(conformance::names()), conflicts_with = "level",
          hide_possible_values = true)]
    pub case: Option<String>,
    /// For how long level 5 goes on: a number and s, m, h or d
    #[arg(long, default_value = "10s", value_parser = |text: &str| span::seconds(text, FUZZ_S_MAX), value_name = "TIME")]
    pub fuzz_time: u32,
    /// Where level 5 begins, as a report says it [default: another one each time]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Write the report as JUnit's XML too
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}

/// What `new` is told.
#[derive(Debug, clap::Args)]
pub struct New {
    /// The tool type, which is also the crate's and the folder's name
    #[arg(value_parser = ToolType::parse)]
    pub name: ToolType,
    /// How the tool's webhooks prove where they come from
    #[arg(long, value_enum, default_value_t = Template::Hub)]
    pub template: Template,
    /// Where plugin-abi is: a folder or a git URL [default: the checkout that this program was built in]
    #[arg(long, value_name = "PATH|URL")]
    pub plugin_abi: Option<String>,
}

const UPDATE_EXAMPLES: &str = "Examples:
  plugin-ctl tenant update acme --set project=HELP --unset group
  plugin-ctl tenant update acme --base-url https://desk-new.acme.example --secret api_key=@key.txt
  plugin-ctl tenant update acme --tool-type jira --base-url https://acme.example \\
      --secret webhook_secret=@webhook.txt --secret api_key=@key.txt
With another tool type or base URL live jobs become dead letters (tenant_changed); it asks first.
";

/// The commands about tenants.
#[derive(Debug, Subcommand)]
pub enum TenantCommand {
    /// Add a tenant
    #[command(before_help = "Example:\n  plugin-ctl tenant add acme --base-url https://desk.acme.example \\\n      \
        --secret webhook_secret=@webhook.txt --secret api_key=@-\n")]
    Add(AddTenant),
    /// Change what is named of a tenant and nothing else, all of it at once
    #[command(before_help = UPDATE_EXAMPLES)]
    Update(UpdateTenant),
    /// Show all tenants
    List,
    /// Show one tenant
    Show {
        /// Its id
        #[arg(value_parser = TenantId::parse)]
        id: TenantId,
    },
    /// Remove a tenant with its secrets and all that is stored for it
    Remove {
        /// Its id
        #[arg(value_parser = TenantId::parse)]
        id: TenantId,
        /// Keep what is stored for so many days, hidden from whoever gets the id; its jobs become dead letters
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=i64::from(KEEP_DAYS_MAX)))]
        keep: Option<u32>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Erase what is still stored for removed tenants that had this id
    Erase {
        /// The id
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
        #[arg(long, default_value = "24h", value_parser = |text: &str| span::seconds(text, GRACE_S_MAX), value_name = "TIME")]
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
    /// What a change may name too
    #[command(flatten)]
    pub options: TenantOptions,
}

/// What `tenant update` is told.
#[derive(Debug, clap::Args)]
pub struct UpdateTenant {
    /// Its id
    #[arg(value_parser = TenantId::parse)]
    pub id: TenantId,
    /// The kind of its tool
    #[arg(long, value_parser = ToolType::parse, value_name = "TYPE")]
    pub tool_type: Option<ToolType>,
    /// Where its tool is; https, or http on loopback
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,
    /// What a new tenant is told too
    #[command(flatten)]
    pub options: TenantOptions,
    /// A setting that it has no more; and allow_from, by which its webhooks may come from anywhere again
    #[arg(long, value_name = "KEY", action = ArgAction::Append)]
    pub unset: Vec<String>,
    /// An origin that its plugin may call no more
    #[arg(long = "remove-origin", value_name = "URL", action = ArgAction::Append)]
    pub remove_origins: Vec<String>,
    /// A network that its webhooks may come from no more
    #[arg(long = "remove-from", value_name = "CIDR", action = ArgAction::Append)]
    pub remove_from: Vec<String>,
    /// Do not ask before live jobs become dead letters
    #[arg(long)]
    pub yes: bool,
}

/// What `tenant add` and `tenant update` are told alike.
#[derive(Debug, Default, clap::Args)]
pub struct TenantOptions {
    /// A secret: @FILE is read from a file, @- from standard input. In an update it takes the place of the one before at
    /// once, as rotate-secret --grace 0s does
    #[arg(long = "secret", value_name = "NAME=VALUE", action = ArgAction::Append)]
    pub secrets: Vec<GivenSecret>,
    /// A setting that its plugin reads
    #[arg(long = "set", value_name = "KEY=VALUE", action = ArgAction::Append)]
    pub settings: Vec<String>,
    /// Another origin that its plugin may call
    #[arg(long = "allow-origin", value_name = "URL", action = ArgAction::Append)]
    pub allow_origins: Vec<String>,
    /// A network or address that its webhooks may come from: 203.0.113.0/24; without any they may come from anywhere
    #[arg(long = "allow-from", value_name = "CIDR", action = ArgAction::Append)]
    pub allow_from: Vec<String>,
    /// How old a signed webhook may be: 300s, 24h; for a new tenant 300s unless it is said
    #[arg(long, value_parser = |text: &str| span::seconds(text, REPLAY_WINDOW_S_MAX), value_name = "TIME")]
    pub replay_window: Option<u32>,
    /// How far a sender's clock may be ahead: 30s, 5m; for a new tenant 30s unless it is said
    #[arg(long, value_parser = |text: &str| span::seconds(text, REPLAY_WINDOW_S_MAX), value_name = "TIME")]
    pub replay_ahead: Option<u32>,
    /// Which events get notes: created or created,updated; for a new tenant created unless it is said
    #[arg(long, value_parser = EnhanceOn::list, value_name = "LIST")]
    pub enhance_on: Option<BTreeSet<EnhanceOn>>,
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
        /// At most this many; 1000 is the highest
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
