//! Small services of the system: randomness, and waiting for a descriptor.

use std::os::fd::AsFd;

use rustix::{
    event::{PollFd, PollFlags, poll},
    rand::{GetRandomFlags, getrandom},
    time::Timespec,
};

/// 64 random bits that nobody can guess.
pub fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    // Asked for so few bytes, the kernel gives all or, early at boot, waits.
    while getrandom(&mut bytes, GetRandomFlags::empty()) != Ok(bytes.len()) {}
    u64::from_le_bytes(bytes)
}

/// Waits until there is something to read, or the time is up, or a signal comes.
pub fn wait_readable(descriptor: impl AsFd, timeout_ns: u64) {
    wait(descriptor, PollFlags::IN, timeout_ns);
}

/// Waits until there is room to write, or the time is up, or a signal comes.
pub fn wait_writable(descriptor: impl AsFd, timeout_ns: u64) {
    wait(descriptor, PollFlags::OUT, timeout_ns);
}

fn wait(descriptor: impl AsFd, flags: PollFlags, timeout_ns: u64) {
    let timeout = Timespec {
        tv_sec: (timeout_ns / 1_000_000_000) as i64,
        tv_nsec: (timeout_ns % 1_000_000_000) as _,
    };
    // Whatever it says, the caller tries again and looks at the clock.
    let _ = poll(&mut [PollFd::new(&descriptor, flags)], Some(&timeout));
}
