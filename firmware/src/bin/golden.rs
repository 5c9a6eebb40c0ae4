//! A policy file in flash: every check of it, its golden vectors, and what they cost.
//!
//! Prints one line of `key value` pairs that `cargo xtask firmware` holds to its limits.
#![no_std]
#![no_main]

use cortex_m_rt::entry;
use heapless::Vec;
use sog_core::{
    Numbers,
    control::{
        CommandKind, Control, Inputs, Limits, Memory, RateLimit, Request, Requests, Settings,
    },
    io::{Homing, Reading},
    policy::Policy,
    time::Wake,
};
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
    let tick = tick(policy, counter, &mut scratch);
    let (flash, file) = (memory::flash(), FILE.0.len());
    say(format_args!(
        "vectors {rows} worst_error {worst:e} instructions_per_call {call} instructions_per_tick {} \
         instructions_to_load {load} flash {flash} file {file} statics {} stack {}",
        tick.unwrap_or(0),
        memory::statics(),
        memory::stack()
    ));
    rows > 0 && tick.is_some()
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

/// Instructions of one tick of the control loop around that call: watchdogs, inference, limits. `None`
/// where what it commands is not what the policy says, within bounds.
#[inline(never)]
fn tick(policy: &Policy<'_>, counter: &Counter, scratch: &mut [f32]) -> Option<u64> {
    type Row = Vec<f32, { largest(sizes::OBSERVATION, sizes::ACTION) }>;
    let row = |numbers: Numbers<'_>, width| -> Option<Row> {
        let mut row = Row::new();
        row.resize(width, 0.0).ok()?;
        numbers.slice(0, width)?.copy_to(&mut row).then_some(row)
    };
    let of = |x: f32, width| Row::from_iter(core::iter::repeat_n(x, width));
    let (s, a) = (sizes::OBSERVATION, sizes::ACTION);
    let (obs, latent) = (row(policy.golden.obs, s)?, row(policy.golden.latent, sizes::CODE)?);
    let (low, high) = (row(policy.action_low, a)?, row(policy.action_high, a)?);
    let memory = Memory {
        incoming: obs,
        obs: of(0.0, s),
        raw_action: of(0.0, a),
        action: of(0.0, a),
        damping_action: of(0.0, a),
        stop_action: of(0.0, a),
    };
    let range = [low.clone(), high.clone()];
    let limits = Limits::new(range, of(f32::INFINITY, a), RateLimit::Robot, (&low, &high))?;
    let mut control = Control::new(memory, limits, Settings::default(), 1, 0)?;
    let inputs = Inputs {
        requests: Requests::default().with(Request::Arm).with(Request::Start),
        read: Ok(Reading { step: 1, ..Reading::default() }),
        homing: Homing::Unable,
        wake: Wake::default(),
        applied: None,
        taken_over: false,
    };
    let start = counter.now();
    let command = control.tick(&inputs, |_, obs, action| {
        if policy.mean_action(scratch, obs, &latent, action).is_err() {
            action.fill(f32::NAN);
        }
    });
    let report = control.written(Ok(()), None);
    let taken = counter.since(start);
    let bounds = low.iter().zip(&high);
    let held = control.action().iter().zip(control.raw_action()).zip(bounds);
    let good = held.into_iter().all(|((told, raw), (low, high))| *told == raw.max(*low).min(*high));
    (command == CommandKind::Act && report.faults.is_empty() && good).then_some(taken)
}

const fn largest(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}
