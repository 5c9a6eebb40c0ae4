//! What happens in one tick, without the I/O: read → check → infer → limit → write.

use super::{
    CommandKind, Event, Faults, Limited, Limits, OnMiss, Requests, Settings, State, Stats,
    TickReport, watch::Watchdogs,
};
use crate::{
    io::{Homing, IoError, Reading},
    time::Wake,
};

/// Numbers that a controller remembers, of one robot: `B` is a vector on the heap, a
/// `heapless::Vec<f32, N>`, or a slice that the caller lends. S observation, A action.
#[derive(Clone, Debug)]
pub struct Memory<B> {
    /// `[S]`: what the robot gives, good or not.
    pub incoming: B,
    /// `[S]`: the last good one.
    pub obs: B,
    /// `[A]`: what the policy asks for.
    pub raw_action: B,
    /// `[A]`: what is commanded.
    pub action: B,
    /// `[A]`: what the actuators get in damping.
    pub damping_action: B,
    /// `[A]`: what they get in an emergency stop.
    pub stop_action: B,
}

/// What a tick begins with.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// What the operator asked for since the tick before.
    pub requests: Requests,
    /// What the robot gave; the observation stands in [`Control::incoming_mut`].
    pub read: Result<Reading, IoError>,
    /// Whether the robot stands where its policy starts from.
    pub homing: Homing,
    /// How the period began.
    pub wake: Wake,
    /// The action that the robot applied in the step that led to the reading, `[A]`, where it tells.
    pub applied: Option<&'a [f32]>,
    /// Whether a person leads the robot, whatever it is commanded.
    pub taken_over: bool,
}

/// The controller of one policy on one robot.
///
/// A tick is [`incoming_mut`](Self::incoming_mut) (the robot's reading goes there),
/// [`tick`](Self::tick) (says what to command, with [`action`](Self::action)), and
/// [`written`](Self::written) (how the robot took it). It is a function of what was given so far, and
/// draws on nothing else.
///
/// ```
/// use heapless::Vec;
/// use sog_core::{
///     control::{CommandKind, Control, Inputs, Limits, Memory, RateLimit, Request, Requests, Settings},
///     io::{Homing, Reading},
///     time::Wake,
/// };
///
/// let of = |x: f32| Vec::<f32, 4>::from_iter([x; 2]);
/// let limits = Limits::new([of(-1.0), of(1.0)], of(0.5), RateLimit::Robot, (&[-1.0; 2], &[1.0; 2]));
/// let zero = || of(0.0);
/// let memory = Memory {
///     incoming: zero(), obs: zero(), raw_action: zero(), action: zero(),
///     damping_action: zero(), stop_action: zero(),
/// };
/// let mut control = Control::new(memory, limits.expect("one width"), Settings::default(), 1, 0)
///     .expect("one width");
/// control.incoming_mut().copy_from_slice(&[0.1, 0.2]);
/// let inputs = Inputs {
///     requests: Requests::default().with(Request::Arm).with(Request::Start),
///     read: Ok(Reading { step: 1, ..Reading::default() }),
///     homing: Homing::Unable,
///     wake: Wake::default(),
///     applied: None,
///     taken_over: false,
/// };
/// // The policy: here, ten times what is seen.
/// let command = control.tick(&inputs, |_code, obs, action| {
///     action.iter_mut().zip(obs).for_each(|(a, o)| *a = 10.0 * o);
/// });
/// assert_eq!((command, control.action()), (CommandKind::Act, &[0.5, 0.5][..]));
/// control.written(Ok(()), None);
/// ```
#[derive(Debug)]
pub struct Control<B> {
    memory: Memory<B>,
    limits: Limits<B>,
    settings: Settings,
    code_count: usize,

    state: State,
    code: u16,
    /// A start that the operator asked for waits for good sensors, and for the start pose.
    start_pending: bool,
    /// A failed write is a fault of the next tick.
    write_failed: bool,
    /// The event that last led out of `Policy` or `Homing`.
    left_policy: Option<Event>,
    watchdogs: Watchdogs,
    last_command: CommandKind,
    /// The tick under way.
    tick: TickReport,
    wake: Wake,
    stats: Stats,
}

impl<B: AsRef<[f32]> + AsMut<[f32]>> Control<B> {
    /// A controller in [`State::Idle`] of a policy with `code_count` codes, of which the one with the
    /// number `code` is selected. Commanded at first is what the actuators get in damping.
    ///
    /// `None` where the widths differ or there is no such code.
    pub fn new(
        mut memory: Memory<B>,
        limits: Limits<B>,
        settings: Settings,
        code_count: usize,
        code: u16,
    ) -> Option<Self> {
        let width = limits.width();
        let Memory { incoming, obs, raw_action, action, damping_action, stop_action } = &mut memory;
        let actions = [&*raw_action, &*action, &*damping_action, &*stop_action];
        let fit = actions.iter().all(|action| action.as_ref().len() == width)
            && incoming.as_ref().len() == obs.as_ref().len();
        if !fit || usize::from(code) >= code_count {
            return None;
        }
        raw_action.as_mut().copy_from_slice(damping_action.as_ref());
        action.as_mut().copy_from_slice(damping_action.as_ref());
        Some(Self {
            watchdogs: Watchdogs::new(&settings),
            memory,
            limits,
            settings,
            code_count,
            state: State::Idle,
            code,
            start_pending: false,
            write_failed: false,
            left_policy: None,
            last_command: CommandKind::None,
            tick: TickReport::default(),
            wake: Wake::default(),
            stats: Stats::default(),
        })
    }

    /// Where the robot's reading goes before a tick, `[S]`.
    pub fn incoming_mut(&mut self) -> &mut [f32] {
        self.memory.incoming.as_mut()
    }

    /// What the robot gave in the last tick that it gave anything, `[S]`; perhaps not finite.
    pub fn observation(&self) -> &[f32] {
        self.memory.incoming.as_ref()
    }

    /// What the policy last asked for, before limits, `[A]`.
    pub fn raw_action(&self) -> &[f32] {
        self.memory.raw_action.as_ref()
    }

    /// What the actuators were last told, `[A]`.
    pub fn action(&self) -> &[f32] {
        self.memory.action.as_ref()
    }

    /// The present state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Number of the selected code; the number of codes where it was given by its numbers.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Whether any change of action is limited.
    pub fn limits_rate(&self) -> bool {
        self.limits.limits_rate()
    }

    /// The event that last ended the policy's command, or the way to its start pose.
    pub fn left_policy(&self) -> Option<Event> {
        self.left_policy
    }

    /// Counts of all ticks so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What to command now. `policy` is asked for the action mean `[A]` of an observation `[S]` under
    /// the code of a number.
    pub fn tick(
        &mut self,
        inputs: &Inputs<'_>,
        policy: impl FnOnce(u16, &[f32], &mut [f32]),
    ) -> CommandKind {
        let mut faults = Faults::default();
        let mut limited = Limited::default();
        let Inputs { requests, read, homing, wake, applied, taken_over } = *inputs;
        // Changes count from what the actuators get, where somebody else chose it.
        let is_own = matches!(self.state, State::Policy | State::Homing) && !taken_over;
        let from = applied.filter(|applied| {
            !is_own && applied.len() == self.limits.width() && applied.iter().all(|v| v.is_finite())
        });
        self.collect_reward(&read);

        let reset = self.obey(requests, homing);
        let (incoming, obs) = (self.memory.incoming.as_ref(), self.memory.obs.as_mut());
        let sensors = self.watchdogs.sensors(self.state, &read, incoming, obs, &mut faults);
        let deadlines = self.watchdogs.deadlines(self.state, &wake, &mut faults);
        let robot_state = self.check_robot_state(&read, &mut faults);
        let homing_fault = self.check_homing(homing, &mut faults);
        for event in [sensors.err(), deadlines, robot_state, homing_fault].into_iter().flatten() {
            self.raise(event);
        }
        let fresh = sensors == Ok(true) && !reset;
        self.start_if_asked(fresh, homing);

        let command = if reset {
            CommandKind::Reset
        } else {
            self.decide(fresh, &wake, from, policy, &mut faults, &mut limited)
        };
        self.last_command = command;
        self.wake = wake;
        self.tick = TickReport {
            tick: self.stats.ticks,
            state: self.state,
            code: self.code,
            requests,
            read,
            command,
            homing,
            written: Ok(()),
            faults,
            limited,
        };
        command
    }

    /// The tick is over: how the robot took the command, and the action `[A]` that
    /// [`CommandKind::Home`] came to, where it came to one.
    pub fn written(
        &mut self,
        written: Result<(), IoError>,
        home_action: Option<&[f32]>,
    ) -> TickReport {
        let mut report = TickReport { written, ..self.tick };
        if written.is_err() {
            report.faults.insert(Faults::WRITE_FAILED);
            self.write_failed = true;
        }
        let action = self.memory.action.as_mut();
        if report.command == CommandKind::Home
            && let Some(home) = home_action
            && home.len() == action.len()
        {
            // What the policy's first action is limited from.
            action.copy_from_slice(home);
        }
        self.stats.add(&report, &self.wake);
        report
    }

    /// The reward that came with this reading belongs to the action commanded before it.
    fn collect_reward(&mut self, read: &Result<Reading, IoError>) {
        if let Ok(Reading { reward: Some(reward), .. }) = read
            && self.last_command == CommandKind::Act
        {
            *self.stats.episode_return.get_or_insert(0.0) += reward;
        }
    }

    /// Follows the operator; the safest request wins. Says whether a reset is to be commanded.
    fn obey(&mut self, requests: Requests, homing: Homing) -> bool {
        if requests.is_empty() {
            return false;
        }
        if let Some(code) = requests.code()
            && usize::from(code) < self.code_count
        {
            self.code = code;
        }
        if requests.contains(Requests::FREE_CODE) {
            self.code = self.code_count as u16;
        }
        for (request, event) in [
            (Requests::STOP, Event::Stop),
            (Requests::DAMP, Event::Damp),
            (Requests::QUIT, Event::Damp),
        ] {
            if requests.contains(request) {
                self.start_pending = false;
                self.raise(event);
                return false;
            }
        }
        let reset = requests.contains(Requests::RESET)
            && matches!(self.state, State::Damping | State::EStop);
        if requests.contains(Requests::RESET) {
            self.raise(Event::Reset);
        }
        if requests.contains(Requests::ARM) && self.raise(Event::Arm) {
            self.watchdogs.rearm();
        }
        if requests.contains(Requests::HOME) && homing != Homing::Unable {
            self.raise(Event::Home);
        }
        if requests.contains(Requests::START) && matches!(self.state, State::Ready | State::Homing)
        {
            self.start_pending = true;
        }
        reset
    }

    /// What the robot says about itself, and whether it took the last command.
    fn check_robot_state(
        &mut self,
        read: &Result<Reading, IoError>,
        faults: &mut Faults,
    ) -> Option<Event> {
        if core::mem::take(&mut self.write_failed) {
            return Some(Event::RobotFault);
        }
        if read.is_ok_and(|reading| reading.terminated)
            && matches!(self.state, State::Ready | State::Homing | State::Policy)
        {
            faults.insert(Faults::TERMINATED);
            return Some(Event::Terminated);
        }
        None
    }

    /// What became of the way to the start pose, where the robot is on it.
    fn check_homing(&self, homing: Homing, faults: &mut Faults) -> Option<Event> {
        if self.state != State::Homing {
            return None;
        }
        faults.insert(match homing {
            Homing::Blocked => Faults::HOMING_BLOCKED,
            Homing::Late => Faults::HOMING_LATE,
            Homing::Unable | Homing::Away | Homing::There => return None,
        });
        Some(Event::HomingFault)
    }

    fn start_if_asked(&mut self, fresh: bool, homing: Homing) {
        if !matches!(self.state, State::Ready | State::Homing) {
            self.start_pending = false;
        } else if self.start_pending && fresh {
            if matches!(homing, Homing::Unable | Homing::There) {
                self.start_pending = false;
                self.raise(Event::Start);
            } else {
                self.raise(Event::Home);
            }
        }
    }

    /// What to command in the present state; `action` is set.
    fn decide(
        &mut self,
        fresh: bool,
        wake: &Wake,
        from: Option<&[f32]>,
        policy: impl FnOnce(u16, &[f32], &mut [f32]),
        faults: &mut Faults,
        limited: &mut Limited,
    ) -> CommandKind {
        if self.state == State::Policy && !self.act(fresh, wake, from, policy, limited) {
            faults.insert(Faults::NON_FINITE_ACTION);
            self.raise(Event::PolicyFault);
        }
        let Memory { action, damping_action, stop_action, .. } = &mut self.memory;
        let (command, told) = match self.state {
            State::Policy => return CommandKind::Act,
            State::Homing => return CommandKind::Home,
            State::Idle => (CommandKind::None, damping_action),
            State::Ready | State::Damping => (CommandKind::Damp, damping_action),
            State::EStop => (CommandKind::Stop, stop_action),
        };
        action.as_mut().copy_from_slice((*told).as_ref());
        command
    }

    /// Sets the next action; false if the policy gave one that is not finite. Its change counts from
    /// the action before it, or from another one.
    fn act(
        &mut self,
        fresh: bool,
        wake: &Wake,
        from: Option<&[f32]>,
        policy: impl FnOnce(u16, &[f32], &mut [f32]),
        limited: &mut Limited,
    ) -> bool {
        if !fresh || (wake.missed > 0 && self.settings.on_miss == OnMiss::Hold) {
            return true;
        }
        let Memory { obs, raw_action, action, .. } = &mut self.memory;
        let raw_action = raw_action.as_mut();
        policy(self.code, obs.as_ref(), raw_action);
        if raw_action.iter().any(|v| !v.is_finite()) {
            return false;
        }
        if let Some(from) = from {
            action.as_mut().copy_from_slice(from);
        }
        self.limits.apply(raw_action, action.as_mut(), limited);
        true
    }

    /// Goes where the event leads; says whether it led anywhere.
    fn raise(&mut self, event: Event) -> bool {
        let Some(next) = self.state.next(event) else { return false };
        let on_the_way = self.state == State::Homing && next != State::Policy;
        if self.state == State::Policy || on_the_way {
            self.left_policy = Some(event);
        }
        self.state = next;
        true
    }
}
