//! What is said before a run begins about demonstrations that will not do what one may think.

use sog_runtime::policy::LatentKind;
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
    if let Ok(LatentKind::OneHot(k)) = config.latent()
        && k > demos.len()
    {
        found.push(format!(
            "{k} codes for {} demonstrations: {} of them explain none and mean nothing; --codes says \
             another number",
            demos.len(),
            k - demos.len()
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use sog_sim::tasks;

    use super::*;
    use crate::config::Algorithm;

    /// What is said of demonstrations of circles of these lengths, whose first component jitters by
    /// `jitter` while the others move.
    fn said(algorithm: Algorithm, lengths: &[usize], jitter: f32) -> Vec<String> {
        let task = tasks::open("circles").unwrap();
        let info = task.info();
        let (s, a) = (info.obs_dim(), info.action_dim());
        let observe = |i: usize| {
            let (t, c) = (i / s, i % s);
            if c == 0 { 0.5 + jitter * (t % 2) as f32 } else { (t as f32 * 0.1 + c as f32).sin() }
        };
        let rows: usize = lengths.iter().sum();
        let observations = (0..rows * s).map(observe).collect();
        let actions = vec![0.0; rows * a];
        let demos = Demonstrations::packed(info.name(), (s, a), lengths, observations, actions);
        warnings(&TrainConfig::defaults(&task, algorithm).unwrap(), info, &demos)
    }

    #[test]
    fn a_component_that_hardly_changes_is_named() {
        let found = said(Algorithm::Bc, &[40, 40], 1e-5);
        assert_eq!(found.len(), 1, "{found:?}");
        let task = tasks::open("circles").unwrap();
        let name = component_name(&task.info().obs_terms, 0);
        assert!(found[0].starts_with("nearly constant") && found[0].contains(&name), "{found:?}");
        assert_eq!(said(Algorithm::Bc, &[40, 40], 0.1), Vec::<String>::new());
    }

    #[test]
    fn codes_beyond_the_demonstrations_are_told() {
        let found = said(Algorithm::SogBc, &[40, 40], 0.1);
        assert!(found.len() == 1 && found[0].starts_with("3 codes for 2 demon"), "{found:?}");
        assert_eq!(said(Algorithm::SogBc, &[40, 40, 40], 0.1), Vec::<String>::new());
    }

    #[test]
    fn unequal_lengths_are_told_to_adversarial_algorithms_alone() {
        let found = said(Algorithm::Gail, &[40, 25], 0.1);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("25 to 40 steps"), "{found:?}");
        assert!(found[0].contains("discriminator.reward"), "{found:?}");
        assert_eq!(said(Algorithm::SogBc, &[40, 25, 40], 0.1), Vec::<String>::new());
        assert_eq!(said(Algorithm::Gail, &[40, 40], 0.1), Vec::<String>::new());
    }
}
