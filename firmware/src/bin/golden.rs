//! A policy file in flash: every check of it, its golden vectors, and what they cost.
//!
//! Prints one line of `key value` pairs that `cargo xtask firmware` holds to its limits.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use sog_core::policy::Policy;
use sog_firmware::{exit, instructions::Counter, memory, say};

mod sizes {
    include!(concat!(env!("OUT_DIR"), "/sizes.rs"));
}

/// Numbers in a file are read fastest where they are aligned.
#[repr(C, align(4))]
struct Aligned<T: ?Sized>(T);

static FILE: &Aligned<[u8]> = &Aligned(*include_bytes!(env!("SOG_POLICY")));

#[entry]
fn main() -> ! {
    memory::watch_stack();
    let Some(peripherals) = cortex_m::Peripherals::take() else { exit(false) };
    let counter = Counter::new(peripherals.SYST);
    let good = run(&counter);
    exit(good)
}

#[inline(never)]
fn run(counter: &Counter) -> bool {
    let mut scratch = [0.0; sizes::SCRATCH];
    let start = counter.now();
    let opened = Policy::open(&FILE.0, &mut scratch);
    let load = counter.since(start);
    let policy = match &opened {
        Ok(policy) => policy,
        Err(error) => {
            say(format_args!("refused: {error}"));
            return false;
        }
    };
    let mut worst = 0.0_f32;
    let mut rows = 0;
    while let Some(Ok(errors)) = policy.golden_errors(&mut scratch, rows) {
        for (_, computed, golden) in errors {
            worst = worst.max((computed - golden).abs() / golden.abs().max(1.0));
        }
        rows += 1;
    }
    let call = call(policy, counter, &mut scratch);
    let (flash, file) = (memory::flash(), FILE.0.len());
    say(format_args!(
        "vectors {rows} worst_error {worst:e} instructions_per_call {call} instructions_to_load \
         {load} flash {flash} file {file} statics {} stack {}",
        memory::statics(),
        memory::stack()
    ));
    rows > 0
}

/// Instructions of one call, under the first golden vector.
#[inline(never)]
fn call(policy: &Policy<'_>, counter: &Counter, scratch: &mut [f32]) -> u64 {
    let (mut obs, mut latent) = ([0.0; sizes::OBSERVATION], [0.0; sizes::CODE]);
    let mut action = [0.0; sizes::ACTION];
    let golden = policy.golden;
    for (numbers, to) in [(golden.obs, &mut obs[..]), (golden.latent, &mut latent[..])] {
        if !numbers.slice(0, to.len()).is_some_and(|numbers| numbers.copy_to(to)) {
            return u64::MAX;
        }
    }
    let start = counter.now();
    let evaluated = policy.mean_action(scratch, &obs, &latent, &mut action);
    let taken = counter.since(start);
    evaluated.map_or(u64::MAX, |()| taken)
}
