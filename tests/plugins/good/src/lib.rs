//! A plugin that works, and keeps a buffer with a destructor in every thread, which closing it must run and unmap.

use std::cell::RefCell;

use desk::{Behaviour, Desk};
use plugin_abi::prelude::*;

/// Size of each thread's buffer: large enough to show in the process's memory if a few hundred of them stay behind.
const BUFFER_BYTES: usize = 256 << 10;

struct Good;

/// A buffer whose destructor is code of this library, registered with the C library for every thread that calls it.
struct Buffer(Vec<u8>);

impl Drop for Buffer {
    fn drop(&mut self) {
        self.0.fill(0);
    }
}

thread_local! {
    static BUFFER: RefCell<Buffer> = RefCell::new(Buffer(vec![1; BUFFER_BYTES]));
}

impl Behaviour for Good {
    const INFO: PluginInfo = plugin_info!("desk_good");

    fn new() -> Self {
        Self
    }

    fn before(&self, _tenant: &Tenant<'_>, _method: &str) {
        BUFFER.with_borrow_mut(|buffer| buffer.0[0] = buffer.0[0].wrapping_add(1));
    }
}

export_plugin!(Desk<Good>);
