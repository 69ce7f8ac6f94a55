//! The command line and its help texts.

use std::{collections::BTreeSet, ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{
    ArgAction, Parser, Subcommand, ValueEnum,
    builder::{NonEmptyStringValueParser, PossibleValuesParser},
};

use super::{
    console::Output,
    failure::Failure,
    new::scheme::Scheme,
    secret::GivenSecret,
    span::{self, Since},
};
use crate::{
    admin::{
        EVENTS_LISTED_DEFAULT, EVENTS_LISTED_MAX, GRACE_S_MAX, JOBS_LISTED_DEFAULT, JOBS_LISTED_MAX, wire::Problem,
    },
    conformance::{self, FUZZ_S_MAX, LEVEL_MAX},
    ids::{JobIdPrefix, TenantId, ToolType},
    plugin::{journal::checked_reason, signature::TrustedKey},
    tenant::{EnhanceOn, REPLAY_WINDOW_S_MAX},
};

mod tenant;

mod why;

pub use self::{
    tenant::{OneTenant, RemoveTenant, TryTenant},
    why::{Why, WhyJobs},
};

const EXAMPLES: &str = "Examples:
  plugin-ctl status                                what serves, what is wrong, what waits
  plugin-ctl list                                  what serves, broken things first
  plugin-ctl verify libacme_desk.so                try a plugin before it goes into the folder
  plugin-ctl conformance libacme_desk.so           try it harder: a vendor's test of the whole contract
  plugin-ctl install libacme_desk.so               try it, put it into the folder, say what serves then
  plugin-ctl reload acme_desk                      load its file anew; nothing is lost meanwhile
  plugin-ctl rollback acme_desk --reason 'notes are empty since 1.4.0'
  plugin-ctl events --follow                       what happens to plugins and tenants, as it happens
  plugin-ctl tenant add acme --base-url https://desk.acme.example --secret webhook_secret=@key.txt
  plugin-ctl tenant update acme --replay-ahead 2m  change what is named, and nothing else
  plugin-ctl job list --state dead                 what was given up, and why
  plugin-ctl job find 4711                         what became of that ticket
  plugin-ctl job retry --dead                      put back all that was given up
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

impl Args {
    /// How the command writes what it has to say.
    pub fn output(&self) -> Output {
        let Self { json, no_color, wide, .. } = *self;
        Output { json, no_color, wide }
    }
}

/// Parses the command line. Anything but a command has been answered when this returns: help and version on standard
/// output, errors on standard error.
///
/// # Errors
/// The exit code, if there is no command to run.
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
            // Without standard error there is nowhere to report this; the exit code still says it.
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
    /// Show what happened to plugins, tenants and jobs, the newest last
    Events {
        /// Go on and show each one as it comes, also over a restart of the host; Ctrl-C ends it
        #[arg(long)]
        follow: bool,
        /// Only those of this tool type
        #[arg(long, value_parser = ToolType::parse, value_name = "TYPE")]
        tool_type: Option<ToolType>,
        /// Only those of this tenant
        #[arg(long, value_parser = TenantId::parse, value_name = "ID")]
        tenant: Option<TenantId>,
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
    /// Find jobs and look at them, pause them, and try them again
    #[command(subcommand)]
    Job(JobCommand),
}

/// A decision about a plugin, and the reason.
#[derive(Debug, clap::Args)]
pub struct Decision {
    /// The tool type that it serves
    #[arg(value_parser = ToolType::parse)]
    pub tool_type: ToolType,
    /// Why, for the journal: one line
    #[arg(long, value_parser = checked_reason, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// Arguments of `install`.
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

/// Arguments of `conformance`.
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

/// Arguments of `new`.
#[derive(Debug, clap::Args)]
pub struct New {
    /// The tool type, which is also the crate's and the folder's name
    #[arg(value_parser = ToolType::parse)]
    pub name: ToolType,
    /// How the tool's webhooks prove where they come from
    #[arg(long, value_enum, default_value_t = Scheme::Hub, alias = "template")]
    pub scheme: Scheme,
    /// Where plugin-abi is: a folder or a git URL [default: where the checkout came from that this program was built in]
    #[arg(long, value_name = "PATH|URL", alias = "abi")]
    pub plugin_abi: Option<String>,
}

const UPDATE_EXAMPLES: &str = "Examples:
  plugin-ctl tenant update acme --set portal=itdesk --unset basic_user
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
    Remove(RemoveTenant),
    /// Erase what is still stored for removed tenants that had this id
    Erase {
        /// The id, and why
        #[command(flatten)]
        about: OneTenant,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Take a tenant's webhooks again, and run its jobs
    Enable(OneTenant),
    /// Refuse a tenant's webhooks; its jobs wait
    Disable(OneTenant),
    /// Let a tenant's jobs wait; its webhooks are taken all the same
    Pause(OneTenant),
    /// Let a paused tenant's jobs run again
    Resume(OneTenant),
    /// Set a secret; the one before it stays good for a while
    RotateSecret {
        /// The tenant, and why
        #[command(flatten)]
        about: OneTenant,
        /// The secret's name
        name: String,
        /// Its new text: @FILE is read from a file, @- from standard input
        #[arg(default_value = "@-", hide_default_value = true)]
        value: GivenSecret,
        /// For how long the text before it stays good: a number and s, m, h or d
        #[arg(long, default_value = "24h", value_parser = |text: &str| span::seconds(text, GRACE_S_MAX), value_name = "TIME")]
        grace: u32,
        /// Set it also when the tenant has none of this name and its plugin declares none
        #[arg(long)]
        force: bool,
    },
    /// Take a secret away; whatever needs it is refused from then on
    RemoveSecret {
        /// The tenant, and why
        #[command(flatten)]
        about: OneTenant,
        /// The secret's name
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Write tenants as JSON lines that import takes back; of secrets their names alone
    Export {
        /// This one alone
        #[arg(value_parser = TenantId::parse)]
        id: Option<TenantId>,
    },
    /// Add many tenants: JSON lines or a JSON array, of export, or of show --json; all are checked before any is added
    Import {
        /// The file, or - for standard input
        file: PathBuf,
        /// Why they are added
        #[command(flatten)]
        why: Why,
    },
    /// Hand a webhook to a tenant's plugin and show what it says; nothing is kept, and nothing is counted
    #[command(before_help = TRY_EXAMPLES)]
    Try(TryTenant),
}

const TRY_EXAMPLES: &str = "Example:
  plugin-ctl tenant try acme --body body.json --header 'X-Hub-Signature: sha256=5b1f…' --at 2026-11-20T10:00:00Z
";

/// Arguments of `tenant add`.
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
    /// Why it is added
    #[command(flatten)]
    pub why: Why,
}

/// Arguments of `tenant update`.
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
    /// Why it is changed
    #[command(flatten)]
    pub why: Why,
}

/// Arguments that `tenant add` and `tenant update` share.
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
    /// Take settings and secrets also of names that the plugin does not declare
    #[arg(long)]
    pub force: bool,
}

/// The commands about jobs.
#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// Show jobs, the newest first; without --state all that are not done, of one ticket also those
    #[command(before_help = LIST_EXAMPLES)]
    List(ListJobs),
    /// Find jobs by a ticket, a correlation id, or a job's id or its beginning; also those that are done
    Find {
        /// The ticket or id
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        text: String,
    },
    /// Show one job with all its failed attempts, and what it waited for
    Show {
        /// Its id, or a beginning that no other job's id has
        #[arg(value_parser = JobIdPrefix::parse)]
        id: JobIdPrefix,
    },
    /// Put dead letters back into the queue, and let waiting jobs run now
    Retry(RetryJobs),
    /// Let the jobs of all tenants wait; webhooks are taken all the same
    Pause(WhyJobs),
    /// Let jobs run again; those of tenants that are paused by themselves still wait
    Resume(WhyJobs),
    /// Delete dead letters for good: all, or those that are named
    Purge {
        /// Which
        #[command(flatten)]
        which: Which,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Why they are deleted
        #[command(flatten)]
        why: WhyJobs,
    },
}

const LIST_EXAMPLES: &str = "Examples:
  plugin-ctl job list --ticket 4711 --tenant acme
  plugin-ctl job list --state dead --since 2h --reason authentication
";

/// Arguments of `job list`.
#[derive(Debug, clap::Args)]
pub struct ListJobs {
    /// Only those in this state
    #[arg(long)]
    pub state: Option<State>,
    /// Only those of this tenant
    #[arg(long, value_parser = TenantId::parse, value_name = "ID")]
    pub tenant: Option<TenantId>,
    /// Only those of this ticket
    #[arg(long, value_name = "ID")]
    pub ticket: Option<String>,
    /// Only those accepted since then: a time back (2h, 3d), or an RFC 3339 time
    #[arg(long, value_parser = Since::parse, value_name = "TIME")]
    pub since: Option<Since>,
    /// Only those that ended for this reason, or whose last error has this code
    #[arg(long, value_name = "CODE")]
    pub reason: Option<String>,
    /// Only those older than this one: the last of the list before
    #[arg(long, value_parser = JobIdPrefix::parse, value_name = "ID")]
    pub after: Option<JobIdPrefix>,
    /// At most this many
    #[arg(long, default_value_t = JOBS_LISTED_DEFAULT,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(JOBS_LISTED_MAX)))]
    pub limit: u32,
}

/// Arguments of `job retry`.
#[derive(Debug, clap::Args)]
pub struct RetryJobs {
    /// What is tried again
    #[command(flatten)]
    pub what: Retried,
    /// Which of them
    #[command(flatten)]
    pub which: Which,
    /// Why they are tried again
    #[command(flatten)]
    pub why: WhyJobs,
}

/// What `job retry` retries: exactly one of these.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Retried {
    /// This one, by its id or a beginning that no other job's id has: a dead letter, or a job that waits
    #[arg(value_parser = JobIdPrefix::parse, conflicts_with_all = ["tenant", "reason"])]
    pub id: Option<JobIdPrefix>,
    /// Dead letters: all, or those that are named
    #[arg(long)]
    pub dead: bool,
    /// Jobs that wait for their time: all, or those of a tenant
    #[arg(long, conflicts_with = "reason")]
    pub waiting: bool,
}

/// Selects the jobs that a command applies to.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// Only those of this tenant
    #[arg(long, value_parser = TenantId::parse, value_name = "ID")]
    pub tenant: Option<TenantId>,
    /// Only those that were given up for this reason, or whose last error has this code
    #[arg(long, value_name = "CODE")]
    pub reason: Option<String>,
}

impl Which {
    /// Whether all jobs are selected.
    pub fn is_all(&self) -> bool {
        self.tenant.is_none() && self.reason.is_none()
    }
}

/// The state of a job.
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
    /// The name of the state.
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
