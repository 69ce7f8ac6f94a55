//! Prevents core dumps: the host's memory contains secrets of tenants, and anyone who collects cores would get them.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use crate::plugin::confine::limit_of;

/// Less than the smallest core, so that none is written to a file. It is also the only limit at which the kernel pipes
/// none to a program (core(5)); at 0 it would.
const BYTES_MAX: u64 = 1;

/// Prevents core dumps of this process. The hard limit stays, so that they can be allowed again for debugging.
pub fn forbid() {
    // A hard limit of 0 cannot be raised. Without any kind of dump, the process also belongs to root under /proc, which
    // only other processes notice.
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
