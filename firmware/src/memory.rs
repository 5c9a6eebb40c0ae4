//! How much memory a program takes: flash and static memory by the linker's symbols, the stack by
//! what was overwritten of a pattern.

use core::ptr::{addr_of, read_volatile, write_volatile};

/// The pattern.
const UNTOUCHED: u32 = 0x5347_5347;
/// Words below the stack pointer that are left alone while the pattern is laid out.
const MARGIN: usize = 64;

// What `link.x` of cortex-m-rt defines; only the addresses mean something.
unsafe extern "C" {
    static __vector_table: u32;
    static __sidata: u32;
    static __sdata: u32;
    static __edata: u32;
    static __sheap: u32;
    static _stack_start: u32;
}

fn address(symbol: *const u32) -> usize {
    symbol as usize
}

/// Bytes of flash: code, constants, and the first values of variables.
pub fn flash() -> usize {
    address(addr_of!(__sidata)) - address(addr_of!(__vector_table))
        + (address(addr_of!(__edata)) - address(addr_of!(__sdata)))
}

/// Bytes of static memory.
pub fn statics() -> usize {
    address(addr_of!(__sheap)) - address(addr_of!(__sdata))
}

/// Lays the pattern out over the free memory below the stack.
pub fn watch_stack() {
    let here = 0_u32;
    let mut word = addr_of!(__sheap).cast_mut();
    let end = (&raw const here).wrapping_sub(MARGIN);
    while word.cast_const() < end {
        // SAFETY: between the end of the variables and the stack nothing else lives.
        unsafe { write_volatile(word, UNTOUCHED) };
        word = word.wrapping_add(1);
    }
}

/// Bytes that the stack has taken since, and before, at most.
pub fn stack() -> usize {
    let mut word = addr_of!(__sheap);
    // SAFETY: all of it is memory, up to the top of the stack.
    while word < addr_of!(_stack_start) && unsafe { read_volatile(word) } == UNTOUCHED {
        word = word.wrapping_add(1);
    }
    address(addr_of!(_stack_start)) - address(word)
}
