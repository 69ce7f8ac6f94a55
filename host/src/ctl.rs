//! plugin-ctl: sends operators' commands to the host over its admin socket, and shows the answers to people or
//! programs.

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

/// The output of a command.
#[derive(Debug)]
pub struct Shown {
    /// The output for people.
    pub text: String,
    /// The output for programs; null if everything has been shown already.
    pub json: serde_json::Value,
    /// What was refused or is wrong. The rest of the output is shown anyway.
    pub failure: Option<Failure>,
}

impl Shown {
    /// The output of a command that succeeded.
    pub fn new(text: impl Into<String>, json: &impl serde::Serialize) -> Self {
        let json = serde_json::to_value(json).expect("what travels on the wire has a JSON form");
        Self { text: text.into(), json, failure: None }
    }

    /// The output of a command that has already shown everything.
    pub fn already() -> Self {
        Self { text: String::new(), json: serde_json::Value::Null, failure: None }
    }
}

/// Runs a command. Blocks; must not be called within a runtime.
///
/// # Errors
/// If there is nothing to show. [`failure::Exit`] says how serious it is.
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
