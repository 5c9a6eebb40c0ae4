//! Pictures: Algorithm 1 on images, with the generator of Radford et al. (2015) (paper, Appendix G).
//!
//! * [`data`]: MNIST, Fashion-MNIST, or a folder in CelebA's layout;
//! * [`config`]: every choice of a run;
//! * [`sog`]: SOG on pictures; [`vae`]: the autoencoder that it is measured against;
//! * [`train`](mod@train): a run from pictures to the file of a [`model`];
//! * [`measure`]: reconstruction and neighbours on held-out pictures.
//!
//! Labels are for [`measure`] alone.

pub mod config;
pub mod data;
pub mod error;
pub mod measure;
pub mod model;
pub mod sog;
mod state;
pub mod train;
pub mod vae;

pub use error::ImageError;
