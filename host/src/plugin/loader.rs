//! The trust line: the only place where a plugin's file becomes code, and the only unsafe code on the host's side of it.
//!
//! Nothing here is called on a thread that lives on: opening runs the library's constructors, making and dropping an
//! instance runs the plugin, closing runs its destructors, and each leaves thread-locals behind that keep the library
//! mapped until its thread has ended.

#![allow(unsafe_code)]

use std::{
    error::Error as _,
    ffi::CStr,
    fs::File,
    io::{self, BufRead as _, BufReader},
    mem::ManuallyDrop,
    num::NonZero,
    ops::Range,
    path::Path,
};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use plugin_abi::{
    PluginError,
    export::ROOT_SYMBOL,
    host::{CallFault, HostCalls, HostSide, create_request, error_in},
    layout,
    raw::{AbiHeaderRef, Field, LibHeader, LibraryError, PluginModuleRef, RawInstance},
};

use super::{
    artifact::VerifiedArtifact,
    probe::ProbeProcess,
    refusal::{Code, Refusal},
    trial,
};

/// From this size on, memory belongs to nobody once it is freed; see [`bound_freed_memory`].
const LARGE_BYTES: libc::c_int = 256 << 10;
/// Arenas of the allocator for each processor.
const ARENAS_PER_PROCESSOR: usize = 4;

/// A mapped library with its root module.
///
/// Dropping it leaves it mapped: only [`close`](Self::close) unmaps, on a thread that was chosen for it.
pub struct LoadedLibrary {
    library: ManuallyDrop<Library>,
    module: PluginModuleRef,
}

impl LoadedLibrary {
    /// Maps a proven artifact's private copy, by its descriptor. Its layout was checked by the probe on these very bytes;
    /// here it is not, since abi_stable would keep references into the library in globals of the process.
    ///
    /// # Errors
    /// What the dynamic linker said, or that it gave the code of another file.
    pub fn open(artifact: &VerifiedArtifact) -> Result<Self, Refusal> {
        let library = open(artifact.opened_from()).map_err(|refusal| match artifact.copy().parent() {
            Some(folder) if trial::is_noexec(folder) => {
                Refusal { reason: format!("{}; {}", refusal.reason, noexec(folder)), ..refusal }
            }
            _ => refusal,
        })?;
        let header = header(&library)?;
        // glibc gives what it has mapped already when it takes a file for that.
        let place =
            mapped(artifact.copy()).map_err(|fault| Refusal::new(Code::Load, format!("/proc/self/maps: {fault}")))?;
        if !place.is_some_and(|place| place.contains(&(std::ptr::from_ref(header).addr() as u64))) {
            return Err(Refusal::new(Code::Load, "the dynamic linker gave the code of another library, mapped before"));
        }
        // SAFETY: the probe has checked the layout of the library with this digest, and refused it if it had none.
        let module = unsafe { header.init_root_module_with_unchecked_layout::<PluginModuleRef>() };
        let module = module.map_err(|fault| refusal_of(&fault))?;
        Ok(Self { library: ManuallyDrop::new(library), module })
    }

    /// Maps an unproven file in the process that exists to try it, with all checks.
    ///
    /// # Errors
    /// What the dynamic linker said, or which check of the ABI failed.
    pub fn open_in_probe(_here: &ProbeProcess, path: &Path) -> Result<Self, Refusal> {
        let library = open(path)?;
        let header = header(&library)?;
        if header.layout().is_none() {
            return Err(Refusal::new(Code::NoLayout, "it was exported with the layout check turned off"));
        }
        let module = header.init_root_module::<PluginModuleRef>().map_err(|fault| match fault {
            LibraryError::AbiInstability(dump) => {
                Refusal::new(Code::Layout, one_line(&layout::difference(header))).with_details(dump.to_string())
            }
            fault => refusal_of(&fault),
        })?;
        Ok(Self { library: ManuallyDrop::new(library), module })
    }

    /// What the module says of itself. The text lies in the library, so it is borrowed from this:
    ///
    /// ```compile_fail
    /// fn kept_beyond_the_library(library: patchbay::plugin::loader::LoadedLibrary) -> &'static str {
    ///     library.info()
    /// }
    /// ```
    pub fn info(&self) -> &str {
        self.module.info().as_str()
    }

    /// Makes the plugin's instance.
    ///
    /// # Errors
    /// `INIT_PANIC` or `INIT_ERROR`.
    pub fn create<C: HostCalls>(
        self,
        host: Box<HostSide<C>>,
        host_version: &str,
        call: u64,
    ) -> Result<LoadedPlugin<C>, (Self, Refusal)> {
        let mut fault = None;
        // SAFETY: `LoadedPlugin` keeps the library mapped and the boxed callbacks in place until `destroy` has returned;
        // when nothing was made there is nothing that could use them.
        let instance = unsafe {
            let take = &mut |reply: &[Field<'_>]| fault = error_in(reply);
            RawInstance::create(self.module, &*host, call, &create_request(host_version), take)
        };
        match instance {
            Some(instance) => Ok(LoadedPlugin { instance, host, library: self }),
            None => Err((self, refusal_of_create(fault))),
        }
    }

    /// Unmaps the library, if nothing keeps it; see [`mapped`].
    ///
    /// # Errors
    /// What the dynamic linker said.
    pub fn close(self) -> Result<(), String> {
        ManuallyDrop::into_inner(self.library).close().map_err(|fault| words_of(&fault))
    }
}

/// A library with its one instance and the callbacks that it may use.
pub struct LoadedPlugin<C> {
    instance: RawInstance,
    host: Box<HostSide<C>>,
    library: LoadedLibrary,
}

impl<C: HostCalls> LoadedPlugin<C> {
    /// The instance.
    pub fn instance(&self) -> &RawInstance {
        &self.instance
    }

    /// The callbacks.
    pub fn host(&self) -> &HostSide<C> {
        &self.host
    }

    /// Drops the instance and hands the rest back: the library, and the callbacks, which must stay until it is closed.
    pub fn destroy(self) -> (LoadedLibrary, Box<HostSide<C>>, Option<CallFault>) {
        let mut fault = None;
        self.instance.destroy(&mut |reply| fault = error_in(reply));
        (self.library, self.host, fault)
    }
}

/// From where to where this file is mapped into the process; `None` when nothing of it is.
///
/// # Errors
/// When /proc cannot be read.
pub fn mapped(path: &Path) -> io::Result<Option<Range<u64>>> {
    let path = path.as_os_str().as_encoded_bytes();
    let mut found: Option<Range<u64>> = None;
    for line in BufReader::new(File::open("/proc/self/maps")?).split(b'\n') {
        let line = line?;
        // A deleted file is shown with " (deleted)" behind its path.
        if !line.windows(path.len()).any(|window| window == path) {
            continue;
        }
        let addresses = line.split(|byte| *byte == b' ').next().and_then(|field| std::str::from_utf8(field).ok());
        let (start, end) = addresses.and_then(|field| field.split_once('-')).unwrap_or(("0", "0"));
        let address = |text| u64::from_str_radix(text, 16).map_err(io::Error::other);
        let (start, end) = (address(start)?, address(end)?);
        found = Some(found.map_or(start..end, |found| found.start.min(start)..found.end.max(end)));
    }
    Ok(found)
}

/// Why nothing in this folder can be mapped, and what mends it.
pub(super) fn noexec(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "{folder} lies on a file system that is mounted noexec, from which no library can be run: mount it exec, or move \
         state_dir to another"
    )
}

/// The version of the C library that this process runs with, as `2.36`.
pub fn glibc_version() -> &'static str {
    // SAFETY: glibc gives the address of a constant text that ends with a zero.
    let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
    version.to_str().unwrap_or_default()
}

/// Bounds what the C library's allocator, which host and plugins share, keeps of memory that was freed. For the start, before
/// there are other threads.
///
/// * Each large piece is given back as soon as it is freed. Left to itself the allocator learns from the first one to keep
///   such memory in the arena of the thread that freed it: then each lane keeps what its largest answers took.
/// * There are four arenas for each processor. Left to itself the allocator makes twice as many. A thread that ends leaves
///   in its arena what it freed between pieces that live on. The lanes of each generation are new threads, so with every
///   replacement more of that came together. One arena for each processor made whole jobs a quarter slower: threads waited
///   for an arena whose thread had lost its processor. On two processors eight arenas are as fast as sixteen.
pub fn bound_freed_memory() {
    #[cfg(feature = "test-hooks")]
    if std::env::var_os("PATCHBAY_TEST_ALLOCATOR").is_some_and(|value| value == "as_it_comes") {
        return;
    }
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let arenas = libc::c_int::try_from(processors * ARENAS_PER_PROCESSOR).unwrap_or(libc::c_int::MAX);
    for (parameter, value) in [(libc::M_MMAP_THRESHOLD, LARGE_BYTES), (libc::M_ARENA_MAX, arenas)] {
        // SAFETY: it sets a number of the allocator, and no other thread allocates yet.
        let set = unsafe { libc::mallopt(parameter, value) };
        if set != 1 {
            tracing::warn!(
                "the C library does not let itself be told to give freed memory back; the host may need more of it"
            );
        }
    }
}

/// Gives memory that was freed back to the system, where whole pages of it are free; for after a generation has gone, whose
/// pieces have lain between others that live on. Takes milliseconds, and each arena's lock for its part of them.
pub fn give_freed_memory_back() {
    // SAFETY: it touches nothing but what is free, and takes the allocator's locks as every allocation does.
    let _whether_there_was_any = unsafe { libc::malloc_trim(0) };
}

fn open(path: &Path) -> Result<Library, Refusal> {
    // SAFETY: running the library's constructors is what loading means. Here only bytes are opened that the probe has
    // proven, from a file that only this host can write, or, in the probe, in a process that exists for that.
    // RTLD_NOW: with lazy binding a missing symbol would kill the process at the first call.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
        .map_err(|fault| Refusal::new(Code::Load, words_of(&fault)))
}

/// What the dynamic linker itself said, whole; the error around it only names the function.
fn words_of(fault: &libloading::Error) -> String {
    fault.source().map_or_else(|| fault.to_string(), ToString::to_string)
}

fn header(library: &Library) -> Result<&LibHeader, Refusal> {
    // SAFETY: the symbol is abi_stable's root header, which begins with a magic string that `upgrade` checks before
    // anything else of it is looked at. The reference ends with the library's borrow.
    let header = unsafe { library.get::<AbiHeaderRef>(ROOT_SYMBOL.as_bytes()).map(|symbol| *symbol) };
    let header = header.map_err(|fault| Refusal::new(Code::NotAPlugin, words_of(&fault)))?;
    header.upgrade().map_err(|fault| Refusal::new(Code::AbiHeader, one_line(&fault.to_string())))
}

fn refusal_of(fault: &LibraryError) -> Refusal {
    let code = match fault {
        LibraryError::IncompatibleVersionNumber { .. } | LibraryError::ParseVersionError(_) => Code::Version,
        LibraryError::InvalidAbiHeader(_) => Code::AbiHeader,
        LibraryError::RootModule { .. } => Code::InitPanic,
        _ => Code::Load,
    };
    Refusal::new(code, one_line(&fault.to_string()))
}

fn refusal_of_create(fault: Option<CallFault>) -> Refusal {
    match fault {
        Some(CallFault::Plugin(error @ PluginError::Panicked { .. })) => {
            Refusal::new(Code::InitPanic, error.to_string())
        }
        Some(CallFault::Plugin(error)) => Refusal::new(Code::InitError, error.to_string()),
        Some(CallFault::InvalidReply(reason)) => Refusal::new(Code::InitError, reason),
        None => Refusal::new(Code::InitError, "new made no instance and gave no reason"),
    }
}

/// abi_stable's errors may be pages long; their beginning says what is wrong.
fn one_line(text: &str) -> String {
    const BYTES_MAX: usize = 300;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line[..line.floor_char_boundary(BYTES_MAX)].to_owned()
}
