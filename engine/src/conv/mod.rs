//! Convolutional networks with batch normalisation: the generator of Radford et al. (2015), and its
//! mirror image as an encoder.
//!
//! * [`ConvArch`]: layers as data, from the code to the picture; [`Grid`] is what lies between;
//! * [`ConvNet`]: parameters and running statistics;
//! * [`ConvPass`]: training passes, batch statistics and exact gradients;
//! * [`FrozenConv`]: the network in use, rows apart from each other; distances of its outputs to
//!   pictures, which is what a code search asks for;
//! * [`ConvGenerator`]: a generator of pictures for [Algorithm 1](crate::sog).

mod arch;
mod generator;
mod kernel;
mod net;
mod pass;

pub use arch::{ConvArch, ConvLayer, Grid, Kind};
pub use generator::{ConvGenerator, Products, SECANT, SecantCodes, squared_error};
pub use net::{ConvNet, FrozenConv, Scratch};
pub use pass::ConvPass;
