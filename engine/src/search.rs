//! The search for latent codes: exhaustive over K one-hot codes, or coordinate-wise over samples
//! (Algorithm 4), for any [`LatentModel`].

use std::ops::Range;

use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use crate::error::{EngineError, check_len};

/// Which codes are tried.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "kind")]
pub enum CodeSearch {
    /// All Z one-hot codes.
    OneHot,
    /// Coordinate-wise search over N(0, I) (Algorithm 4).
    Coordinate {
        /// N_z: samples per block.
        samples: usize,
        /// Δ: coordinates per block.
        block: usize,
        /// Sweeps over the blocks. In the first sweep the best sample of a block replaces the
        /// starting zeros; in later ones it must beat the incumbent.
        rounds: usize,
    },
}

impl CodeSearch {
    /// Coordinate-wise search with the defaults of the specification: N_z = 100, Δ = 1, and three
    /// rounds if there is more than one coordinate.
    pub fn coordinate(dim: usize) -> Self {
        Self::Coordinate { samples: 100, block: 1, rounds: if dim > 1 { 3 } else { 1 } }
    }

    /// Losses that a search of `dim`-sized codes leaves per group: K for one-hot, 1 for continuous.
    pub fn losses_per_group(&self, dim: usize) -> usize {
        match self {
            Self::OneHot => dim,
            Self::Coordinate { .. } => 1,
        }
    }

    pub(crate) fn check(&self) -> Result<(), EngineError> {
        let Self::Coordinate { samples, block, rounds } = *self else { return Ok(()) };
        for (what, n) in
            [("search samples", samples), ("search block", block), ("search rounds", rounds)]
        {
            if n == 0 {
                return Err(EngineError::Range { what, got: "0".to_owned(), need: "at least 1" });
            }
        }
        Ok(())
    }
}

/// Which rows of a batch share one code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Groups<'a> {
    /// All rows (Algorithm 2: a minibatch from one trajectory).
    Shared,
    /// None: each row has its own (Algorithm 1).
    PerRow,
    /// Those with the same index in `of_row [rows]`, each below `count`.
    Index {
        /// Group of each row.
        of_row: &'a [u32],
        /// Number of groups.
        count: usize,
    },
}

impl Groups<'_> {
    /// Number of groups among `rows` rows.
    pub fn count(&self, rows: usize) -> usize {
        match *self {
            Self::Shared => 1,
            Self::PerRow => rows,
            Self::Index { count, .. } => count,
        }
    }

    /// Group of row `row`.
    pub fn of(&self, row: usize) -> usize {
        match self {
            Self::Shared => 0,
            Self::PerRow => row,
            Self::Index { of_row, .. } => of_row[row] as usize,
        }
    }

    /// Adds the losses `[rows, count]` of the rows under `count` candidates to the sums of their groups,
    /// `[groups, count]`.
    pub fn add(&self, losses: &[f32], count: usize, sums: &mut [f64]) {
        for (row, losses) in losses.chunks_exact(count).enumerate() {
            let sums = &mut sums[self.of(row) * count..][..count];
            sums.iter_mut().zip(losses).for_each(|(sum, &loss)| *sum += f64::from(loss));
        }
    }

    pub(crate) fn check(&self, rows: usize) -> Result<(), EngineError> {
        let Self::Index { of_row, count } = *self else { return Ok(()) };
        check_len("group of each row", of_row.len(), rows)?;
        match of_row.iter().find(|&&g| g as usize >= count) {
            Some(g) => Err(EngineError::Range {
                what: "group of a row",
                got: g.to_string(),
                need: "an index below the number of groups",
            }),
            None => Ok(()),
        }
    }
}

/// Codes that a model is asked to evaluate.
#[derive(Debug, Clone, PartialEq)]
pub enum Candidates<'a> {
    /// The same codes for every row `[candidates, Z]`.
    Codes(&'a [f32]),
    /// Variations of the code that each group has: the coordinates `block` become `keep` times what
    /// they are plus each of the values `[candidates, Δ]`, the others stay.
    Block {
        /// Code of each group `[groups, Z]`.
        codes: &'a [f32],
        /// The coordinates that vary, Δ of them.
        block: Range<usize>,
        /// What is added to them, or what they become where `keep` is 0.
        values: &'a [f32],
        /// 0 where the values replace the coordinates, as in Algorithm 4.
        keep: f32,
    },
}

impl Candidates<'_> {
    /// Number of candidates of a model with codes of size `latent`.
    pub fn count(&self, latent: usize) -> usize {
        match self {
            Self::Codes(codes) => codes.len().checked_div(latent).unwrap_or(0),
            Self::Block { values, block, .. } => values.len().checked_div(block.len()).unwrap_or(0),
        }
    }

    /// Appends candidate `c` of group `group` to `to`, a code of size `latent`.
    pub fn push(&self, latent: usize, group: usize, c: usize, to: &mut Vec<f32>) {
        match self {
            Self::Codes(codes) => to.extend_from_slice(&codes[c * latent..(c + 1) * latent]),
            Self::Block { codes, block, values, keep } => {
                let from = to.len();
                to.extend_from_slice(&codes[group * latent..(group + 1) * latent]);
                let values = &values[c * block.len()..(c + 1) * block.len()];
                for (z, v) in to[from + block.start..from + block.end].iter_mut().zip(values) {
                    *z = keep * *z + v;
                }
            }
        }
    }
}

/// A search that goes on from codes at hand: each sample of a block is a step from the code so far,
/// z ← √(1 − s²) z + s ε with ε ~ N(0, I), and must beat it. Codes drawn from N(0, I) stay so drawn
/// under such steps (Cotter et al. 2013); with s = 1 these are the later rounds of Algorithm 4.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refinement {
    /// N_z: samples per block.
    pub samples: usize,
    /// Δ: coordinates per block.
    pub block: usize,
    /// Sweeps over the blocks.
    pub rounds: usize,
    /// s, from 0 to 1.
    pub step: f32,
}

impl Refinement {
    fn check(&self) -> Result<(), EngineError> {
        let Self { samples, block, rounds, step } = *self;
        CodeSearch::Coordinate { samples, block, rounds }.check()?;
        if (0.0..=1.0).contains(&step) {
            return Ok(());
        }
        let (what, got) = ("search step", step.to_string());
        Err(EngineError::Range { what, got, need: "a number from 0 to 1" })
    }
}

/// A model y ≈ f(z, x) over a batch of rows (xᵢ, yᵢ) that it holds.
pub trait LatentModel {
    /// Z: size of a code.
    fn code_len(&self) -> usize;

    /// Number of rows held.
    fn rows(&self) -> usize;

    /// `sums[g, c]` = Σ over the rows of group g of L(f(z, xᵢ), yᵢ) for candidate c, `[groups,
    /// candidates]`, all overwritten.
    fn losses(&mut self, candidates: Candidates<'_>, groups: Groups<'_>, sums: &mut [f64]);
}

/// How the samples of a block become codes.
#[derive(Clone, Copy)]
struct Moves {
    /// Whether the best sample wins whatever was before.
    first: bool,
    /// See [`Candidates::Block`].
    keep: f32,
}

/// The search and what it found. Owns its buffers, which grow with the largest batch.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Codes `[groups, Z]`.
    pub(crate) codes: Vec<f32>,
    /// Mean losses, see [`Search::losses`].
    pub(crate) losses: Vec<f32>,
    /// Sums of losses `[groups, candidates]`.
    sums: Vec<f64>,
    /// Rows in each group.
    group_rows: Vec<u32>,
    /// All one-hot codes, or the values of one block `[candidates, Δ]`.
    values: Vec<f32>,
    /// Incumbents' losses `[groups]`.
    best: Vec<f64>,
}

impl Search {
    /// Finds the best code of each group of the rows that `model` holds (lines 6–9 of Algorithm 1,
    /// line 6 of Algorithm 2, lines 5–12 of Algorithm 4).
    ///
    /// # Errors
    /// If the groups do not fit the rows or the search is empty.
    pub fn run(
        &mut self,
        model: &mut impl LatentModel,
        groups: Groups<'_>,
        search: CodeSearch,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<(), EngineError> {
        search.check()?;
        self.count_groups(model.rows(), groups)?;
        let latent = model.code_len();
        self.codes.clear();
        self.codes.resize(self.group_rows.len() * latent, 0.0);
        self.losses.clear();
        if latent == 0 {
            return Ok(());
        }
        match search {
            CodeSearch::OneHot => self.one_hot(model, groups),
            CodeSearch::Coordinate { samples, block, rounds } => {
                for round in 0..rounds {
                    for from in (0..latent).step_by(block) {
                        let block = from..latent.min(from + block);
                        self.values.clear();
                        let draw = |_| -> f32 { rng.sample(StandardNormal) };
                        self.values.extend((0..samples * block.len()).map(draw));
                        self.improve_block(
                            model,
                            groups,
                            block,
                            Moves { first: round == 0, keep: 0.0 },
                        );
                    }
                }
                self.sums.clone_from(&self.best);
            }
        }
        self.average(search.losses_per_group(latent));
        Ok(())
    }

    /// Takes the better of the codes found so far and the `codes` `[groups, Z]` for each group of the
    /// same rows. A code that is not a number, where there is none, is not taken whatever its loss: a network
    /// may answer with numbers, as max(NaN, 0) is 0 on some devices.
    ///
    /// # Errors
    /// If there are not as many codes as groups, or no search of these groups was before.
    pub fn offer(
        &mut self,
        model: &mut impl LatentModel,
        groups: Groups<'_>,
        codes: &[f32],
    ) -> Result<(), EngineError> {
        let latent = model.code_len();
        self.count_groups(model.rows(), groups)?;
        check_len("codes", codes.len(), self.group_rows.len() * latent)?;
        check_len("codes found so far", self.codes.len(), codes.len())?;
        check_len("losses found so far", self.best.len(), self.group_rows.len())?;
        // The codes as they are: all of each is kept, and nothing is added.
        let nothing = vec![0.0; latent];
        let as_they_are =
            Candidates::Block { codes, block: 0..latent, values: &nothing, keep: 1.0 };
        self.ask(model, groups, 1, as_they_are);
        let found = self.codes.chunks_exact_mut(latent).zip(codes.chunks_exact(latent));
        for ((found, code), (best, &loss)) in found.zip(self.best.iter_mut().zip(&self.sums)) {
            if loss < *best && code.iter().all(|z| z.is_finite()) {
                *best = loss;
                found.copy_from_slice(code);
            }
        }
        self.sums.clone_from(&self.best);
        self.average(1);
        Ok(())
    }

    /// Goes on from the codes found so far for the same rows. See [`Refinement`]; all groups take
    /// the same steps.
    ///
    /// # Errors
    /// If the refinement is empty, or no search of these groups was before.
    pub fn refine(
        &mut self,
        model: &mut impl LatentModel,
        groups: Groups<'_>,
        refinement: Refinement,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<(), EngineError> {
        refinement.check()?;
        let latent = model.code_len();
        self.count_groups(model.rows(), groups)?;
        check_len("codes found so far", self.codes.len(), self.group_rows.len() * latent)?;
        check_len("losses found so far", self.best.len(), self.group_rows.len())?;
        let step = refinement.step;
        let moves = Moves { first: false, keep: (1.0 - step * step).sqrt() };
        for _ in 0..refinement.rounds {
            for from in (0..latent).step_by(refinement.block) {
                let block = from..latent.min(from + refinement.block);
                self.values.clear();
                let draw = |_| -> f32 { step * rng.sample::<f32, _>(StandardNormal) };
                self.values.extend((0..refinement.samples * block.len()).map(draw));
                self.improve_block(model, groups, block, moves);
            }
        }
        self.sums.clone_from(&self.best);
        self.average(1);
        Ok(())
    }

    /// Mean losses of given codes `[candidates, Z]` per group, `[groups, candidates]`; the codes
    /// found before stay.
    ///
    /// # Errors
    /// If there is not a whole number of codes or the groups do not fit the rows.
    pub fn evaluate(
        &mut self,
        model: &mut impl LatentModel,
        groups: Groups<'_>,
        codes: &[f32],
    ) -> Result<&[f32], EngineError> {
        let latent = model.code_len();
        let candidates = codes.len().checked_div(latent).unwrap_or(0);
        check_len("codes", codes.len(), candidates.max(1) * latent.max(1))?;
        self.count_groups(model.rows(), groups)?;
        self.ask(model, groups, candidates, Candidates::Codes(codes));
        self.average(candidates);
        Ok(&self.losses)
    }

    /// Codes `[groups, Z]` of the last search (or as set).
    pub fn codes(&self) -> &[f32] {
        &self.codes
    }

    /// Mean losses of the last search: of every code, `[groups, K]`, when one-hot; of the winner,
    /// `[groups]`, when continuous. A group without rows has NaN.
    pub fn losses(&self) -> &[f32] {
        &self.losses
    }

    fn count_groups(&mut self, rows: usize, groups: Groups<'_>) -> Result<(), EngineError> {
        groups.check(rows)?;
        self.group_rows.clear();
        self.group_rows.resize(groups.count(rows), 0);
        (0..rows).for_each(|row| self.group_rows[groups.of(row)] += 1);
        Ok(())
    }

    fn ask(
        &mut self,
        model: &mut impl LatentModel,
        groups: Groups<'_>,
        count: usize,
        candidates: Candidates<'_>,
    ) {
        self.sums.resize(self.group_rows.len() * count, 0.0);
        model.losses(candidates, groups, &mut self.sums);
    }

    fn one_hot(&mut self, model: &mut impl LatentModel, groups: Groups<'_>) {
        let latent = model.code_len();
        let mut identity = std::mem::take(&mut self.values);
        identity.clear();
        identity.resize(latent * latent, 0.0);
        (0..latent).for_each(|k| identity[k * latent + k] = 1.0);
        self.ask(model, groups, latent, Candidates::Codes(&identity));
        self.values = identity;
        for (sums, code) in self.sums.chunks_exact(latent).zip(self.codes.chunks_exact_mut(latent))
        {
            code[least(sums).0] = 1.0;
        }
    }

    /// One block of Algorithm 4 (lines 8–10) with the values drawn for it.
    fn improve_block(
        &mut self,
        model: &mut impl LatentModel,
        groups: Groups<'_>,
        block: Range<usize>,
        Moves { first, keep }: Moves,
    ) {
        let (latent, width) = (model.code_len(), block.len());
        let count = self.values.len() / width;
        let (mut codes, values) =
            (std::mem::take(&mut self.codes), std::mem::take(&mut self.values));
        let candidates =
            Candidates::Block { codes: &codes, block: block.clone(), values: &values, keep };
        self.ask(model, groups, count, candidates);
        self.best.resize(self.group_rows.len(), f64::INFINITY);
        for (g, sums) in self.sums.chunks_exact(count).enumerate() {
            let (winner, loss) = least(sums);
            if first || loss < self.best[g] {
                self.best[g] = loss;
                let code = &mut codes[g * latent + block.start..g * latent + block.end];
                for (z, v) in code.iter_mut().zip(&values[winner * width..(winner + 1) * width]) {
                    *z = keep * *z + v;
                }
            }
        }
        (self.codes, self.values) = (codes, values);
    }

    /// Turns sums over rows into means.
    fn average(&mut self, per_group: usize) {
        self.losses.clear();
        for (sums, &rows) in self.sums.chunks_exact(per_group).zip(&self.group_rows) {
            self.losses.extend(sums.iter().map(|&sum| (sum / f64::from(rows)) as f32));
        }
    }
}

/// Index and value of the smallest loss; the first of equals, and NaN never wins over a number.
fn least(losses: &[f64]) -> (usize, f64) {
    let mut best = (0, f64::INFINITY);
    for (i, &loss) in losses.iter().enumerate() {
        if loss < best.1 {
            best = (i, loss);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_pcg::Pcg64;

    use super::*;

    /// (z − 2)² of one row, and 0 of what is not a number.
    struct Parabola;

    impl LatentModel for Parabola {
        fn code_len(&self) -> usize {
            1
        }

        fn rows(&self) -> usize {
            1
        }

        fn losses(&mut self, candidates: Candidates<'_>, _: Groups<'_>, sums: &mut [f64]) {
            for (c, sum) in sums.iter_mut().enumerate() {
                let mut code = vec![];
                candidates.push(1, 0, c, &mut code);
                let loss = f64::from(code[0] - 2.0).powi(2);
                *sum = if loss.is_nan() { 0.0 } else { loss };
            }
        }
    }

    #[test]
    fn what_is_no_code_is_not_taken_for_one() {
        let mut search = Search::default();
        let mut rng = Pcg64::seed_from_u64(0);
        search.run(&mut Parabola, Groups::PerRow, CodeSearch::coordinate(1), &mut rng).unwrap();
        let found = search.codes()[0];
        search.offer(&mut Parabola, Groups::PerRow, &[f32::NAN]).unwrap();
        assert_eq!(search.codes(), [found]);
        search.offer(&mut Parabola, Groups::PerRow, &[2.0]).unwrap();
        assert_eq!(search.codes(), [2.0]);
    }
}
