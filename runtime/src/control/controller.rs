//! The controller: what happens in one tick.

use alloc::{format, sync::Arc, vec, vec::Vec};

use super::{
    CommandKind, Config, Control, ControlError, Event, Inputs, Limits, Mailbox, Memory,
    RATE_BOUNDS_HZ, RateLimit, Request, State, Stats, TickReport, Timings,
};
use crate::time::Wake;
use crate::{
    io::{Command, Guidance, KeptGuidance, RobotIo, RobotSpec},
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
    mailbox: Arc<Mailbox>,
    control: Control<Vec<f32>>,
    last_woke_ns: Option<u64>,
    /// What a person did.
    guidance: KeptGuidance,
    timings: Timings,
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
        let (low, high) = (&file.contract.action_low, &file.contract.action_high);
        let range = match config.limit_range {
            true => [low.clone(), high.clone()],
            false => [f32::MIN, f32::MAX].map(|bound| vec![bound; low.len()]),
        };
        let max_step = spec.max_action_step.clone();
        let zeros = |width| vec![0.0; width];
        let memory = Memory {
            incoming: zeros(spec.obs_dim()),
            obs: zeros(spec.obs_dim()),
            raw_action: zeros(spec.action_dim()),
            action: zeros(spec.action_dim()),
            damping_action: spec.damping_action.clone(),
            stop_action: spec.stop_action.clone(),
        };
        let limits = Limits::new(range, max_step, config.limit_rate, (low, high));
        let control = limits
            .and_then(|limits| Control::new(memory, limits, config.settings(), count, config.code));
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
            mailbox: Arc::new(Mailbox::with_codes(count, free_width)),
            control: control.ok_or_else(|| ControlError::Robot {
                what: "action",
                found: format!("{} numbers", spec.action_dim()),
                needed: "bounds, damping and stop of one width",
            })?,
            last_woke_ns: None,
            guidance: KeptGuidance::new(spec.action_dim()),
            timings: Timings::default(),
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
        self.control.state()
    }

    /// Number of the selected code; [`code_count`](Self::code_count) where the operator gave it by
    /// its numbers.
    pub fn code(&self) -> u16 {
        self.control.code()
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
        selected(&self.codes, &self.free_code, self.policy.latent_dim(), self.code())
    }

    /// Whether any change of action is limited.
    pub fn limits_rate(&self) -> bool {
        self.control.limits_rate()
    }

    /// The event that last ended the policy's command, or the way to its start pose.
    pub fn left_policy(&self) -> Option<Event> {
        self.control.left_policy()
    }

    /// What the robot gave in the last tick that it gave anything, `[S]`; perhaps not finite.
    pub fn observation(&self) -> &[f32] {
        self.control.observation()
    }

    /// What the policy last asked for, before limits, `[A]`.
    pub fn raw_action(&self) -> &[f32] {
        self.control.raw_action()
    }

    /// What the actuators were last told, `[A]`.
    pub fn action(&self) -> &[f32] {
        self.control.action()
    }

    /// What a person did with the robot, as of its last reading.
    pub fn guidance(&self) -> Guidance<'_> {
        self.guidance.get()
    }

    /// Counts of all ticks so far.
    pub fn stats(&self) -> &Stats {
        self.control.stats()
    }

    /// How long things took so far.
    pub fn timings(&self) -> &Timings {
        &self.timings
    }

    /// One control step.
    pub fn tick<R: RobotIo + ?Sized>(&mut self, robot: &mut R, wake: &Wake) -> TickReport {
        let requests = self.mailbox.take_with_code(&mut self.free_code);
        let read = robot.read(self.control.incoming_mut());
        self.guidance.keep(robot.guidance());
        let Self { policy, workspace, codes, free_code, control, guidance, .. } = self;
        let (homing, wake) = (robot.homing(), *wake);
        let Guidance { applied, taken_over, .. } = guidance.get();
        let inputs = Inputs { requests, read, homing, wake, applied, taken_over };
        let command = control.tick(&inputs, |code, obs, raw_action| {
            let latent = selected(codes, free_code, policy.latent_dim(), code);
            policy.mean_actions(workspace, obs, latent, raw_action);
        });
        let written = match command {
            CommandKind::None => Ok(()),
            CommandKind::Act => robot.write(Command::Act(control.action())),
            CommandKind::Damp => robot.write(Command::Damp),
            CommandKind::Stop => robot.write(Command::Stop),
            CommandKind::Reset => robot.write(Command::Reset),
            CommandKind::Home => robot.write(Command::Home),
        };
        control.written(written, robot.home_action())
    }

    /// Adds the timing of the tick that just ended to the statistics.
    pub fn record_timing(&mut self, wake: &Wake, end_ns: u64) {
        self.timings.wake_latency.record(wake.latency_ns());
        self.timings.exec.record(end_ns.saturating_sub(wake.woke_ns));
        if let Some(last) = self.last_woke_ns.replace(wake.woke_ns) {
            self.timings.period.record(wake.woke_ns.saturating_sub(last));
        }
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
