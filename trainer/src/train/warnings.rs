//! What is said before a run begins about demonstrations that will not do what one may think.

use sog_sim::task::TaskInfo;

use crate::{
    config::TrainConfig,
    data::{Demonstrations, component_name},
    normalise::ObsNormaliser,
};

/// Most components that are named.
const NAMED: usize = 8;

/// What is odd about learning from `demos` as `config` says.
pub fn warnings(config: &TrainConfig, task: &TaskInfo, demos: &Demonstrations) -> Vec<String> {
    let mut found = vec![];
    let still = ObsNormaliser::nearly_constant(demos);
    if !still.is_empty() {
        let mut names: Vec<String> =
            still.iter().take(NAMED).map(|&c| component_name(&task.obs_terms, c)).collect();
        if still.len() > NAMED {
            names.push(format!("{} more", still.len() - NAMED));
        }
        found.push(format!(
            "nearly constant in the demonstrations: {}; what little it changes is taken for noise and \
             not scaled up (variance 1), so that more of it later does not throw the policy off; give \
             the term a `scale` if the changes matter",
            names.join(", ")
        ));
    }
    let lengths = || (0..demos.len()).map(|n| demos.rows(n).len());
    let (least, most) = (lengths().min().unwrap_or(0), lengths().max().unwrap_or(0));
    if config.algorithm.is_adversarial() && least != most {
        found.push(format!(
            "the demonstrations end after {least} to {most} steps: when an episode ends then tells \
             something about who acted, and the sign of the reward decides whether it pays to end it; \
             set discriminator.reward = \"positive\" where surviving is good, \"logit\" where it is \
             not, or give demonstrations of one length"
        ));
    }
    found
}
