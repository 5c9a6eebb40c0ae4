//! The control loop: read → check → infer → limit → write, at a fixed rate.
//!
//! * [`Controller`]: one tick ([`Config`]), around the machine of `sog-core` that has the states, watchdogs
//!   and limits ([`Control`]);
//! * [`State`], [`Event`], [`TABLE`]: the states and the one table of transitions;
//! * [`Mailbox`], [`Request`]: what an operator asks for, from any thread;
//! * [`run`], [`Plan`], [`Observer`]: ticks until the run is over; [`SwitchCodes`]: code after code;
//!   [`Follow`]: the code of what a person shows;
//! * [`Stats`], [`Timings`], [`Faults`], [`Limited`], [`RunReport`]: what is reported.
//!
//! A run of a policy on a robot that lives in the same process, as fast as possible:
//!
//! ```
//! use sog_runtime::control::{Config, Controller, Plan, Request, State, run};
//! use sog_runtime::time::LockStep;
//! use sog_runtime::io::{Command, IoError, Reading, RobotIo, RobotSpec};
//! use sog_runtime::policy::example;
//!
//! /// A point in the plane that goes where the action says and sees its last five positions.
//! struct Point { spec: RobotSpec, step: u64, trace: [f32; 10], fresh: bool }
//!
//! impl RobotIo for Point {
//!     fn spec(&self) -> &RobotSpec { &self.spec }
//!     fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
//!         if !std::mem::take(&mut self.fresh) { return Err(IoError::Stale); }
//!         obs.copy_from_slice(&self.trace);
//!         Ok(Reading { step: self.step, reward: Some(1.0), terminated: false })
//!     }
//!     fn write(&mut self, command: Command<'_>) -> Result<(), IoError> {
//!         let zero = [0.0; 2];
//!         let action = if let Command::Act(action) = command { action } else { &zero };
//!         self.trace.copy_within(2.., 0);
//!         self.trace[8] += action[0];
//!         self.trace[9] += action[1];
//!         (self.step, self.fresh) = (self.step + 1, true);
//!         Ok(())
//!     }
//! }
//!
//! let file = example(7);
//! let spec = RobotSpec::new(file.contract.clone());
//! let mut robot = Point { spec: spec.clone(), step: 0, trace: [0.0; 10], fresh: true };
//! let mut controller = Controller::new(&file, &spec, Config::default()).expect("they fit");
//! for request in [Request::Code(2), Request::Arm, Request::Start] {
//!     controller.request(request);
//! }
//! let mut ticker = LockStep::new(controller.period_ns());
//! let report = run(&mut controller, &mut robot, &mut ticker, &Plan::ticks(100), &mut ());
//! assert_eq!((report.policy_ticks, report.misses, report.state), (100, 0, State::Damping));
//! assert_eq!(report.episode_return, Some(100.0));
//! ```

mod config;
mod controller;
mod follow;
mod mailbox;
mod report;
mod run;
mod switch;

pub use config::{Config, ControlError, RATE_BOUNDS_HZ};
pub use controller::Controller;
pub use follow::Follow;
pub use mailbox::{CodeError, Mailbox};
pub use report::{End, RunReport, Timings};
pub use run::{Observer, Plan, run};
pub use sog_core::control::{
    CommandKind, Control, Counts, Event, Faults, Inputs, KindName, Limited, Limits, Memory, OnMiss,
    RateLimit, Request, Requests, Settings, State, Stats, TABLE, TickReport, names,
};
pub use switch::SwitchCodes;
