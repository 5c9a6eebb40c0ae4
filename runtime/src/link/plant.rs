//! The robot's end: serves any [`RobotIo`] to a controller behind a link. The session is the core's
//! [`RobotSide`]; here are transport, clock and robot.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use sog_core::{
    Numbers,
    link::robot::{Description, Duty, Heard, LOCK_STEP_SILENCE_NS, RobotSide, SideOptions},
};

use super::{
    CountsToJson, Key, LinkCounts, MAX_PACKET, Transport,
    counts::with_those_of,
    endpoint::{MOST_AT_ONCE, SENT_KEPT},
    history::{History, Shown},
    wire::{WireCommand, put_numbers},
};
use crate::{
    io::{Command, Guidance, IoError, RobotIo, RobotSpec},
    os,
    time::{Histogram, RealTime, Summary, SummaryToJson, Ticker, monotonic_ns},
};

/// How long a wait for packets lasts before the stop flag is looked at again.
const POLL: Duration = Duration::from_millis(20);
/// Observations that are sent again at once.
const MOST_AGAIN: u32 = 8;

/// Settings of a robot's end.
#[derive(Clone, Debug)]
pub struct PlantOptions {
    /// Secret shared with the controller.
    pub key: Option<Key>,
    /// Whether the robot waits for the controller at every step, instead of keeping real time.
    pub lock_step: bool,
    /// In real time: a robot that follows actions damps itself, until a reset, when it has got no
    /// command for this many periods.
    pub watchdog_periods: u32,
    /// In real time, commands older than this many periods are late and not followed.
    pub late_periods: f64,
    /// Ends the service after this many sessions.
    pub sessions: Option<u64>,
}

impl Default for PlantOptions {
    fn default() -> Self {
        Self { key: None, lock_step: false, watchdog_periods: 3, late_periods: 2.0, sessions: None }
    }
}

/// What a service did.
#[derive(Clone, Debug)]
pub struct PlantReport {
    /// Sessions.
    pub sessions: u64,
    /// Control steps.
    pub steps: u64,
    /// Periods without a control step.
    pub misses: u64,
    /// How often the robot damped itself because the controller was silent.
    pub watchdog: u64,
    /// Commands of each kind that were followed: act, damp, stop, reset.
    pub commands: [u64; 4],
    /// Round trips.
    pub round_trip_ns: Summary,
    /// Packets by fate.
    pub link: LinkCounts,
}

impl PlantReport {
    /// As a JSON object: `sessions, steps, misses, watchdog, commands: {act, damp, stop, reset},
    /// round_trip_ns, link`.
    pub fn to_json(&self) -> serde_json::Value {
        let [act, damp, stop, reset] = self.commands;
        serde_json::json!({
            "sessions": self.sessions,
            "steps": self.steps,
            "misses": self.misses,
            "watchdog": self.watchdog,
            "commands": { "act": act, "damp": damp, "stop": stop, "reset": reset },
            "round_trip_ns": self.round_trip_ns.to_json(),
            "link": self.link.to_json(),
        })
    }
}

/// Serves a robot to one controller at a time.
///
/// The first session takes the robot as it is; every later one begins with a [`Command::Reset`]
/// to it. A session ends with the controller's farewell, or when it is silent for too long; then
/// the robot damps (a stop stays a stop), and the next controller may come. While a session lasts, other controllers are
/// told that the robot is busy, since when, and when it would be free.
pub struct PlantServer<T: Transport> {
    transport: T,
    side: RobotSide<SENT_KEPT>,
    robot: Told,
    lock_step: bool,
    most_sessions: Option<u64>,
    rx: Vec<u8>,
    tx: Vec<u8>,
    /// Packets looked at in this round.
    looked_at: u32,
    round_trip: Histogram,
    step: u64,
    obs: Vec<f32>,
    /// The last observation, and it and its applied action as they are sent.
    shown: Shown,
    bytes: Vec<u8>,
    applied_bytes: Vec<u8>,
    history: History,
    /// That of the newest command that had one.
    action: Vec<f32>,
    sessions: u64,
    steps: u64,
    misses: u64,
    /// Sessions of lock step that ended for want of a word.
    silences: u64,
    commands: [u64; 4],
}

/// What a controller is told of the robot.
struct Told {
    spec: RobotSpec,
    obs_terms: String,
    action_terms: String,
}

impl Told {
    fn new(spec: &RobotSpec) -> Self {
        let contract = &spec.contract;
        let texts = [&contract.obs_terms, &contract.action_terms].map(ToString::to_string);
        let [obs_terms, action_terms] = texts;
        Self { spec: spec.clone(), obs_terms, action_terms }
    }

    fn description(&self) -> Description<'_> {
        let RobotSpec { contract, damping_action, stop_action, max_action_step, .. } = &self.spec;
        Description {
            contract: contract.view(&self.obs_terms, &self.action_terms),
            damping_action: damping_action.as_slice().into(),
            stop_action: stop_action.as_slice().into(),
            max_action_step: max_action_step.as_slice().into(),
        }
    }
}

impl<T: Transport> PlantServer<T> {
    /// A service of a robot of this description.
    pub fn new(transport: T, spec: &RobotSpec, options: PlantOptions) -> Self {
        let PlantOptions { key, lock_step, watchdog_periods, late_periods, sessions } = options;
        let (obs, action) = (spec.obs_dim(), spec.action_dim());
        Self {
            transport,
            side: RobotSide::new(key, SideOptions { lock_step, watchdog_periods, late_periods }),
            robot: Told::new(spec),
            lock_step,
            most_sessions: sessions,
            rx: vec![0; MAX_PACKET],
            tx: vec![0; MAX_PACKET],
            looked_at: 0,
            round_trip: Histogram::default(),
            step: 0,
            obs: vec![0.0; obs],
            shown: Shown::default(),
            bytes: vec![0; obs * 4],
            applied_bytes: vec![0; action * 4],
            history: History::new(obs * 4, action * 4),
            action: vec![0.0; action],
            sessions: 0,
            steps: 0,
            misses: 0,
            silences: 0,
            commands: [0; 4],
        }
    }

    /// Serves until `stop` is set, or the configured number of sessions is over.
    ///
    /// # Errors
    /// What the robot says if it fails; a robot that merely has nothing new is no failure, and a
    /// line that is closed ends the service.
    pub fn serve<R: RobotIo + ?Sized>(
        &mut self,
        robot: &mut R,
        stop: &AtomicBool,
    ) -> Result<PlantReport, IoError> {
        self.serve_paced(robot, stop, |period_ns| RealTime::new(period_ns, 0))
    }

    /// As [`serve`](Self::serve), paced by another clock than the machine's: `pace` gives the
    /// ticker of a session from its period in ns.
    ///
    /// # Errors
    /// As [`serve`](Self::serve).
    pub fn serve_paced<R: RobotIo + ?Sized, C: Ticker>(
        &mut self,
        robot: &mut R,
        stop: &AtomicBool,
        mut pace: impl FnMut(u64) -> C,
    ) -> Result<PlantReport, IoError> {
        while !stop.load(Ordering::Relaxed) && self.most_sessions != Some(self.sessions) {
            self.looked_at = 0;
            match self.hear(POLL) {
                Ok(Heard::Begun { period_ns }) => {
                    self.serve_session(robot, stop, period_ns, &mut pace)?;
                }
                Ok(_) => {}
                Err(IoError::Closed) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(self.report())
    }

    fn serve_session<R: RobotIo + ?Sized, C: Ticker>(
        &mut self,
        robot: &mut R,
        stop: &AtomicBool,
        period_ns: u64,
        pace: impl FnOnce(u64) -> C,
    ) -> Result<(), IoError> {
        self.transport.lock_peer();
        if self.sessions > 0 {
            robot.write(Command::Reset)?;
        }
        self.sessions += 1;
        self.observe(robot)?;
        let served = if self.lock_step {
            self.lock_step(robot, stop)
        } else {
            self.real_time(robot, stop, &mut pace(period_ns))
        };
        // However the session ended, the robot is not left to its last action, and a stop stays one.
        robot.write(if self.side.is_stopped() { Command::Stop } else { Command::Damp })?;
        let farewell = self.side.end(monotonic_ns(), &mut self.tx);
        self.send(farewell);
        self.transport.unlock_peer();
        match served {
            Err(IoError::Closed) => Ok(()),
            served => served,
        }
    }

    /// What was done so far.
    pub fn report(&self) -> PlantReport {
        PlantReport {
            sessions: self.sessions,
            steps: self.steps,
            misses: self.misses,
            watchdog: self.side.watchdog() + self.silences,
            commands: self.commands,
            round_trip_ns: self.round_trip.summary(),
            link: with_those_of(&self.transport, self.side.counts()),
        }
    }

    /// Round trips, ns.
    pub fn round_trip(&self) -> &Histogram {
        &self.round_trip
    }

    /// Sends what was sealed. A packet that cannot be sent is counted; the controller will notice
    /// that it lacks.
    fn send(&mut self, sealed: Option<usize>) {
        if let Some(len) = sealed {
            let sent = self.transport.send(&self.tx[..len]);
            self.side.count_sent(sent.is_ok());
        }
    }

    /// Waits at most `timeout` for a packet that matters to the session, and answers others. The
    /// action of a command is kept, and does not come with it.
    fn hear(&mut self, timeout: Duration) -> Result<Heard<'static>, IoError> {
        let deadline_ns = monotonic_ns() + timeout.as_nanos() as u64;
        while self.looked_at < MOST_AT_ONCE {
            let left_ns = deadline_ns.saturating_sub(monotonic_ns());
            let left = if timeout.is_zero() { timeout } else { Duration::from_nanos(left_ns) };
            let Some(len) = self.transport.receive(&mut self.rx, left)? else { break };
            self.looked_at += 1;
            let (packet, robot) = (&self.rx[..len], self.robot.description());
            let (heard, round_trip_ns, answer) =
                self.side.receive(monotonic_ns(), packet, &robot, os::random_u64, &mut self.tx);
            let heard = match heard {
                Heard::Nothing => Heard::Nothing,
                Heard::Begun { period_ns } => Heard::Begun { period_ns },
                Heard::Ready => Heard::Ready,
                Heard::Again { first, count } => Heard::Again { first, count },
                Heard::Bye => Heard::Bye,
                Heard::Command { kind, step, action } => {
                    // Its width was checked; other kinds have none.
                    action.copy_to(&mut self.action);
                    Heard::Command { kind, step, action: Numbers::EMPTY }
                }
            };
            round_trip_ns.into_iter().for_each(|ns| self.round_trip.record(ns));
            self.send(answer);
            if !matches!(heard, Heard::Nothing) {
                return Ok(heard);
            }
        }
        Ok(Heard::Nothing)
    }

    /// Turns away who else asks for a session, now that there is one.
    fn turn_away(&mut self) {
        let now_ns = monotonic_ns();
        if let Some(len) = self.transport.stranger(&mut self.rx)
            && let Some(len) = self.side.turn_away(now_ns, &self.rx[..len], &mut self.tx)
        {
            self.transport.answer_stranger(&self.tx[..len]);
        }
    }

    fn lock_step<R: RobotIo + ?Sized>(
        &mut self,
        robot: &mut R,
        stop: &AtomicBool,
    ) -> Result<(), IoError> {
        self.send_observation();
        while !stop.load(Ordering::Relaxed) {
            self.looked_at = 0;
            let heard = self.hear(POLL)?;
            self.turn_away();
            match heard {
                Heard::Bye => return Ok(()),
                Heard::Again { first, count } => self.send_again(first, count),
                Heard::Nothing => {
                    if self.side.silence_ns(monotonic_ns()) > LOCK_STEP_SILENCE_NS {
                        self.silences += 1;
                        return Ok(());
                    }
                }
                Heard::Command { kind, step, .. } if step == self.step => {
                    let kind = self.side.follow(kind);
                    self.obey(robot, kind)?;
                    self.observe(robot)?;
                    self.send_observation();
                }
                // The controller asks again: the answer was lost.
                Heard::Begun { .. } | Heard::Ready | Heard::Command { .. } => {
                    self.send_observation();
                }
            }
        }
        Ok(())
    }

    fn real_time<R: RobotIo + ?Sized>(
        &mut self,
        robot: &mut R,
        stop: &AtomicBool,
        ticker: &mut impl Ticker,
    ) -> Result<(), IoError> {
        self.send_observation();
        while !stop.load(Ordering::Relaxed) {
            let wake = ticker.wait();
            self.misses += u64::from(wake.missed);
            self.looked_at = 0;
            loop {
                match self.hear(Duration::ZERO)? {
                    Heard::Nothing => break,
                    Heard::Bye => return Ok(()),
                    Heard::Again { first, count } => self.send_again(first, count),
                    // A stop or a reset is never overtaken by what came after it.
                    Heard::Command {
                        kind: kind @ (WireCommand::Stop | WireCommand::Reset),
                        ..
                    } => {
                        let kind = self.side.follow(kind);
                        self.obey(robot, kind)?;
                    }
                    Heard::Begun { .. } | Heard::Ready | Heard::Command { .. } => {}
                }
            }
            self.turn_away();
            match self.side.tick() {
                Duty::Obey(kind) => self.obey(robot, kind)?,
                Duty::Rest => {}
                Duty::End => return Ok(()),
            }
            self.observe(robot)?;
            self.send_observation();
        }
        Ok(())
    }

    fn obey<R: RobotIo + ?Sized>(
        &mut self,
        robot: &mut R,
        kind: WireCommand,
    ) -> Result<(), IoError> {
        self.commands[kind as usize] += 1;
        robot.write(match kind {
            WireCommand::Act => Command::Act(&self.action),
            WireCommand::Damp => Command::Damp,
            WireCommand::Stop => Command::Stop,
            WireCommand::Reset => Command::Reset,
        })
    }

    fn observe<R: RobotIo + ?Sized>(&mut self, robot: &mut R) -> Result<(), IoError> {
        match robot.read(&mut self.obs) {
            Ok(reading) => {
                self.step = reading.step;
                self.steps += 1;
                let Guidance { applied, buttons, taken_over } = robot.guidance();
                let applied = applied.filter(|applied| applied.len() == self.action.len());
                if let Some(applied) = applied {
                    put_numbers(applied, &mut self.applied_bytes);
                }
                put_numbers(&self.obs, &mut self.bytes);
                let (follows, tells_applied) = (self.side.follows(), applied.is_some());
                self.shown = Shown { reading, follows, tells_applied, buttons, taken_over };
                self.history.keep(self.shown, &self.bytes, &self.applied_bytes);
                Ok(())
            }
            // Nothing new; what there was is sent again, and its step says so.
            Err(IoError::Stale) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn send_observation(&mut self) {
        let observed = self.shown.observed(&self.bytes, &self.applied_bytes);
        let sealed = self.side.observe(monotonic_ns(), &observed, &mut self.tx);
        self.send(sealed);
    }

    /// Sends what was shown at these steps, as far as it is kept; no more at once than a serial line
    /// has room for.
    fn send_again(&mut self, first: u64, count: u32) {
        for step in first..first.saturating_add(u64::from(count.min(MOST_AGAIN))) {
            if let Some((shown, values, applied)) = self.history.of(step) {
                let observed = shown.observed(values, applied);
                let sealed = self.side.observe(monotonic_ns(), &observed, &mut self.tx);
                self.send(sealed);
            }
        }
    }
}
