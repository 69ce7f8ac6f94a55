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

/// Measures starts with 0, 1 and 5 plugins; the second start on a folder, since the first one also makes the store.
///
/// # Errors
/// When a server does not start or end as it should.
pub(crate) fn run(programs: &Programs, report: &mut Report) -> anyhow::Result<()> {
    let mut hyper: Vec<Sample> = Vec::new();
    let mut first: Vec<Duration> = Vec::new();
    let mut host: [Vec<Sample>; PLUGINS.len()] = Default::default();
    for _ in 0..ROUNDS {
        let server = Server::start("hyper", Command::new(std::env::current_exe()?).arg("hyper-baseline"))?;
        hyper.push((server.took(), server.memory()?));
        for (plugins, samples) in PLUGINS.into_iter().zip(&mut host) {
            let installation = Installation::new(programs, plugins)?;
            let server = installation.start("")?;
            if plugins == 0 {
                first.push(server.took());
            }
            server.stop()?;
            let server = installation.start("")?;
            samples.push((server.took(), server.memory()?));
            server.stop()?;
        }
    }
    let milliseconds = |time: &Duration| time.as_secs_f64() * 1e3;
    let mut add = |what: String, unit, baseline, product| {
        report.add(Row { group: "start", what, unit, baseline: Some(baseline), product });
    };
    let bare = median(hyper.iter().map(|(took, _)| milliseconds(took)));
    add("start to ready, store made anew, no plugin".to_owned(), "ms", bare, median(first.iter().map(milliseconds)));
    for (plugins, samples) in PLUGINS.iter().zip(&host) {
        let took = median(samples.iter().map(|(took, _)| milliseconds(took)));
        add(format!("start to ready, plugins: {plugins}"), "ms", bare, took);
    }
    let figures: [(&str, Figure); 2] = [
        ("its own memory (anonymous)", |memory| memory.anonymous_kib),
        ("resident memory", |memory| memory.resident_kib),
    ];
    for (what, figure) in figures {
        let of = |samples: &[Sample]| median(samples.iter().map(|(_, memory)| figure(memory) as f64 / 1024.0));
        for (plugins, samples) in PLUGINS.iter().zip(&host) {
            add(format!("{what} when ready, plugins: {plugins}"), "MiB", of(&hyper), of(samples));
        }
    }
    Ok(())
}
