//! The command line: `sandbox serve` plays the ticketing tools, `sandbox send` sends the webhooks that they would.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use sandbox::{DEFAULT_TOKEN, Sandbox, SandboxConfig, Script};
use tokio::signal::unix::{SignalKind, signal};

mod send;

/// The ticketing tools' APIs on loopback, for tests, demos and plugin authors.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the tools' APIs until interrupted.
    Serve(ServeArgs),
    /// Send webhooks, made and signed as the tool would; exit 0 when every answer is 2xx.
    Send(send::SendArgs),
}

#[derive(Args)]
struct ServeArgs {
    /// A loopback address; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The only credential that the tools accept.
    #[arg(long, default_value = DEFAULT_TOKEN)]
    token: String,
    /// Play a tool of your own too, under /script, with the [[answer]] list of this conformance.toml.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Write the base URL to this file once connections are taken.
    #[arg(long)]
    ready_file: Option<PathBuf>,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => serve(args).map(|()| ExitCode::SUCCESS),
        Command::Send(args) => send::run(&args, &mut std::io::stdout().lock()),
    };
    done.unwrap_or_else(|error| {
        eprintln!("sandbox: {error:#}");
        ExitCode::FAILURE
    })
}

fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Handlers come before the ready line, because whoever reads it may send a signal at once.
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let script = args.script.as_deref().map(Script::read).transpose()?;
        let sandbox = Sandbox::start(SandboxConfig { listen: args.listen, token: args.token, script })?;
        if let Some(file) = &args.ready_file {
            write_whole(file, &format!("{}\n", sandbox.url()))?;
        }
        eprintln!("sandbox ready {}", sandbox.url());
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        sandbox.stop();
        Ok(())
    })
}

/// Writes a temporary file and renames it, so that a reader never sees half an address.
fn write_whole(file: &Path, text: &str) -> anyhow::Result<()> {
    let mut draft = file.as_os_str().to_owned();
    draft.push(".new");
    let say = || format!("cannot write {}", file.display());
    fs::write(&draft, text).with_context(say)?;
    fs::rename(&draft, file).with_context(say)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_ready_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ready");
        for text in ["http://127.0.0.1:12345\n", "http://127.0.0.1:1\n"] {
            write_whole(&file, text).unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write_whole(&dir.path().join("none/ready"), "").is_err());
    }
}
