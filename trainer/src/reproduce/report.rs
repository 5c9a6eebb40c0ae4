//! Our cells beside the paper's.

use std::{fmt::Write as _, path::Path};

use serde::Serialize;
use sog_rl::run::{RunError, write_atomic};

use super::{
    RunResult,
    paper::{self, Figure, Quantity, Table},
};
use crate::{config::Algorithm, evaluate::modes::mean_std};

/// A table, ours beside the paper's.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Which table.
    pub table: Table,
    /// Factor on the length of training.
    pub budget: f64,
    /// Task by task, algorithm by algorithm, the expert last.
    pub cells: Vec<Cell>,
}

/// One algorithm on one task.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// Task.
    pub task: String,
    /// Algorithm, or `expert`.
    pub algorithm: &'static str,
    /// The table's quantities.
    pub figures: Vec<Compared>,
    /// The runs behind ours.
    pub runs: Vec<RunResult>,
}

/// A figure of ours beside the paper's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// What it is of.
    pub quantity: Quantity,
    /// Ours: mean over the runs; the deviation is over the rollouts of all of them, as the
    /// paper's, or over the runs where a run has one number.
    pub ours: Option<Figure>,
    /// The paper's.
    pub paper: Option<Figure>,
}

impl Cell {
    /// A cell without runs.
    pub fn new(table: Table, task: &str, algorithm: Algorithm) -> Self {
        Self::empty(table, task, algorithm.name())
    }

    /// What the demonstrations reach; `mean_return` is one number a mode.
    pub fn expert(table: Table, task: &str, mean_return: &[f64]) -> Self {
        let mut cell = Self::empty(table, task, "expert");
        let ours =
            (!mean_return.is_empty()).then(|| Figure { mean: mean_std(mean_return).0, std: None });
        for figure in cell.figures.iter_mut().filter(|f| f.quantity == Quantity::Return) {
            figure.ours = ours;
        }
        cell
    }

    fn empty(table: Table, task: &str, algorithm: &'static str) -> Self {
        let compared = |&quantity: &Quantity| Compared {
            quantity,
            ours: None,
            paper: paper::figure(task, quantity, algorithm),
        };
        let figures = table.quantities().iter().map(compared).collect();
        Self { task: task.to_string(), algorithm, figures, runs: vec![] }
    }

    /// Takes in one more run.
    pub fn add(&mut self, run: RunResult) {
        self.runs.push(run);
        for figure in &mut self.figures {
            let of_runs: Vec<Figure> =
                self.runs.iter().filter_map(|r| r.figures.get(&figure.quantity).copied()).collect();
            figure.ours = pooled(&of_runs);
        }
    }

    /// Least mean return of a mode in any run.
    pub fn worst_mode(&self) -> Option<f64> {
        self.runs.iter().flat_map(|r| r.per_mode.iter().copied()).min_by(f64::total_cmp)
    }
}

/// Mean and standard deviation of all rollouts together, for runs of equally many rollouts.
fn pooled(runs: &[Figure]) -> Option<Figure> {
    if runs.is_empty() {
        return None;
    }
    let means: Vec<f64> = runs.iter().map(|f| f.mean).collect();
    let (mean, between) = mean_std(&means);
    let within: f64 =
        runs.iter().map(|f| f.std.unwrap_or(0.0).powi(2)).sum::<f64>() / runs.len() as f64;
    let has_std = runs.len() > 1 || runs[0].std.is_some();
    Some(Figure { mean, std: has_std.then(|| (within + between.powi(2)).sqrt()) })
}

impl Report {
    /// Writes `TABLE.json` and `TABLE.md` into `dir`.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn save(&self, dir: &Path) -> Result<(), RunError> {
        write_atomic(&dir.join(format!("{}.json", self.table)), self.json().as_bytes())?;
        write_atomic(&dir.join(format!("{}.md", self.table)), self.markdown().as_bytes())
    }

    /// The table as JSON.
    pub fn json(&self) -> String {
        // Numbers, names and lists: always writable.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// The table as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "| task | algorithm | | ours | paper | worst mode | seeds |\n|---|---|---|---|---|---|---|\n",
        );
        for cell in &self.cells {
            for figure in &cell.figures {
                let digits = figure.quantity.digits();
                let worst = match (figure.quantity, cell.worst_mode()) {
                    (Quantity::Return, Some(worst)) => format!("{worst:.digits$}"),
                    _ => String::new(),
                };
                let seeds: Vec<String> = cell.runs.iter().map(|r| r.seed.to_string()).collect();
                // Writing to a string does not fail.
                let _ = writeln!(
                    text,
                    "| {} | {} | {} | {} | {} | {worst} | {} |",
                    cell.task,
                    cell.algorithm,
                    figure.quantity.label(),
                    shown(figure.ours, digits),
                    shown(figure.paper, digits),
                    seeds.join(", "),
                );
            }
        }
        if self.budget != 1.0 {
            let _ = writeln!(text, "\nTrained {} times as long as by default.", self.budget);
        }
        text
    }
}

fn shown(figure: Option<Figure>, digits: usize) -> String {
    match figure {
        None => "–".to_string(),
        Some(Figure { mean, std: None }) => format!("{mean:.digits$}"),
        Some(Figure { mean, std: Some(std) }) => format!("{mean:.digits$} ± {std:.digits$}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn run(seed: u64, mean: f64, std: f64, per_mode: &[f64]) -> RunResult {
        RunResult {
            seed,
            policy_sha256: String::new(),
            rollouts: 100,
            figures: BTreeMap::from([(Quantity::Return, Figure { mean, std: Some(std) })]),
            per_mode: per_mode.to_vec(),
        }
    }

    #[test]
    fn a_cell_pools_the_rollouts_of_its_runs() {
        let mut cell = Cell::new(Table::Table1, "circles", Algorithm::SogBc);
        cell.add(run(0, 990.0, 3.0, &[980.0, 1000.0]));
        cell.add(run(1, 998.0, 3.0, &[997.0, 999.0]));
        // Deviation 3 within runs, 4 between them.
        assert_eq!(cell.figures[0].ours, Some(Figure { mean: 994.0, std: Some(5.0) }));
        assert_eq!(cell.worst_mode(), Some(980.0));
    }

    #[test]
    fn ours_stand_beside_the_papers() {
        let mut cell = Cell::new(Table::Table1, "circles", Algorithm::SogBc);
        cell.add(run(0, 996.04, 1.0, &[995.0]));
        let expert = Cell::expert(Table::Table1, "circles", &[997.0, 999.0]);
        let report = Report { table: Table::Table1, budget: 0.5, cells: vec![cell, expert] };
        let text = report.markdown();
        let row = "| circles | sog-bc | mean return | 996.0 ± 1.0 | 992.1 ± 1.0 | 995.0 | 0 |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("| circles | expert | mean return | 998.0 | 998.3 ± 0.1 |  |  |"));
        assert!(text.contains("0.5 times as long"));
        assert!(report.json().contains("\"policy_sha256\""));
    }
}
