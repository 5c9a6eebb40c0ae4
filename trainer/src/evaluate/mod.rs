//! The paper's measures.
//!
//! * [`mod@measure`]: all that fits a policy file;
//! * [`modes`]: mode rewards, codes matched with modes (Table 1);
//! * [`goals`]: reached targets and velocities of continuous modes (Tables 2 and 3);
//! * [`held_out`]: what demonstrations alone say, without a rollout;
//! * [`estimators`]: entropy and mutual information from samples;
//! * [`switching`]: codes that change while an episode runs (Fig. 6);
//! * [`confusion`]: codes of demonstrations beside their modes.

pub mod confusion;
pub mod estimators;
pub mod goals;
pub mod held_out;
pub mod measure;
pub mod modes;
pub mod switching;
