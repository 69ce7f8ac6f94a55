//! The benchmark driver. Each benchmark runs beside its baseline in the same run, because only ratios are comparable
//! between machines.

use std::{io::Write as _, path::PathBuf, process::ExitCode, time::Instant};

use clap::{Parser, Subcommand, ValueEnum};

mod accept;
mod baseline;
mod boundary;
mod history;
mod installation;
mod load;
mod loops;
mod neighbour;
mod overload;
mod pipeline;
mod process;
mod replace;
mod report;
mod silent_tool;
mod start;
mod tools;
mod webhooks;
mod whole;
mod wrk;

use crate::{installation::Programs, report::Report};

/// The share of processor time of other programs above which they disturb.
const BUSY_MAX: f64 = 0.05;

/// Measures a release build of Patchbay that lies beside this program; see docs/reference/benchmarks.md.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only these
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Benchmark>,
    /// Where machine, versions and figures are written as JSON
    #[arg(long, value_name = "FILE", default_value = "target/bench.json")]
    output: PathBuf,
    /// Rows of history beside which accepts are measured; ten million take minutes to make, and 3 GB
    #[arg(long, value_name = "ROWS", default_value_t = 1_000_000)]
    history_rows: u64,
}

#[derive(Subcommand)]
enum Command {
    /// Be the baseline: a bare hyper server that answers 202
    HyperBaseline,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Benchmark {
    /// Durable accepts, beside bare hyper
    Accept,
    /// Validate and extract over the plugin boundary, beside the same code called directly
    Boundary,
    /// Durable accepts beside a long history, beside an empty one
    History,
    /// One tenant beside another that floods, beside itself alone
    Neighbour,
    /// Three times more webhooks than the plugin can validate, beside as many as it can
    Overload,
    /// From accepted webhooks to notes, beside the tool alone
    Pipeline,
    /// Answers while a plugin is replaced again and again, beside the same load alone; last byte to first call
    Replace,
    /// Start to ready with up to 200 plugins, and memory, beside bare hyper; loading one plugin
    Start,
    /// Validate and extract of each tool's webhook, and the size of each tool's plugin
    Tools,
    /// Webhooks accepted and worked off, with a tool that answers at once
    Whole,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Some(Command::HyperBaseline) => baseline::serve(),
        None => measure(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("bench: {fault:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let programs = Programs::find()?;
    let mut report = Report::new();
    if let Some(busy) = report.busy_before().filter(|busy| *busy > BUSY_MAX) {
        eprintln!("bench: other programs use {:.0} % of the processors; do not compare these figures", busy * 100.0);
    }
    for benchmark in Benchmark::value_variants() {
        if !arguments.only.is_empty() && !arguments.only.contains(benchmark) {
            continue;
        }
        let started = Instant::now();
        match benchmark {
            Benchmark::Accept => accept::run(&programs, &mut report),
            Benchmark::Boundary => boundary::run(&programs, &mut report),
            Benchmark::History => history::run(&programs, arguments.history_rows, &mut report),
            Benchmark::Neighbour => neighbour::run(&programs, &mut report),
            Benchmark::Overload => overload::run(&programs, &mut report),
            Benchmark::Pipeline => pipeline::run(&programs, &mut report),
            Benchmark::Replace => replace::run(&programs, &mut report),
            Benchmark::Start => start::run(&programs, &mut report).and_then(|()| load::run(&programs, &mut report)),
            Benchmark::Tools => tools::run(&programs, &mut report),
            Benchmark::Whole => whole::run(&programs, &mut report),
        }?;
        eprintln!("{benchmark:?}: {} s", started.elapsed().as_secs());
    }
    report.write(&arguments.output)?;
    writeln!(std::io::stdout().lock(), "{report}")?;
    eprintln!("written to {}", arguments.output.display());
    Ok(())
}
