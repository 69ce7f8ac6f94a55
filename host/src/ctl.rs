//! plugin-ctl: what operators type, sent to the host over its admin socket, and shown to people or to programs.

use self::{
    args::{Args, Command},
    client::Client,
    console::Console,
    failure::Failure,
};

pub mod args;
pub mod client;
mod conformance;
pub mod console;
mod decisions;
mod declared;
mod events;
pub mod failure;
mod install;
mod jobs;
mod layout;
mod new;
mod peer;
mod plugins;
pub mod secret;
mod span;
mod status;
mod table;
mod tenants;
mod users;
mod verify;

/// What a command has to show.
#[derive(Debug)]
pub struct Shown {
    /// For people.
    pub text: String,
    /// For programs; null when all has been shown already.
    pub json: serde_json::Value,
    /// What was refused or found wrong; the rest is shown all the same.
    pub failure: Option<Failure>,
}

impl Shown {
    /// A good outcome.
    pub fn new(text: impl Into<String>, json: &impl serde::Serialize) -> Self {
        let json = serde_json::to_value(json).expect("what travels on the wire has a JSON form");
        Self { text: text.into(), json, failure: None }
    }

    /// The end of a command that has shown all as it came.
    pub fn already() -> Self {
        Self { text: String::new(), json: serde_json::Value::Null, failure: None }
    }
}

/// Carries a command out. Blocks; not within a runtime.
///
/// # Errors
/// When nothing can be shown: see [`failure::Exit`] for how bad it is.
pub fn run(args: Args, console: &Console) -> Result<Shown, Failure> {
    let client = || Client::find(args.socket);
    match args.command {
        Command::Status => status::run(&client()?, console),
        Command::List { files: false } => plugins::list(&client()?, console),
        Command::List { files: true } => plugins::files(&client()?, console),
        Command::Info { tool_type } => plugins::info(&client()?, &tool_type),
        Command::Reload { tool_type, all, reason } => plugins::reload(&client()?, console, tool_type, all, reason),
        Command::Rollback(about) => decisions::decide(&client()?, console, "rollback", about),
        Command::Pin { about, to } => decisions::pin(&client()?, console, about, to),
        Command::Unpin(about) => decisions::decide(&client()?, console, "unpin", about),
        Command::Disable(about) => decisions::decide(&client()?, console, "disable", about),
        Command::Enable(about) => decisions::decide(&client()?, console, "enable", about),
        Command::Install(wanted) => install::run(&client()?, console, &wanted),
        Command::Events { follow, limit, tool_type, tenant } => {
            let wanted = events::Wanted { tool_type, tenant };
            if follow {
                events::follow(&client()?, console, limit, &wanted)
            } else {
                events::list(&client()?, console, limit, &wanted)
            }
        }
        Command::Verify { file, trusted_key, verbose } => verify::run(&file, trusted_key, verbose),
        Command::Conformance(wanted) => conformance::run(&wanted),
        Command::New(wanted) => new::run(&wanted),
        Command::Tenant(command) => tenants::run(command, client, console),
        Command::Job(command) => jobs::run(command, &client()?, console),
    }
}

#[cfg(test)]
mod tests;
