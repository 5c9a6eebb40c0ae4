//! sog-runtime in a world without std.
#![no_std]

use core::alloc::{GlobalAlloc, Layout};

struct NoMemory;

// SAFETY: never hands out memory, which an allocator may always do.
unsafe impl GlobalAlloc for NoMemory {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }
    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static ALLOCATOR: NoMemory = NoMemory;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Uses the loader and inference, so that they are compiled and linked.
pub fn load(bytes: &[u8]) -> Option<sog_runtime::policy::Policy> {
    let file = sog_runtime::policy::PolicyFile::parse(bytes).ok()?;
    Some(sog_runtime::policy::Policy::new(&file))
}
