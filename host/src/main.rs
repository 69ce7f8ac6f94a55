//! `patchbay`: reads its arguments and configuration, starts the host, and says how it ended.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use patchbay::{
    app::{self, App},
    config::{self, Config},
    core_dumps,
    open_files::OpenFiles,
    plugin::{loader, probe},
    process, store, telemetry, threads,
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
    /// Copies the store, whether or not a host runs on it. The key file is not copied.
    Backup {
        /// The copy, which must not exist. The history is put beside it, as FILE-history.
        file: PathBuf,
        #[command(flatten)]
        config: ConfigFile,
    },
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
    let (Command::Serve(file) | Command::CheckConfig(file) | Command::Backup { config: file, .. }) = &arguments.command;
    let config = match load(file) {
        Ok(config) => config,
        Err(fault) => {
            eprintln!("{fault}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match arguments.command {
        Command::CheckConfig(_) => {
            config.warnings().for_each(|warning| eprintln!("warning: {warning}"));
            match config.file() {
                Some(file) => eprintln!("the configuration is good: {}", file.display()),
                None => eprintln!(
                    "the configuration is good; there is no {} here, so all of it is defaults and environment",
                    config::DEFAULT_FILE
                ),
            }
            ExitCode::SUCCESS
        }
        Command::Backup { file, .. } => back_up(&config, &file),
        Command::Serve(file) => match serve(config, file) {
            Ok(()) => ExitCode::SUCCESS,
            Err(fault) => {
                eprintln!("patchbay: {fault:#}");
                ExitCode::FAILURE
            }
        },
    }
}

/// Runs the host until it is asked to end.
fn serve(config: Config, file: ConfigFile) -> anyhow::Result<()> {
    let log = telemetry::init(&config.log)?;
    core_dumps::forbid();
    loader::bound_freed_memory();
    let runtime = app::runtime()?;
    threads::register();
    let files = OpenFiles::raise();
    runtime.block_on(async {
        let app = App::build(config, files).await?;
        let mut running = app.run(log, move || load(&file)).await?;
        running.asked_to_end().await?;
        running.drain().await
    })?;
    // All is on disk and nothing is left to do. An ordinary exit would still run what plugins have left behind, and wait
    // for a library that hangs.
    process::end_now(0)
}

fn back_up(config: &Config, file: &Path) -> ExitCode {
    match store::back_up(&config.store.path, file) {
        Ok(report) => {
            let (file, history, key) = (file.display(), report.history.display(), config.secrets.key_file.display());
            eprintln!("backed up to {file} and {history}, {} bytes; not in it, keep it elsewhere: {key}", report.bytes);
            ExitCode::SUCCESS
        }
        Err(fault) => {
            eprintln!("patchbay: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn load(file: &ConfigFile) -> anyhow::Result<Config> {
    let here = std::env::current_dir()?;
    Ok(Config::load(file.config.as_deref(), config::environment(), &here)?)
}
