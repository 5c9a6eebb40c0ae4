//! Adapters: from what a robot *has* to what a policy *wants*, by a file, `robot.toml`.
//!
//! * [`RobotFile`]: the file, read and held against itself; faults have file, line and key;
//! * [`AdapterProgram`]: the file held against a policy's contract, compiled;
//! * [`Adapter`]: a robot around a robot; to the control loop it has the policy's contract;
//! * [`PacedRobot`], [`PacedTicker`]: where the robot is read and told faster than the policy
//!   runs (a PD loop at 1 kHz under a policy of 50 Hz), in real time;
//! * [`AdapterPlant`]: the inverse, a task's robot that speaks as the file says, for
//!   hardware-in-the-loop tests of an adapter.
//!
//! ```text
//! robot ── readings ─▶ units, signs, frames ─▶ filters ─▶ signals ─▶ terms ── observation ─▶ policy
//! robot ◀─ command ── bounds, units, signs ◀─ PD or as it is ◀─ smoothing ◀─ target ◀─ action ──┘
//! ```
//!
//! What an adapter gives is a function of what it got since the last reset: it reads no clock and
//! allocates nothing after construction.
//!
//! ```
//! use sog_runtime::{
//!     adapter::{Adapter, AdapterPlant, AdapterProgram, Between, RobotFile},
//!     contract::Contract,
//!     io::{Command, IoError, Reading, RobotIo, RobotSpec},
//!     policy::Terms,
//! };
//!
//! let file = RobotFile::parse("robot.toml", r#"
//!     schema = "sog.robot/1"
//!     name = "lab-pendulum"
//!     dt = 0.02
//!     joint = [{ name = "pivot", sign = -1, offset = 30.0, unit = "deg" }]
//!     channel = [
//!         { name = "encoder", joints = "position" },
//!         { name = "tacho", joints = "velocity" },
//!     ]
//!     observation = [{ name = "angle", qpos = "pivot" }, { name = "speed", qvel = "pivot" }]
//!     command = [{ name = "motor", joints = "torque", low = -2.0, high = 2.0 }]
//!     action = [{ name = "torque", joint = "pivot", sets = "torque" }]
//! "#).expect("a good file");
//! let policy = Contract {
//!     task: "pendulum".to_string(),
//!     obs_terms: Terms::new(&[("angle", 1), ("speed", 1)]),
//!     action_terms: Terms::new(&[("torque", 1)]),
//!     dt_s: 0.02,
//!     action_low: vec![-2.0],
//!     action_high: vec![2.0],
//! };
//! let program = AdapterProgram::new(&file, &policy).expect("file and policy fit");
//!
//! // A robot whose encoder stands at 120°, which is −90° to the policy.
//! struct Robot(RobotSpec, f32);
//! impl RobotIo for Robot {
//!     fn spec(&self) -> &RobotSpec {
//!         &self.0
//!     }
//!     fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
//!         obs.copy_from_slice(&[120.0, 0.0]);
//!         Ok(Reading::default())
//!     }
//!     fn write(&mut self, command: Command<'_>) -> Result<(), IoError> {
//!         if let Command::Act(torque) = command {
//!             self.1 = torque[0];
//!         }
//!         Ok(())
//!     }
//! }
//! let robot = Robot(RobotSpec::new(program.robot_contract().clone()), 0.0);
//! let mut adapter = Adapter::new(robot, &program, Between::Write).expect("the robot of the file");
//! let mut obs = [0.0; 2];
//! adapter.read(&mut obs).expect("a reading");
//! assert!((obs[0] + core::f32::consts::FRAC_PI_2).abs() < 1e-6);
//! adapter.write(Command::Act(&[0.5])).expect("written");
//! assert_eq!(adapter.inner().1, -0.5);
//! ```

mod acting;
mod channel;
mod command;
mod file;
mod filter;
mod has;
mod homing;
mod joint;
mod observation;
mod pace;
mod plant;
mod program;
mod robot;
mod sensing;
mod unit;
mod way;

pub use file::{RobotFile, SCHEMA};
pub use filter::LowPass;
pub use pace::{PacedRobot, PacedTicker};
pub use plant::AdapterPlant;
pub use program::AdapterProgram;
pub use robot::{Adapter, Between};
