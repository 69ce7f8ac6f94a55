//! plugin-ctl: what operators type, sent to the host over its admin socket, and shown to people or to programs.

use self::{
    args::{Args, Command},
    client::Client,
    console::Console,
    failure::Failure,
};

pub mod args;
pub mod client;
pub mod console;
mod events;
pub mod failure;
mod jobs;
mod plugins;
pub mod secret;
mod table;
mod tenants;
mod verify;

/// What a command has to show.
#[derive(Debug)]
pub struct Shown {
    /// For people.
    pub text: String,
    /// For programs.
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
}

/// Carries a command out. Blocks; not within a runtime.
///
/// # Errors
/// When nothing can be shown: see [`failure::Exit`] for how bad it is.
pub fn run(args: Args, console: &Console) -> Result<Shown, Failure> {
    let client = || Client::find(args.socket);
    match args.command {
        Command::List { files: false } => plugins::list(&client()?, console),
        Command::List { files: true } => plugins::files(&client()?, console),
        Command::Info { tool_type } => plugins::info(&client()?, &tool_type),
        Command::Reload { tool_type, all } => plugins::reload(&client()?, console, tool_type, all),
        Command::Enable { tool_type } => plugins::enable(&client()?, console, &tool_type),
        Command::Events { limit } => events::list(&client()?, console, limit),
        Command::Verify { file, verbose } => verify::run(&file, verbose),
        Command::Tenant(command) => tenants::run(command, client, console),
        Command::Job(command) => jobs::run(command, &client()?, console),
    }
}

#[cfg(test)]
mod tests;
