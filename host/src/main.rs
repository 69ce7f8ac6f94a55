//! `patchbay`: reads its arguments and configuration, starts the host, and says how it ended.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use patchbay::{
    app,
    config::{self, Config},
    plugin::probe,
};

/// Wrong arguments or configuration.
const EXIT_USAGE: u8 = 64;

/// A host for compiled ticketing-tool plugins.
#[derive(Parser)]
#[command(version, after_help = "Operators use plugin-ctl; see docs/tutorial/first-note.md.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the host until SIGTERM or SIGINT.
    Serve(ConfigFile),
    /// Reads the configuration and lists every fault in it.
    CheckConfig(ConfigFile),
}

#[derive(clap::Args)]
struct ConfigFile {
    /// The configuration file [default: patchbay.toml in the current directory, when it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    // Before anything else: this very program is also the process in which plugins are tried.
    if let Some(code) = probe::run_if_asked() {
        return code;
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(fault) => {
            // Help and version come this way too; a broken pipe while printing them is nobody's loss.
            let _printed = fault.print();
            return if fault.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let (Command::Serve(file) | Command::CheckConfig(file)) = &arguments.command;
    let config = match load(file) {
        Ok(config) => config,
        Err(fault) => {
            eprintln!("{fault}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match arguments.command {
        Command::CheckConfig(_) => {
            eprintln!("the configuration is good");
            ExitCode::SUCCESS
        }
        Command::Serve(file) => match app::run(config, move || load(&file)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(fault) => {
                eprintln!("patchbay: {fault:#}");
                ExitCode::FAILURE
            }
        },
    }
}

fn load(file: &ConfigFile) -> anyhow::Result<Config> {
    let here = std::env::current_dir()?;
    Ok(Config::load(file.config.as_deref(), config::environment(), &here)?)
}
