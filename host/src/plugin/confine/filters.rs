//! The filters of system calls around a process in which a plugin is tried: what ends it, and what opening and computing
//! take.

use std::{collections::BTreeMap, io};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Compare, SeccompCondition as Condition,
    SeccompFilter, SeccompRule as Rule, TargetArch,
};

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: Option<TargetArch> = Some(TargetArch::x86_64);
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: Option<TargetArch> = Some(TargetArch::aarch64);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCHITECTURE: Option<TargetArch> = None;

type Rules = BTreeMap<i64, Vec<Rule>>;

/// Shuts out for good what no plugin does, then all but what opening takes.
///
/// # Errors
/// When the kernel does not take a filter.
pub(super) fn for_opening() -> io::Result<()> {
    filter(deadly_calls(), SeccompAction::Allow, SeccompAction::KillProcess)?;
    // Its flags lie in memory, where a filter cannot look: with ENOSYS the C library uses clone instead.
    let clone3 = Rules::from([(libc::SYS_clone3, vec![])]);
    filter(clone3, SeccompAction::Allow, errno(libc::ENOSYS))?;
    filter(opening_calls(), errno(libc::EPERM), SeccompAction::Allow)
}

/// Shuts out what opening took besides.
///
/// # Errors
/// When the kernel does not take the filter.
pub(super) fn for_computing() -> io::Result<()> {
    filter(computing_calls(), errno(libc::EPERM), SeccompAction::Allow)
}

/// Filters add up: each call gets the strictest answer of all of them.
fn filter(rules: Rules, otherwise: SeccompAction, matched: SeccompAction) -> io::Result<()> {
    let architecture = ARCHITECTURE.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOSYS))?;
    let filter = SeccompFilter::new(rules, otherwise, matched, architecture).map_err(io::Error::other)?;
    let program: BpfProgram = filter.try_into().map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(|fault| match fault {
        seccompiler::Error::Prctl(fault) | seccompiler::Error::Seccomp(fault) => fault,
        fault => io::Error::other(fault),
    })
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

/// Where the first argument is this.
fn first(value: u64) -> Rule {
    rule(&[(0, Length::Dword, Compare::Eq, value)])
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
    ];
    let mut rules: Rules = plain.into_iter().map(|call| (call, vec![])).collect();
    // Aborting, and no signal to anybody else.
    rules.insert(libc::SYS_tgkill, vec![first(u64::from(std::process::id()))]);
    // Names of threads and of memory. What binds the process's life to the host's stays.
    let names = [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_VMA];
    rules.insert(libc::SYS_prctl, names.map(|option| first(u64::from(option.unsigned_abs()))).to_vec());
    rules.insert(libc::SYS_write, vec![first(2)]);
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
    // What a further filter is put up with.
    let further = first(u64::from(libc::PR_SET_NO_NEW_PRIVS.unsigned_abs()));
    rules.entry(libc::SYS_prctl).or_default().push(further);
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
