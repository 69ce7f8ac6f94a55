//! The walls around a process in which a plugin is tried: no files, no network, no other programs, little memory and time.
//!
//! Layer by layer, as far as the host's surroundings let a process shut itself in: what the kernel lacks, and what a
//! filter or the lack of a right denies, is left out and said. A layer that has nothing to shut out, as where there is no
//! capability to drop, is not put up at all. Nothing of a plugin has been mapped when this begins.

#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
    time::Duration,
};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, PathBeneath, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};
use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL};
use rustix::{
    process::{Resource, Rlimit, Signal},
    thread::{CapabilitySet, CapabilitySets},
};

use super::trial;

mod filters;
mod level;

pub use level::{Level, Wall};

/// Address space of a probe, in bytes.
const MEMORY_BYTES_MAX: u64 = 1 << 30;
/// File descriptors of a probe.
const FILES_MAX: u64 = 16;
/// Libraries that a plugin may need; they are mapped before files are out of reach.
const PRELOADED: &[&str] = &["libc.so.6", "libm.so.6", "libgcc_s.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1"];

macro_rules! steps {
    ($($variant:ident $call:literal : $meaning:literal;)*) => {
        /// A step that the surroundings may deny, by an error or by ending the process.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Step { $(#[doc = $meaning] $variant,)* }

        impl Step {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The system call that is denied.
            pub fn call(self) -> &'static str {
                match self { $(Self::$variant => $call),* }
            }
        }
    };
}

steps! {
    Memory "memfd_create": "Puts the bytes that are tried into sealed memory; the host's own step.";
    Leash "prctl(PR_SET_PDEATHSIG)": "Binds the process's life to the host's.";
    Limits "prlimit64": "Limits memory, processor time and files.";
    Priority "setpriority": "Lets everything else go first; a kindness, no wall.";
    Held "capget": "Looks which capabilities there are to drop.";
    Groups "setgroups": "Leaves root's further groups.";
    Group "setresgid": "Leaves root's group.";
    User "setresuid": "Becomes nobody.";
    Capabilities "capset": "Drops the capabilities.";
    Privileges "prctl(PR_SET_NO_NEW_PRIVS)": "Lets no program give rights back; the next two need it.";
    Landlock "landlock_create_ruleset, landlock_restrict_self": "Puts files and TCP ports out of reach.";
    Seccomp "seccomp": "Filters system calls.";
}

impl Step {
    /// The step with this call.
    pub fn of(call: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|step| step.call() == call)
    }
}

/// The steps of one process: taken one by one, each told before it is taken, should it end the process.
#[derive(Debug)]
pub struct Steps {
    left_out: Vec<Step>,
    denied: Vec<String>,
}

impl Steps {
    /// Those in `left_out` are known to end a process, and are denied without being tried.
    pub fn new(left_out: Vec<Step>) -> Self {
        Self { left_out, denied: Vec::new() }
    }

    /// Which calls were denied, and how.
    pub fn into_denied(self) -> Vec<String> {
        self.denied
    }

    /// Takes a step, unless it is left out.
    pub(super) fn take(&mut self, step: Step, act: impl FnOnce() -> io::Result<()>) -> Wall {
        let (wall, denied) = if self.left_out.contains(&step) {
            (Wall::Denied, Some("SIGSYS".to_owned()))
        } else {
            trial::stage(step.call());
            let outcome = act();
            (Wall::of(&outcome), outcome.err().map(|fault| fault.to_string()))
        };
        let denied = denied.map(|how| format!("{}: {how}", step.call()));
        self.denied.extend(denied.filter(|denied| !self.denied.contains(denied)));
        wall
    }
}

/// The threads of this process, to be counted when no file can be opened any more.
pub struct Tasks(rustix::fs::Dir);

impl Tasks {
    /// Opens the kernel's list; before [`enter`].
    ///
    /// # Errors
    /// When /proc is not there.
    pub fn open() -> io::Result<Self> {
        let tasks = std::fs::File::open("/proc/self/task").map_err(|fault| {
            io::Error::new(fault.kind(), format!("/proc/self/task: {fault}; /proc must be mounted where the host runs"))
        })?;
        Ok(Self(rustix::fs::Dir::new(tasks)?))
    }

    /// How many there are now.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn count(&mut self) -> io::Result<usize> {
        self.0.rewind();
        let mut count = 0;
        while let Some(entry) = self.0.read() {
            count += usize::from(entry?.file_name().to_bytes().first().is_some_and(u8::is_ascii_digit));
        }
        Ok(count)
    }
}

/// What is wrong when so many threads of a plugin are left.
pub fn threads_left(count: usize) -> String {
    match count {
        1 => "1 thread that the plugin started still ran after the plugin was dropped".to_owned(),
        several => format!("{several} threads that the plugin started still ran after the plugin was dropped"),
    }
}

/// Closes every descriptor but the three standard ones, since whoever started the host may have left some to it, and puts
/// nothing in the place of standard input. Call it before this process has opened any file.
///
/// # Errors
/// When /proc or /dev/null is not there.
pub fn close_inherited() -> io::Result<()> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    for number in numbers.into_iter().filter(|number| *number > libc::STDERR_FILENO) {
        // SAFETY: nothing in this process knows the descriptor. The folder's own is closed already, and does no harm.
        unsafe { libc::close(number) };
    }
    Ok(rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?)
}

/// Shuts this process in, but for what opening one library takes.
///
/// # Errors
/// When the host is gone.
pub fn enter(parent: u32, time_max: Duration, steps: &mut Steps) -> io::Result<Level> {
    let mut leash = steps.take(Step::Leash, die_with_the_host);
    let limits = steps.take(Step::Limits, || limit(time_max));
    // At the lowest priority: a probe must not slow webhooks down.
    steps.take(Step::Priority, || Ok(rustix::process::setpriority_process(None, 19)?));
    let rights = drop_rights(steps);
    if leash.stands() {
        // Changing the user forgets it.
        leash = steps.take(Step::Leash, die_with_the_host);
    }
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if now != i32::try_from(parent).ok() {
        return Err(io::Error::other("the host is gone"));
    }
    steps.take(Step::Privileges, || Ok(rustix::thread::set_no_new_privs(true)?));
    preload();
    default_fault_signals();
    let stdout = io::stdout();
    // The library is there; a file in memory is not among what is shut out.
    let library = steps.left_out.contains(&Step::Memory).then(|| stdout.as_fd());
    let files = steps.take(Step::Landlock, || landlock(library));
    let calls = steps.take(Step::Seccomp, seccomp);
    Ok(Level { files, calls, rights, limits, leash, bytes: Wall::Stands })
}

/// Closes what opening took, where [`enter`] has put the filters up: from here on only computing is left.
///
/// # Errors
/// When the kernel does not take the filter.
pub fn tighten(level: Level) -> io::Result<()> {
    if level.calls.stands() { filters::for_computing() } else { Ok(()) }
}

/// The limit of this process. As rustix's own, which does not expect to be refused.
///
/// # Errors
/// When the system does not tell it.
pub fn limit_of(resource: Resource) -> io::Result<Rlimit> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes into a value that lives.
    if unsafe { libc::getrlimit64(resource as libc::__rlimit_resource_t, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let known = |value| (value != libc::RLIM64_INFINITY).then_some(value);
    Ok(Rlimit { current: known(limit.rlim_cur), maximum: known(limit.rlim_max) })
}

/// The host must not leave probes behind when it dies.
fn die_with_the_host() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}

fn limit(time_max: Duration) -> io::Result<()> {
    for (resource, value) in [
        (Resource::As, MEMORY_BYTES_MAX),
        (Resource::Cpu, time_max.as_secs() + 1),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
        (Resource::Nofile, FILES_MAX),
    ] {
        // Whoever started the host may allow less.
        let value = limit_of(resource)?.maximum.map_or(value, |maximum| maximum.min(value));
        rustix::process::setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })?;
    }
    Ok(())
}

/// Root becomes nobody, and whoever has capabilities has none. Who has none already is left as it is, root as well: a root
/// without capabilities has no more rights than any other user.
fn drop_rights(steps: &mut Steps) -> Wall {
    // What is not known is taken for all.
    let mut held = CapabilitySet::all();
    steps.take(Step::Held, || look(&mut held));
    let mut rights = Wall::Stands;
    let root = rustix::process::geteuid().is_root();
    if root && held.contains(CapabilitySet::SETGID) {
        rights = steps.take(Step::Groups, leave_groups);
        rights = rights.and(steps.take(Step::Group, leave_group));
    }
    if root && held.contains(CapabilitySet::SETUID) {
        rights = rights.and(steps.take(Step::User, become_nobody));
        // With root's number its capabilities go as well.
        steps.take(Step::Held, || look(&mut held));
    }
    if held.is_empty() { rights } else { rights.and(steps.take(Step::Capabilities, drop_capabilities)) }
}

/// Which capabilities the process could use.
fn look(held: &mut CapabilitySet) -> io::Result<()> {
    let sets = rustix::thread::capabilities(None)?;
    *held = sets.permitted | sets.effective;
    Ok(())
}

const NOBODY: u32 = 65534;

fn leave_groups() -> io::Result<()> {
    // Where a user namespace lets nobody leave a group, as one that an ordinary user has made.
    if std::fs::read("/proc/self/setgroups").is_ok_and(|answer| answer.starts_with(b"deny")) {
        return Ok(());
    }
    // SAFETY: a plain call on numbers; this process has one thread.
    unless_unmapped(unsafe { libc::setgroups(0, std::ptr::null()) })
}

fn leave_group() -> io::Result<()> {
    // SAFETY: as above.
    unless_unmapped(unsafe { libc::setresgid(NOBODY, NOBODY, NOBODY) })
}

fn become_nobody() -> io::Result<()> {
    // SAFETY: as above.
    unless_unmapped(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) })
}

/// In a user namespace that maps no such number, root is an ordinary user of the world outside, and stays that.
fn unless_unmapped(returned: libc::c_int) -> io::Result<()> {
    match io::Error::last_os_error() {
        _ if returned == 0 => Ok(()),
        fault if fault.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        fault => Err(fault),
    }
}

fn drop_capabilities() -> io::Result<()> {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

fn preload() {
    for name in PRELOADED {
        // SAFETY: these are the C library's own parts, which this program has mapped already or could have.
        if let Ok(library) = unsafe { Library::open(Some(*name), RTLD_LAZY | RTLD_LOCAL) } {
            std::mem::forget(library);
        }
    }
}

/// std's handler would fault again for ever once signal calls are filtered.
fn default_fault_signals() {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: the default action runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Denies every file, every TCP port and, where the kernel can, signals to other processes; but for reading the library when
/// it lies on disk.
fn landlock(library: Option<BorrowedFd<'_>>) -> io::Result<()> {
    const RULESET_VERSION: u32 = 1;
    // The library below takes every error for a kernel without.
    // SAFETY: only asks: there are no rules.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, RULESET_VERSION) };
    if version < 0 {
        return Err(io::Error::last_os_error());
    }
    let restrict = || -> Result<_, RulesetError> {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI::V5))?
            .handle_access(AccessNet::from_all(ABI::V5))?
            .scope(Scope::from_all(ABI::V6))?
            .create()?;
        if let Some(file) = library {
            rules = rules.add_rule(PathBeneath::new(file, AccessFs::ReadFile))?;
        }
        rules.restrict_self()
    };
    match restrict().map_err(io::Error::other)?.ruleset {
        RulesetStatus::NotEnforced => Err(io::Error::from_raw_os_error(libc::ENOSYS)),
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
    }
}

/// Shuts out for good what no plugin does, then all but what opening takes.
fn seccomp() -> io::Result<()> {
    let kill = libc::SECCOMP_RET_KILL_PROCESS;
    // SAFETY: only asks: the argument behind a pointer is a number that lives.
    let known = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const kill) };
    if known < 0 {
        return Err(io::Error::last_os_error());
    }
    filters::for_opening()
}
