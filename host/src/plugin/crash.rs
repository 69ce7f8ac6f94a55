//! Who was running when the process died. Lanes write down which call they carry out; when the process dies of a fault,
//! a handler copies that into a mapped file and lets it die as it would have. The next start reads it.
//!
//! The handler only touches what was mapped and filled before: no lock, no allocation, no library call that may take one.

#![allow(unsafe_code)]

use std::{
    fs::{File, OpenOptions},
    io,
    ops::Range,
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileExt as _, OpenOptionsExt as _},
    },
    path::Path,
    ptr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering},
    },
};

use super::artifact::Sha256Sum;
use crate::ids::ToolType;

/// Threads that carry out plugin code at once; more run unwatched.
const LANES_MAX: usize = 4096;
/// Libraries whose place in memory is known; more are not told apart for threads that a plugin started.
const LIBRARIES_MAX: usize = 1024;
/// The journal's form; another one is not read.
const MAGIC: u64 = 0x5061_7463_6862_7932;
/// The signals that a fault ends in.
const SIGNALS: [i32; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT];

/// What a thread of a generation is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Step {
    /// Waits for work.
    Idle = 0,
    /// Opens the library and calls `new`.
    Open = 1,
    /// `validate_webhook` and `extract_metadata`
    Receive = 2,
    /// `get_ticket`
    Get = 3,
    /// `update_ticket`
    Update = 4,
    /// Drops the instance.
    Drop = 5,
    /// Closes the library.
    Close = 6,
    /// A thread that the plugin started.
    Stranger = 7,
}

impl Step {
    const ALL: [Self; 8] =
        [Self::Idle, Self::Open, Self::Receive, Self::Get, Self::Update, Self::Drop, Self::Close, Self::Stranger];

    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "between calls",
            Self::Open => "opening its library or new",
            Self::Receive => "validate_webhook or extract_metadata",
            Self::Get => "get_ticket",
            Self::Update => "update_ticket",
            Self::Drop => "dropping its instance",
            Self::Close => "closing its library",
            Self::Stranger => "a thread of its own",
        }
    }
}

/// Which plugin: plain bytes, so that a handler can copy it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Culprit {
    generation: u64,
    sha256: [u8; 32],
    tool_type: [u8; 56],
}

/// One thread of a generation.
#[repr(C)]
struct Lane {
    tid: AtomicI32,
    step: AtomicU32,
    /// Index of its culprit in `libraries`, plus one.
    library: AtomicU32,
}

/// One generation, from its opening to its end.
#[repr(C)]
struct Library {
    /// 0 while the entry is free.
    used: AtomicU32,
    start: AtomicU64,
    end: AtomicU64,
    culprit: Culprit,
}

#[repr(C)]
struct Journal {
    magic: u64,
    /// 1 once `record` is whole.
    written: AtomicU32,
    signal: i32,
    step: u32,
    culprit: Culprit,
    lanes: [Lane; LANES_MAX],
    libraries: [Library; LIBRARIES_MAX],
}

/// What an earlier process died of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// The signal, or 0 for a call of `exit`.
    pub signal: i32,
    /// What the plugin's thread was doing.
    pub step: Step,
    /// The generation, by that process's count.
    pub generation: u64,
    /// Digest of the artifact.
    pub sha256: String,
    /// The tool type.
    pub tool_type: String,
}

impl std::fmt::Display for Crash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let how = match self.signal {
            0 => "ended by a call of exit",
            libc::SIGSEGV => "died of SIGSEGV",
            libc::SIGBUS => "died of SIGBUS",
            libc::SIGILL => "died of SIGILL",
            libc::SIGFPE => "died of SIGFPE",
            libc::SIGABRT => "died of SIGABRT",
            _ => "died of a signal",
        };
        let (tool_type, step) = (&self.tool_type, self.step.as_str());
        write!(f, "the host {how} in the plugin {tool_type} (generation {}): {step}", self.generation)
    }
}

static JOURNAL: AtomicPtr<Journal> = AtomicPtr::new(ptr::null_mut());
/// Held while entries are given out; never by a handler.
static ENTRIES: Mutex<()> = Mutex::new(());
static BEFORE: Mutex<Option<[libc::sigaction; SIGNALS.len()]>> = Mutex::new(None);
/// The handlers that were there, for the handler itself.
static BEFORE_PTR: AtomicPtr<[libc::sigaction; SIGNALS.len()]> = AtomicPtr::new(ptr::null_mut());

/// Reads what an earlier process left, makes the journal anew and puts the handlers up. Once in a process.
///
/// # Errors
/// When the file cannot be made or mapped.
pub fn start(path: &Path) -> io::Result<Option<Crash>> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let known = fill(&file)?;
    let journal = map(&file)?;
    // SAFETY: the mapping is of the journal's size, of plain numbers, and stays until the process ends.
    let earlier = known.then(|| unsafe { read(journal) }).flatten();
    // SAFETY: as above; nobody else knows of it yet.
    unsafe {
        ptr::write_bytes(journal, 0, 1);
        (*journal).magic = MAGIC;
    }
    JOURNAL.store(journal, Ordering::Release);
    put_up_handlers()?;
    // SAFETY: `at_exit` has the type that atexit takes.
    unsafe { libc::atexit(at_exit) };
    Ok(earlier)
}

/// Writes what the file holds once more, at the journal's length, so that every byte has its place on the disk: where there
/// is none, writing into the mapping would end the process (SIGBUS). Tells whether the file had that length.
fn fill(file: &File) -> io::Result<bool> {
    let mut bytes = vec![0; size_of::<Journal>()];
    let known = file.metadata()?.len() == bytes.len() as u64;
    if known {
        file.read_exact_at(&mut bytes, 0)?;
    }
    file.set_len(bytes.len() as u64)?;
    file.write_all_at(&bytes, 0)?;
    Ok(known)
}

fn map(file: &File) -> io::Result<*mut Journal> {
    // SAFETY: a new shared mapping of a file that is long enough; the kernel chooses its place.
    let mapped = unsafe {
        let (read_write, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        libc::mmap(ptr::null_mut(), size_of::<Journal>(), read_write, shared, file.as_raw_fd(), 0)
    };
    if mapped == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(mapped.cast()) }
}

/// # Safety
/// `journal` is mapped.
unsafe fn read(journal: *const Journal) -> Option<Crash> {
    // SAFETY: by this function's contract; all bit patterns of its parts are values.
    let journal = unsafe { &*journal };
    if journal.magic != MAGIC || journal.written.load(Ordering::Acquire) != 1 {
        return None;
    }
    let culprit = journal.culprit;
    let name = culprit.tool_type.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(Crash {
        signal: journal.signal,
        step: Step::ALL.into_iter().find(|step| *step as u32 == journal.step).unwrap_or(Step::Idle),
        generation: culprit.generation,
        sha256: culprit.sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
        tool_type: String::from_utf8_lossy(name).into_owned(),
    })
}

/// A generation's entry in the journal; given back when dropped.
#[derive(Debug)]
pub struct Watched(Option<u32>);

/// Enters a generation before anything of it runs. Without a journal, or beyond its size, nothing is watched.
pub fn watch(tool_type: &ToolType, generation: u64, sha256: Sha256Sum) -> Watched {
    let Some(journal) = journal() else { return Watched(None) };
    let _one_at_a_time = ENTRIES.lock().unwrap_or_else(PoisonError::into_inner);
    let free = journal.libraries.iter().position(|library| library.used.load(Ordering::Relaxed) == 0);
    let Some(index) = free else { return Watched(None) };
    let mut culprit = Culprit { generation, sha256: sha256.bytes(), tool_type: [0; 56] };
    culprit.tool_type[..tool_type.as_str().len()].copy_from_slice(tool_type.as_str().as_bytes());
    let library = &journal.libraries[index];
    // SAFETY: the entry is free and the lock is held, so only a handler could look, and it looks at used entries only.
    unsafe { ptr::from_ref(&library.culprit).cast_mut().write(culprit) };
    library.start.store(0, Ordering::Relaxed);
    library.end.store(0, Ordering::Relaxed);
    library.used.store(1, Ordering::Release);
    Watched(u32::try_from(index).ok())
}

impl Watched {
    /// Where the library lies, once it is mapped.
    pub fn lies_at(&self, start: u64, end: u64) {
        if let (Some(journal), Some(index)) = (journal(), self.0) {
            journal.libraries[index as usize].start.store(start, Ordering::Relaxed);
            journal.libraries[index as usize].end.store(end, Ordering::Release);
        }
    }

    /// Enters the calling thread as one of this generation.
    pub fn this_thread(&self) -> WatchedThread {
        let (Some(journal), Some(index)) = (journal(), self.0) else { return WatchedThread(None) };
        let _one_at_a_time = ENTRIES.lock().unwrap_or_else(PoisonError::into_inner);
        let free = journal.lanes.iter().find(|lane| lane.tid.load(Ordering::Relaxed) == 0);
        if let Some(lane) = free {
            lane.step.store(Step::Idle as u32, Ordering::Relaxed);
            lane.library.store(index + 1, Ordering::Relaxed);
            lane.tid.store(gettid(), Ordering::Release);
        }
        WatchedThread(free)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let (Some(journal), Some(index)) = (journal(), self.0) {
            journal.libraries[index as usize].used.store(0, Ordering::Release);
        }
    }
}

/// A thread's entry in the journal; given back when dropped.
#[derive(Debug)]
pub struct WatchedThread(Option<&'static Lane>);

impl WatchedThread {
    /// What the thread does from now on.
    pub fn does(&self, step: Step) {
        if let Some(lane) = self.0 {
            lane.step.store(step as u32, Ordering::Release);
        }
    }
}

impl Drop for WatchedThread {
    fn drop(&mut self) {
        if let Some(lane) = self.0 {
            lane.tid.store(0, Ordering::Release);
        }
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lane({})", self.tid.load(Ordering::Relaxed))
    }
}

fn journal() -> Option<&'static Journal> {
    // SAFETY: null, or a mapping that is never taken away.
    unsafe { JOURNAL.load(Ordering::Acquire).as_ref() }
}

fn gettid() -> i32 {
    // SAFETY: a plain call, allowed in a handler.
    unsafe { libc::gettid() }
}

fn put_up_handlers() -> io::Result<()> {
    let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: a zeroed sigaction is the default action.
    let kept = before.insert(unsafe { std::mem::zeroed() });
    BEFORE_PTR.store(kept, Ordering::Release);
    SIGNALS.into_iter().zip(kept).try_for_each(|(signal, kept)| handle(signal, kept))
}

fn handle(signal: i32, before: *mut libc::sigaction) -> io::Result<()> {
    // SAFETY: a zeroed sigaction is the default action; then its parts are filled in.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_fault as *const () as usize;
    // On the alternate stack that std gives to its threads: a stack overflow is a fault as well.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the new action lives, `before` is null or has room; the handler keeps to what handlers may do.
    if unsafe { libc::sigaction(signal, &raw const action, before) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Puts the handlers up again where a plugin has put its own: for after one was made. Faults stay ours to write down.
///
/// # Errors
/// When the kernel does not take them.
pub fn take_handlers_back() -> io::Result<()> {
    let started = journal().is_some();
    SIGNALS.into_iter().filter(|_| started).try_for_each(|signal| handle(signal, ptr::null_mut()))
}

/// A signal whose handler lies in this part of memory.
pub fn handled_within(place: &Range<u64>) -> Option<i32> {
    (1..=libc::SIGRTMAX()).find(|signal| {
        // SAFETY: a zeroed sigaction is the default action.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: nothing is set, and there is room for what is asked for.
        let known = unsafe { libc::sigaction(*signal, ptr::null(), &raw mut action) } == 0;
        known && place.contains(&(action.sa_sigaction as u64))
    })
}

extern "C" fn on_fault(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes both to a SA_SIGINFO handler.
    let (code, sender) = unsafe { ((*info).si_code, (*info).si_pid()) };
    let by_kernel = code > 0;
    // SAFETY: a plain call, allowed in a handler.
    if by_kernel || sender == unsafe { libc::getpid() } {
        // SAFETY: as above.
        write_down(signal, unsafe { instruction(context) });
    }
    hand_on(signal, by_kernel);
}

/// A fault goes to the handler before ours, as if that one had never been taken away: it comes again when the instruction is
/// run again. What was sent does not, and std's handler, which waits for that, would swallow it: it gets the default action.
fn hand_on(signal: i32, by_kernel: bool) {
    // SAFETY: a zeroed sigaction is the default action.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    let kept = BEFORE_PTR.load(Ordering::Acquire);
    if let Some(at) = SIGNALS.iter().position(|known| *known == signal) {
        // SAFETY: filled in before the handler was put up, and never moved: it lies in a static.
        let next = if by_kernel { unsafe { &raw const (*kept)[at] } } else { &raw const default };
        // SAFETY: `next` lives until the call returns.
        unsafe { libc::sigaction(signal, next, ptr::null_mut()) };
    }
    if !by_kernel {
        // SAFETY: plain calls, allowed in a handler.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), signal) };
    }
}

/// # Safety
/// `context` is what the kernel passed to a handler.
unsafe fn instruction(context: *const libc::c_void) -> u64 {
    // SAFETY: by this function's contract it is a ucontext.
    let context = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext };
    #[cfg(target_arch = "x86_64")]
    return context.gregs[usize::try_from(libc::REG_RIP).unwrap_or(16)].cast_unsigned();
    #[cfg(target_arch = "aarch64")]
    return context.pc;
}

/// Writes the record for a fault of the calling thread, when it was carrying plugin code out. The first one stays.
fn write_down(signal: i32, instruction: u64) {
    let Some(journal) = journal() else { return };
    let tid = gettid();
    let lane = journal.lanes.iter().find(|lane| lane.tid.load(Ordering::Acquire) == tid);
    let busy = lane.map(|lane| (lane.step.load(Ordering::Acquire), lane.library.load(Ordering::Relaxed)));
    let (step, library) = match busy {
        Some((step, index)) if step != Step::Idle as u32 => {
            (step, journal.libraries.get((index as usize).wrapping_sub(1)))
        }
        _ => {
            let lies_in = journal.libraries.iter().find(|library| {
                library.used.load(Ordering::Acquire) == 1
                    && (library.start.load(Ordering::Relaxed)..library.end.load(Ordering::Acquire))
                        .contains(&instruction)
            });
            (Step::Stranger as u32, lies_in)
        }
    };
    let Some(library) = library else { return };
    if journal.written.load(Ordering::Acquire) != 0 {
        return;
    }
    let journal = JOURNAL.load(Ordering::Acquire);
    // SAFETY: the mapping stays; two threads that fault at once may both write, and the process is dying anyway.
    unsafe {
        (&raw mut (*journal).signal).write(signal);
        (&raw mut (*journal).step).write(step);
        (&raw mut (*journal).culprit).write((&raw const library.culprit).read());
        (*journal).written.store(1, Ordering::Release);
    }
}

/// `exit` on a lane is a plugin ending the host: that is written down, and the process fails instead of ending well.
extern "C" fn at_exit() {
    let Some(journal) = journal() else { return };
    let tid = gettid();
    let busy = journal
        .lanes
        .iter()
        .any(|lane| lane.tid.load(Ordering::Acquire) == tid && lane.step.load(Ordering::Acquire) != Step::Idle as u32);
    if busy {
        write_down(0, 0);
        // SAFETY: ends the process at once; other handlers of atexit may be the plugin's.
        unsafe { libc::_exit(1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_journal_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for bytes in [vec![], vec![7; 100], vec![0; size_of::<Journal>()], vec![1; size_of::<Journal>()]] {
            let path = folder.path().join("journal");
            std::fs::write(&path, bytes).unwrap();
            let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            file.set_len(size_of::<Journal>() as u64).unwrap();
            let journal = map(&file).unwrap();
            // SAFETY: mapped just now.
            assert_eq!(unsafe { read(journal) }, None);
        }
    }
}
