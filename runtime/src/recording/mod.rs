//! Recording: demonstrations that a person gives with a robot.
//!
//! * [`layout`]: the demonstration file, as every program here writes it;
//! * [`Recorder`]: from observations, applied actions and what the operator wants to [`Episode`]s,
//!   without input or output;
//! * [`Store`]: episodes on the disk, each of them in full once it is told to be there; [`Saver`]:
//!   the same on a thread of its own, so that no observation waits for the disk.
//!
//! The robot streams observations, each with the action that it applied in the step that led there
//! ([`Guidance`](crate::io::Guidance)); a demonstration pairs the observation of step t with what
//! was applied in step t + 1:
//!
//! ```
//! use sog_runtime::{
//!     io::{Guidance, Reading},
//!     recording::{Happened, Recorder, Want},
//! };
//!
//! let mut recorder = Recorder::new(1, 1);
//! recorder.want(Want::Start).expect("nothing is being recorded");
//! for step in 0..4 {
//!     let reading = Reading { step, ..Reading::default() };
//!     let applied = [step as f32 * 10.0];
//!     recorder.see(reading, &[step as f32], Guidance { applied: Some(&applied), ..Guidance::default() });
//! }
//! let Ok(Happened::Ended(episode)) = recorder.want(Want::End) else { panic!("an episode") };
//! assert_eq!(episode.observations, [0.0, 1.0, 2.0]);
//! assert_eq!(episode.actions, [10.0, 20.0, 30.0]);
//! ```

pub mod layout;
mod recorder;
mod saver;
mod store;

pub use recorder::{DISCARD_BUTTON, EPISODE_BUTTON, Episode, Happened, Recorder, Want, WantError};
pub use saver::Saver;
pub use store::{Store, StoreError, contract_of};
