//! The paper's tables: which tasks, which quantities, which figures.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::LazyLock};

use serde::{Deserialize, Serialize};

/// A table of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Table {
    /// Mean rewards on the tasks with discrete modes.
    Table1,
    /// FetchReach: entropy of reached targets and hit rate.
    Table2,
    /// HalfCheetah-Vel: mutual information of code and velocity.
    Table3,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Table1, Self::Table2, Self::Table3];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table1 => "table1",
            Self::Table2 => "table2",
            Self::Table3 => "table3",
        }
    }

    /// Its tasks, in the paper's order.
    pub fn tasks(self) -> &'static [&'static str] {
        match self {
            Self::Table1 => &[
                "circles",
                "ant-fwd-back",
                "ant-dir-6",
                "halfcheetah-fwd-back",
                "humanoid-dir-6",
                "walker2d-vel-6",
                "hopper-vel-6",
            ],
            Self::Table2 => &["fetchreach"],
            Self::Table3 => &["halfcheetah-vel"],
        }
    }

    /// What it tells of each algorithm.
    pub fn quantities(self) -> &'static [Quantity] {
        match self {
            Self::Table1 => &[Quantity::Return],
            Self::Table2 => &[Quantity::EntropyNats, Quantity::HitRate],
            Self::Table3 => &[Quantity::MutualInformationNats],
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Table {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|t| t.name() == text);
        found.ok_or_else(|| format!("the paper has no `{text}`; its tables are {names}"))
    }
}

/// What a figure is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Mean return over the matched rollouts.
    Return,
    /// Entropy of reached targets, nats.
    EntropyNats,
    /// Share of embedded demonstrations whose target is reached.
    HitRate,
    /// Mutual information of the code's CDF and velocity, nats.
    MutualInformationNats,
}

impl Quantity {
    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Return => "mean return",
            Self::EntropyNats => "entropy / nats",
            Self::HitRate => "hit rate",
            Self::MutualInformationNats => "mutual information / nats",
        }
    }

    /// Digits after the point that are worth showing.
    pub(super) fn digits(self) -> usize {
        match self {
            Self::Return => 1,
            _ => 3,
        }
    }
}

/// A figure: mean or value, and the standard deviation where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Mean, or the value.
    pub mean: f64,
    /// Standard deviation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std: Option<f64>,
}

/// Task → quantity → algorithm → mean and, perhaps, standard deviation.
type Tree = BTreeMap<String, BTreeMap<Quantity, BTreeMap<String, Vec<f64>>>>;

static FIGURES: LazyLock<Tree> =
    LazyLock::new(|| toml::from_str(include_str!("paper.toml")).expect("a test reads it"));

/// The paper's figure for an algorithm (or `expert`) on a task.
pub fn figure(task: &str, quantity: Quantity, algorithm: &str) -> Option<Figure> {
    let numbers = FIGURES.get(task)?.get(&quantity)?.get(algorithm)?;
    Some(Figure { mean: *numbers.first()?, std: numbers.get(1).copied() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Algorithm;

    #[test]
    fn every_cell_of_the_tables_has_its_figure() {
        for table in Table::ALL {
            for (&task, &quantity) in
                table.tasks().iter().flat_map(|t| table.quantities().iter().map(move |q| (t, q)))
            {
                for algorithm in ["sog-bc", "sog-gail", "vae-gail"] {
                    assert!(algorithm.parse::<Algorithm>().is_ok());
                    assert!(figure(task, quantity, algorithm).is_some(), "{task:?} {algorithm}");
                }
            }
        }
        let known: usize = FIGURES.values().flat_map(|q| q.values()).map(BTreeMap::len).sum();
        assert_eq!(known, 7 * 5 + 5 + 4 + 4);
        let circles = figure("circles", Quantity::Return, "sog-gail").unwrap();
        assert_eq!((circles.mean, circles.std), (985.9, Some(10.8)));
    }
}
