//! A task as a robot: what the control loop, in this process or behind a link, sees of it.

use sog_runtime::io::{Command, IoError, NO_WAY_HOME, Reading, RobotIo, RobotSpec};

use crate::{
    error::SimError,
    seed,
    task::{Probe, Task, TaskInfo},
};

/// What the task's robot is to a control loop.
///
/// Damping and emergency stop are zero action: no torque, no displacement; the joints' own
/// damping takes the energy out. Any change of action from step to step is allowed, as it was to
/// the experts.
pub fn spec(info: &TaskInfo) -> RobotSpec {
    RobotSpec::new(info.contract())
}

/// A simulated robot in step with its controller: each command takes it one control step further,
/// and there is one new observation for it.
///
/// Neither reading nor writing allocates; a command takes as long as its physics.
pub struct SimRobot {
    task: Box<dyn Task>,
    spec: RobotSpec,
    seed: u64,
    /// Episodes begun.
    episodes: u64,
    /// Which mode's reward is reported.
    reward: Option<usize>,
    step: u64,
    fresh: bool,
    stopped: bool,
    terminated: bool,
    last_reward: Option<f64>,
    obs64: Vec<f64>,
    action64: Vec<f64>,
    rewards: Vec<f64>,
    returns: Vec<f64>,
    recording: Option<Recording>,
}

/// What a [`SimRobot`] did, one entry a control step commanded by the policy. Widths: A action,
/// M rewards, Q positions of the robot's model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// `[T + 1]`: start, and after each step.
    pub probes: Vec<Probe>,
    /// `[T, A]`: actions.
    pub actions: Vec<f32>,
    /// `[T, M]`: rewards.
    pub rewards: Vec<f64>,
    /// `[T + 1, Q]`: positions of all joints; empty without MuJoCo.
    pub qpos: Vec<f64>,
    /// Steps there is room for; further ones are not recorded.
    room: usize,
}

impl Recording {
    /// Steps recorded, T.
    pub fn steps(&self) -> usize {
        self.probes.len().saturating_sub(1)
    }

    fn with_room(steps: usize, task: &dyn Task) -> Self {
        let q = task.physics().map_or(0, |p| p.data().qpos().len());
        let mut recording = Self {
            probes: Vec::with_capacity(steps + 1),
            actions: Vec::with_capacity(steps * task.info().action_dim()),
            rewards: Vec::with_capacity(steps * task.reward_count()),
            qpos: Vec::with_capacity((steps + 1) * q),
            room: steps,
        };
        recording.put_state(task);
        recording
    }

    fn put_state(&mut self, task: &dyn Task) {
        self.probes.push(task.probe());
        if let Some(physics) = task.physics() {
            self.qpos.extend_from_slice(physics.data().qpos());
        }
    }

    fn put_step(&mut self, task: &dyn Task, action: &[f32], rewards: &[f64]) {
        if self.steps() < self.room {
            self.actions.extend_from_slice(action);
            self.rewards.extend_from_slice(rewards);
            self.put_state(task);
        }
    }
}

impl SimRobot {
    /// A robot at the start of its first episode; episode n is seeded by stream n of `seed`.
    ///
    /// # Errors
    /// As [`Task::reset`].
    pub fn new(task: Box<dyn Task>, seed: u64) -> Result<Self, SimError> {
        let (s, a, m) = (task.info().obs_dim(), task.info().action_dim(), task.reward_count());
        let mut robot = Self {
            spec: spec(task.info()),
            task,
            seed,
            episodes: 0,
            reward: None,
            step: 0,
            fresh: true,
            stopped: false,
            terminated: false,
            last_reward: None,
            obs64: vec![0.0; s],
            action64: vec![0.0; a],
            rewards: vec![0.0; m],
            returns: vec![0.0; m],
            recording: None,
        };
        robot.begin_episode()?;
        Ok(robot)
    }

    /// Reports the reward of this mode (or goal) with each observation.
    ///
    /// # Errors
    /// [`SimError::NoSuchMode`].
    pub fn report_reward(&mut self, mode: usize) -> Result<(), SimError> {
        if mode >= self.rewards.len() {
            let (task, count) = (self.task.info().name().to_string(), self.rewards.len());
            return Err(SimError::NoSuchMode { task, found: mode, count });
        }
        self.reward = Some(mode);
        Ok(())
    }

    /// Records the next `steps` steps that the policy commands; room for them is made here.
    pub fn record(&mut self, steps: usize) {
        self.recording = Some(Recording::with_room(steps, &*self.task));
    }

    /// Ends the recording and hands it out.
    pub fn take_recording(&mut self) -> Option<Recording> {
        self.recording.take()
    }

    /// The task.
    pub fn task(&self) -> &dyn Task {
        &*self.task
    }

    /// `[M]`: sums of the rewards of the present episode's steps that the policy commanded.
    pub fn returns(&self) -> &[f64] {
        &self.returns
    }

    /// Episodes begun.
    pub fn episodes(&self) -> u64 {
        self.episodes
    }

    fn begin_episode(&mut self) -> Result<(), SimError> {
        self.task.reset(seed::derive(self.seed, self.episodes))?;
        self.episodes += 1;
        self.returns.fill(0.0);
        self.stopped = false;
        self.terminated = false;
        self.last_reward = None;
        Ok(())
    }

    /// One control step under the action now in `action64`.
    fn advance(&mut self) -> Result<(), IoError> {
        let step = self.task.step(&self.action64, &mut self.rewards).map_err(|error| {
            IoError::Robot(match error {
                SimError::NotFinite { .. } => "a number of the action is not finite",
                _ => "the simulation refused the action",
            })
        })?;
        self.terminated |= step.terminated;
        Ok(())
    }
}

impl RobotIo for SimRobot {
    fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        check_width(obs.len(), self.obs64.len())?;
        if !std::mem::take(&mut self.fresh) {
            return Err(IoError::Stale);
        }
        self.task.observe(&mut self.obs64);
        obs.iter_mut().zip(&self.obs64).for_each(|(o, &x)| *o = x as f32);
        Ok(Reading { step: self.step, reward: self.last_reward, terminated: self.terminated })
    }

    fn write(&mut self, command: Command<'_>) -> Result<(), IoError> {
        match command {
            Command::Reset => self
                .begin_episode()
                .map_err(|_| IoError::Robot("the simulation could not start an episode"))?,
            Command::Act(action) if !self.stopped => {
                check_width(action.len(), self.action64.len())?;
                self.action64.iter_mut().zip(action).for_each(|(x, &a)| *x = f64::from(a));
                self.advance()?;
                self.returns.iter_mut().zip(&self.rewards).for_each(|(sum, r)| *sum += r);
                self.last_reward = self.reward.map(|mode| self.rewards[mode]);
                if let Some(recording) = &mut self.recording {
                    recording.put_step(&*self.task, action, &self.rewards);
                }
            }
            Command::Home => return Err(IoError::Robot(NO_WAY_HOME)),
            other => {
                self.stopped |= other == Command::Stop;
                let rest =
                    if self.stopped { &self.spec.stop_action } else { &self.spec.damping_action };
                self.action64.iter_mut().zip(rest).for_each(|(x, &a)| *x = f64::from(a));
                self.advance()?;
                self.last_reward = self.reward.map(|mode| self.rewards[mode]);
            }
        }
        self.step += 1;
        self.fresh = true;
        Ok(())
    }
}

fn check_width(found: usize, needed: usize) -> Result<(), IoError> {
    if found == needed { Ok(()) } else { Err(IoError::Width { found, needed }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::{TaskOptions, make};

    fn robot(id: &str) -> SimRobot {
        SimRobot::new(make(id, &TaskOptions::default()).unwrap(), 5).unwrap()
    }

    #[test]
    fn each_command_is_one_step_with_one_observation() {
        let mut robot = robot("halfcheetah-fwd-back");
        robot.report_reward(1).unwrap();
        let mut obs = [0.0; 20];
        assert_eq!(robot.read(&mut obs).unwrap(), Reading::default());
        assert_eq!(robot.read(&mut obs), Err(IoError::Stale));
        robot.write(Command::Act(&[0.5; 6])).unwrap();
        let reading = robot.read(&mut obs).unwrap();
        assert_eq!((reading.step, reading.terminated), (1, false));
        assert_eq!(reading.reward, Some(robot.returns()[1]));
        assert_eq!(
            robot.write(Command::Act(&[0.0; 5])),
            Err(IoError::Width { found: 5, needed: 6 })
        );
        assert!(matches!(robot.write(Command::Act(&[f32::NAN; 6])), Err(IoError::Robot(_))));
        assert_eq!(robot.read(&mut obs), Err(IoError::Stale), "a refused command is no step");
        assert!(robot.report_reward(2).is_err());
    }

    #[test]
    fn a_stop_is_latched_until_a_reset() {
        let mut robot = robot("circles");
        let mut obs = [0.0; 10];
        let mut moved = |robot: &mut SimRobot, command| {
            robot.write(command).unwrap();
            robot.read(&mut obs).unwrap();
            obs[8].hypot(obs[9])
        };
        assert!(moved(&mut robot, Command::Act(&[1.5; 2])) > 1.0);
        let stopped = moved(&mut robot, Command::Stop);
        let after = moved(&mut robot, Command::Act(&[1.5; 2]));
        assert!((after - stopped).abs() < 1.0, "only noise moves it");
        let steps = robot.step;
        assert_eq!(moved(&mut robot, Command::Reset), 0.0);
        assert_eq!(robot.step, steps + 1, "steps only ever grow");
        assert!(moved(&mut robot, Command::Act(&[1.5; 2])) > 1.0);
    }

    #[test]
    fn what_is_recorded_is_what_happened() {
        let mut robot = robot("hopper-vel-6");
        robot.record(3);
        for _ in 0..5 {
            robot.write(Command::Act(&[0.1, 0.2, -0.3])).unwrap();
        }
        let recording = robot.take_recording().unwrap();
        assert_eq!(recording.steps(), 3, "there was room for three");
        assert_eq!(recording.actions, [0.1, 0.2, -0.3].repeat(3));
        assert_eq!((recording.rewards.len(), recording.qpos.len()), (3 * 6, 4 * 6));
        assert_eq!(recording.qpos[3 * 6], recording.probes[3].position_m[0]);
    }
}
