//! Telemetry: one fixed-size record a tick, through wait-free queues, to a file.
//!
//! * [`Recorder`]: an [`Observer`](crate::control::Observer) that hands a [`Record`] on; where the
//!   disk is behind the record is missing and counted, and the tick goes on;
//! * [`Writer`]: the thread that writes to the file, every few milliseconds, so that a program that
//!   is killed leaves a log; [`LogReport`]: what became of the records;
//! * [`Log`]: a file read back; [`replay`]: the same ticks once more, compared bit for bit;
//! * [`export`](crate::telemetry): [`write_csv`], [`write_mcap`] (for Foxglove);
//! * [`Board`]: the latest figures, for a status line.
//!
//! A log holds the policy file, the robot's description and the controller's settings, so that it
//! replays by itself:
//!
//! ```
//! use sog_runtime::control::{Config, Controller, Plan, Request, run};
//! use sog_runtime::time::LockStep;
//! use sog_runtime::io::{Command, IoError, Reading, RobotIo, RobotSpec};
//! use sog_runtime::{policy::example, telemetry};
//! # struct Still { spec: RobotSpec, step: u64 }
//! # impl RobotIo for Still {
//! #     fn spec(&self) -> &RobotSpec { &self.spec }
//! #     fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
//! #         obs.fill(self.step as f32 * 0.01);
//! #         Ok(Reading { step: self.step, ..Default::default() })
//! #     }
//! #     fn write(&mut self, _: Command<'_>) -> Result<(), IoError> { self.step += 1; Ok(()) }
//! # }
//!
//! let file = example(7);
//! let spec = RobotSpec::new(file.contract.clone());
//! # let mut robot = Still { spec: spec.clone(), step: 0 };
//! let mut controller = Controller::new(&file, &spec, Config::default()).expect("they fit");
//!
//! let disk = std::io::Cursor::new(Vec::new());           // or a file
//! let (mut recorder, writer) = telemetry::start(&controller, &file.to_bytes(), disk).expect("space");
//! controller.request(Request::Arm);
//! controller.request(Request::Start);
//! let mut ticker = LockStep::new(controller.period_ns());
//! run(&mut controller, &mut robot, &mut ticker, &Plan::ticks(50), &mut recorder);
//! let (disk, written) = writer.finish(&recorder).expect("no panic");
//! assert_eq!((written.written, written.missing), (51, 0));
//! let bytes = disk.into_inner();
//!
//! let log = telemetry::Log::parse(&bytes).expect("a good log");
//! let replayed = telemetry::replay(&log).expect("the policy fits");
//! assert_eq!((replayed.ticks, replayed.mismatch), (51, None));
//! ```

mod board;
mod csv;
mod header;
mod log;
mod mcap;
mod record;
mod replay;
mod ring;

pub use board::{Board, Figures};
pub use csv::write_csv;
pub use header::{AdapterHeader, Header};
pub use log::{Log, LogError};
pub use mcap::write_mcap;
pub use record::Record;
pub use replay::{Mismatch, ReplayError, ReplayReport, ReplayRobot, replay};
pub use ring::{AdapterRecorder, LogReport, Recorder, Writer, start, start_in};
