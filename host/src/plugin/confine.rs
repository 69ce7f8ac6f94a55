//! The walls around a process in which a plugin is tried: no files, no network, no other programs, little memory and time.
//!
//! Layer by layer, as far as the kernel goes: what it lacks is left out and said; what it has and does not grant is a
//! failure. Nothing of a plugin has been mapped when this begins.

#![allow(unsafe_code)]

use std::{collections::BTreeMap, fmt, io, time::Duration};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, RulesetStatus,
};
use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL};
use rustix::process::{Resource, Rlimit, Signal};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Compare, SeccompCondition as Condition,
    SeccompFilter, SeccompRule as Rule, TargetArch,
};

/// Address space of a probe, in bytes.
const MEMORY_BYTES_MAX: u64 = 1 << 30;
/// File descriptors of a probe.
const FILES_MAX: u64 = 16;
/// Libraries that a plugin may need; they are mapped before files are out of reach.
const PRELOADED: &[&str] = &["libc.so.6", "libm.so.6", "libgcc_s.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1"];

/// Which layers hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Level {
    /// No file can be opened and no TCP port reached (Landlock).
    pub files: bool,
    /// No other program, process, socket or trace (seccomp).
    pub calls: bool,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.files, self.calls) {
            (true, true) => "full",
            (false, true) => "no Landlock in this kernel",
            (true, false) => "no seccomp on this machine",
            (false, false) => "limits only",
        })
    }
}

impl Level {
    /// What the kernel has, for a warning before anything is tried; [`enter`] tells what was really put up.
    pub fn of_this_machine() -> Self {
        const RULESET_VERSION: u32 = 1;
        let kill = libc::SECCOMP_RET_KILL_PROCESS;
        // SAFETY: both only ask: no rules are given, and the one argument behind a pointer is a number that lives.
        let (landlock, seccomp) = unsafe {
            (
                libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, RULESET_VERSION),
                libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const kill),
            )
        };
        Self { files: landlock > 0, calls: ARCHITECTURE.is_some() && seccomp == 0 }
    }

    /// Whether every layer holds.
    pub fn is_full(self) -> bool {
        self.files && self.calls
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
        Ok(Self(rustix::fs::Dir::new(std::fs::File::open("/proc/self/task")?)?))
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

/// Shuts this process in, but for what opening one library takes.
///
/// # Errors
/// When a layer that the kernel has cannot be put up.
pub fn enter(parent: u32, time_max: Duration) -> io::Result<Level> {
    die_with(parent)?;
    limit(time_max)?;
    drop_privileges(parent)?;
    rustix::thread::set_no_new_privs(true)?;
    preload();
    default_fault_signals();
    let files = landlock()?;
    let calls = seccomp()?;
    Ok(Level { files, calls })
}

/// Closes what opening took, where [`enter`] has put the filters up: from here on only computing is left.
///
/// # Errors
/// When the kernel does not take the filter.
pub fn tighten(level: Level) -> io::Result<()> {
    let Some(architecture) = ARCHITECTURE.filter(|_| level.calls) else { return Ok(()) };
    filter(computing_calls(), errno(libc::EPERM), SeccompAction::Allow, architecture)
}

/// The host must not leave probes behind when it dies.
fn die_with(parent: u32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if now == i32::try_from(parent).ok() { Ok(()) } else { Err(io::Error::other("the host is gone")) }
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
        let value = rustix::process::getrlimit(resource).maximum.map_or(value, |maximum| maximum.min(value));
        rustix::process::setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })?;
    }
    // At the lowest priority: a probe must not slow webhooks down.
    rustix::process::setpriority_process(None, 19)?;
    Ok(())
}

/// Root becomes nobody, and whoever had capabilities has none.
fn drop_privileges(parent: u32) -> io::Result<()> {
    const NOBODY: u32 = 65534;
    if rustix::process::geteuid().is_root() {
        // SAFETY: plain calls on numbers; this process has one thread.
        let dropped = unsafe {
            libc::setgroups(0, std::ptr::null()) == 0
                && libc::setresgid(NOBODY, NOBODY, NOBODY) == 0
                && libc::setresuid(NOBODY, NOBODY, NOBODY) == 0
        };
        if !dropped {
            return Err(io::Error::last_os_error());
        }
        // Changing the user forgets it.
        die_with(parent)?;
    }
    let none = rustix::thread::CapabilitySet::empty();
    let sets = rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none };
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

/// Denies every file and TCP port. False where the kernel has no Landlock.
fn landlock() -> io::Result<bool> {
    let deny_all = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI::V5))?
            .handle_access(AccessNet::from_all(ABI::V5))?
            .create()?
            .restrict_self()
    };
    let status = deny_all().map_err(io::Error::other)?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: Option<TargetArch> = Some(TargetArch::x86_64);
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: Option<TargetArch> = Some(TargetArch::aarch64);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE: Option<TargetArch> = None;

type Rules = BTreeMap<i64, Vec<Rule>>;

/// Shuts out for good what no plugin does, then all but what opening takes. False where the kernel has no seccomp, or its
/// calls on this processor are not known here.
fn seccomp() -> io::Result<bool> {
    let Some(architecture) = ARCHITECTURE else { return Ok(false) };
    if !Level::of_this_machine().calls {
        return Ok(false);
    }
    filter(deadly_calls(), SeccompAction::Allow, SeccompAction::KillProcess, architecture)?;
    // Its flags lie in memory, where a filter cannot look: with ENOSYS the C library uses clone instead.
    let clone3 = Rules::from([(libc::SYS_clone3, vec![])]);
    filter(clone3, SeccompAction::Allow, errno(libc::ENOSYS), architecture)?;
    filter(opening_calls(), errno(libc::EPERM), SeccompAction::Allow, architecture)?;
    Ok(true)
}

/// Filters add up: each call gets the strictest answer of all of them.
fn filter(rules: Rules, otherwise: SeccompAction, matched: SeccompAction, architecture: TargetArch) -> io::Result<()> {
    let filter = SeccompFilter::new(rules, otherwise, matched, architecture).map_err(io::Error::other)?;
    let program: BpfProgram = filter.try_into().map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

fn errno(number: i32) -> SeccompAction {
    SeccompAction::Errno(number.unsigned_abs())
}

fn rule(conditions: &[(u8, Length, Compare, u64)]) -> Rule {
    let conditions = conditions
        .iter()
        .map(|(argument, length, compare, value)| Condition::new(*argument, length.clone(), compare.clone(), *value))
        .collect::<Result<Vec<_>, _>>();
    conditions.and_then(Rule::new).expect("arguments are numbered from 0 to 5")
}

fn without(argument: u8, flag: i32) -> Rule {
    let flag = u64::from(flag.unsigned_abs());
    rule(&[(argument, Length::Dword, Compare::MaskedEq(flag), 0)])
}

/// What computing takes, threads included: they are counted afterwards.
fn computing_calls() -> Rules {
    let plain = [
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_futex,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_getrandom,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_rt_sigreturn,
        libc::SYS_rt_sigprocmask,
        libc::SYS_sigaltstack,
        libc::SYS_gettid,
        libc::SYS_getpid,
        libc::SYS_getppid,
        libc::SYS_restart_syscall,
        libc::SYS_rseq,
        libc::SYS_set_robust_list,
        libc::SYS_prctl,
        libc::SYS_tgkill,
    ];
    let mut rules: Rules = plain.into_iter().map(|call| (call, vec![])).collect();
    rules.insert(libc::SYS_write, vec![rule(&[(0, Length::Dword, Compare::Eq, 2)])]);
    rules.insert(libc::SYS_mmap, vec![without(2, libc::PROT_EXEC)]);
    rules.insert(libc::SYS_mprotect, vec![without(2, libc::PROT_EXEC)]);
    rules.insert(libc::SYS_clone, vec![]);
    rules.insert(libc::SYS_clone3, vec![]);
    // Counting threads: the folder of tasks was opened before.
    rules.insert(libc::SYS_getdents64, vec![]);
    rules.insert(libc::SYS_lseek, vec![]);
    rules.insert(libc::SYS_close, vec![]);
    rules
}

/// What the dynamic linker takes besides.
fn opening_calls() -> Rules {
    let mut rules = computing_calls();
    for call in [
        libc::SYS_openat,
        libc::SYS_read,
        libc::SYS_pread64,
        libc::SYS_fstat,
        libc::SYS_newfstatat,
        libc::SYS_readlinkat,
        libc::SYS_getcwd,
        libc::SYS_seccomp,
        libc::SYS_mmap,
        libc::SYS_mprotect,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_readlink,
    ] {
        rules.insert(call, vec![]);
    }
    rules
}

/// Nothing that a plugin does while it is made or reads a payload: trying it ends the probe.
fn deadly_calls() -> Rules {
    let mut rules: Rules = [
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_socket,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_bpf,
        libc::SYS_io_uring_setup,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_getfd,
        libc::SYS_userfaultfd,
        libc::SYS_perf_event_open,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_fork,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_vfork,
    ]
    .into_iter()
    .map(|call| (call, vec![]))
    .collect();
    rules.insert(libc::SYS_clone, vec![without(0, libc::CLONE_THREAD)]);
    rules
}
