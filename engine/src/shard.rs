//! Batches cut into a fixed number of shards, so that the result does not depend on the number of
//! threads.
//!
//! A batch of n rows has ⌈n/32⌉ panels and at most [`MAX_SHARDS`] shards of consecutive panels;
//! how many follows from n alone. Each shard sums its own gradient over its panels in order, and
//! the shards' gradients are added in order. Threads only decide who works on which shard.

use std::ops::Range;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::kernel::{PANEL, add_assign, panels};

/// Most shards of a batch, and so the most threads that one update can use.
pub const MAX_SHARDS: usize = 8;

/// Number of sums that a loss may gather beside its gradient.
pub(crate) const SUMS: usize = 6;

/// Who works on the shards of a batch. The results are the same, bit for bit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parallelism {
    /// The calling thread alone.
    #[default]
    Serial,
    /// The rayon pool of the calling thread, where and while that is faster: updates measure it.
    /// Call from inside the pool (`ThreadPool::install`): entering it from outside costs more than
    /// a small update.
    Rayon,
}

/// How a batch is cut.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Plan {
    pub(crate) rows: usize,
    /// Panels per shard; the last shard may have fewer.
    pub(crate) per_shard: usize,
    pub(crate) shards: usize,
}

impl Plan {
    pub(crate) fn new(rows: usize) -> Self {
        let count = panels(rows);
        let per_shard = count.div_ceil(MAX_SHARDS).max(1);
        Self { rows, per_shard, shards: count.div_ceil(per_shard) }
    }

    /// Rows of a whole shard.
    pub(crate) fn shard_rows(&self) -> usize {
        self.per_shard * PANEL
    }

    /// Rows of the batch in shard `shard`.
    pub(crate) fn rows_of(&self, shard: usize) -> Range<usize> {
        let from = shard * self.shard_rows();
        from..self.rows.min(from + self.shard_rows())
    }

    /// What shard `shard` has of `data`, which is `width` values a row.
    pub(crate) fn part_of<'a>(&self, shard: usize, data: &'a [f32], width: usize) -> &'a [f32] {
        let rows = self.rows_of(shard);
        &data[rows.start * width..rows.end * width]
    }

    /// Rows of the batch in each panel of shard `shard`.
    pub(crate) fn panels_of(&self, shard: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let Range { start, end } = self.rows_of(shard);
        (start..end).step_by(PANEL).map(move |from| from..end.min(from + PANEL))
    }
}

/// Runs `work` on every shard's state.
pub(crate) fn run<T: Send>(
    mode: Parallelism,
    shards: &mut [T],
    work: impl Fn(usize, &mut T) + Sync,
) {
    if shards.len() < 2 || !mode.has_helpers() {
        shards.iter_mut().enumerate().for_each(|(i, shard)| work(i, shard));
    } else {
        let shards = shards.par_iter_mut().with_max_len(1).enumerate();
        shards.for_each(|(i, shard)| work(i, shard));
    }
}

/// Runs `work` on every shard's state, which is in two parts.
pub(crate) fn run_pairs<T: Send, U: Send>(
    mode: Parallelism,
    shards: (&mut [T], &mut [U]),
    work: impl Fn(usize, &mut T, &mut U) + Sync,
) {
    if shards.0.len() < 2 || !mode.has_helpers() {
        let shards = shards.0.iter_mut().zip(shards.1).enumerate();
        shards.for_each(|(i, (one, other))| work(i, one, other));
    } else {
        let shards = shards.0.par_iter_mut().zip(shards.1).with_max_len(1).enumerate();
        shards.for_each(|(i, (one, other))| work(i, one, other));
    }
}

/// State of a shard that keeps a gradient of its own.
pub(crate) trait ShardGrad: Send + Sync {
    fn grad(&self) -> &[f32];
    fn grad_mut(&mut self) -> &mut Vec<f32>;
}

/// Where a gradient goes.
pub(crate) struct Target<'a> {
    grad: &'a mut [f32],
    add: bool,
}

impl<'a> Target<'a> {
    /// The gradient is added to what is there.
    pub(crate) fn add_to(grad: &'a mut [f32]) -> Self {
        Self { grad, add: true }
    }

    /// The gradient replaces what is there.
    pub(crate) fn replace(grad: &'a mut [f32]) -> Self {
        Self { grad, add: false }
    }

    /// Number of parameters.
    pub(crate) fn len(&self) -> usize {
        self.grad.len()
    }
}

/// Runs `work` on every shard; what it adds to the gradient it is given ends up in `target`.
///
/// For a shard of one panel, `work` must add to each element at most once.
pub(crate) fn accumulate<T: ShardGrad>(
    mode: Parallelism,
    plan: Plan,
    shards: &mut [T],
    target: Target<'_>,
    work: impl Fn(usize, &mut T, &mut [f32]) + Sync,
) {
    let Target { grad, add } = target;
    let len = grad.len();
    let own_gradient = |i: usize, shard: &mut T| {
        let mut own = std::mem::take(shard.grad_mut());
        own.clear();
        own.resize(len, 0.0);
        work(i, shard, &mut own);
        *shard.grad_mut() = own;
    };
    // One addition per element is the same as adding up a gradient of the shard's own.
    let direct = plan.per_shard == 1;
    let in_order = |shards: &mut [T], grad: &mut [f32]| {
        if !add {
            grad.fill(0.0);
        }
        for (i, shard) in shards.iter_mut().enumerate() {
            if direct {
                work(i, shard, grad);
            } else {
                own_gradient(i, shard);
                add_assign(pulp::Arch::new(), grad, shard.grad());
            }
        }
    };
    let threads = mode.threads();
    if shards.len() < 2 || threads < 2 {
        return in_order(shards, grad);
    }
    let (here, elsewhere) = shards.split_at_mut(shards.len().div_ceil(threads));
    let from = here.len();
    rayon::join(
        || in_order(here, grad),
        || run(mode, elsewhere, |i, shard| own_gradient(from + i, shard)),
    );
    let elsewhere = &*elsewhere;
    let part = mode.part_len(len);
    grad.par_chunks_mut(part).enumerate().for_each(|(i, grad)| {
        for shard in elsewhere {
            add_assign(pulp::Arch::new(), grad, &shard.grad()[i * part..][..grad.len()]);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_cover_every_row_once_and_are_at_most_eight() {
        for rows in [1, 31, 32, 33, 64, 255, 256, 257, 2048, 10_000] {
            let plan = Plan::new(rows);
            assert!(plan.shards <= MAX_SHARDS);
            let covered: Vec<usize> =
                (0..plan.shards).flat_map(|s| plan.panels_of(s)).flatten().collect();
            assert!(covered.into_iter().eq(0..rows), "{rows}");
            assert!((0..plan.shards).all(|s| !plan.rows_of(s).is_empty()));
        }
    }
}
