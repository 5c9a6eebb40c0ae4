//! Links: a robot behind UDP or a serial line is a [`RobotIo`](crate::io::RobotIo), and any
//! [`RobotIo`](crate::io::RobotIo) can be served behind one.
//!
//! * [`LinkRobot`]: the controller's end; [`PlantServer`]: the robot's end;
//! * [`ObservationStream`]: every observation of a robot in the order of its steps, for who records;
//! * [`Address`], [`open`](Address::connect): where the other end is;
//! * [`Transport`]: [`Udp`], [`Serial`], [`Memory`]; [`Faulty`] damages packets on purpose;
//! * [`wire`]: the one versioned wire format; [`Key`]: authentication;
//! * [`LinkCounts`], [`Fate`]: what became of packets that were not used.
//!
//! A session begins with a handshake in which both ends compare task, terms in their order, control
//! period and action bounds:
//!
//! ```text
//! controller                      robot
//!   Hello(nonce, contract)  ──►             repeated until answered
//!             ◄──  Welcome(nonce, contract, session) or Refuse(reason)
//!   Ready                   ──►             the session is on; the robot resets
//!             ◄──  Observation(step 0)
//!   Command(step, action)   ──►             and so on, at a fixed rate or in lock step
//!             ◄──  Observation(step 1)
//!   Ready                   ──►             in idle, instead of a command: the session goes on
//!   Bye                     ──►             the robot damps
//! ```
//!
//! A packet that is damaged, repeated, out of order, late, of another session, from another peer or
//! not authenticated is counted by kind and never acted on.
//!
//! A controller and a robot in one process, in lock step:
//!
//! ```
//! # use sog_runtime::io::{Command, IoError, Reading, RobotIo, RobotSpec};
//! # use sog_runtime::{contract::Contract, policy::Terms};
//! use sog_runtime::link::{LinkOptions, LinkRobot, Memory, PlantOptions, PlantServer};
//! # struct Cart { spec: RobotSpec, step: u64, fresh: bool, x: f32 }
//! # impl RobotIo for Cart {
//! #     fn spec(&self) -> &RobotSpec { &self.spec }
//! #     fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
//! #         if !std::mem::take(&mut self.fresh) { return Err(IoError::Stale); }
//! #         obs[0] = self.x;
//! #         Ok(Reading { step: self.step, ..Default::default() })
//! #     }
//! #     fn write(&mut self, command: Command<'_>) -> Result<(), IoError> {
//! #         if let Command::Act(action) = command { self.x += action[0]; }
//! #         (self.step, self.fresh) = (self.step + 1, true);
//! #         Ok(())
//! #     }
//! # }
//!
//! let spec = RobotSpec::new(Contract {
//!     task: "cart".to_string(),
//!     obs_terms: Terms::new(&[("x", 1)]),
//!     action_terms: Terms::new(&[("v", 1)]),
//!     dt_s: 0.01,
//!     action_low: vec![-1.0],
//!     action_high: vec![1.0],
//! });
//! let mut cart = Cart { spec: spec.clone(), step: 0, fresh: true, x: 0.0 };
//! let (here, there) = Memory::pair();
//!
//! let robot_side = std::thread::spawn(move || {
//!     let options = PlantOptions { lock_step: true, sessions: Some(1), ..Default::default() };
//!     PlantServer::new(there, &cart.spec.clone(), options).serve(&mut cart, &false.into())
//! });
//! let mut robot = LinkRobot::connect(here, &spec, &LinkOptions::default()).expect("they fit");
//! let mut obs = [0.0];
//! for i in 0..10 {
//!     robot.read(&mut obs).expect("an observation");
//!     assert_eq!(obs[0], 0.5 * i as f32);
//!     robot.write(Command::Act(&[0.5])).expect("sent");
//! }
//! drop(robot);
//! let report = robot_side.join().expect("no panic").expect("no failure");
//! assert_eq!(report.commands[0], 10);
//! ```

mod address;
mod contract;
mod counts;
mod endpoint;
mod faulty;
mod history;
mod holder;
mod plant;
mod robot;
mod serial;
mod stream;
mod transport;
mod udp;
pub mod wire;

pub use address::{Address, ParseAddressError, open_key};
pub use counts::CountsToJson;
pub use faulty::{Faulty, PacketFaults};
pub use plant::{PlantOptions, PlantReport, PlantServer};
pub use robot::{LinkError, LinkOptions, LinkRobot};
pub use serial::Serial;
pub use sog_core::link::{Fate, LinkCounts};
pub use stream::ObservationStream;
pub use transport::{Memory, Transport};
pub use udp::Udp;
pub use wire::{Key, MAX_PACKET, WIRE_VERSION, WIRE_VERSIONS};
