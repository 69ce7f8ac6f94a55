//! A plugin that works, with its own allocator that overwrites freed memory: the host may neither use nor free what it
//! allocated.

#![allow(unsafe_code, reason = "an allocator is")]

use std::alloc::{GlobalAlloc, Layout, System};

use desk::{Behaviour, Desk};
use plugin_abi::prelude::*;

/// Size of the guard before each allocation, which other allocators do not know about.
const GUARD: usize = 64;

struct Guarded;

fn guarded(layout: Layout) -> Layout {
    let align = layout.align().max(GUARD);
    Layout::from_size_align(layout.size() + align, align).expect("a little more than the layout")
}

// SAFETY: a block of the system's with a guard in front, of the alignment asked for.
unsafe impl GlobalAlloc for Guarded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let guarded = guarded(layout);
        // SAFETY: the layout has a size, for the guard.
        let block = unsafe { System.alloc(guarded) };
        if block.is_null() {
            return block;
        }
        // SAFETY: the guard is part of the block.
        unsafe {
            block.write_bytes(0xa5, guarded.align());
            block.add(guarded.align())
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let guarded = guarded(layout);
        // SAFETY: `alloc` gave this block, with the guard in front of it.
        unsafe {
            let start = block.sub(guarded.align());
            assert!(start.read() == 0xa5, "this block is not ours");
            block.write_bytes(0xdd, layout.size());
            System.dealloc(start, guarded);
        }
    }
}

#[global_allocator]
static ALLOCATOR: Guarded = Guarded;

struct Allocates;

impl Behaviour for Allocates {
    const INFO: PluginInfo = plugin_info!("desk_allocator");

    fn new() -> Self {
        Self
    }
}

export_plugin!(Desk<Allocates>);
