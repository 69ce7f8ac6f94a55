//! plugin-ctl: the command line of a running patchbay.

use std::process::ExitCode;

use patchbay::{
    conformance,
    ctl::{self, console::Console},
    plugin::probe,
};

fn main() -> ExitCode {
    // `verify` starts this very program again to try a plugin: then it is a probe and nothing else.
    // The same for `conformance`.
    if let Some(verdict) = probe::run_if_asked().or_else(conformance::run_if_asked) {
        return verdict;
    }
    let args = match ctl::args::read(std::env::args_os()) {
        Ok(args) => args,
        Err(exit) => return exit,
    };
    let console = Console::new(args.output());
    let outcome = ctl::run(args, &console);
    console.show(outcome)
}
