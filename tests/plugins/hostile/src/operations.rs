//! Operations that a confinement must prevent. Each is tried once, and the plugin reports whether it reached the
//! kernel. None of them harms its target.

use std::{
    ffi::{CStr, c_int, c_long},
    fs, io,
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixDatagram,
    process::Command,
    ptr,
};

use libc::{getppid, syscall};

/// The descriptor that a test leaves to the process.
const INHERITED: c_int = 9;
const NOWHERE: &CStr = c"/nowhere/at/all";
/// An address where nothing is mapped.
const NO_ADDRESS: usize = 0;
/// `UFFD_USER_MODE_ONLY`: the kind that needs no rights.
const USER_MODE_ONLY: c_int = 1;
const PAGE: usize = 4096;

/// Tries this operation. `None` means that it is unknown.
pub(crate) fn attempt(operation: &str) -> Option<io::Result<()>> {
    Some(match operation {
        "open" => fs::read("/etc/passwd").map(drop),
        "environ" => fs::read("/proc/self/environ").map(drop),
        "list" => fs::read_dir("/").map(drop),
        "environment" => std::env::vars_os().next().map(drop).ok_or_else(|| io::ErrorKind::NotFound.into()),
        "connect" => {
            TcpListener::bind("127.0.0.1:0").and_then(|there| TcpStream::connect(there.local_addr()?)).map(drop)
        }
        "udp" => UdpSocket::bind("127.0.0.1:0").map(drop),
        "unix" => UnixDatagram::unbound().map(drop),
        "exec" => Command::new("/bin/true").status().map(drop),
        _ => return unsafe_attempt(operation),
    })
}

fn unsafe_attempt(operation: &str) -> Option<io::Result<()>> {
    // SAFETY: each call is on numbers, on addresses that the kernel refuses by itself, or on values that live.
    Some(unsafe {
        match operation {
            "execve" => reached(syscall(libc::SYS_execve, NOWHERE.as_ptr(), NO_ADDRESS, NO_ADDRESS), libc::ENOENT),
            "execveat" => {
                let call = syscall(libc::SYS_execveat, -1, NOWHERE.as_ptr(), NO_ADDRESS, NO_ADDRESS, 0);
                reached(call, libc::ENOENT)
            }
            "fork" => match libc::fork() {
                0 => libc::_exit(0),
                child => done(child.into()),
            },
            "socketpair" => done(libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, [0; 2].as_mut_ptr()).into()),
            "pipe" => done(libc::pipe([0; 2].as_mut_ptr()).into()),
            "dup" => done(libc::dup(libc::STDERR_FILENO).into()),
            "stat" => done(libc::fstat(libc::STDERR_FILENO, &mut std::mem::zeroed()).into()),
            "ioctl" => reached(libc::ioctl(libc::STDERR_FILENO, libc::TIOCGWINSZ, NO_ADDRESS).into(), libc::ENOTTY),
            "inherit" => match done(libc::lseek(INHERITED, 0, libc::SEEK_CUR)) {
                // Some descriptors cannot seek, but they exist.
                Err(fault) if fault.raw_os_error() != Some(libc::EBADF) => Ok(()),
                sought => sought,
            },
            "look" => done(libc::stat(c"/etc/passwd".as_ptr(), &mut std::mem::zeroed()).into()),
            "follow" => {
                let mut link = [0; 8];
                done(libc::readlink(c"/proc/self/exe".as_ptr(), link.as_mut_ptr(), link.len()) as c_long)
            }
            "unlink" => reached(libc::unlink(NOWHERE.as_ptr()).into(), libc::ENOENT),
            "chroot" => done(libc::chroot(c"/".as_ptr()).into()),
            "mount" => {
                let call = libc::mount(ptr::null(), NOWHERE.as_ptr(), ptr::null(), libc::MS_BIND, ptr::null());
                reached(call.into(), libc::ENOENT)
            }
            "map-exec" => {
                let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
                done(if mapped(all) == libc::MAP_FAILED { -1 } else { 0 })
            }
            "protect-exec" => {
                let page = mapped(libc::PROT_READ | libc::PROT_WRITE);
                done(libc::mprotect(page, PAGE, libc::PROT_READ | libc::PROT_EXEC).into())
            }
            "memfd" => done(libc::memfd_create(c"hostile".as_ptr(), 0).into()),
            "shared" => reached(libc::shmget(libc::IPC_PRIVATE, 0, 0o600).into(), libc::EINVAL),
            "uring" => reached(syscall(libc::SYS_io_uring_setup, 0, NO_ADDRESS), libc::EFAULT),
            "userfault" => done(syscall(libc::SYS_userfaultfd, USER_MODE_ONLY)),
            "bpf" => reached(syscall(libc::SYS_bpf, -1, NO_ADDRESS, 0), libc::EINVAL),
            "perf" => reached(syscall(libc::SYS_perf_event_open, NO_ADDRESS, 0, -1, -1, 0), libc::EFAULT),
            "key" => {
                let (name, key) = (c"user".as_ptr(), c"hostile".as_ptr());
                done(syscall(libc::SYS_add_key, name, key, key, 1, libc::KEY_SPEC_PROCESS_KEYRING))
            }
            "ptrace" => done(libc::ptrace(libc::PTRACE_SEIZE, getppid(), NO_ADDRESS, NO_ADDRESS)),
            "read-other" => reached(other_memory(libc::SYS_process_vm_readv), libc::EFAULT),
            "write-other" => reached(other_memory(libc::SYS_process_vm_writev), libc::EFAULT),
            // Signal 0 only asks whether a signal could be sent.
            "kill" => done(libc::kill(getppid(), 0).into()),
            "signal" => done(syscall(libc::SYS_tgkill, getppid(), getppid(), 0)),
            "tkill" => done(syscall(libc::SYS_tkill, getppid(), 0)),
            "queue" => {
                let mut info: libc::siginfo_t = std::mem::zeroed();
                info.si_code = libc::SI_QUEUE;
                done(syscall(libc::SYS_rt_sigqueueinfo, getppid(), 0, &raw const info))
            }
            "pidfd" => done(syscall(libc::SYS_pidfd_open, getppid(), 0)),
            "take-file" => reached(syscall(libc::SYS_pidfd_getfd, -1, 0, 0), libc::EBADF),
            "renice" => done(libc::setpriority(libc::PRIO_PROCESS, getppid().unsigned_abs(), 19).into()),
            "outlive" => done(libc::prctl(libc::PR_SET_PDEATHSIG, 0).into()),
            "dumpable" => done(libc::prctl(libc::PR_SET_DUMPABLE, 1).into()),
            // Sets the limit to its current value, which needs no rights.
            "limit" => {
                let mut now: libc::rlimit = std::mem::zeroed();
                done(libc::getrlimit(libc::RLIMIT_AS, &raw mut now).into())
                    .and_then(|()| done(libc::setrlimit(libc::RLIMIT_AS, &raw const now).into()))
            }
            "setuid" => done(syscall(libc::SYS_setuid, 0)),
            "unshare" => done(libc::unshare(libc::CLONE_NEWUSER).into()),
            "handle" => {
                let ignored = libc::signal(libc::SIGUSR1, libc::SIG_IGN);
                done(if ignored == libc::SIG_ERR { -1 } else { 0 })
            }
            _ => return None,
        }
    })
}

/// A page, or `MAP_FAILED`.
unsafe fn mapped(protection: c_int) -> *mut libc::c_void {
    // SAFETY: the kernel chooses the place.
    unsafe { libc::mmap(ptr::null_mut(), PAGE, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) }
}

/// Reads or writes a byte at an unmapped address of the parent's memory. A process without the right is told so first.
unsafe fn other_memory(call: c_long) -> c_long {
    let mut byte = 0_u8;
    let here = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let there = libc::iovec { iov_base: ptr::null_mut(), iov_len: 1 };
    // SAFETY: the byte and both descriptions live.
    unsafe { syscall(call, getppid(), &raw const here, 1_usize, &raw const there, 1_usize, 0_usize) }
}

/// The result of a C library call.
fn done(returned: c_long) -> io::Result<()> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The result of a call whose arguments make it fail: if the kernel reports exactly that, the call was let through.
fn reached(returned: c_long, by_its_arguments: c_int) -> io::Result<()> {
    match done(returned) {
        Err(fault) if fault.raw_os_error() == Some(by_its_arguments) => Ok(()),
        returned => returned,
    }
}
