//! Which modes get codes of their own when SOG-BC trains with one seed after the other.

use std::{fmt::Write as _, path::Path};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sog_rl::run::{RunError, write_atomic};
use sog_runtime::policy::{LatentKind, PolicyFile};

use super::{Reproduction, StatusFn, TaskData, Work, read};
use crate::{
    codes::embed::{default_search, embed},
    data::{DataError, Labels, hex},
    error::TrainError,
    evaluate::confusion::Confusion,
    export::network_of,
    normalise::ObsNormaliser,
    train::POLICY_FILE,
};

/// Name of the file with a run's codes.
pub(super) const CODES_FILE: &str = "codes.json";

/// The codes of one run, as `codes.json` in its directory says them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// Seed of the run.
    pub seed: u64,
    /// SHA-256 of the policy file.
    pub policy_sha256: String,
    /// Modes with a code of their own.
    pub modes_found: usize,
    /// Share of the demonstrations whose code is used for their mode more than for any other.
    pub purity: f64,
    /// Demonstrations by code and mode.
    pub confusion: Confusion,
}

/// Algorithm and task with the codes of all runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CodesRow {
    /// Task.
    pub task: String,
    /// Algorithm.
    pub algorithm: &'static str,
    /// Modes of the task.
    pub modes: usize,
    /// One entry a seed.
    pub runs: Vec<Found>,
}

/// The codes found, task by task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CodesReport {
    /// Whether codes were assigned by the smallest loss from the first update on.
    pub plain: bool,
    /// One row a task and algorithm.
    pub rows: Vec<CodesRow>,
}

/// Trains what is missing of `plan`, embeds the demonstrations that each policy was trained on, and
/// counts the modes that have a code of their own. Labels serve for the counting alone.
///
/// # Errors
/// [`TrainError`]; [`TrainError::Unmeasurable`] for tasks without discrete modes and algorithms
/// without one-hot codes.
pub fn find_codes(plan: &Reproduction, status: StatusFn<'_>) -> Result<CodesReport, TrainError> {
    let mut work = Work::new(plan, CODES_FILE, status);
    let mut report = CodesReport { plain: plan.plain, rows: vec![] };
    for task in &plan.tasks {
        let data = work.data(task)?;
        let name = task.info().name();
        let modes = data.maker.info().modes.count().unwrap_or(0);
        let first = report.rows.len();
        report.rows.extend(plan.algorithms.iter().map(|a| CodesRow {
            task: name.to_string(),
            algorithm: a.name(),
            modes,
            runs: vec![],
        }));
        for (algorithm, seed) in plan.runs() {
            let before = work.done;
            let cost = work.cost(task, algorithm, seed);
            let dir = plan.run_dir(task, algorithm, seed);
            let (file, ..) = work.trained(&data, algorithm, seed)?;
            let found = codes_of(&dir, &file, &data, seed)?;
            work.done = before + cost;
            work.say(&format!(
                "{} {algorithm}, seed {seed}: {} of {modes} modes found",
                name, found.modes_found
            ));
            let of_task = &mut report.rows[first..];
            if let Some(row) = of_task.iter_mut().find(|r| r.algorithm == algorithm.name()) {
                row.runs.push(found);
            }
            report.save(&plan.dir)?;
        }
    }
    Ok(report)
}

/// The codes of a run: read, or found and written.
pub(super) fn codes_of(
    dir: &Path,
    file: &PolicyFile,
    data: &TaskData,
    seed: u64,
) -> Result<Found, TrainError> {
    let policy_sha256 = hex(&Sha256::digest(read(&dir.join(POLICY_FILE))?));
    let path = dir.join(CODES_FILE);
    let known: Option<Found> = path
        .exists()
        .then(|| read(&path))
        .transpose()?
        .and_then(|b| serde_json::from_slice(&b).ok());
    if let Some(known) = known.filter(|known| known.policy_sha256 == policy_sha256) {
        return Ok(known);
    }
    let unmeasurable = |found: String| TrainError::Unmeasurable {
        found,
        needed: "a task with discrete modes and a policy with one-hot codes",
    };
    let LatentKind::OneHot(k) = file.latent else {
        return Err(unmeasurable(format!("codes `{}`", file.latent)));
    };
    let info = data.maker.info();
    let Some(modes) = info.modes.count() else {
        return Err(unmeasurable(format!("the goals of {}", info.name())));
    };
    let Labels::Modes(labels) = data.demos.labels()? else {
        return Err(DataError::NoLabels.into());
    };
    let normaliser = ObsNormaliser::new(file.normaliser.clone());
    let (net, search) = (network_of(file)?, default_search(file.latent));
    let embedded = embed(&net, &normaliser, search, &data.demos.demonstrations, usize::MAX, 0)?;
    let confusion = Confusion::new(&embedded.codes, k, labels, modes);
    let found = Found {
        seed,
        policy_sha256,
        modes_found: confusion.modes_found(),
        purity: confusion.purity(),
        confusion,
    };
    let json = serde_json::to_string_pretty(&found).unwrap_or_default();
    write_atomic(&path, json.as_bytes())?;
    Ok(found)
}

impl CodesReport {
    /// Writes `codes.json` and `codes.md` into `dir`, or `codes-plain.json` and `codes-plain.md`.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn save(&self, dir: &Path) -> Result<(), RunError> {
        let name = if self.plain { "codes-plain" } else { "codes" };
        write_atomic(&dir.join(format!("{name}.json")), self.json().as_bytes())?;
        write_atomic(&dir.join(format!("{name}.md")), self.markdown().as_bytes())
    }

    /// As JSON.
    pub fn json(&self) -> String {
        // Numbers, names and lists: always writable.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// As a Markdown table.
    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "| task | algorithm | modes | seeds that found all | least purity | seeds that did not |\n\
             |---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            let missed: Vec<String> = row
                .runs
                .iter()
                .filter(|run| run.modes_found < row.modes)
                .map(|run| format!("{} ({} of {})", run.seed, run.modes_found, row.modes))
                .collect();
            let purity = row.runs.iter().map(|run| run.purity).fold(1.0, f64::min);
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} of {} | {:.1} % | {} |",
                row.task,
                row.algorithm,
                row.modes,
                row.runs.len() - missed.len(),
                row.runs.len(),
                100.0 * purity,
                missed.join(", "),
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_that_missed_a_mode_are_named() {
        let run = |seed, modes_found, purity| Found {
            seed,
            policy_sha256: String::new(),
            modes_found,
            purity,
            confusion: Confusion { counts: vec![] },
        };
        let runs = vec![run(0, 3, 1.0), run(1, 1, 2.0 / 3.0)];
        let row = CodesRow { task: "circles".to_string(), algorithm: "sog-bc", modes: 3, runs };
        let text = CodesReport { plain: false, rows: vec![row] }.markdown();
        let want = "| circles | sog-bc | 3 | 1 of 2 | 66.7 % | 1 (1 of 3) |";
        assert!(text.contains(want), "{text}");
    }
}
