//! Codes that change by themselves during a run.

use super::{CommandKind, Controller, Observer, Request, TickReport};
use crate::time::Wake;

/// Selects the next code, and after the last the first, each time that the policy has commanded
/// for a number of ticks.
#[derive(Clone, Debug)]
pub struct SwitchCodes {
    every_ticks: u64,
    switches: u64,
}

impl SwitchCodes {
    /// Switches after every `every_ticks` ticks of the policy's command, at least one.
    pub fn every(every_ticks: u64) -> Self {
        Self { every_ticks: every_ticks.max(1), switches: 0 }
    }

    /// How often a code was selected so far; the tick that follows is the first under it.
    pub fn switches(&self) -> u64 {
        self.switches
    }
}

impl Observer for SwitchCodes {
    fn observe(&mut self, controller: &Controller, _: &Wake, tick: &TickReport, _: u64) {
        let commanded = tick.command == CommandKind::Act;
        if commanded && controller.stats().policy_ticks.is_multiple_of(self.every_ticks) {
            let next = (usize::from(tick.code) + 1) % controller.code_count();
            controller.request(Request::Code(next as u16));
            self.switches += 1;
        }
    }
}
