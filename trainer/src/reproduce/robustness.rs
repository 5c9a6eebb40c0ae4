//! Robustness (paper, B.2, Figs. 6 and 7): each action random with some probability, and codes
//! switched while an episode runs, for SOG-BC and for SOG-GAIL over the grid of λ_S.

use std::{fmt::Write as _, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};
use sog_rl::run::{RunError, write_atomic};
use sog_runtime::policy::{Policy, PolicyFile};
use sog_sim::{
    rollout::{Capture, Episode},
    tasks::TaskFolder,
};

use super::{Reproduction, Status, StatusFn, TaskData, Work, read_result};
use crate::{
    config::{Algorithm, TrainConfig},
    error::TrainError,
    evaluate::{
        measure::{default_rollouts, measure},
        modes::ModeOptions,
        switching::evaluate_switching,
    },
};

/// The paper's grid of λ_S (B.1).
pub const LAMBDA_S: [f32; 7] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];

/// Probability that an action is random (paper, B.2).
pub const PERTURB: f64 = 0.2;

/// Name of the file with a run's figures.
pub(super) const ROBUSTNESS_FILE: &str = "robustness.json";

/// Episodes drawn of each policy that switches.
const DRAWN: usize = 3;

/// A policy, by what it was trained with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RobustnessRow {
    /// Task.
    pub task: String,
    /// Algorithm.
    pub algorithm: &'static str,
    /// λ_S; absent for SOG-BC.
    pub lambda_s: Option<f32>,
    /// One entry a seed.
    pub runs: Vec<Robustness>,
}

/// One policy's figures, as `robustness.json` in its run directory says them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Robustness {
    /// Seed of the run.
    pub seed: u64,
    /// SHA-256 of the policy file.
    pub policy_sha256: String,
    /// Mean return with its own actions.
    pub mean: f64,
    /// Mean return with random actions among them.
    pub perturbed_mean: f64,
    /// Standard deviation of either over the rollouts.
    pub std: [f64; 2],
    /// Share of switches survived.
    pub switch_survival: f64,
    /// Share of switches followed.
    pub switch_followed: f64,
    /// Share of switches after which it came to do what the code stands for.
    pub switch_arrived: f64,
}

/// All policies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RobustnessReport {
    /// Probability of a random action.
    pub perturb: f64,
    /// Mean return of nothing but random actions, task by task.
    pub random: Vec<(String, f64)>,
    /// One row a task and policy.
    pub rows: Vec<RobustnessRow>,
}

/// Episodes of a task that switch through all codes.
#[derive(Clone, Debug, PartialEq)]
pub struct Switched {
    /// Task.
    pub task: String,
    /// Policies by name, with a few episodes each.
    pub paths: Vec<(String, Vec<Episode>)>,
}

/// Trains what is missing of SOG-BC and of SOG-GAIL with each λ_S on the tasks of `plan` (whose
/// algorithms are not looked at) and measures them. With the report come, task by task, a few
/// episodes of SOG-BC and of SOG-GAIL with the last λ_S that switch through all codes, with their
/// probes, to be drawn.
///
/// # Errors
/// [`TrainError`]; what was finished before stays and is not made again.
pub fn robustness(
    plan: &Reproduction,
    lambdas: &[f32],
    status: StatusFn<'_>,
) -> Result<(RobustnessReport, Vec<Switched>), TrainError> {
    let mut switched = vec![];
    let mut report = RobustnessReport { perturb: PERTURB, random: vec![], rows: vec![] };
    let policies = policies(lambdas);
    let total = (plan.tasks.len() * policies.len()) as f64;
    for (t, task) in plan.tasks.iter().enumerate() {
        let name_of_task = task.info().name().to_string();
        let data = Work::new(plan, ROBUSTNESS_FILE, status).data(task)?;
        let mut paths = vec![];
        for (i, &(algorithm, lambda_s)) in policies.iter().enumerate() {
            let plan = of_lambda(plan, task, algorithm, lambda_s)?;
            let done = (t * policies.len() + i) as f64;
            let part = |s: &Status<'_>| {
                let share = (s.done / s.total.max(1.0)).min(1.0);
                status(&Status { done: done + share, total, message: s.message });
            };
            let mut work = Work::new(&plan, ROBUSTNESS_FILE, &part);
            let mut runs = vec![];
            for seed in 0..plan.seeds {
                let (file, run) = figures_of(&mut work, &data, algorithm, seed)?;
                runs.push(run);
                if seed == 0 && (i == 0 || i + 1 == policies.len()) {
                    paths.push((name(algorithm, lambda_s), switching(&file, &data)?));
                }
                if i == 0 && seed == 0 {
                    report.random.push((name_of_task.clone(), random(&file, &data)?));
                }
            }
            report.rows.push(RobustnessRow {
                task: name_of_task.clone(),
                algorithm: algorithm.name(),
                lambda_s,
                runs,
            });
            report.save(&plan.dir)?;
        }
        switched.push(Switched { task: name_of_task, paths });
    }
    Ok((report, switched))
}

/// The policies that are compared: SOG-BC, which the others start from, and SOG-GAIL with each λ_S.
pub(super) fn policies(lambdas: &[f32]) -> Vec<(Algorithm, Option<f32>)> {
    let gail = lambdas.iter().map(|&l| (Algorithm::SogGail, Some(l)));
    [(Algorithm::SogBc, None)].into_iter().chain(gail).collect()
}

/// `plan` for one task, algorithm and λ_S. The tuned λ_S is that of the tables: the same run.
pub(super) fn of_lambda(
    plan: &Reproduction,
    task: &Arc<TaskFolder>,
    algorithm: Algorithm,
    lambda_s: Option<f32>,
) -> Result<Reproduction, TrainError> {
    let usual = TrainConfig::defaults(task, algorithm)?;
    Ok(Reproduction {
        tasks: vec![Arc::clone(task)],
        algorithms: vec![algorithm],
        lambda_s: lambda_s.filter(|&l| l != usual.sog_gail.lambda_s),
        ..plan.clone()
    })
}

/// The figures of a run: read, or measured of the policy, which is trained where necessary.
pub(super) fn figures_of(
    work: &mut Work<'_>,
    data: &TaskData,
    algorithm: Algorithm,
    seed: u64,
) -> Result<(PolicyFile, Robustness), TrainError> {
    let (file, sha256, _) = work.trained(data, algorithm, seed)?;
    let dir = work.plan.run_dir(data.maker.task(), algorithm, seed);
    let known =
        read_result(&dir.join(ROBUSTNESS_FILE)).filter(|r: &Robustness| r.policy_sha256 == sha256);
    let run = known.map_or_else(|| measured(&dir, &file, data, seed, sha256), Ok)?;
    Ok((file, run))
}

fn name(algorithm: Algorithm, lambda_s: Option<f32>) -> String {
    let algorithm = algorithm.title();
    lambda_s.map_or_else(|| algorithm.to_string(), |l| format!("{algorithm}, λ_S = {l}"))
}

fn options(data: &TaskData, perturb: f64, capture: Capture) -> ModeOptions {
    let rollouts = default_rollouts(data.maker.task());
    ModeOptions { rollouts, perturb, capture, ..ModeOptions::default() }
}

/// Mean and standard deviation of the return.
fn returns(file: &PolicyFile, data: &TaskData, perturb: f64) -> Result<(f64, f64), TrainError> {
    let options = options(data, perturb, Capture::Nothing);
    let measures = measure(&data.maker, file, None, &options, false, None)?;
    measures.task_return().ok_or_else(|| TrainError::Unmeasurable {
        found: format!("the goals of {}", data.maker.info().name()),
        needed: "a task with discrete modes",
    })
}

fn measured(
    dir: &Path,
    file: &PolicyFile,
    data: &TaskData,
    seed: u64,
    policy_sha256: String,
) -> Result<Robustness, TrainError> {
    let (mean, std) = returns(file, data, 0.0)?;
    let (perturbed_mean, perturbed_std) = returns(file, data, PERTURB)?;
    let quiet = options(data, 0.0, Capture::Nothing);
    let switching = evaluate_switching(&data.maker, &Policy::new(file), file.latent, &quiet)?;
    let run = Robustness {
        seed,
        policy_sha256,
        mean,
        perturbed_mean,
        std: [std, perturbed_std],
        switch_survival: switching.switch_survival,
        switch_followed: switching.switch_followed,
        switch_arrived: switching.switch_arrived,
    };
    let json = serde_json::to_string_pretty(&run).unwrap_or_default();
    write_atomic(&dir.join(ROBUSTNESS_FILE), json.as_bytes())?;
    Ok(run)
}

/// Return of random actions.
fn random(file: &PolicyFile, data: &TaskData) -> Result<f64, TrainError> {
    Ok(returns(file, data, 1.0)?.0)
}

/// A few episodes that switch through all codes.
fn switching(file: &PolicyFile, data: &TaskData) -> Result<Vec<Episode>, TrainError> {
    let options = ModeOptions { rollouts: DRAWN, ..options(data, 0.0, Capture::Probes) };
    Ok(evaluate_switching(&data.maker, &Policy::new(file), file.latent, &options)?.paths)
}

impl RobustnessRow {
    /// Mean over the seeds.
    pub fn mean(&self, of: impl Fn(&Robustness) -> f64) -> f64 {
        self.runs.iter().map(of).sum::<f64>() / self.runs.len().max(1) as f64
    }
}

impl RobustnessReport {
    /// Writes `robustness.json` and `robustness.md` into `dir`.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn save(&self, dir: &Path) -> Result<(), RunError> {
        write_atomic(&dir.join("robustness.json"), self.json().as_bytes())?;
        write_atomic(&dir.join("robustness.md"), self.markdown().as_bytes())
    }

    /// As JSON.
    pub fn json(&self) -> String {
        // Numbers, names and lists: always writable.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// As a Markdown table.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "| task | algorithm | λ_S | return | {:.0} % random actions | lost | switches survived | followed | arrived |\n\
             |---|---|---|---|---|---|---|---|---|\n",
            100.0 * self.perturb
        );
        for row in &self.rows {
            let (mean, perturbed) = (row.mean(|r| r.mean), row.mean(|r| r.perturbed_mean));
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| {} | {} | {} | {mean:.1} | {perturbed:.1} | {:.1} | {:.1} % | {:.1} % | {:.1} % |",
                row.task,
                row.algorithm,
                row.lambda_s.map_or("–".to_string(), |l| l.to_string()),
                mean - perturbed,
                100.0 * row.mean(|r| r.switch_survival),
                100.0 * row.mean(|r| r.switch_followed),
                100.0 * row.mean(|r| r.switch_arrived),
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_the_mean_over_seeds() {
        let run = |seed, mean, perturbed_mean| Robustness {
            seed,
            policy_sha256: String::new(),
            mean,
            perturbed_mean,
            std: [0.0; 2],
            switch_survival: 0.5,
            switch_followed: 0.25,
            switch_arrived: 0.375,
        };
        let row = RobustnessRow {
            task: "ant-dir-6".to_string(),
            algorithm: "sog-gail",
            lambda_s: Some(0.05),
            runs: vec![run(0, 100.0, 50.0), run(1, 200.0, 70.0)],
        };
        let text =
            RobustnessReport { perturb: PERTURB, random: vec![], rows: vec![row] }.markdown();
        let want =
            "| ant-dir-6 | sog-gail | 0.05 | 150.0 | 60.0 | 90.0 | 50.0 % | 25.0 % | 37.5 % |";
        assert!(text.contains(want) && text.contains("| 20 % random actions |"), "{text}");
    }
}
