//! What can be reproduced, and of which tasks, algorithms and seeds by default.

use std::str::FromStr;

use super::{EVALUATION_FILE, codes, paper::Table, robustness};
use crate::config::Algorithm;

/// What is reproduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A table of the paper.
    Table(Table),
    /// Which modes get codes of their own.
    Codes,
    /// Random actions and switched codes over λ_S.
    Robustness,
}

impl FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "codes" => Ok(Self::Codes),
            "robustness" => Ok(Self::Robustness),
            _ => text.parse().map(Self::Table),
        }
    }
}

impl What {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 5] = [
        Self::Table(Table::Table1),
        Self::Table(Table::Table2),
        Self::Table(Table::Table3),
        Self::Codes,
        Self::Robustness,
    ];

    /// What its part of a report is called.
    pub fn title(self) -> &'static str {
        match self {
            Self::Table(Table::Table1) => "Mean returns (Table 1)",
            Self::Table(Table::Table2) => "FetchReach (Table 2)",
            Self::Table(Table::Table3) => "HalfCheetah-Vel (Table 3)",
            Self::Codes => "Which modes get codes of their own",
            Self::Robustness => "Random actions and switched codes (Figures 6 and 7)",
        }
    }

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table(table) => table.name(),
            Self::Codes => "codes",
            Self::Robustness => "robustness",
        }
    }

    /// The tasks it can be asked of, and those it is of by default.
    pub fn tasks(self) -> (&'static [&'static str], &'static [&'static str]) {
        const CIRCLES: [&str; 2] = ["circles", "circles-6"];
        const DISCRETE: [&str; 8] = [
            "circles",
            "circles-6",
            "ant-fwd-back",
            "ant-dir-6",
            "halfcheetah-fwd-back",
            "humanoid-dir-6",
            "walker2d-vel-6",
            "hopper-vel-6",
        ];
        const ROBUST: [&str; 3] = ["ant-dir-6", "ant-fwd-back", "halfcheetah-fwd-back"];
        match self {
            Self::Table(table) => (table.tasks(), table.tasks()),
            Self::Codes => (&DISCRETE, &CIRCLES),
            Self::Robustness => (&DISCRETE, &ROBUST),
        }
    }

    /// Algorithms by default.
    pub fn algorithms(self) -> &'static [Algorithm] {
        use Algorithm::{InfoGail, SogBc, SogGail, VaeGail};
        match self {
            Self::Table(_) => &[SogBc, SogGail, InfoGail, VaeGail],
            Self::Codes => &[SogBc],
            Self::Robustness => &[SogBc, SogGail],
        }
    }

    /// Seeds by default.
    pub fn seeds(self) -> u64 {
        match self {
            Self::Table(_) => 4,
            Self::Codes => 20,
            Self::Robustness => 1,
        }
    }

    /// Name of what is made of each run: a run that has it is finished.
    pub(super) fn result(self) -> &'static str {
        match self {
            Self::Table(_) => EVALUATION_FILE,
            Self::Codes => codes::CODES_FILE,
            Self::Robustness => robustness::ROBUSTNESS_FILE,
        }
    }
}
