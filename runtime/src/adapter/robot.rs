//! The adapter as a robot around a robot: outwards the robot's channels and commands, inwards the
//! policy's terms.

use alloc::{string::String, vec, vec::Vec};
use core::num::NonZeroU32;

use super::{acting::Acting, program::AdapterProgram, sensing::Sensing};
use crate::{
    contract::{Contract, ContractError},
    control::Config,
    io::{
        Command, Guidance, Homing, IoError, KeptGuidance, NO_WAY_HOME, Reading, RobotIo, RobotSpec,
    },
};

/// Who drives the robot's periods between two of the policy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// [`write`](RobotIo::write) does, one after the other: for a robot in lock step, which waits
    /// for its controller.
    Write,
    /// [`Adapter::step_between`] does, called once a period of the robot's:
    /// [`PacedTicker`](super::PacedTicker) calls it on time.
    Ticker,
}

/// What is repeated to the robot between the policy's periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Nothing,
    Act,
    Damp,
    Stop,
    Home,
}

/// A robot of the policy's contract, made of one of its own.
///
/// Its state is a function of the readings, commands and operator's numbers since the last reset.
/// Nothing allocates after construction.
pub struct Adapter<R> {
    robot: R,
    spec: RobotSpec,
    channel_names: Vec<String>,
    /// Of each component of the command: whose it is, and which of its numbers.
    command_names: Vec<(String, usize)>,
    sensing: Sensing,
    acting: Acting,
    /// The robot's periods in one of the policy's.
    steps: u32,
    between: Between,
    /// What the robot sent last, `[channels]`.
    readings: Vec<f32>,
    /// The robot's periods in a row without a new reading, and how many of them are too many to compute
    /// a command from the last one.
    stale: u32,
    stale_limit: u32,
    /// Whether a reading came since the last command on the way to the start pose.
    moved_on: bool,
    /// The action that gives what was told on that way last, `[A]`.
    home_action: Vec<f32>,
    /// What came since the policy last read.
    news: Option<Reading>,
    /// Control steps since the policy began to act.
    step: u64,
    last: Last,
    operator: Vec<f64>,
    /// An error between two periods, told at the next reading.
    failed: Option<IoError>,
    bad_quaternion: Option<(usize, f64)>,
    bad_command: Option<usize>,
    /// The action that gives what the robot applied last, `[A]`.
    applied: Vec<f32>,
    /// What a person did, in the policy's terms.
    guidance: KeptGuidance,
    /// Whether a person acts, and the policy does not.
    watches: bool,
}

impl<R: RobotIo> Adapter<R> {
    /// Puts an adapter around a robot.
    ///
    /// # Errors
    /// [`ContractError`] if the robot is not the one that the file describes.
    pub fn new(
        robot: R,
        program: &AdapterProgram,
        between: Between,
    ) -> Result<Self, ContractError> {
        let fits = program.robot.check_fits(&robot.spec().contract);
        fits.map_err(|error| error.between("the adapter", "the robot"))?;
        let spec = policy_side(program, robot.spec());
        let mut acting = program.acting.clone();
        acting.limit_steps(&robot.spec().max_action_step, &robot.spec().damping_action);
        let mut adapter = Self {
            readings: vec![0.0; robot.spec().obs_dim()],
            robot,
            spec,
            channel_names: program.file.has.channels.iter().map(|c| c.name.clone()).collect(),
            command_names: component_names(program),
            sensing: program.sensing.clone(),
            acting,
            steps: program.steps,
            between,
            stale: 0,
            stale_limit: 0,
            moved_on: false,
            home_action: vec![0.0; program.policy.action_dim()],
            news: None,
            step: 0,
            last: Last::Nothing,
            operator: program.operator.clone(),
            failed: None,
            bad_quaternion: None,
            bad_command: None,
            applied: vec![0.0; program.policy.action_dim()],
            guidance: KeptGuidance::new(program.policy.action_dim()),
            watches: false,
        };
        adapter.set_stale_limit(Config::default().stale_limit);
        Ok(adapter)
    }

    /// The controller's [`stale_limit`](Config::stale_limit), which counts here in the robot's periods:
    /// in the n-th in a row without a new reading, and no sooner than in the second, a robot that is
    /// moved damps, until there is one; the controller sees it as an observation that has not come.
    pub fn set_stale_limit(&mut self, limit: NonZeroU32) {
        self.stale_limit = limit.get().max(2);
    }

    /// The robot inside.
    pub fn inner(&self) -> &R {
        &self.robot
    }

    /// The robot inside.
    pub fn inner_mut(&mut self) -> &mut R {
        &mut self.robot
    }

    /// The robot inside.
    pub fn into_inner(self) -> R {
        self.robot
    }

    /// What the robot sent last, `[channels]`.
    pub fn readings(&self) -> &[f32] {
        &self.readings
    }

    /// What the robot was last told to do by an action, `[commands]`.
    pub fn command(&self) -> &[f32] {
        self.acting.last_command()
    }

    /// The robot's periods in one of the policy's.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Whether any change of what the adapter computes (torques of a PD loop) is limited, to what the
    /// robot bears.
    pub fn limits_rate(&self) -> bool {
        self.acting.limits_steps()
    }

    /// Lets what the adapter computes change by any amount.
    pub fn lift_rate_limit(&mut self) {
        self.acting.lift_step_limits();
    }

    /// Sets one of the operator's numbers; false if there is no such slot.
    pub fn set_operator(&mut self, slot: usize, value: f64) -> bool {
        self.operator.get_mut(slot).map(|number| *number = value).is_some()
    }

    /// The channel whose quaternion was last refused, and its length.
    pub fn bad_quaternion(&self) -> Option<(&str, f64)> {
        let (channel, length) = self.bad_quaternion?;
        Some((self.channel_names.get(channel)?, length))
    }

    /// The command that was last not sent because it was no finite number, and which of its numbers.
    pub fn bad_command(&self) -> Option<(&str, usize)> {
        let (command, number) = self.command_names.get(self.bad_command?)?;
        Some((command, *number))
    }

    /// From now on a person acts: the observation's terms remember what the robot applied as they
    /// remember a policy's actions.
    pub fn watch(&mut self) {
        self.watches = true;
    }

    /// The last observation as the first of an episode, `[S]`, as a policy would see it that begins
    /// to act here.
    ///
    /// # Errors
    /// [`IoError::Width`].
    pub fn begin_episode(&mut self, obs: &mut [f32]) -> Result<(), IoError> {
        self.acting.rest();
        self.sensing.reset_terms();
        self.step = 0;
        self.observe(obs)
    }

    fn observe(&mut self, obs: &mut [f32]) -> Result<(), IoError> {
        let (found, needed) = (obs.len(), self.spec.obs_dim());
        if found != needed {
            return Err(IoError::Width { found, needed });
        }
        let observed = self.sensing.observe(self.acting.action(), &self.operator, self.step, obs);
        observed.map_err(|error| IoError::Width { found: error.found, needed: error.needed })
    }

    /// Keeps what a person did, in the policy's terms.
    fn take_guidance(&mut self) {
        let told = self.robot.guidance();
        // Of a torque that a PD loop computes nobody can tell which target it was for.
        let applied = told.applied.filter(|applied| {
            !self.acting.has_pd() && applied.len() == self.robot.spec().action_dim()
        });
        if let Some(command) = applied {
            self.acting.action_of(command, &mut self.applied);
        }
        let applied = applied.map(|_| &*self.applied);
        self.guidance.keep(Guidance { applied, ..told });
    }

    /// One period of the robot's between two of the policy's: reads, and repeats the command,
    /// computed anew. What goes wrong is told at the next [`read`](RobotIo::read).
    pub fn step_between(&mut self) {
        let done = match self.take() {
            // What was sent last goes on to count, as long as the controller bears it.
            Ok(()) | Err(IoError::Stale) => self.repeat(),
            Err(error) => Err(error),
        };
        match done {
            Err(error) => self.failed = Some(error),
            Ok(()) if self.moves_blindly() => self.failed = self.failed.or(Some(IoError::Stale)),
            Ok(()) => {}
        }
    }

    /// Whether the robot is to move, and its last reading is too old to compute a command from.
    fn moves_blindly(&self) -> bool {
        matches!(self.last, Last::Act | Last::Home) && self.stale >= self.stale_limit
    }

    /// Takes one reading of the robot's.
    fn take(&mut self) -> Result<(), IoError> {
        let read = self.robot.read(&mut self.readings);
        self.stale = match read {
            Err(IoError::Stale) => self.stale.saturating_add(1),
            Ok(_) | Err(_) => 0,
        };
        let reading = read?;
        self.moved_on = true;
        self.take_guidance();
        if let Err(bad) = self.sensing.take(&self.readings, reading.step) {
            self.bad_quaternion = Some((bad.channel, bad.length));
            return Err(IoError::Robot("a quaternion that it sent is not of length 1"));
        }
        let before = self.news.unwrap_or_default();
        let reward = match (before.reward, reading.reward) {
            (Some(sum), Some(reward)) => Some(sum + reward),
            (sum, reward) => reward.or(sum),
        };
        let terminated = before.terminated || reading.terminated;
        self.news = Some(Reading { step: reading.step, reward, terminated });
        Ok(())
    }

    fn repeat(&mut self) -> Result<(), IoError> {
        if self.moves_blindly() {
            self.acting.damp();
            return self.robot.write(Command::Damp);
        }
        match self.last {
            Last::Nothing => Ok(()),
            Last::Damp => self.robot.write(Command::Damp),
            Last::Stop => self.robot.write(Command::Stop),
            Last::Act => {
                self.acting.command(self.sensing.signals());
                self.tell()
            }
            Last::Home => {
                let fresh = core::mem::take(&mut self.moved_on);
                if !self.acting.home(self.sensing.signals(), fresh) {
                    return Err(IoError::Robot(NO_WAY_HOME));
                }
                self.tell()?;
                self.acting.action_of(self.acting.last_command(), &mut self.home_action);
                Ok(())
            }
        }
    }

    /// Tells the robot the last command. One with a number that is not finite, as a reading makes it
    /// that the policy does not see, is a fault, and until the controller says more the robot damps.
    fn tell(&mut self) -> Result<(), IoError> {
        let command = self.acting.last_command();
        self.bad_command = command.iter().position(|v| !v.is_finite()).or(self.bad_command);
        if command.iter().all(|v| v.is_finite()) {
            return self.robot.write(Command::Act(command));
        }
        self.rest(Last::Damp);
        self.robot.write(Command::Damp)?;
        Err(IoError::Robot("what it was to be told by the adapter is no finite number"))
    }

    /// The policy does not act.
    fn rest(&mut self, last: Last) {
        self.acting.rest();
        self.step = 0;
        self.last = last;
    }
}

impl<R: RobotIo> RobotIo for Adapter<R> {
    fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        let (found, needed) = (obs.len(), self.spec.obs_dim());
        if found != needed {
            return Err(IoError::Width { found, needed });
        }
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        match self.take() {
            Ok(()) => {}
            // Read between the periods, it is new to the policy all the same, if it is not too old.
            Err(IoError::Stale) if self.news.is_some() && self.stale < self.stale_limit => {}
            Err(error) => return Err(error),
        }
        if self.watches {
            if let Some(applied) = self.guidance.get().applied {
                self.acting.set(applied);
                self.step += 1;
            }
        } else if self.last != Last::Act {
            self.sensing.reset_terms();
        }
        self.observe(obs)?;
        self.news.take().ok_or(IoError::Stale)
    }

    fn guidance(&self) -> Guidance<'_> {
        self.guidance.get()
    }

    fn homing(&self) -> Homing {
        self.acting.homing(self.sensing.signals())
    }

    fn home_action(&self) -> Option<&[f32]> {
        Some(&self.home_action)
    }

    fn write(&mut self, command: Command<'_>) -> Result<(), IoError> {
        match command {
            Command::Act(action) => {
                let (found, needed) = (action.len(), self.spec.action_dim());
                if found != needed {
                    return Err(IoError::Width { found, needed });
                }
                self.acting.set(action);
                self.step += 1;
                self.last = Last::Act;
            }
            Command::Damp => self.rest(Last::Damp),
            Command::Stop => self.rest(Last::Stop),
            Command::Home => (self.step, self.last) = (0, Last::Home),
            Command::Reset => {
                self.rest(Last::Nothing);
                self.sensing.reset();
                self.news = None;
                self.failed = None;
                return self.robot.write(Command::Reset);
            }
        }
        self.repeat()?;
        if self.between == Between::Write {
            for _ in 1..self.steps {
                self.take()?;
                self.repeat()?;
            }
        }
        Ok(())
    }
}

/// Of each component of a command: whose it is, and which of its numbers.
fn component_names(program: &AdapterProgram) -> Vec<(String, usize)> {
    let told = program.file.told.iter();
    told.flat_map(|told| (0..told.holds.width()).map(|i| (told.name.clone(), i))).collect()
}

/// What the robot is to the policy.
fn policy_side(program: &AdapterProgram, robot: &RobotSpec) -> RobotSpec {
    let mut spec = RobotSpec::new(program.policy.clone());
    program.acting.action_of(&robot.damping_action, &mut spec.damping_action);
    program.acting.action_of(&robot.stop_action, &mut spec.stop_action);
    program.acting.action_steps_of(&robot.max_action_step, &mut spec.max_action_step);
    spec
}

/// What the robot is told and sends, for whoever plays it.
pub(super) fn robot_side(
    contract: &Contract,
    program: &AdapterProgram,
    task: &RobotSpec,
) -> RobotSpec {
    let mut spec = RobotSpec::new(contract.clone());
    let mut acting = program.acting.clone();
    let still = vec![0.0; program.sensing.signals().len()];
    let mut told = |action: &[f32], command: &mut [f32]| {
        acting.rest();
        acting.set(action);
        command.copy_from_slice(acting.command(&still));
    };
    told(&task.damping_action, &mut spec.damping_action);
    told(&task.stop_action, &mut spec.stop_action);
    program.acting.steps_of_action(&task.max_action_step, &mut spec.max_action_step);
    spec
}
