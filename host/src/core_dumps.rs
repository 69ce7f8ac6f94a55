//! No core of the host: its memory holds secrets of tenants, and whoever collects cores would have them.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use crate::plugin::confine::limit_of;

/// Less than the least core, so none is written to a file; and the one limit for which the kernel gives none to a program
/// either (core(5)): at 0 it would.
const BYTES_MAX: u64 = 1;

/// Lets this process leave no core from now on. The hard limit stays, so that it can be let again for debugging.
pub fn forbid() {
    // A hard limit of 0 cannot be raised. Without a dump of any kind the process is root's under /proc as well, which only
    // other processes notice.
    let forbidden = limit().or_else(|_| Ok::<_, io::Error>(set_dumpable_behavior(DumpableBehavior::NotDumpable)?));
    if let Err(fault) = forbidden {
        tracing::warn!(
            "should the host crash, its core holds secrets of tenants (prlimit64 and prctl are denied: {fault}); keep the \
             system from collecting it"
        );
    }
}

fn limit() -> io::Result<()> {
    let had = limit_of(Resource::Core)?;
    let maximum = had.maximum.map(|bytes| bytes.max(BYTES_MAX));
    Ok(setrlimit(Resource::Core, Rlimit { current: Some(BYTES_MAX), maximum })?)
}
