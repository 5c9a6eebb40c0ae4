//! The robot's end of a session: grants it, hears commands, keeps watch, and says what to obey.
//!
//! The machine neither reads nor waits nor moves anything. In real time its driver does this:
//!
//! ```text
//! each packet:  heard = side.receive(now, packet, …); send the answer if there is one
//!               Heard::Begun:            reset the robot, observe, send side.observe(…)
//!               Heard::Command of stop or reset:  obey at once
//! each period:  side.tick():  Duty::Obey(command) or Duty::End
//!               observe, send side.observe(…)
//! ```
//!
//! In lock step there are no periods: a command whose step is that of the last observation is obeyed
//! when it comes ([`RobotSide::follow`]), and every other one, or a [`Heard::Ready`], asks for the
//! last observation again.

use core::fmt::Write;

use super::{
    Endpoint, Fate, Key, LinkCounts, Received,
    wire::{self, Frame, Message, Seen, WireCommand},
};
use crate::{Numbers, contract::ContractView, kinds::TermsView};

/// A lock-step session whose controller is silent for so long is over.
pub const LOCK_STEP_SILENCE_NS: u64 = 10_000_000_000;
/// In real time, so long and the watchdog's periods.
pub const SILENCE_NS: u64 = 1_000_000_000;
/// A controller that was granted a session begins it within this time, or another may have it.
const GRANT_NS: u64 = 500_000_000;
/// Shortest and longest control period, ns.
const PERIOD_BOUNDS_NS: core::ops::RangeInclusive<u64> = 500_000..=1_000_000_000;
/// Widest observation or action that a packet has room for.
const MOST_WIDTH: usize = 8192;

/// What a robot tells of itself.
#[derive(Clone, Copy, Debug)]
pub struct Description<'d> {
    /// Task, terms, control period and action bounds.
    pub contract: ContractView<'d>,
    /// What the actuators get in damping, `[A]`.
    pub damping_action: Numbers<'d>,
    /// What the actuators get in an emergency stop, `[A]`.
    pub stop_action: Numbers<'d>,
    /// Largest bearable change of action, `[A]`.
    pub max_action_step: Numbers<'d>,
}

/// Settings of a robot's end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SideOptions {
    /// Whether the robot waits for the controller at every step, instead of keeping real time.
    pub lock_step: bool,
    /// In real time: a robot that follows actions damps itself, until a reset, when it has got no
    /// command for this many periods.
    pub watchdog_periods: u32,
    /// In real time, commands older than this many periods are late and not followed.
    pub late_periods: f64,
}

impl Default for SideOptions {
    fn default() -> Self {
        Self { lock_step: false, watchdog_periods: 3, late_periods: 2.0 }
    }
}

/// What a packet meant.
#[derive(Clone, Copy, Debug)]
pub enum Heard<'p> {
    /// Nothing, or nothing that matters beyond the answer.
    Nothing,
    /// A session has begun, at this control period in ns.
    Begun {
        /// The period.
        period_ns: u64,
    },
    /// The controller is there and commands nothing; in lock step it asks again.
    Ready,
    /// A command, whose action, if it is to act, is finite and has the robot's width.
    Command {
        /// What kind.
        kind: WireCommand,
        /// Step of the newest observation that the controller has got.
        step: u64,
        /// The action, `[A]`; empty for other kinds.
        action: Numbers<'p>,
    },
    /// The controller sends for observations that were lost; a robot that keeps none says nothing.
    Again {
        /// Step of the first.
        first: u64,
        /// How many steps from there on.
        count: u32,
    },
    /// The controller ends the session.
    Bye,
}

/// What a robot is to do in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// This; to act is to apply the action of the newest command that had one.
    Obey(WireCommand),
    /// Nothing more: a reset was obeyed when it came.
    Rest,
    /// The controller is gone: damp, or go on [to stop](RobotSide::is_stopped), and
    /// [end](RobotSide::end) the session.
    End,
}

/// What a robot has seen, and what a person did with it.
#[derive(Clone, Copy, Debug)]
pub struct Observed<'a> {
    /// Number of the control step.
    pub step: u64,
    /// Reward of the step that led here.
    pub reward: Option<f64>,
    /// Whether the robot's episode has ended.
    pub terminated: bool,
    /// The observation, `[S]`, as it is sent.
    pub values: &'a [u8],
    /// The action that was applied in the step that led here, `[A]`, as it is sent.
    pub applied: Option<&'a [u8]>,
    /// Bit n is button n, set while it is pressed.
    pub buttons: u32,
    /// Whether a person leads the robot, whatever is commanded.
    pub taken_over: bool,
}

/// A session that waits for its controller, or has begun.
#[derive(Clone, Copy, Debug)]
struct Granted {
    nonce: u64,
    session: u64,
    period_ns: u64,
    at_ns: u64,
    begun: bool,
}

/// The robot's end of a link, one session at a time; see the [module](self). It keeps the times of the
/// last `KEPT` packets sent.
#[derive(Clone, Debug)]
pub struct RobotSide<const KEPT: usize> {
    endpoint: Endpoint<KEPT>,
    options: SideOptions,
    granted: Option<Granted>,
    /// Whether the robot follows actions.
    follows: bool,
    /// Whether it is in an emergency stop, until a reset or the next session.
    stopped: bool,
    heard_ns: u64,
    /// Of this period: the newest command, and whether anything came.
    newest: Option<WireCommand>,
    heard: bool,
    /// Periods since the last command, and since anything at all.
    uncommanded: u32,
    unheard: u32,
    /// What was obeyed last.
    last: WireCommand,
    /// Whether the newest action was a misfit, which damping stands in for.
    misfit: bool,
    watchdog: u64,
}

impl<const KEPT: usize> RobotSide<KEPT> {
    /// A robot's end without a session.
    pub fn new(key: Option<Key>, options: SideOptions) -> Self {
        Self {
            endpoint: Endpoint::new(key),
            options,
            granted: None,
            follows: true,
            stopped: false,
            heard_ns: 0,
            newest: None,
            heard: false,
            uncommanded: 0,
            unheard: 0,
            last: WireCommand::Damp,
            misfit: false,
            watchdog: 0,
        }
    }

    /// Whether a session has begun.
    pub fn in_session(&self) -> bool {
        self.endpoint.session() != 0
    }

    /// Whether the robot follows actions, or holds itself in damping or stop until a reset.
    pub fn follows(&self) -> bool {
        self.follows
    }

    /// Whether the robot is in an emergency stop, which outlasts its session: until a reset, or the
    /// next session begins.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// How often the robot damped itself because the controller was silent.
    pub fn watchdog(&self) -> u64 {
        self.watchdog
    }

    /// How long the controller has been silent, ns.
    pub fn silence_ns(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.heard_ns)
    }

    /// Packets by fate.
    pub fn counts(&self) -> &LinkCounts {
        self.endpoint.counts()
    }

    /// Counts a packet that was to be sent, by whether it left.
    pub fn count_sent(&mut self, left: bool) {
        self.endpoint.count_sent(left);
    }

    /// Takes a packet: what it meant, how long an answered packet of this end was under way, ns, and
    /// how long the answer in `answer` is, if there is one. `random` gives any number that no one
    /// foresees.
    pub fn receive<'p>(
        &mut self,
        now_ns: u64,
        packet: &'p [u8],
        robot: &Description<'_>,
        random: impl FnOnce() -> u64,
        answer: &mut [u8],
    ) -> (Heard<'p>, Option<u64>, Option<usize>) {
        let Ok((received, message)) = self.endpoint.open(now_ns, packet) else {
            return (Heard::Nothing, None, None);
        };
        if self.in_session() {
            let (heard, answer) = self.hear(now_ns, received, message, robot, answer);
            (heard, received.round_trip_ns, answer)
        } else {
            let (heard, answer) =
                self.shake_hands(now_ns, received, message, robot, random, answer);
            (heard, None, answer)
        }
    }

    fn shake_hands<'p>(
        &mut self,
        now_ns: u64,
        received: Received,
        message: Message<'p>,
        robot: &Description<'_>,
        random: impl FnOnce() -> u64,
        answer: &mut [u8],
    ) -> (Heard<'p>, Option<usize>) {
        if let Some(granted) = self.granted.as_mut().filter(|g| g.session == received.session)
            && message == Message::Ready
        {
            granted.begun = true;
            let period_ns = granted.period_ns;
            self.begin(now_ns, received, period_ns);
            return (Heard::Begun { period_ns }, None);
        }
        let Message::Hello { nonce, contract, period_ns } = message else {
            self.endpoint.count(Fate::Foreign);
            return (Heard::Nothing, None);
        };
        // It is answered in its own version; the session will be in that of its first packet.
        self.endpoint.speak(received.version);
        let mut reason = Reason::new();
        // Who asks what the robot is runs at the robot's own period, or any other.
        let asks = is_asking(&contract, received.version);
        let natural_ns = (robot.contract.dt_s * 1e9 + 0.5) as u64;
        let period_ns = if asks && period_ns == 0 { natural_ns } else { period_ns };
        let fits = asks || fits(&contract, received.version, &robot.contract, &mut reason);
        if !(fits && keeps_time(period_ns, &mut reason)) {
            return (Heard::Nothing, self.refuse(now_ns, nonce, &reason, answer));
        }
        // Who asks again, because the answer takes its time, gets the same one.
        let session = match self.granted {
            Some(granted) if granted.nonce == nonce => granted.session,
            Some(granted) if now_ns.saturating_sub(granted.at_ns) < GRANT_NS => {
                let reason = self.busy(now_ns);
                return (Heard::Nothing, self.refuse(now_ns, nonce, &reason, answer));
            }
            // Never 0, which means that there is no session.
            _ => random() | 1,
        };
        self.granted = Some(Granted { nonce, session, period_ns, at_ns: now_ns, begun: false });
        let answer = welcome(robot, nonce, self.options.lock_step)
            .and_then(|welcome| self.endpoint.seal_as(session, 1, now_ns, welcome, answer));
        (Heard::Nothing, answer)
    }

    fn begin(&mut self, now_ns: u64, first: Received, period_ns: u64) {
        let late_periods = if self.options.lock_step { 0.0 } else { self.options.late_periods };
        // The welcome, however often it was sent, is the first packet of the session.
        self.endpoint.begin_with(first, (late_periods * period_ns as f64) as u64, 1);
        (self.follows, self.stopped) = (true, false);
        self.heard_ns = now_ns;
        (self.newest, self.heard) = (None, false);
        (self.uncommanded, self.unheard) = (0, 0);
        (self.last, self.misfit) = (WireCommand::Damp, false);
    }

    /// A packet during a session.
    fn hear<'p>(
        &mut self,
        now_ns: u64,
        received: Received,
        message: Message<'p>,
        robot: &Description<'_>,
        answer: &mut [u8],
    ) -> (Heard<'p>, Option<usize>) {
        if received.session != self.endpoint.session() {
            self.endpoint.count(Fate::Foreign);
            // A controller that was started anew at the address of the one before it.
            let asks = |nonce| self.granted.is_none_or(|granted| granted.nonce != nonce);
            return match message {
                Message::Hello { nonce, .. } if asks(nonce) => {
                    let reason = self.busy(now_ns);
                    (Heard::Nothing, self.refuse(now_ns, nonce, &reason, answer))
                }
                _ => (Heard::Nothing, None),
            };
        }
        let heard = match message {
            Message::Ready => Heard::Ready,
            Message::Again { first, count } => Heard::Again { first, count },
            Message::Bye => Heard::Bye,
            Message::Command { step, kind, action } => {
                let action = if kind == WireCommand::Act { action } else { &[] };
                let wanted = if kind == WireCommand::Act { robot.damping_action.len() } else { 0 };
                let numbers = Numbers::from_bytes(action).filter(|numbers| {
                    numbers.len() == wanted && numbers.iter().all(f32::is_finite)
                });
                let Some(action) = numbers else {
                    self.endpoint.count(Fate::Misfit);
                    self.misfit = true;
                    return (Heard::Nothing, None);
                };
                (self.newest, self.misfit) = (Some(kind), false);
                Heard::Command { kind, step, action }
            }
            _ => {
                self.endpoint.count(Fate::Foreign);
                return (Heard::Nothing, None);
            }
        };
        self.heard = true;
        self.heard_ns = now_ns;
        (heard, None)
    }

    /// Ends a period of real time: what the robot is to do, now that every packet was
    /// [received](Self::receive).
    pub fn tick(&mut self) -> Duty {
        let Some(granted) = self.granted.filter(|_| self.in_session()) else { return Duty::End };
        let newest = self.newest.take();
        self.uncommanded = if newest.is_some() { 0 } else { self.uncommanded.saturating_add(1) };
        let heard = core::mem::take(&mut self.heard);
        self.unheard = if heard { 0 } else { self.unheard.saturating_add(1) };
        // Only an action must not go on without its controller; in damping and stop silence does no
        // harm, and a controller that idles has nothing to command.
        let watchdog_periods = self.options.watchdog_periods;
        if self.last == WireCommand::Act && self.uncommanded >= watchdog_periods {
            self.watchdog += u64::from(self.follows);
            self.follows = false;
            self.last = WireCommand::Damp;
        }
        // A controller that says nothing for a second is gone: the robot waits for a new session.
        let patience = u64::from(watchdog_periods) + SILENCE_NS / granted.period_ns.max(1);
        if u64::from(self.unheard) >= patience {
            return Duty::End;
        }
        match newest.unwrap_or(self.last) {
            // Obeyed when it came, and once is enough.
            WireCommand::Reset => {
                self.last = WireCommand::Damp;
                Duty::Rest
            }
            kind => {
                self.last = kind;
                // What was commanded before it does not go on in its stead.
                let damps = self.misfit && kind == WireCommand::Act;
                Duty::Obey(self.follow(if damps { WireCommand::Damp } else { kind }))
            }
        }
    }

    /// What a robot does on a command of this kind: it; the stop that it is in; or damping where it does
    /// not follow.
    pub fn follow(&mut self, kind: WireCommand) -> WireCommand {
        match kind {
            WireCommand::Act | WireCommand::Damp if self.stopped => return WireCommand::Stop,
            WireCommand::Act if !self.follows => return WireCommand::Damp,
            WireCommand::Stop => (self.follows, self.stopped) = (false, true),
            WireCommand::Reset => (self.follows, self.stopped) = (true, false),
            WireCommand::Act | WireCommand::Damp => {}
        }
        kind
    }

    /// Seals an observation, and says how long the packet is; none if it does not fit.
    pub fn observe(
        &mut self,
        now_ns: u64,
        observed: &Observed<'_>,
        packet: &mut [u8],
    ) -> Option<usize> {
        let Observed { step, reward, terminated, values, applied, buttons, taken_over } = *observed;
        let seen = Seen { step, reward, terminated, follows: self.follows, values };
        let is_guided = applied.is_some() || taken_over || buttons != 0;
        let message = if is_guided && self.endpoint.version() >= 2 {
            Message::Guided { seen, applied, buttons, taken_over }
        } else {
            Message::Observation(seen)
        };
        self.endpoint.seal(now_ns, message, packet)
    }

    /// Ends the session, and seals the farewell.
    pub fn end(&mut self, now_ns: u64, packet: &mut [u8]) -> Option<usize> {
        let sealed = self.endpoint.seal(now_ns, Message::Bye, packet);
        self.endpoint.begin(0, 0);
        self.granted = None;
        sealed
    }

    /// The answer to a peer that is not heard, where it asks for a session: there is none to have.
    pub fn turn_away(&self, now_ns: u64, packet: &[u8], answer: &mut [u8]) -> Option<usize> {
        let asked = wire::open(packet, self.endpoint.key()).ok()?;
        let Message::Hello { nonce, .. } = asked.message else { return None };
        let message = Message::Refuse { nonce, reason: &self.busy(now_ns) };
        let (session, seq, sent_ns, echo_seq, echo_hold_ns) = (0, 1, now_ns, 0, 0);
        let version = asked.version;
        let frame = Frame { version, session, seq, sent_ns, echo_seq, echo_hold_ns, message };
        wire::seal(&frame, self.endpoint.key(), answer)
    }

    fn refuse(
        &mut self,
        now_ns: u64,
        nonce: u64,
        reason: &str,
        answer: &mut [u8],
    ) -> Option<usize> {
        self.endpoint.seal_as(0, 1, now_ns, Message::Refuse { nonce, reason }, answer)
    }

    /// Why another controller cannot have the robot now.
    fn busy(&self, now_ns: u64) -> Reason {
        let mut reason = Reason::new();
        let Some(granted) = self.granted else {
            say(&mut reason, format_args!("busy"));
            return reason;
        };
        let since_s = now_ns.saturating_sub(granted.at_ns) as f64 / 1e9;
        let free_ns = match (granted.begun, self.options.lock_step) {
            (false, _) => GRANT_NS,
            (true, true) => LOCK_STEP_SILENCE_NS,
            (true, false) => {
                SILENCE_NS + u64::from(self.options.watchdog_periods) * granted.period_ns
            }
        };
        let free_s = free_ns as f64 / 1e9;
        say(
            &mut reason,
            format_args!(
                "busy: another controller has it since {since_s:.1} s; it is free {free_s:.1} s \
                 after that one falls silent"
            ),
        );
        reason
    }
}

/// Why a session is refused, for people; cut where it is longer.
type Reason = heapless::String<512>;

fn say(reason: &mut Reason, what: core::fmt::Arguments<'_>) {
    struct Cut<'r>(&'r mut Reason);
    impl Write for Cut<'_> {
        fn write_str(&mut self, s: &str) -> core::fmt::Result {
            s.chars().try_for_each(|c| self.0.push(c)).map_err(|_| core::fmt::Error)
        }
    }
    // An error is the end of the room.
    let _ = Cut(reason).write_fmt(what);
}

/// Whether a controller's policy fits the robot; else why not.
fn fits(
    sent: &wire::Contract<'_>,
    version: u8,
    robot: &ContractView<'_>,
    reason: &mut Reason,
) -> bool {
    let told = match contract(sent, version, robot) {
        Ok(policy) => match policy.check_fits(robot) {
            Ok(()) => return true,
            Err(mismatch) => {
                say(reason, format_args!("{mismatch}"));
                return false;
            }
        },
        Err(what) => what,
    };
    say(reason, format_args!("the policy describes itself badly: {told}"));
    false
}

/// Whether the robot can keep a controller's period; else why not.
fn keeps_time(period_ns: u64, reason: &mut Reason) -> bool {
    let keeps = PERIOD_BOUNDS_NS.contains(&period_ns);
    if !keeps {
        say(reason, format_args!("a period of {period_ns} ns, need 0.5 ms to 1 s"));
    }
    keeps
}

/// Whether a hello brings no contract and asks for the robot's; from version 2.
pub fn is_asking(sent: &wire::Contract<'_>, version: u8) -> bool {
    version >= 2 && sent.task.is_empty() && sent.obs_terms.is_empty()
}

/// A contract that the other end sent, in some version of the wire format. Version 1 says nothing of
/// bounds: they are taken to be `ours`.
///
/// # Errors
/// What is wrong with it where it cannot be understood.
pub fn contract<'a>(
    sent: &wire::Contract<'a>,
    version: u8,
    ours: &ContractView<'a>,
) -> Result<ContractView<'a>, &'static str> {
    let terms = |text: &'a str| -> Result<TermsView<'a>, &'static str> {
        let terms = TermsView::parse(text).map_err(|_| "its terms cannot be read")?;
        if terms.width() > MOST_WIDTH { Err("it is wider than a packet") } else { Ok(terms) }
    };
    let (obs_terms, action_terms) = (terms(sent.obs_terms)?, terms(sent.action_terms)?);
    let bounds = |bytes: &'a [u8], ours: Numbers<'a>| {
        if version == 1 {
            return Ok(ours);
        }
        Numbers::from_bytes(bytes)
            .filter(|numbers| numbers.len() == action_terms.width())
            .ok_or("its action bounds have another width than its terms")
    };
    Ok(ContractView {
        task: sent.task,
        obs_terms,
        action_terms,
        dt_s: sent.dt_s,
        action_low: bounds(sent.action_low, ours.action_low)?,
        action_high: bounds(sent.action_high, ours.action_high)?,
    })
}

/// A contract as it is sent; none on a machine whose numbers lie otherwise.
pub fn sent<'a>(contract: &ContractView<'a>) -> Option<wire::Contract<'a>> {
    Some(wire::Contract {
        task: contract.task,
        obs_terms: contract.obs_terms.as_str(),
        action_terms: contract.action_terms.as_str(),
        dt_s: contract.dt_s,
        action_low: contract.action_low.as_bytes()?,
        action_high: contract.action_high.as_bytes()?,
    })
}

fn welcome<'a>(robot: &Description<'a>, nonce: u64, lock_step: bool) -> Option<Message<'a>> {
    Some(Message::Welcome {
        nonce,
        contract: sent(&robot.contract)?,
        lock_step,
        damping_action: robot.damping_action.as_bytes()?,
        stop_action: robot.stop_action.as_bytes()?,
        max_action_step: robot.max_action_step.as_bytes()?,
    })
}
