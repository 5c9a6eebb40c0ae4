//! How well clusters of trajectories keep apart, judged on trajectories that they were not found
//! with.
//!
//! Trajectories are split in two halves at random, several times. Centres are found in one half; the
//! other is held out. A number of clusters is one too many where held-out trajectories lie *between*
//! two centres: a way that was cut in two has its middle there, ways that differ leave it empty.

use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::Serialize;
use sog_sim::seed;

use super::{
    cluster::{centres, nearest, squared_distance},
    features::Features,
};
use crate::{data::Demonstrations, normalise::ObsNormaliser};

/// Random splits.
const SPLITS: u64 = 15;

/// Share of the splits that a number of clusters must do well in: in the others a way may be missing
/// from one half. Seven in ten are too few: among a dozen held-out trajectories a cut is often empty by chance.
const MOST_SPLITS: f64 = 0.9;

/// Share of the way between two centres that counts as between them, about the middle.
const BETWEEN: std::ops::RangeInclusive<f64> = 0.35..=0.65;

/// Share of the held-out trajectories of two clusters that may lie between them.
pub const MOST_BETWEEN: f64 = 0.06;

/// Most codes that [`count`] considers.
pub const MOST_CODES: usize = 12;

/// Stream of the seed for the splits.
const SPLIT_STREAM: u64 = 0xc2;

/// A number of clusters and how well it describes held-out trajectories.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Separation {
    /// Number of clusters K.
    pub codes: usize,
    /// Mean squared distance of held-out trajectories to their centres, relative to that of K = 1.
    pub loss: f64,
    /// Largest share, over pairs of clusters, of their held-out trajectories that lie between them.
    pub between: f64,
}

/// The number of codes that demonstrations ask for, with what it was read from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Count {
    /// The largest K whose clusters keep apart ([`MOST_BETWEEN`]).
    pub codes: usize,
    /// K = 1, 2, …
    pub table: Vec<Separation>,
}

/// Counts the ways in demonstrations without a label: the largest K for which held-out trajectories
/// do not lie between clusters, over all kinds of features.
pub fn count(demos: &Demonstrations, normaliser: &ObsNormaliser, seed: u64) -> Count {
    let most = MOST_CODES.min(demos.len() / 4).max(1);
    let of = |features: Features| {
        let points = features.of(demos, normaliser);
        let table = separations(&points, most, seed);
        let apart = table.iter().rfind(|s| s.between <= MOST_BETWEEN);
        Count { codes: apart.map_or(1, |s| s.codes), table }
    };
    let mut found = of(Features::ALL[0]);
    for features in &Features::ALL[1..] {
        let other = of(*features);
        if other.codes > found.codes {
            found = other;
        }
    }
    found
}

/// The features whose `codes` clusters keep apart: the first ones that do, else the best.
pub(super) fn best_features(
    demos: &Demonstrations,
    normaliser: &ObsNormaliser,
    codes: usize,
    seed: u64,
) -> Features {
    let mut best = (Features::Moments, f64::INFINITY);
    if codes < 2 || demos.len() < 4 * codes {
        return best.0;
    }
    for features in Features::ALL {
        let between = separation(&features.of(demos, normaliser), codes, seed).1;
        if between <= MOST_BETWEEN {
            return features;
        }
        if between < best.1 {
            best = (features, between);
        }
    }
    best.0
}

/// K = 1 to `most`.
fn separations(points: &[Vec<f32>], most: usize, seed: u64) -> Vec<Separation> {
    let single = separation(points, 1, seed).0;
    (1..=most)
        .map(|codes| {
            let (loss, between) = separation(points, codes, seed);
            let loss = if single > 0.0 { loss / single } else { 0.0 };
            Separation { codes, loss, between }
        })
        .collect()
}

/// Median held-out loss over the splits, and the share between clusters that [`MOST_SPLITS`] of them
/// stay below.
fn separation(points: &[Vec<f32>], codes: usize, seed: u64) -> (f64, f64) {
    let split = |split: u64| {
        let mut rng = seed::stream(seed::derive(seed, SPLIT_STREAM), split);
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.shuffle(&mut rng);
        let (seen, held_out) = order.split_at(points.len().div_ceil(2));
        let seen: Vec<Vec<f32>> = seen.iter().map(|&n| points[n].clone()).collect();
        let held_out: Vec<&[f32]> = held_out.iter().map(|&n| points[n].as_slice()).collect();
        let centres = centres(&seen, codes, &mut rng);
        (held_out_loss(&held_out, &centres), most_between(&held_out, &centres))
    };
    let found: Vec<(f64, f64)> = (0..SPLITS).into_par_iter().map(split).collect();
    let quantile = |q: f64, of: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = found.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[((values.len() - 1) as f64 * q).round() as usize]
    };
    (quantile(0.5, |f| f.0), quantile(MOST_SPLITS, |f| f.1))
}

fn held_out_loss(points: &[&[f32]], centres: &[Vec<f32>]) -> f64 {
    let sum: f64 = points.iter().map(|p| nearest(p, centres).1).sum();
    sum / points.len().max(1) as f64
}

/// Largest share, over pairs of clusters, of the points of both that lie between their centres. A
/// cluster without a held-out point speaks against the number of clusters.
fn most_between(points: &[&[f32]], centres: &[Vec<f32>]) -> f64 {
    let own: Vec<usize> = points.iter().map(|p| nearest(p, centres).0).collect();
    let mut most = 0.0_f64;
    for a in 0..centres.len() {
        if !own.contains(&a) {
            return 1.0;
        }
        for b in a + 1..centres.len() {
            let (from, to) = (&centres[a], &centres[b]);
            let length = squared_distance(from, to);
            if length <= 0.0 {
                return 1.0;
            }
            let along = |p: &[f32]| {
                let products = p.iter().zip(from).zip(to).map(|((p, a), b)| (p - a) * (b - a));
                products.map(f64::from).sum::<f64>() / length
            };
            let of_both = || own.iter().zip(points).filter(|(own, _)| **own == a || **own == b);
            let middle = of_both().filter(|(_, p)| BETWEEN.contains(&along(p))).count();
            most = most.max(middle as f64 / of_both().count().max(1) as f64);
        }
    }
    most
}
