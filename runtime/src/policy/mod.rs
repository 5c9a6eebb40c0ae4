//! The policy: its file (the contract between trainer and runtime) and its inference.
//!
//! * [`PolicyFile`]: everything a policy file holds; [`PolicyFile::open`] accepts a file only if
//!   schema, shapes, finiteness, terms, golden outputs and checksum all hold; `author` (feature
//!   `std`) is what writes one;
//! * [`Network`], [`NetworkShape`]: its layers, of any number and width;
//! * `book` (feature `std`): what its codes are called, and how they were learned;
//! * [`Policy`]: the packed network, evaluated without allocation;
//! * [`PolicyError`]: why a file is refused; the checks are those of [`sog_core::policy`];
//! * [`Terms`], [`LatentKind`], [`Architecture`], [`Activation`], [`MeanScale`]: typed forms of the
//!   metadata strings.
//!
//! The network is by default the two-branch policy of Vahabpour et al. (2022), Fig. 5a:
//!
//! ```text
//! x = clip((obs − mean) / √(var + 1e-8), ±obs.clip)
//! h = tanh(W₁·tanh(W₀·x + b₀) + b₁ + W_z·z + b_z)
//! action mean = W_a·h + b_a                      (mean.scale = none)
//!             = c · tanh(W_a·h + b_a)            (mean.scale = c)
//! ```
//!
//! The file may say otherwise: any number of layers in the state branch, or a plain stack over
//! [x, z]; another activation than tanh. See [`Network`].
//!
//! ```
//! use sog_runtime::policy::{Policy, PolicyFile, example};
//! let bytes = example(7).to_bytes();                     // a small valid file
//! let file = PolicyFile::parse(&bytes).expect("verified");
//! let policy = Policy::new(&file);
//! let mut workspace = policy.workspace(1);
//! let mut action = [0.0; 2];
//! policy.mean_actions(&mut workspace, &[0.0; 10], &[1.0, 0.0, 0.0], &mut action);
//! assert!(action.iter().all(|a| a.abs() <= 1.5));
//! ```

#[cfg(feature = "std")]
mod author;
#[cfg(feature = "std")]
pub mod book;
#[cfg(feature = "std")]
mod example;
mod file;
mod infer;
mod kernel;
mod kinds;
mod network;
mod reader;

#[cfg(feature = "std")]
pub use example::example;
pub use file::{Golden, Normaliser, PolicyFile, Provenance};
pub use infer::{Policy, Workspace};
pub use kinds::{Activation, Architecture, LatentKind, MeanScale, ParseKindError, Term, Terms};
pub use network::{Dense, LayerShape, Network, NetworkShape};
pub use sog_core::policy::{GOLDEN_TOLERANCE, PolicyError, PolicyWarning, SCHEMA, VARIANCE_FLOOR};
