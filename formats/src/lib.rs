//! Other people's demonstration files, read into one plain form, mapped to a task's terms, and
//! written for other people's programs.
//!
//! * [`read()`] reads a file or folder of any known [`Format`] into a [`Recording`]: columns of
//!   numbers, episode by episode; [`detect`] says which format it is.
//! * [`layout`] cuts and times it as a person says, and where its time stamps start anew.
//! * [`mapping`] maps a recording to a task's terms, resampled to its control period if need be.
//! * [`inspect`] says what is in it, and what is wrong with it.
//! * [`export`] writes Minari's and LeRobot's data sets.
//! * `Minari`, `D4RL`, `robomimic`, `imitation` and `LeRobot` have layouts of their own; NumPy's,
//!   MATLAB's, HDF5's and safetensors' files of any layout are cut into episodes by what their
//!   arrays' names and shapes say.
//!
//! Nothing here knows a task, a simulator or a learner. A damaged, empty or foreign file is an
//! error that names the file, the episode and the column as far as they are known; nothing is
//! allocated for a size that the file could not hold.
//!
//! ```no_run
//! # fn main() -> Result<(), sog_formats::FormatError> {
//! let recording = sog_formats::read("demo.hdf5".as_ref(), None)?;
//! for column in &recording.columns {
//!     println!("{} {}", column.name, column.width);
//! }
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "arrow")]
mod arrow;
mod budget;
mod csv;
mod error;
pub mod export;
#[cfg(feature = "hdf5")]
mod hdf5;
pub mod inspect;
pub mod layout;
#[cfg(feature = "lerobot")]
mod lerobot;
pub mod mapping;
mod mat;
pub mod minari;
mod names;
mod npz;
mod numbers;
mod read;
mod recording;
pub mod resample;
mod safetensors;
pub mod stats;
mod tree;

pub use crate::{
    error::{FormatError, Place, Problem},
    names::Role,
    read::{Format, detect, read},
    recording::{Column, Dtype, End, Episode, Recording},
};
