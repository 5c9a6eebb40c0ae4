//! The imitation algorithms, one file each.
//!
//! * [`sog_bc`]: SOG-BC, Algorithm 2 (and BC: the same without a code).

mod assign;
pub mod sog_bc;
