//! The paper's measures.
//!
//! * [`assignment`]: which code does which mode;
//! * [`estimators`]: entropy and mutual information from samples.

pub mod assignment;
pub mod estimators;
