//! The paper's measures.
//!
//! * [`assignment`]: which code does which mode;
//! * [`estimators`]: entropy and mutual information from samples;
//! * [`modes`]: mode rewards (Table 1).

pub mod assignment;
pub mod estimators;
pub mod modes;
