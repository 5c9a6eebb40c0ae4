//! The policy: its file (the contract between trainer and runtime) and its inference.
//!
//! * [`PolicyFile`]: everything a policy file holds; [`PolicyFile::parse`] accepts a file only if
//!   schema, shapes, finiteness, terms, golden outputs and checksum all hold;
//! * [`Policy`]: the packed network, evaluated without allocation;
//! * [`Terms`], [`LatentKind`], [`MeanScale`]: typed forms of the metadata strings.
//!
//! The network is the two-branch policy of Vahabpour et al. (2022), Fig. 5a:
//!
//! ```text
//! x = clip((obs − mean) / √(var + 1e-8), ±obs.clip)
//! h = tanh(W₁·tanh(W₀·x + b₀) + b₁ + W_z·z + b_z)
//! action mean = W_a·h + b_a                      (mean.scale = none)
//!             = c · tanh(W_a·h + b_a)            (mean.scale = c)
//! ```
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
mod example;
mod file;
mod infer;
mod kernel;
mod kinds;

#[cfg(feature = "std")]
pub use example::example;
pub use file::{
    Golden, Normaliser, PolicyError, PolicyFile, Provenance, SCHEMA, VARIANCE_FLOOR, Weights,
};
pub use infer::{Policy, Workspace};
pub use kinds::{LatentKind, MeanScale, ParseKindError, Term, Terms};
