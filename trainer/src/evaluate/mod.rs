//! The paper's measures.
//!
//! * [`assignment`]: which code does which mode;
//! * [`embed`]: the code of a demonstration;
//! * [`estimators`]: entropy and mutual information from samples;
//! * [`modes`]: mode rewards (Table 1).

pub mod assignment;
pub mod embed;
pub mod estimators;
pub mod modes;
