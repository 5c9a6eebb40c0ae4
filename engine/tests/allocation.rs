//! Once buffers have grown, no update allocates.
#![allow(unsafe_code)] // A counting allocator cannot be written without.

mod updates;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use sog_engine::shard::Parallelism;
use updates::Updates;

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps `realloc`'s contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations of ten rounds of updates after a first one.
fn allocations(parallelism: Parallelism) -> usize {
    let mut all = Updates::new(300, parallelism);
    all.run();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    (0..10).for_each(|_| all.run());
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// One test alone in this file, so that no other thread allocates meanwhile.
#[test]
fn updates_do_not_allocate() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("two threads");
    let counts =
        (allocations(Parallelism::Serial), pool.install(|| allocations(Parallelism::Rayon)));
    assert_eq!(counts, (0, 0), "allocations of ten rounds (serial, two threads)");
}
