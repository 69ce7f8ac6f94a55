//! A preload library, not a plugin: it stands before the C library's function that registers the destructor of a
//! thread-local, and records each call. That function takes the dynamic linker's lock.
//!
//! A call is a line in the file named by `ATEXIT_WATCH_FILE`: thread, library, and the callers, innermost first,
//! separated by tabs.

#![allow(unsafe_code, reason = "it takes the place of a function of the C library")]

use std::{
    backtrace::Backtrace,
    cell::Cell,
    env,
    ffi::{CStr, c_int, c_void},
    fs::{self, OpenOptions},
    io::Write as _,
    mem,
    sync::OnceLock,
};

type Destructor = unsafe extern "C" fn(*mut c_void);
type Note = unsafe extern "C" fn(Destructor, *mut c_void, *mut c_void) -> c_int;

thread_local! {
    /// Guards against recursion: recording may use thread-locals of this library.
    static WRITING: Cell<bool> = const { Cell::new(false) };
}

/// # Safety
/// The C library's: `destructor` takes `object`, which lives as long as its thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __cxa_thread_atexit_impl(
    destructor: Destructor,
    object: *mut c_void,
    library: *mut c_void,
) -> c_int {
    if !WRITING.replace(true) {
        write_down(library);
        WRITING.set(false);
    }
    // SAFETY: as the caller promised.
    unsafe { real()(destructor, object, library) }
}

fn real() -> Note {
    static REAL: OnceLock<Note> = OnceLock::new();
    *REAL.get_or_init(|| {
        // SAFETY: the name ends with a zero byte.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"__cxa_thread_atexit_impl".as_ptr()) };
        assert!(!found.is_null(), "the C library is not glibc");
        // SAFETY: glibc's function of this name has this type.
        unsafe { mem::transmute::<*mut c_void, Note>(found) }
    })
}

fn write_down(library: *mut c_void) {
    let Some(path) = env::var_os("ATEXIT_WATCH_FILE") else { return };
    let thread = fs::read_to_string("/proc/thread-self/comm").expect("a thread has a name");
    let trace = Backtrace::force_capture().to_string();
    // Each frame's name follows its number. Its source location is on a line of its own.
    let frames = trace.lines().filter_map(|line| Some(line.trim_start().split_once(": ")?.1));
    let frames: Vec<_> = frames.skip_while(|frame| !frame.contains("__cxa_thread_atexit_impl")).skip(1).collect();
    let line = format!("{}\t{}\t{}\n", thread.trim_end(), file_of(library), frames.join(" < "));
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("the test's file can be written");
    file.write_all(line.as_bytes()).expect("the test's file can be written");
}

/// The file that an address is mapped from.
fn file_of(address: *mut c_void) -> String {
    // SAFETY: of numbers and pointers, for which zeros are values.
    let mut info = unsafe { mem::zeroed::<libc::Dl_info>() };
    // SAFETY: it takes any address, and writes to `info` alone.
    let known = unsafe { libc::dladdr(address, &raw mut info) } != 0 && !info.dli_fname.is_null();
    // SAFETY: the dynamic linker's text, which stays while the library does; it is busy with this call.
    if known { unsafe { CStr::from_ptr(info.dli_fname) }.to_string_lossy().into_owned() } else { "?".to_owned() }
}
