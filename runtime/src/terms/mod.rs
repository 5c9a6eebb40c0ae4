//! Observation terms by data: from a flat slice of raw readings to what a policy sees.
//!
//! * [`TermSpec`], [`Source`]: what a term is made of;
//! * [`TermProgram`]: the terms of one observation, compiled and checked once;
//! * [`TermState`]: what the terms remember from step to step (the last K control steps);
//! * [`TermInputs`]: what they are computed from in one control step;
//! * [`TermError`]: what is wrong with a term, by name.
//!
//! The simulator and a robot's adapter both compute observations here: what was learned from is
//! what is deployed. Nothing but construction allocates; no system call is made and no clock is
//! read, so that the same inputs since a reset give the same bits on every machine.
//!
//! # What a term computes
//!
//! ```text
//! x    = source(raw readings, previous action, commands, step)
//! y    = clip((x − minus) · scale)
//! term = y                                       (history = 1)
//!      = [y₋ₖ₊₁, …, y₋₁, y₀]                     (history = K: oldest first)
//! ```
//!
//! Quaternions are w x y z, and turn vectors of the body into vectors of the world; they need not
//! be exactly of length one. A quaternion of length zero gives NaN, which a controller takes as a
//! fault of the sensors.
//!
//! ```
//! use sog_runtime::terms::{Source, TermInputs, TermProgram, TermSpec, TermWidths};
//!
//! // Raw readings: a quaternion, the body's velocity in world axes, and two joints.
//! let specs = [
//!     TermSpec::new("gravity", Source::ProjectedGravity { quaternion: [0, 1, 2, 3] }),
//!     TermSpec {
//!         scale: vec![2.0],
//!         ..TermSpec::new("velocity", Source::InBody { vector: [4, 5, 6], quaternion: [0, 1, 2, 3] })
//!     },
//!     TermSpec {
//!         minus: vec![0.5, -0.5],
//!         clip: Some([-1.0, 1.0]),
//!         history: 2,
//!         ..TermSpec::new("joints", Source::raw(7..9))
//!     },
//!     TermSpec::new("last_action", Source::PreviousAction),
//!     TermSpec::new("speed_wanted", Source::Command(vec![0])),
//! ];
//! let widths = TermWidths { raw: 9, action: 1, commands: 1 };
//! let program = TermProgram::compile(&specs, widths, 0.02).expect("good terms");
//! assert_eq!(
//!     program.terms().to_string(),
//!     "gravity:3,velocity:3,joints:4,last_action:1,speed_wanted:1"
//! );
//!
//! let mut state = program.state();
//! let mut observation = vec![0.0; program.width()];
//! let inputs = TermInputs {
//!     raw: &[1.0, 0.0, 0.0, 0.0, 0.1, 0.2, 0.3, 0.6, 9.0],
//!     previous_action: &[0.25],
//!     commands: &[1.5],
//!     step: 0,
//! };
//! program.observe(&mut state, &inputs, &mut observation).expect("widths fit");
//! assert_eq!(observation[..6], [0.0, 0.0, -1.0, 0.2, 0.4, 0.6]);
//! assert_eq!(observation[7], 1.0, "clipped");
//! assert_eq!(observation[10..], [0.25, 1.5]);
//! state.reset(); // at the start of every episode
//! ```

mod error;
mod frame;
mod program;
mod spec;

pub use error::{ObserveError, TermError, TermProblem};
pub use frame::{in_body, in_world, projected_gravity, rotation};
pub use program::{TermInputs, TermProgram, TermState, TermWidths};
pub use spec::{MOST_NUMBERS, Source, TermSpec};
