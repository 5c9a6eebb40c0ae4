//! The independent pieces of a reproduction: demonstrations of a task, and runs with what is made of
//! each. Whoever makes them, in whatever order their stages allow, makes the same files.

use std::{fmt, str::FromStr, sync::Arc};

use sog_sim::tasks::{self, TaskFolder};

use super::{Reproduction, StatusFn, What, Work, codes, robustness};
use crate::{config::Algorithm, defaults::start_of, error::TrainError, train::POLICY_FILE};

/// One piece. As text: `TASK/demonstrations`, `TASK/ALGORITHM/SEED`, `TASK/ALGORITHM/SEED/λ_S`.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Task.
    pub task: String,
    /// The run, or none for the demonstrations that all runs of the task learn from.
    pub run: Option<PieceRun>,
}

/// A run with what is made of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PieceRun {
    /// Algorithm.
    pub algorithm: Algorithm,
    /// Seed.
    pub seed: u64,
    /// λ_S, where it is varied.
    pub lambda_s: Option<f32>,
}

const DEMONSTRATIONS: &str = "demonstrations";

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.run {
            None => write!(f, "{}/{DEMONSTRATIONS}", self.task),
            Some(PieceRun { algorithm, seed, lambda_s }) => {
                write!(f, "{}/{algorithm}/{seed}", self.task)?;
                lambda_s.map_or(Ok(()), |lambda| write!(f, "/{lambda}"))
            }
        }
    }
}

impl FromStr for Piece {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let needed = || {
            format!(
                "`{text}` is no piece; need TASK/{DEMONSTRATIONS}, TASK/ALGORITHM/SEED or \
                 TASK/ALGORITHM/SEED/LAMBDA_S"
            )
        };
        let parts: Vec<&str> = text.split('/').collect();
        let run = match parts[1..] {
            [DEMONSTRATIONS] => None,
            [algorithm, seed] | [algorithm, seed, _] => Some(PieceRun {
                algorithm: algorithm.parse()?,
                seed: seed.parse().map_err(|_| needed())?,
                lambda_s: parts.get(3).map(|l| l.parse().map_err(|_| needed())).transpose()?,
            }),
            _ => return Err(needed()),
        };
        Ok(Self { task: parts[0].to_string(), run })
    }
}

/// Pieces that need nothing of each other, only what earlier stages have made.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// `demonstrations`, `runs`, or `started` for the runs that start from the policy of another.
    pub name: &'static str,
    /// Its pieces.
    pub pieces: Vec<Piece>,
}

/// All pieces of a reproduction, stage by stage; `lambdas` is the grid of robustness.
pub fn stages(what: What, plan: &Reproduction, lambdas: &[f32]) -> Vec<Stage> {
    let of_algorithms = match what {
        What::Robustness => robustness::policies(lambdas),
        _ => plan.algorithms.iter().map(|&a| (a, None)).collect(),
    };
    let starts = of_algorithms.iter().filter_map(|&(a, _)| start_of(a)).map(|start| (start, None));
    let mut policies: Vec<(Algorithm, Option<f32>)> = vec![];
    for policy in starts.chain(of_algorithms.iter().copied()) {
        if !policies.contains(&policy) {
            policies.push(policy);
        }
    }
    let (started, first): (Vec<_>, Vec<_>) =
        policies.into_iter().partition(|&(a, _)| start_of(a).is_some());
    let names: Vec<&str> = plan.tasks.iter().map(|t| t.info().name()).collect();
    let runs = |policies: &[(Algorithm, Option<f32>)]| -> Vec<Piece> {
        let mut pieces = vec![];
        for &task in &names {
            for seed in 0..plan.seeds {
                pieces.extend(policies.iter().map(|&(algorithm, lambda_s)| Piece {
                    task: task.to_string(),
                    run: Some(PieceRun { algorithm, seed, lambda_s }),
                }));
            }
        }
        pieces
    };
    let demonstrations =
        names.iter().map(|task| Piece { task: task.to_string(), run: None }).collect();
    let mut stages = vec![
        Stage { name: DEMONSTRATIONS, pieces: demonstrations },
        Stage { name: "runs", pieces: runs(&first) },
        Stage { name: "started", pieces: runs(&started) },
    ];
    stages.retain(|stage| !stage.pieces.is_empty());
    stages
}

/// Whether all that a piece makes is there.
///
/// # Errors
/// [`TrainError::Sim`] for a task that is none.
pub fn is_finished(what: What, plan: &Reproduction, piece: &Piece) -> Result<bool, TrainError> {
    let task = tasks::open(&piece.task)?;
    let Some(run) = piece.run else {
        let dir = plan.dir.join(task.info().name());
        return Ok(super::DEMO_FILES.iter().all(|name| dir.join(name).exists()));
    };
    let (of_piece, result) = planned(what, plan, &task, run)?;
    let dir = of_piece.run_dir(&task, run.algorithm, run.seed);
    Ok(dir.join(POLICY_FILE).exists() && dir.join(result).exists())
}

/// Makes what is missing of a piece.
///
/// # Errors
/// [`TrainError`]; what was finished before stays and is not made again.
pub fn make(
    what: What,
    plan: &Reproduction,
    piece: &Piece,
    status: StatusFn<'_>,
) -> Result<(), TrainError> {
    let task = tasks::open(&piece.task)?;
    let Some(run) = piece.run else {
        let of_piece = Reproduction { tasks: vec![], ..plan.clone() };
        return Work::new(&of_piece, what.result(), status).data(&task).map(|_| ());
    };
    let (of_piece, result) = planned(what, plan, &task, run)?;
    let (algorithm, seed) = (run.algorithm, run.seed);
    let mut work = Work::of_run(&of_piece, result, status, (&task, algorithm, seed));
    let data = work.data(&task)?;
    if result == POLICY_FILE {
        return work.trained(&data, algorithm, seed).map(|_| ());
    }
    match what {
        What::Table(_) => work.evaluated(&data, algorithm, seed).map(|_| ()),
        What::Codes => {
            let (file, ..) = work.trained(&data, algorithm, seed)?;
            let dir = of_piece.run_dir(&task, algorithm, seed);
            codes::codes_of(&dir, &file, &data, seed).map(|_| ())
        }
        What::Robustness => robustness::figures_of(&mut work, &data, algorithm, seed).map(|_| ()),
    }
}

/// `plan` for one run, and the file that tells that it is finished: where others only start from it,
/// its policy.
fn planned(
    what: What,
    plan: &Reproduction,
    task: &Arc<TaskFolder>,
    run: PieceRun,
) -> Result<(Reproduction, &'static str), TrainError> {
    let asked = what == What::Robustness || plan.algorithms.contains(&run.algorithm);
    let of_piece = robustness::of_lambda(plan, task, run.algorithm, run.lambda_s)?;
    Ok((of_piece, if asked { what.result() } else { POLICY_FILE }))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::reproduce::paper::Table;

    fn plan(algorithms: &[Algorithm]) -> Reproduction {
        Reproduction {
            tasks: vec![tasks::open("circles").unwrap()],
            algorithms: algorithms.to_vec(),
            seeds: 2,
            budget: 1.0,
            plain: false,
            lambda_s: None,
            dir: PathBuf::from("nowhere"),
            stop: std::sync::Arc::default(),
        }
    }

    fn texts(stages: &[Stage]) -> Vec<(&str, Vec<String>)> {
        stages.iter().map(|s| (s.name, s.pieces.iter().map(Piece::to_string).collect())).collect()
    }

    #[test]
    fn what_starts_from_another_comes_after_it() {
        let stages = stages(
            What::Table(Table::Table1),
            &plan(&[Algorithm::SogGail, Algorithm::InfoGail]),
            &[],
        );
        let want = [
            ("demonstrations", vec!["circles/demonstrations"]),
            (
                "runs",
                vec![
                    "circles/sog-bc/0",
                    "circles/infogail/0",
                    "circles/sog-bc/1",
                    "circles/infogail/1",
                ],
            ),
            ("started", vec!["circles/sog-gail/0", "circles/sog-gail/1"]),
        ];
        let want: Vec<(&str, Vec<String>)> = want
            .into_iter()
            .map(|(name, pieces)| (name, pieces.into_iter().map(String::from).collect()))
            .collect();
        assert_eq!(texts(&stages), want);
    }

    #[test]
    fn robustness_has_a_piece_for_each_lambda() {
        let found = stages(What::Robustness, &plan(&[]), &[0.05, 1.0]);
        let started = &texts(&found)[2].1;
        assert_eq!(started[..2], ["circles/sog-gail/0/0.05", "circles/sog-gail/0/1"]);
        for piece in found.iter().flat_map(|stage| &stage.pieces) {
            assert_eq!(piece.to_string().parse::<Piece>().as_ref(), Ok(piece));
        }
    }

    #[test]
    fn text_that_is_no_piece_is_refused() {
        for text in ["", "circles", "circles/sog-bc", "circles/sog-bc/x", "circles/sog-bc/0/x/y"] {
            assert!(text.parse::<Piece>().is_err(), "{text}");
        }
        let error = "circles/clone/0".parse::<Piece>().unwrap_err();
        assert!(error.contains("no algorithm is called `clone`"), "{error}");
    }
}
