//! Counting instructions under `qemu -icount shift=0`, where each takes the same virtual time.
//!
//! The SysTick counter runs in virtual time; what one of its ticks is worth is measured with a loop
//! of known length, so that nothing need be known of the board's clock.

use cortex_m::peripheral::{SYST, syst::SystClkSource};

/// Turns of the loop of known length.
const TURNS: u32 = 100_000;
/// Instructions of one turn.
const OF_A_TURN: u64 = 2;
/// The counter has 24 bits.
const RANGE: u32 = 1 << 24;

/// A moment of a [`Counter`].
#[derive(Clone, Copy)]
pub struct Moment(u32);

/// A counter of instructions.
pub struct Counter {
    timer: SYST,
    /// Ticks of the loop of known length.
    known: u64,
}

impl Counter {
    /// Takes the timer and measures what a tick is worth.
    pub fn new(mut timer: SYST) -> Self {
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(RANGE - 1);
        timer.clear_current();
        timer.enable_counter();
        let mut counter = Self { timer, known: 1 };
        let start = counter.now();
        // SAFETY: counts a register down to 0 and touches nothing else.
        unsafe {
            core::arch::asm!(
                "1: subs {n}, {n}, #1", "bne 1b",
                n = inout(reg) TURNS => _, options(nomem, nostack),
            );
        }
        counter.known = counter.ticks_since(start);
        counter
    }

    /// Now.
    pub fn now(&self) -> Moment {
        // It counts down.
        Moment(self.timer.cvr.read())
    }

    /// How many instructions ago that was, to about ten of them; less than 90 million.
    pub fn since(&self, start: Moment) -> u64 {
        self.ticks_since(start) * u64::from(TURNS) * OF_A_TURN / self.known.max(1)
    }

    fn ticks_since(&self, start: Moment) -> u64 {
        u64::from(start.0.wrapping_sub(self.now().0) % RANGE)
    }
}
