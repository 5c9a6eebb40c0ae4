//! The controller's end: a robot behind a link is a [`RobotIo`].

use std::time::{Duration, Instant};

use super::{
    Fate, Key, LinkCounts, Transport,
    contract::{Packed, unpack},
    endpoint::{Endpoint, Received},
    history::Shown,
    wire::{Message, Seen, WIRE_VERSION, WIRE_VERSIONS, WireCommand, get_numbers, put_numbers},
};
use crate::{
    contract::{Contract, ContractError},
    io::{Command, Guidance, IoError, NO_WAY_HOME, Reading, RobotIo, RobotSpec},
    os,
    time::{Histogram, monotonic_ns},
};

/// How often a question is asked again while no answer comes.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(20);

/// Hellos in the newest version that go unanswered before an older one is offered too: losing a few of
/// them makes no robot an older one, whose action bounds nobody compares.
const NEWEST_FIRST: usize = 10;

/// Settings of a controller's end.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// Secret shared with the robot.
    pub key: Option<Key>,
    /// How long the handshake may take; in lock step also how long a step may.
    pub timeout: Duration,
    /// Control period that the controller runs at, ns; 0 for the task's own.
    pub period_ns: u64,
    /// In real time, how long a read waits for an observation that has not come yet, as a share
    /// of the period: it keeps a robot and a controller whose clocks drift past each other from
    /// missing each other by a hair.
    pub wait_share: f64,
    /// In real time, observations older than this many periods are late and not used.
    pub late_periods: f64,
}

impl Default for LinkOptions {
    fn default() -> Self {
        Self {
            key: None,
            timeout: Duration::from_secs(5),
            period_ns: 0,
            wait_share: 0.25,
            late_periods: 2.0,
        }
    }
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// Nobody answered.
    #[error(
        "no robot answered within {seconds} s ({dropped} packets dropped: {drops}); check address, \
         key and that the robot's side runs"
    )]
    Timeout {
        /// How long was waited.
        seconds: f64,
        /// Packets that came and were dropped.
        dropped: u64,
        /// The kinds of drops.
        drops: String,
    },
    /// The robot said no.
    #[error("the robot refuses: {reason}")]
    Refused {
        /// Its reason.
        reason: String,
    },
    /// Policy and robot do not fit.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The robot's description is not sound.
    #[error("the robot describes itself badly: {0}")]
    Description(&'static str),
    /// The link failed.
    #[error(transparent)]
    Io(#[from] IoError),
}

/// A robot behind a link.
///
/// In real time, [`read`](RobotIo::read) takes the newest observation that has come and waits at
/// most [`LinkOptions::wait_share`] of a period for it; in lock step it waits for the answer to
/// the last command, and repeats the command until it comes, up to [`LinkOptions::timeout`].
///
/// A controller that reads and commands nothing, as in idle, stays in the session: each such read
/// says so to the robot.
pub struct LinkRobot<T: Transport> {
    endpoint: Endpoint<T>,
    spec: RobotSpec,
    lock_step: bool,
    wait: Duration,
    timeout: Duration,
    /// Step of the newest observation.
    step: Option<u64>,
    /// The last command, to be repeated in lock step.
    last: Option<WireCommand>,
    /// Whether no observation has come since.
    unanswered: bool,
    /// Whether a command went out since the last read.
    commanded: bool,
    action: Vec<u8>,
    fresh: Option<Reading>,
    obs: Vec<f32>,
    /// What came with the newest observation.
    shown: Shown,
    applied: Vec<f32>,
    closed: bool,
}

impl<T: Transport> LinkRobot<T> {
    /// Agrees on a session with the robot at the other end.
    ///
    /// # Errors
    /// [`LinkError`], naming what does not fit.
    pub fn connect(
        transport: T,
        policy: &RobotSpec,
        options: &LinkOptions,
    ) -> Result<Self, LinkError> {
        Self::open(transport, Some(&policy.contract), options)
    }

    /// As [`connect`](Self::connect), to watch: without a contract the robot says what it is, which
    /// it does from version 2 of the wire format on.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn watch(
        transport: T,
        expected: Option<&Contract>,
        options: &LinkOptions,
    ) -> Result<Self, LinkError> {
        Self::open(transport, expected, options)
    }

    fn open(
        transport: T,
        ours: Option<&Contract>,
        options: &LinkOptions,
    ) -> Result<Self, LinkError> {
        let mut endpoint = Endpoint::new(transport, options.key.clone());
        let packed = ours.map_or_else(Packed::asking, Packed::new);
        let contract = packed.as_wire();
        let natural = |dt_s: f64| (dt_s * 1e9).round() as u64;
        let asked_ns = match options.period_ns {
            0 => ours.map_or(0, |ours| natural(ours.dt_s)),
            given => given,
        };
        let nonce = os::random_u64();
        let deadline = Instant::now() + options.timeout;
        let newest = std::iter::repeat_n(&WIRE_VERSION, NEWEST_FIRST);
        // Then in turn, so that a robot that speaks an older version answers too.
        let spoken: &[u8] = if ours.is_some() { &WIRE_VERSIONS } else { &[WIRE_VERSION] };
        let mut versions = newest.chain(spoken.iter().cycle());
        let (welcome, spec, lock_step) = loop {
            if Instant::now() >= deadline {
                return Err(timeout(&endpoint, options.timeout));
            }
            versions.next().into_iter().for_each(|&version| endpoint.speak(version));
            endpoint.send_as(0, 1, Message::Hello { nonce, contract, period_ns: asked_ns }).ok();
            endpoint.begin_round();
            if let Some(welcome) = await_welcome(&mut endpoint, nonce, ours)? {
                break welcome;
            }
        };
        let period_ns = if asked_ns == 0 { natural(spec.contract.dt_s) } else { asked_ns };
        let late_ns = if lock_step { 0.0 } else { options.late_periods * period_ns as f64 };
        endpoint.begin_with(welcome, late_ns as u64, 0);
        endpoint.transport().lock_peer();
        let wait = Duration::from_nanos((options.wait_share * period_ns as f64) as u64);
        let (obs, action) = (vec![0.0; spec.obs_dim()], vec![0; spec.action_dim() * 4]);
        let applied = vec![0.0; spec.action_dim()];
        let mut robot = Self {
            endpoint,
            spec,
            lock_step,
            wait,
            timeout: options.timeout,
            step: None,
            last: None,
            unanswered: false,
            commanded: true,
            action,
            fresh: None,
            obs,
            applied,
            shown: Shown { follows: true, ..Shown::default() },
            closed: false,
        };
        while robot.fresh.is_none() {
            if Instant::now() >= deadline {
                return Err(timeout(&robot.endpoint, options.timeout));
            }
            robot.endpoint.send(Message::Ready).ok();
            robot.pump(ASK_AGAIN)?;
            if robot.closed {
                return Err(LinkError::Io(IoError::Closed));
            }
        }
        Ok(robot)
    }

    /// Whether robot and controller wait for each other.
    pub fn lock_step(&self) -> bool {
        self.lock_step
    }

    /// Version of the wire format in the session; from 2 on a robot can tell what a person does
    /// with it.
    pub fn version(&self) -> u8 {
        self.endpoint.version()
    }

    /// Whether the robot follows actions, or holds itself in damping or stop until a reset.
    pub fn follows(&self) -> bool {
        self.shown.follows
    }

    /// Packets by fate.
    pub fn counts(&self) -> LinkCounts {
        self.endpoint.counts()
    }

    /// Round trips, ns, less what the robot held the packets for.
    pub fn round_trip(&self) -> &Histogram {
        self.endpoint.round_trip()
    }

    /// Takes in what has come, waiting at most `wait` for the first observation.
    fn pump(&mut self, wait: Duration) -> Result<(), IoError> {
        self.endpoint.begin_round();
        let deadline_ns = monotonic_ns() + wait.as_nanos() as u64;
        while !self.closed {
            let enough = self.fresh.is_some();
            let left_ns = deadline_ns.saturating_sub(monotonic_ns());
            let left = if enough { Duration::ZERO } else { Duration::from_nanos(left_ns) };
            let Some(received) = self.endpoint.receive(left)? else { return Ok(()) };
            let Some(shown) = self.take(received) else { continue };
            if self.is_news(shown.reading.step) {
                self.show(shown);
                self.fresh = Some(shown.reading);
            }
        }
        Ok(())
    }

    /// The observation in a packet; its numbers are then in `obs` and `applied`.
    fn take(&mut self, received: Received) -> Option<Shown> {
        if received.session != self.endpoint.session() {
            self.endpoint.count(Fate::Foreign);
            return None;
        }
        let (seen, applied, buttons, taken_over) = match self.endpoint.message(received) {
            Some(Message::Observation(seen)) => (seen, None, 0, false),
            Some(Message::Guided { seen, applied, buttons, taken_over }) => {
                (seen, applied, buttons, taken_over)
            }
            Some(Message::Bye) => {
                self.closed = true;
                return None;
            }
            Some(Message::Welcome { .. }) => return None,
            _ => {
                self.endpoint.count(Fate::Foreign);
                return None;
            }
        };
        let Seen { step, reward, terminated, follows, values } = seen;
        let tells_applied = applied.is_some();
        let fits = get_numbers(values, &mut self.obs)
            && applied.is_none_or(|applied| get_numbers(applied, &mut self.applied));
        if !fits {
            self.endpoint.count(Fate::Misfit);
            return None;
        }
        let reading = Reading { step, reward, terminated };
        Some(Shown { reading, follows, tells_applied, buttons, taken_over })
    }

    fn is_news(&self, step: u64) -> bool {
        self.step.is_none_or(|last| step > last)
    }

    /// What was taken is what the robot shows now; an answer to the last command if it is news.
    fn show(&mut self, shown: Shown) {
        if self.is_news(shown.reading.step) {
            self.step = Some(shown.reading.step);
            self.unanswered = false;
        }
        self.shown = shown;
    }

    /// The next observation in the order in which they come, whether its step has grown or not;
    /// `None` where none comes within `wait`. It is what [`RobotIo::guidance`] then tells of.
    pub(super) fn next(
        &mut self,
        wait: Duration,
        obs: &mut [f32],
    ) -> Result<Option<Reading>, IoError> {
        if let Some(reading) = self.fresh.take() {
            obs.copy_from_slice(&self.obs);
            return Ok(Some(reading));
        }
        self.endpoint.begin_round();
        let deadline_ns = monotonic_ns() + wait.as_nanos() as u64;
        while !self.closed {
            let left_ns = deadline_ns.saturating_sub(monotonic_ns());
            let Some(received) = self.endpoint.receive(Duration::from_nanos(left_ns))? else {
                return Ok(None);
            };
            let Some(shown) = self.take(received) else { continue };
            self.show(shown);
            obs.copy_from_slice(&self.obs);
            return Ok(Some(shown.reading));
        }
        Err(IoError::Closed)
    }

    /// Says that the controller is still there.
    pub(super) fn stay(&mut self) -> Result<(), IoError> {
        self.endpoint.send(Message::Ready)
    }

    /// Asks for observations that were lost on the way; false where the robot speaks a version that
    /// knows no such thing.
    pub(super) fn ask_again(&mut self, first: u64, count: u32) -> bool {
        self.version() >= 2 && self.endpoint.send(Message::Again { first, count }).is_ok()
    }

    /// Repeats the last command of a robot in lock step that has not answered it.
    pub(super) fn repeat(&mut self) -> Result<(), IoError> {
        if self.unanswered { self.send_last() } else { Ok(()) }
    }

    fn send_last(&mut self) -> Result<(), IoError> {
        let Some(kind) = self.last else { return Ok(()) };
        let action: &[u8] = if kind == WireCommand::Act { &self.action } else { &[] };
        let step = self.step.unwrap_or(0);
        self.endpoint.send(Message::Command { step, kind, action })
    }
}

impl<T: Transport> RobotIo for LinkRobot<T> {
    fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        if obs.len() != self.obs.len() {
            return Err(IoError::Width { found: obs.len(), needed: self.obs.len() });
        }
        let idles = !std::mem::take(&mut self.commanded);
        if idles {
            // If it cannot be sent, the next one may.
            self.endpoint.send(Message::Ready).ok();
        }
        if !self.lock_step {
            self.pump(self.wait)?;
        } else if self.fresh.is_none() && idles {
            self.pump(ASK_AGAIN)?;
        } else if self.fresh.is_none() && self.unanswered {
            let deadline = Instant::now() + self.timeout;
            self.pump(ASK_AGAIN)?;
            while self.fresh.is_none() && !self.closed && Instant::now() < deadline {
                self.send_last()?;
                self.pump(ASK_AGAIN)?;
            }
        }
        if self.closed {
            return Err(IoError::Closed);
        }
        if !self.shown.follows && self.last == Some(WireCommand::Act) {
            return Err(IoError::Robot("it holds itself in damping or stop until a reset"));
        }
        let reading = self.fresh.take().ok_or(IoError::Stale)?;
        obs.copy_from_slice(&self.obs);
        Ok(reading)
    }

    fn guidance(&self) -> Guidance<'_> {
        Guidance {
            applied: self.shown.tells_applied.then_some(&*self.applied),
            buttons: self.shown.buttons,
            taken_over: self.shown.taken_over,
        }
    }

    fn write(&mut self, command: Command<'_>) -> Result<(), IoError> {
        let kind = match command {
            Command::Act(action) => {
                if action.len() != self.spec.action_dim() {
                    let (found, needed) = (action.len(), self.spec.action_dim());
                    return Err(IoError::Width { found, needed });
                }
                put_numbers(action, &mut self.action);
                WireCommand::Act
            }
            Command::Damp => WireCommand::Damp,
            Command::Stop => WireCommand::Stop,
            Command::Reset => WireCommand::Reset,
            Command::Home => return Err(IoError::Robot(NO_WAY_HOME)),
        };
        self.last = Some(kind);
        (self.unanswered, self.commanded) = (true, true);
        self.send_last()
    }
}

impl<T: Transport> Drop for LinkRobot<T> {
    /// Whatever ends the controller, the robot is told to damp.
    fn drop(&mut self) {
        if self.last.is_some_and(|last| last != WireCommand::Stop) {
            self.endpoint
                .send(Message::Command {
                    step: self.step.unwrap_or(0),
                    kind: WireCommand::Damp,
                    action: &[],
                })
                .ok();
        }
        self.endpoint.send(Message::Bye).ok();
    }
}

fn timeout<T: Transport>(endpoint: &Endpoint<T>, waited: Duration) -> LinkError {
    let counts = endpoint.counts();
    let drops: Vec<String> = Fate::ALL
        .into_iter()
        .filter(|fate| counts.get(*fate) > 0)
        .map(|fate| format!("{} {}", counts.get(fate), fate.name()))
        .collect();
    LinkError::Timeout {
        seconds: waited.as_secs_f64(),
        dropped: counts.dropped(),
        drops: if drops.is_empty() { "none".to_string() } else { drops.join(", ") },
    }
}

/// Waits a little for the answer to a hello: it, what the robot is, and whether in lock step.
fn await_welcome<T: Transport>(
    endpoint: &mut Endpoint<T>,
    our_nonce: u64,
    ours: Option<&Contract>,
) -> Result<Option<(Received, RobotSpec, bool)>, LinkError> {
    while let Some(received) = endpoint.receive(ASK_AGAIN)? {
        let session = received.session;
        match endpoint.message(received) {
            Some(Message::Refuse { nonce, reason }) if nonce == our_nonce => {
                return Err(LinkError::Refused { reason: reason.to_string() });
            }
            Some(Message::Welcome {
                nonce,
                contract,
                lock_step,
                damping_action,
                stop_action,
                max_action_step,
            }) if nonce == our_nonce && session != 0 => {
                let unknown = Contract::default();
                let theirs = unpack(&contract, received.version, ours.unwrap_or(&unknown));
                let theirs = theirs.map_err(LinkError::Description)?;
                if let Some(ours) = ours {
                    let fits = ours.check_fits(&theirs);
                    fits.map_err(|error| error.between("the policy", "the robot"))?;
                } else if !(theirs.dt_s.is_finite() && theirs.dt_s > 0.0) {
                    return Err(LinkError::Description("its control period is no positive time"));
                }
                let parts = [damping_action, stop_action, max_action_step];
                return Ok(Some((received, describe(theirs, parts)?, lock_step)));
            }
            _ => endpoint.count(Fate::Foreign),
        }
    }
    Ok(None)
}

fn describe(contract: Contract, parts: [&[u8]; 3]) -> Result<RobotSpec, LinkError> {
    let mut spec = RobotSpec::new(contract);
    let own = [&mut spec.damping_action, &mut spec.stop_action, &mut spec.max_action_step];
    for (bytes, numbers) in parts.into_iter().zip(own) {
        if !get_numbers(bytes, numbers) {
            return Err(LinkError::Description("its actions have another width than its terms"));
        }
    }
    Ok(spec)
}
