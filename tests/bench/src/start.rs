//! How long the host takes until it is ready, and what memory it needs then, beside a bare hyper server.

use std::{process::Command, time::Duration};

use crate::{
    installation::{Installation, Programs},
    process::{Memory, Server},
    report::{Report, Row, median},
};

const ROUNDS: usize = 7;
/// Plugins in the folder.
const PLUGINS: [usize; 3] = [0, 1, 5];

type Sample = (Duration, Memory);
type Figure = fn(&Memory) -> u64;

/// Measures starts with 0, 1 and 5 plugins, the first on a folder, which makes the store and tries the plugins out, and
/// the second, which knows both.
///
/// # Errors
/// When a server does not start or end as it should.
pub(crate) fn run(programs: &Programs, report: &mut Report) -> anyhow::Result<()> {
    let mut hyper: Vec<Sample> = Vec::new();
    let mut first: [Vec<Sample>; PLUGINS.len()] = Default::default();
    let mut again: [Vec<Sample>; PLUGINS.len()] = Default::default();
    for _ in 0..ROUNDS {
        let server = Server::start("hyper", Command::new(std::env::current_exe()?).arg("hyper-baseline"))?;
        hyper.push((server.took(), server.memory()?));
        for (at, plugins) in PLUGINS.into_iter().enumerate() {
            let installation = Installation::new(programs, plugins)?;
            for samples in [&mut first[at], &mut again[at]] {
                let server = installation.start("")?;
                samples.push((server.took(), server.memory()?));
                server.stop()?;
            }
        }
    }
    let mut add = |what: String, unit, baseline, product| {
        report.add(Row { group: "start", what, unit, baseline: Some(baseline), product });
    };
    let took = |samples: &[Sample]| median(samples.iter().map(|(took, _)| took.as_secs_f64() * 1e3));
    for (what, host) in [("first start to ready", &first), ("later start to ready", &again)] {
        for (plugins, samples) in PLUGINS.iter().zip(host) {
            add(format!("{what}, plugins: {plugins}"), "ms", took(&hyper), took(samples));
        }
    }
    let figures: [(&str, Figure); 2] = [
        ("its own memory (anonymous)", |memory| memory.anonymous_kib),
        ("resident memory", |memory| memory.resident_kib),
    ];
    for (what, figure) in figures {
        let of = |samples: &[Sample]| median(samples.iter().map(|(_, memory)| figure(memory) as f64 / 1024.0));
        for (plugins, samples) in PLUGINS.iter().zip(&again) {
            add(format!("{what} when ready, plugins: {plugins}"), "MiB", of(&hyper), of(samples));
        }
    }
    Ok(())
}
