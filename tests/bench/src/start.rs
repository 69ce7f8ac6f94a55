//! The time until the host is ready, and its memory then, compared with a bare hyper server.

use std::{process::Command, time::Duration};

use crate::{
    installation::{Installation, Programs},
    process::{Memory, Server},
    report::{Goal, Report, Row, median},
};

const ROUNDS: usize = 7;
/// Numbers of plugins in the folder.
const PLUGINS: [usize; 4] = [0, 1, 5, 200];
/// Goals for a later start, in ms, by the number of plugins.
const READY_MS_MAX: [(usize, f64); 2] = [(5, 250.0), (200, 3000.0)];
/// The goal for the host's own memory with five idle plugins, in MiB.
const ANONYMOUS_MIB_MAX: (usize, f64) = (5, 20.0);

type Sample = (Duration, Memory);
type Figure = fn(&Memory) -> u64;

/// Measures starts with 0, 1, 5 and 200 plugins: the first start, which creates the store and probes the plugins, and
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
    let mut add = |what: String, unit, baseline, product, goal: Option<f64>| {
        report.add(Row { group: "start", what, unit, baseline: Some(baseline), product, goal: goal.map(Goal::Figure) });
    };
    let took = |samples: &[Sample]| median(samples.iter().map(|(took, _)| took.as_secs_f64() * 1e3));
    for (what, host, goals) in
        [("first start to ready", &first, &[][..]), ("later start to ready", &again, &READY_MS_MAX[..])]
    {
        for (plugins, samples) in PLUGINS.iter().zip(host) {
            let goal = goals.iter().find(|(count, _)| count == plugins).map(|(_, most)| *most);
            add(format!("{what}, plugins: {plugins}"), "ms", took(&hyper), took(samples), goal);
        }
    }
    let figures = [
        ("its own memory (anonymous)", (|memory| memory.anonymous_kib) as Figure, Some(ANONYMOUS_MIB_MAX)),
        ("resident memory", |memory| memory.resident_kib, None),
    ];
    for (what, figure, goal) in figures {
        let of = |samples: &[Sample]| median(samples.iter().map(|(_, memory)| figure(memory) as f64 / 1024.0));
        for (plugins, samples) in PLUGINS.iter().zip(&again) {
            let goal = goal.filter(|(count, _)| count == plugins).map(|(_, most)| most);
            add(format!("{what} when ready, plugins: {plugins}"), "MiB", of(&hyper), of(samples), goal);
        }
    }
    Ok(())
}
