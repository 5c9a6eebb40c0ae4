//! The robot's end: serves any [`RobotIo`] to a controller behind a link.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::{
    CountsToJson, Fate, Key, LinkCounts, Transport,
    contract::{Packed, is_asking, to_bytes, unpack},
    endpoint::Endpoint,
    history::{History, Shown},
    wire::{Message, WireCommand, get_numbers, put_numbers},
};
use crate::{
    io::{Command, Guidance, IoError, RobotIo, RobotSpec},
    os,
    time::{Histogram, RealTime, Summary, Ticker, monotonic_ns},
};

/// How long a wait for packets lasts before the stop flag is looked at again.
const POLL: Duration = Duration::from_millis(20);
/// A lock-step session whose controller is silent for so long is over.
const LOCK_STEP_SILENCE_NS: u64 = 10_000_000_000;
/// In real time, so long and the watchdog's periods.
const SILENCE_NS: u64 = 1_000_000_000;
/// Observations that are sent again at once.
const MOST_AGAIN: u32 = 8;
/// A controller that was granted a session begins it within this time, or another may have it.
const GRANT_NS: u64 = 500_000_000;

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
/// the robot damps, and the next controller may come. While a session lasts, other controllers are
/// told that the robot is busy, since when, and when it would be free.
pub struct PlantServer<T: Transport> {
    endpoint: Endpoint<T>,
    spec: RobotSpec,
    options: PlantOptions,
    /// The session, or the one that was granted and whose first packet has not come.
    granted: Option<Granted>,
    step: u64,
    obs: Vec<f32>,
    /// The last observation, and it and its applied action as they are sent.
    shown: Shown,
    bytes: Vec<u8>,
    applied_bytes: Vec<u8>,
    history: History,
    action: Vec<f32>,
    /// Whether the robot follows actions.
    follows: bool,
    heard_ns: u64,
    sessions: u64,
    steps: u64,
    misses: u64,
    watchdog: u64,
    commands: [u64; 4],
}

/// A session that waits for its controller.
#[derive(Clone, Copy, Debug)]
struct Granted {
    nonce: u64,
    session: u64,
    period_ns: u64,
    at_ns: u64,
    begun: bool,
}

/// What came in and matters to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    Ready,
    Bye,
    Again { first: u64, count: u32 },
    Command { kind: WireCommand, step: u64 },
}

impl<T: Transport> PlantServer<T> {
    /// A service of a robot of this description.
    pub fn new(transport: T, spec: &RobotSpec, options: PlantOptions) -> Self {
        Self {
            endpoint: Endpoint::new(transport, options.key.clone()),
            options,
            granted: None,
            step: 0,
            shown: Shown::default(),
            history: History::new(spec.obs_dim() * 4, spec.action_dim() * 4),
            obs: vec![0.0; spec.obs_dim()],
            action: vec![0.0; spec.action_dim()],
            bytes: vec![0; spec.obs_dim() * 4],
            applied_bytes: vec![0; spec.action_dim() * 4],
            follows: true,
            heard_ns: 0,
            sessions: 0,
            steps: 0,
            misses: 0,
            watchdog: 0,
            commands: [0; 4],
            spec: spec.clone(),
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
        while !stop.load(Ordering::Relaxed) && self.options.sessions != Some(self.sessions) {
            match self.await_session() {
                Ok(Some(period_ns)) => self.serve_session(robot, stop, period_ns, &mut pace)?,
                Ok(None) => {}
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
        if self.sessions > 0 {
            robot.write(Command::Reset)?;
        }
        self.sessions += 1;
        self.follows = true;
        self.heard_ns = monotonic_ns();
        self.observe(robot)?;
        let served = if self.options.lock_step {
            self.lock_step(robot, stop)
        } else {
            self.real_time(robot, stop, period_ns, &mut pace(period_ns))
        };
        // However the session ended, the robot is not left to its last action.
        robot.write(Command::Damp)?;
        self.endpoint.send(Message::Bye).ok();
        self.endpoint.begin(0, 0);
        self.endpoint.transport().unlock_peer();
        self.granted = None;
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
            watchdog: self.watchdog,
            commands: self.commands,
            round_trip_ns: self.endpoint.round_trip().summary(),
            link: self.endpoint.counts(),
        }
    }

    /// Round trips, ns.
    pub fn round_trip(&self) -> &Histogram {
        self.endpoint.round_trip()
    }

    /// Waits a little for a controller, and says at what period it runs once it is there.
    fn await_session(&mut self) -> Result<Option<u64>, IoError> {
        self.endpoint.begin_round();
        let Some(received) = self.endpoint.receive(POLL)? else { return Ok(None) };
        if let Some(granted) = &mut self.granted
            && granted.session == received.session
            && self.endpoint.message(received) == Some(Message::Ready)
        {
            granted.begun = true;
            let period_ns = granted.period_ns;
            let late_periods = if self.options.lock_step { 0.0 } else { self.options.late_periods };
            // The welcome, however often it was sent, is the first packet of the session.
            self.endpoint.begin_with(received, (late_periods * period_ns as f64) as u64, 1);
            self.endpoint.transport().lock_peer();
            return Ok(Some(period_ns));
        }
        let answer = match self.endpoint.message(received) {
            // Who asks what the robot is runs at the robot's own period, or any other.
            Some(Message::Hello { nonce, contract, period_ns })
                if is_asking(&contract, received.version) =>
            {
                let natural_ns = (self.spec.contract.dt_s * 1e9).round() as u64;
                Some((nonce, if period_ns == 0 { natural_ns } else { period_ns }, None))
            }
            Some(Message::Hello { nonce, contract, period_ns }) => {
                let bounds = 1_000_000_000 / 2_000..=1_000_000_000;
                let theirs = unpack(&contract, received.version, &self.spec.contract);
                let refusal = match theirs {
                    Err(what) => Some(format!("the policy describes itself badly: {what}")),
                    Ok(theirs) => match theirs.check_fits(&self.spec.contract) {
                        Err(error) => Some(error.between("the policy", "the robot").to_string()),
                        Ok(()) if !bounds.contains(&period_ns) => {
                            Some(format!("a period of {period_ns} ns, need 0.5 ms to 1 s"))
                        }
                        Ok(()) => None,
                    },
                };
                Some((nonce, period_ns, refusal))
            }
            _ => None,
        };
        let Some((nonce, period_ns, refusal)) = answer else {
            self.endpoint.count(Fate::Foreign);
            return Ok(None);
        };
        // It is answered in its own version; the session will be in that of its first packet.
        self.endpoint.speak(received.version);
        if let Some(reason) = refusal {
            self.endpoint.send_as(0, 1, Message::Refuse { nonce, reason: &reason }).ok();
            return Ok(None);
        }
        let now_ns = monotonic_ns();
        // Who asks again, because the answer takes its time, gets the same one.
        let session = match self.granted {
            Some(granted) if granted.nonce == nonce => granted.session,
            Some(granted) if now_ns.saturating_sub(granted.at_ns) < GRANT_NS => {
                let reason = self.busy();
                self.endpoint.send_as(0, 1, Message::Refuse { nonce, reason: &reason }).ok();
                return Ok(None);
            }
            // Never 0, which means that there is no session.
            _ => os::random_u64() | 1,
        };
        self.granted = Some(Granted { nonce, session, period_ns, at_ns: now_ns, begun: false });
        let contract = Packed::new(&self.spec.contract);
        let RobotSpec { damping_action, stop_action, max_action_step, .. } = &self.spec;
        let welcome = Message::Welcome {
            nonce,
            contract: contract.as_wire(),
            lock_step: self.options.lock_step,
            damping_action: &to_bytes(damping_action),
            stop_action: &to_bytes(stop_action),
            max_action_step: &to_bytes(max_action_step),
        };
        self.endpoint.send_as(session, 1, welcome).ok();
        Ok(None)
    }

    /// Why another controller cannot have the robot now.
    fn busy(&self) -> String {
        let Some(granted) = self.granted else { return "busy".to_string() };
        let since_s = monotonic_ns().saturating_sub(granted.at_ns) as f64 / 1e9;
        let free_ns = match (granted.begun, self.options.lock_step) {
            (false, _) => GRANT_NS,
            (true, true) => LOCK_STEP_SILENCE_NS,
            (true, false) => {
                SILENCE_NS + u64::from(self.options.watchdog_periods) * granted.period_ns
            }
        };
        let free_s = free_ns as f64 / 1e9;
        format!(
            "busy: another controller has it since {since_s:.1} s; it is free {free_s:.1} s after \
             that one falls silent"
        )
    }

    /// Turns away who else asks for a session, now that there is one.
    fn turn_away(&mut self) {
        if let Some(asker) = self.endpoint.stranger_asks() {
            let reason = self.busy();
            self.endpoint.refuse_stranger(asker, &reason);
        }
    }

    /// One packet of the session.
    fn hear(&mut self, timeout: Duration) -> Result<Heard, IoError> {
        loop {
            let Some(received) = self.endpoint.receive(timeout)? else { return Ok(Heard::Nothing) };
            if received.session != self.endpoint.session() {
                // A controller that was started anew at the address of the one before it.
                let anew = match self.endpoint.message(received) {
                    Some(Message::Hello { nonce, .. }) => Some(nonce),
                    _ => None,
                };
                self.endpoint.count(Fate::Foreign);
                if let Some(nonce) = anew.filter(|n| self.granted.is_none_or(|g| g.nonce != *n)) {
                    let reason = self.busy();
                    self.endpoint.send_as(0, 1, Message::Refuse { nonce, reason: &reason }).ok();
                }
                continue;
            }
            let heard = match self.endpoint.message(received) {
                Some(Message::Ready) => Heard::Ready,
                Some(Message::Bye) => Heard::Bye,
                Some(Message::Again { first, count }) => Heard::Again { first, count },
                Some(Message::Command { step, kind, action }) => {
                    let fits = kind != WireCommand::Act || get_numbers(action, &mut self.action);
                    if !fits || !self.action.iter().all(|v| v.is_finite()) {
                        self.action.copy_from_slice(&self.spec.damping_action);
                        self.endpoint.count(Fate::Misfit);
                        continue;
                    }
                    Heard::Command { kind, step }
                }
                _ => {
                    self.endpoint.count(Fate::Foreign);
                    continue;
                }
            };
            self.heard_ns = monotonic_ns();
            return Ok(heard);
        }
    }

    fn lock_step<R: RobotIo + ?Sized>(
        &mut self,
        robot: &mut R,
        stop: &AtomicBool,
    ) -> Result<(), IoError> {
        self.send_observation();
        while !stop.load(Ordering::Relaxed) {
            self.endpoint.begin_round();
            let heard = self.hear(POLL)?;
            self.turn_away();
            match heard {
                Heard::Bye => return Ok(()),
                Heard::Again { first, count } => self.send_again(first, count),
                Heard::Nothing => {
                    if monotonic_ns().saturating_sub(self.heard_ns) > LOCK_STEP_SILENCE_NS {
                        self.watchdog += 1;
                        return Ok(());
                    }
                }
                Heard::Command { kind, step } if step == self.step => {
                    self.follow(robot, kind)?;
                    self.observe(robot)?;
                    self.send_observation();
                }
                // The controller asks again: the answer was lost.
                Heard::Ready | Heard::Command { .. } => self.send_observation(),
            }
        }
        Ok(())
    }

    fn real_time<R: RobotIo + ?Sized>(
        &mut self,
        robot: &mut R,
        stop: &AtomicBool,
        period_ns: u64,
        ticker: &mut impl Ticker,
    ) -> Result<(), IoError> {
        // Periods since the last command, and since anything at all.
        let (mut uncommanded, mut unheard) = (0, 0);
        let mut last = WireCommand::Damp;
        // A controller that says nothing for a second is gone: the robot waits for a new session.
        let patience = self.options.watchdog_periods + (SILENCE_NS / period_ns) as u32;
        self.send_observation();
        while !stop.load(Ordering::Relaxed) {
            let wake = ticker.wait();
            self.misses += u64::from(wake.missed);
            self.endpoint.begin_round();
            (uncommanded, unheard) = (uncommanded + 1, unheard + 1);
            let mut newest = None;
            loop {
                match self.hear(Duration::ZERO)? {
                    Heard::Nothing => break,
                    Heard::Bye => return Ok(()),
                    Heard::Ready => unheard = 0,
                    Heard::Again { first, count } => {
                        unheard = 0;
                        self.send_again(first, count);
                    }
                    Heard::Command { kind, .. } => {
                        (uncommanded, unheard) = (0, 0);
                        // A stop or a reset is never overtaken by what came after it.
                        if matches!(kind, WireCommand::Stop | WireCommand::Reset) {
                            self.obey(robot, kind)?;
                        }
                        newest = Some(kind);
                    }
                }
            }
            self.turn_away();
            // Only an action must not go on without its controller; in damping and stop silence
            // does no harm, and a controller that idles has nothing to command.
            if last == WireCommand::Act && uncommanded >= self.options.watchdog_periods {
                self.watchdog += u64::from(self.follows);
                self.follows = false;
                last = WireCommand::Damp;
            }
            if unheard >= patience {
                return Ok(());
            }
            last = newest.unwrap_or(last);
            match last {
                // Obeyed above, and once is enough.
                WireCommand::Reset => last = WireCommand::Damp,
                kind => self.follow(robot, kind)?,
            }
            self.observe(robot)?;
            self.send_observation();
        }
        Ok(())
    }

    /// Obeys a command, or damps if the robot does not follow.
    fn follow<R: RobotIo + ?Sized>(
        &mut self,
        robot: &mut R,
        kind: WireCommand,
    ) -> Result<(), IoError> {
        let kind = if self.follows || kind != WireCommand::Act { kind } else { WireCommand::Damp };
        self.obey(robot, kind)
    }

    fn obey<R: RobotIo + ?Sized>(
        &mut self,
        robot: &mut R,
        kind: WireCommand,
    ) -> Result<(), IoError> {
        self.commands[kind as usize] += 1;
        match kind {
            WireCommand::Act => robot.write(Command::Act(&self.action)),
            WireCommand::Damp => robot.write(Command::Damp),
            WireCommand::Stop => {
                self.follows = false;
                robot.write(Command::Stop)
            }
            WireCommand::Reset => {
                self.follows = true;
                robot.write(Command::Reset)
            }
        }
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
                let (follows, tells_applied) = (self.follows, applied.is_some());
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
        self.shown.follows = self.follows;
        let message = self.shown.message(&self.bytes, &self.applied_bytes, self.endpoint.version());
        // A packet that cannot be sent is counted; the controller will notice that it lacks.
        self.endpoint.send(message).ok();
    }

    /// Sends what was shown at these steps, as far as it is kept; no more at once than a serial line
    /// has room for.
    fn send_again(&mut self, first: u64, count: u32) {
        for step in first..first.saturating_add(u64::from(count.min(MOST_AGAIN))) {
            if let Some((shown, values, applied)) = self.history.of(step) {
                let message = shown.message(values, applied, self.endpoint.version());
                self.endpoint.send(message).ok();
            }
        }
    }
}
