//! A robot behind a UART: a point in the plane that goes where it is told, as the task `circles` has
//! it. It sees its last five positions, newest last.
//!
//! interrupt → queue → [`Deframer`] → [`RobotSide`] → the point, and back. It waits for its controller
//! at every step; built with `SOG_REAL_TIME` set it keeps time.
#![no_std]
#![no_main]

use cortex_m_rt::{entry, exception};
use sog_core::{
    contract::ContractView,
    kinds::TermsView,
    link::{
        Deframer, Fed, enclose, enclosed_len,
        robot::{Description, Duty, Heard, LOCK_STEP_SILENCE_NS, Observed, RobotSide, SideOptions},
        wire::{WireCommand, put_numbers},
    },
};
use sog_firmware::{
    exit, memory, say,
    uart::{self, Clock, Uart},
};

/// Longest packet: the welcome.
const PACKET: usize = 512;
const OBSERVATION: usize = 10;
const ACTION: usize = 2;

const LOW: [f32; ACTION] = [-1.5; ACTION];
const HIGH: [f32; ACTION] = [1.5; ACTION];
const REST: [f32; ACTION] = [0.0; ACTION];
const ANY_STEP: [f32; ACTION] = [f32::INFINITY; ACTION];
const LOCK_STEP: bool = option_env!("SOG_REAL_TIME").is_none();

fn description() -> Description<'static> {
    Description {
        contract: ContractView {
            task: "circles",
            obs_terms: TermsView::as_written("position_history:10"),
            action_terms: TermsView::as_written("displacement:2"),
            dt_s: 0.01,
            action_low: LOW[..].into(),
            action_high: HIGH[..].into(),
        },
        damping_action: REST[..].into(),
        stop_action: REST[..].into(),
        max_action_step: ANY_STEP[..].into(),
    }
}

/// The point.
#[derive(Default)]
struct Point {
    trace: [f32; OBSERVATION],
    step: u64,
}

impl Point {
    fn obey(&mut self, command: WireCommand, action: [f32; ACTION]) {
        self.step += 1;
        if command == WireCommand::Reset {
            self.trace = [0.0; OBSERVATION];
            return;
        }
        let moved = if command == WireCommand::Act { action } else { REST };
        self.trace.copy_within(ACTION.., 0);
        let (_, newest) = self.trace.split_at_mut(OBSERVATION - ACTION);
        newest.iter_mut().zip(moved).for_each(|(x, dx)| *x += dx);
    }
}

/// What the robot's side and its line are made of.
struct Robot {
    uart: Uart,
    clock: Clock,
    deframer: Deframer,
    side: RobotSide<8>,
    point: Point,
    sessions: u32,
    steps: u64,
    tx: [u8; PACKET],
    line: [u8; enclosed_len(PACKET)],
}

#[exception]
unsafe fn DefaultHandler(_number: i16) {
    uart::on_interrupt();
}

#[entry]
fn main() -> ! {
    memory::watch_stack();
    let Some(uart) = Uart::open() else { exit(false) };
    let options = SideOptions { lock_step: LOCK_STEP, ..SideOptions::default() };
    let mut robot = Robot {
        uart,
        clock: Clock::start(),
        deframer: Deframer::default(),
        side: RobotSide::new(None, options),
        point: Point::default(),
        sessions: 0,
        steps: 0,
        tx: [0; PACKET],
        line: [0; enclosed_len(PACKET)],
    };
    robot.serve()
}

impl Robot {
    fn serve(&mut self) -> ! {
        let (mut frame, mut action) = ([0; enclosed_len(PACKET)], REST);
        let (mut period_ns, mut next_ns) = (0, 0);
        loop {
            while let Some(byte) = self.uart.receive() {
                if let Fed::Packet(len) = self.deframer.feed(&mut frame, byte) {
                    let begun = self.packet(&frame[..len], &mut action);
                    if let Some(begun) = begun {
                        period_ns = begun;
                        next_ns = self.clock.now_ns() + period_ns;
                    }
                }
            }
            if LOCK_STEP || !self.side.in_session() {
                // Nothing happens unless something comes.
                self.uart.sleep();
            }
            let now_ns = self.clock.now_ns();
            if !self.side.in_session() {
                continue;
            }
            if LOCK_STEP {
                if self.side.silence_ns(now_ns) > LOCK_STEP_SILENCE_NS {
                    self.end();
                }
            } else if now_ns >= next_ns {
                next_ns += period_ns;
                match self.side.tick() {
                    Duty::Obey(command) => self.point.obey(command, action),
                    Duty::Rest => {}
                    Duty::End => {
                        self.end();
                        continue;
                    }
                }
                self.observe();
            }
        }
    }

    /// Takes a packet; the period of a session that it began.
    fn packet(&mut self, packet: &[u8], action: &mut [f32; ACTION]) -> Option<u64> {
        let now_ns = self.clock.now_ns();
        // There is nothing more random here than when somebody asks.
        let random = || (now_ns ^ 0x5347).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (heard, _, answer) =
            self.side.receive(now_ns, packet, &description(), random, &mut self.tx);
        self.send(answer);
        match heard {
            Heard::Nothing | Heard::Again { .. } => {}
            Heard::Begun { period_ns } => {
                if self.sessions > 0 {
                    self.point.obey(WireCommand::Reset, REST);
                }
                self.sessions += 1;
                self.observe();
                return Some(period_ns);
            }
            Heard::Bye => self.end(),
            Heard::Ready => {
                if LOCK_STEP {
                    self.observe();
                }
            }
            Heard::Command { kind, step, action: numbers } => {
                // Other kinds have none.
                numbers.copy_to(action);
                if !LOCK_STEP {
                    // Never overtaken by what comes after it.
                    if matches!(kind, WireCommand::Stop | WireCommand::Reset) {
                        let command = self.side.follow(kind);
                        self.point.obey(command, REST);
                    }
                    return None;
                }
                // Another step means that the answer was lost.
                if step == self.point.step {
                    let command = self.side.follow(kind);
                    self.point.obey(command, *action);
                    self.steps += 1;
                }
                self.observe();
            }
        }
        None
    }

    fn observe(&mut self) {
        let mut bytes = [0; OBSERVATION * 4];
        let observed = Observed {
            step: self.point.step,
            reward: None,
            terminated: false,
            values: put_numbers(&self.point.trace, &mut bytes),
            applied: None,
            buttons: 0,
            taken_over: false,
        };
        let now_ns = self.clock.now_ns();
        let sealed = self.side.observe(now_ns, &observed, &mut self.tx);
        self.send(sealed);
    }

    /// The session is over: the robot rests, where it was stopped in its stop, and says what it did.
    fn end(&mut self) {
        let stopped = self.side.is_stopped();
        self.point.obey(if stopped { WireCommand::Stop } else { WireCommand::Damp }, REST);
        let now_ns = self.clock.now_ns();
        let farewell = self.side.end(now_ns, &mut self.tx);
        self.send(farewell);
        let counts = self.side.counts();
        say(format_args!(
            "sessions {} steps {} dropped {} flash {} statics {} stack {}",
            self.sessions,
            self.steps,
            counts.dropped(),
            memory::flash(),
            memory::statics(),
            memory::stack()
        ));
    }

    fn send(&mut self, sealed: Option<usize>) {
        let Some(len) = sealed else { return };
        if let Some(len) = enclose(&self.tx[..len], &mut self.line) {
            self.uart.send(&self.line[..len]);
            self.side.count_sent(true);
        }
    }
}
