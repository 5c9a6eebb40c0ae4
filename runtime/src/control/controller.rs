//! The controller: what happens in one tick.

use alloc::{format, sync::Arc, vec, vec::Vec};

use super::{
    CommandKind, Config, ControlError, Event, Faults, Limited, Mailbox, OnMiss, RATE_BOUNDS_HZ,
    RateLimit, Request, Requests, State, Stats, TickReport, limits::Limits, watch::Watchdogs,
};
use crate::time::Wake;
use crate::{
    io::{Command, Guidance, Homing, IoError, KeptGuidance, Reading, RobotIo, RobotSpec},
    policy::{LatentKind, Policy, PolicyFile, Workspace},
};

/// Runs one policy on one robot, tick by tick: read → check → infer → limit → write.
///
/// A tick is a function of the controller's past, the operator's requests, what the robot gives
/// and how the period began; it draws on nothing else, so that a recorded run replays to the same
/// bits. It neither allocates nor locks.
pub struct Controller {
    policy: Policy,
    workspace: Workspace,
    spec: RobotSpec,
    config: Config,
    /// `[n, Z]`.
    codes: Vec<f32>,
    /// The code that the operator gave last by its numbers, `[Z]`; selected where the number of
    /// the code is n.
    free_code: Vec<f32>,
    period_ns: u64,
    limits: Limits,
    mailbox: Arc<Mailbox>,

    state: State,
    code: u16,
    /// A start that the operator asked for waits for good sensors, and for the start pose.
    start_pending: bool,
    /// A failed write is a fault of the next tick.
    write_failed: bool,
    /// The event that last led out of `Policy` or `Homing`.
    left_policy: Option<Event>,
    watchdogs: Watchdogs,
    last_woke_ns: Option<u64>,
    last_command: CommandKind,

    /// As the robot gave it, good or not.
    incoming: Vec<f32>,
    /// The last good one.
    obs: Vec<f32>,
    /// What the policy asked for.
    raw_action: Vec<f32>,
    /// What was commanded last.
    action: Vec<f32>,
    /// What a person did.
    guidance: KeptGuidance,
    stats: Stats,
}

impl Controller {
    /// A controller in [`State::Idle`].
    ///
    /// # Errors
    /// If policy and robot do not fit (task, terms, period), or the configuration does not fit
    /// the policy.
    pub fn new(file: &PolicyFile, spec: &RobotSpec, config: Config) -> Result<Self, ControlError> {
        let fits = file.contract.check_fits(&spec.contract);
        fits.map_err(|error| error.between("the policy", "the robot"))?;
        check_robot(spec)?;
        let rate_hz = config.rate_hz.unwrap_or(1.0 / file.contract.dt_s);
        // The policy's own rate may miss a bound by rounding alone.
        if !(RATE_BOUNDS_HZ.0 * 0.999_999..=RATE_BOUNDS_HZ.1 * 1.000_001).contains(&rate_hz) {
            return Err(ControlError::Rate { found: rate_hz });
        }
        if let RateLimit::Share(found) = config.limit_rate
            && (found.is_nan() || found <= 0.0)
        {
            return Err(ControlError::RateLimit { found });
        }
        let codes = all_codes(file.latent, &config.codes)?;
        let count = code_count(&codes, file.latent.width());
        if usize::from(config.code) >= count {
            return Err(ControlError::NoSuchCode { found: config.code, count });
        }
        let range = (file.contract.action_low.as_slice(), file.contract.action_high.as_slice());
        let limits = Limits::new(
            config.limit_range.then_some(range),
            config.limit_rate,
            range,
            &spec.max_action_step,
        );
        let policy = Policy::new(file);
        let free_width = match file.latent {
            LatentKind::Gaussian(width) => width,
            LatentKind::None | LatentKind::OneHot(_) => 0,
        };
        Ok(Self {
            workspace: policy.workspace(1),
            policy,
            codes,
            free_code: vec![0.0; free_width],
            period_ns: (1e9 / rate_hz + 0.5) as u64,
            limits,
            mailbox: Arc::new(Mailbox::with_codes(count, free_width)),
            state: State::Idle,
            code: config.code,
            start_pending: false,
            write_failed: false,
            left_policy: None,
            watchdogs: Watchdogs::new(&config),
            last_woke_ns: None,
            last_command: CommandKind::None,
            incoming: vec![0.0; spec.obs_dim()],
            obs: vec![0.0; spec.obs_dim()],
            raw_action: spec.damping_action.clone(),
            action: spec.damping_action.clone(),
            guidance: KeptGuidance::new(spec.action_dim()),
            stats: Stats::default(),
            spec: spec.clone(),
            config,
        })
    }

    /// Where requests are posted, from any thread.
    pub fn mailbox(&self) -> Arc<Mailbox> {
        Arc::clone(&self.mailbox)
    }

    /// Posts a request for the next tick.
    pub fn request(&self, request: Request) {
        self.mailbox.post(request);
    }

    /// The control period.
    pub fn period_ns(&self) -> u64 {
        self.period_ns
    }

    /// The robot as it was described at construction.
    pub fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The present state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Number of the selected code; [`code_count`](Self::code_count) where the operator gave it by
    /// its numbers.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// How many codes there are to choose from by number.
    pub fn code_count(&self) -> usize {
        code_count(&self.codes, self.policy.latent_dim())
    }

    /// The codes to choose from by number, `[n, Z]`.
    pub fn codes(&self) -> &[f32] {
        &self.codes
    }

    /// The selected code, `[Z]`.
    pub fn latent(&self) -> &[f32] {
        selected(&self.codes, &self.free_code, self.policy.latent_dim(), self.code)
    }

    /// Whether any change of action is limited.
    pub fn limits_rate(&self) -> bool {
        self.limits.limits_rate()
    }

    /// The event that last ended the policy's command, or the way to its start pose.
    pub fn left_policy(&self) -> Option<Event> {
        self.left_policy
    }

    /// What the robot gave in the last tick that it gave anything, `[S]`; perhaps not finite.
    pub fn observation(&self) -> &[f32] {
        &self.incoming
    }

    /// What the policy last asked for, before limits, `[A]`.
    pub fn raw_action(&self) -> &[f32] {
        &self.raw_action
    }

    /// What the actuators were last told, `[A]`.
    pub fn action(&self) -> &[f32] {
        &self.action
    }

    /// What a person did with the robot, as of its last reading.
    pub fn guidance(&self) -> Guidance<'_> {
        self.guidance.get()
    }

    /// Statistics of all ticks so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// One control step.
    pub fn tick<R: RobotIo + ?Sized>(&mut self, robot: &mut R, wake: &Wake) -> TickReport {
        let mut faults = Faults::default();
        let mut limited = Limited::default();
        let requests = self.mailbox.take_with_code(&mut self.free_code);
        let read = robot.read(&mut self.incoming);
        self.guidance.keep(robot.guidance());
        self.collect_reward(&read);
        let homing = robot.homing();

        let reset = self.obey(requests, homing);
        let (incoming, obs) = (&self.incoming, &mut self.obs);
        let sensors = self.watchdogs.sensors(self.state, &read, incoming, obs, &mut faults);
        let deadlines = self.watchdogs.deadlines(self.state, wake, &mut faults);
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
            self.decide(fresh, wake, &mut faults, &mut limited)
        };
        let written = self.write(robot, command, &mut faults);
        self.last_command = command;
        if command == CommandKind::Home
            && let Some(action) = robot.home_action()
            && action.len() == self.action.len()
        {
            // What the policy's first action is limited from.
            self.action.copy_from_slice(action);
        }
        let report = TickReport {
            tick: self.stats.ticks,
            state: self.state,
            code: self.code,
            requests,
            read,
            command,
            homing,
            written,
            faults,
            limited,
        };
        self.count(&report, wake);
        report
    }

    /// Adds the timing of the tick that just ended to the statistics.
    pub fn record_timing(&mut self, wake: &Wake, end_ns: u64) {
        self.stats.wake_latency.record(wake.latency_ns());
        self.stats.exec.record(end_ns.saturating_sub(wake.woke_ns));
        if let Some(last) = self.last_woke_ns.replace(wake.woke_ns) {
            self.stats.period.record(wake.woke_ns.saturating_sub(last));
        }
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
            && usize::from(code) < self.code_count()
        {
            self.code = code;
        }
        if requests.contains(Requests::FREE_CODE) {
            self.code = self.code_count() as u16;
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

    /// What to command in the present state; under the policy `action` is set.
    fn decide(
        &mut self,
        fresh: bool,
        wake: &Wake,
        faults: &mut Faults,
        limited: &mut Limited,
    ) -> CommandKind {
        if self.state == State::Policy && !self.act(fresh, wake, limited) {
            faults.insert(Faults::NON_FINITE_ACTION);
            self.raise(Event::PolicyFault);
        }
        match self.state {
            State::Policy => return CommandKind::Act,
            State::Homing => return CommandKind::Home,
            State::EStop => self.action.copy_from_slice(&self.spec.stop_action),
            _ => self.action.copy_from_slice(&self.spec.damping_action),
        }
        match self.state {
            State::Idle => CommandKind::None,
            State::EStop => CommandKind::Stop,
            _ => CommandKind::Damp,
        }
    }

    /// Sets the next action; false if the policy gave one that is not finite.
    fn act(&mut self, fresh: bool, wake: &Wake, limited: &mut Limited) -> bool {
        let hold = !fresh || (wake.missed > 0 && self.config.on_miss == OnMiss::Hold);
        if hold {
            return true;
        }
        let latent = selected(&self.codes, &self.free_code, self.policy.latent_dim(), self.code);
        self.policy.mean_actions(&mut self.workspace, &self.obs, latent, &mut self.raw_action);
        if self.raw_action.iter().any(|v| !v.is_finite()) {
            return false;
        }
        self.limits.apply(&self.raw_action, &mut self.action, limited);
        true
    }

    fn write<R: RobotIo + ?Sized>(
        &mut self,
        robot: &mut R,
        command: CommandKind,
        faults: &mut Faults,
    ) -> Result<(), IoError> {
        let written = match command {
            CommandKind::None => Ok(()),
            CommandKind::Act => robot.write(Command::Act(&self.action)),
            CommandKind::Damp => robot.write(Command::Damp),
            CommandKind::Stop => robot.write(Command::Stop),
            CommandKind::Reset => robot.write(Command::Reset),
            CommandKind::Home => robot.write(Command::Home),
        };
        if written.is_err() {
            faults.insert(Faults::WRITE_FAILED);
            self.write_failed = true;
        }
        written
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

    fn count(&mut self, report: &TickReport, wake: &Wake) {
        self.stats.ticks += 1;
        self.stats.misses += u64::from(wake.missed);
        self.stats.policy_ticks += u64::from(report.command == CommandKind::Act);
        self.stats.faults.add(report.faults);
        self.stats.limited.add(report.limited);
    }
}

/// All codes to choose from, `[n, Z]`.
fn all_codes(latent: LatentKind, given: &[f32]) -> Result<Vec<f32>, ControlError> {
    let width = latent.width();
    if !given.is_empty() {
        let fits =
            width > 0 && given.len().is_multiple_of(width) && given.iter().all(|v| v.is_finite());
        return if fits {
            Ok(given.to_vec())
        } else {
            Err(ControlError::Codes { found: given.len(), width })
        };
    }
    Ok(match latent {
        LatentKind::None => vec![],
        LatentKind::Gaussian(d) => vec![0.0; d],
        LatentKind::OneHot(k) => {
            let mut codes = vec![0.0; k * k];
            codes.iter_mut().step_by(k + 1).for_each(|v| *v = 1.0);
            codes
        }
    })
}

/// The code of this number, `[Z]`: one of `codes`, or the free one behind them.
fn selected<'a>(codes: &'a [f32], free_code: &'a [f32], width: usize, code: u16) -> &'a [f32] {
    codes.get(usize::from(code) * width..).and_then(|rest| rest.get(..width)).unwrap_or(free_code)
}

/// How many codes there are; a policy without a latent has one, of width 0.
fn code_count(codes: &[f32], width: usize) -> usize {
    codes.len().checked_div(width).unwrap_or(1)
}

fn check_robot(spec: &RobotSpec) -> Result<(), ControlError> {
    let width = spec.action_dim();
    let good = |v: f32| v.is_finite();
    for (what, values, holds, needed) in [
        ("damping action", &spec.damping_action, good as fn(f32) -> bool, "finite numbers, [A]"),
        ("stop action", &spec.stop_action, good, "finite numbers, [A]"),
        ("largest action step", &spec.max_action_step, |v| v > 0.0, "positive numbers, [A]"),
    ] {
        if values.len() != width || !values.iter().all(|&v| holds(v)) {
            return Err(ControlError::Robot { what, found: format!("{values:?}"), needed });
        }
    }
    Ok(())
}
