//! The paper's measures.
//!
//! * [`mod@measure`]: all that fits a policy file;
//! * [`modes`]: mode rewards, codes matched with modes (Table 1);
//! * [`assignment`]: that matching;
//! * [`goals`]: reached targets and velocities of continuous modes (Tables 2 and 3);
//! * [`estimators`]: entropy and mutual information from samples;
//! * [`switching`]: codes that change while an episode runs (Fig. 6);
//! * [`embed`]: the code of a demonstration.

pub mod assignment;
pub mod embed;
pub mod estimators;
pub mod goals;
pub mod measure;
pub mod modes;
pub mod switching;
