//! Demonstrations picked, cut, joined and parted.

use std::ops::Range;

use rand::{SeedableRng, seq::SliceRandom};
use rand_pcg::Pcg64;
use sog_sim::task::TaskInfo;

use super::{DataError, DemoFile, Labels, StartStates};

impl DemoFile {
    /// The chosen trajectories in that order, of each only the given steps; one without steps is
    /// left out. A trajectory that is cut at its beginning has no start state any more, and then
    /// none has.
    ///
    /// # Errors
    /// [`DataError::Empty`] if nothing is left.
    ///
    /// # Panics
    /// If a number or a step is out of range.
    pub fn picked(&self, chosen: &[(usize, Range<usize>)]) -> Result<Self, DataError> {
        let chosen: Vec<_> = chosen.iter().filter(|(_, steps)| !steps.is_empty()).collect();
        if chosen.is_empty() {
            return Err(DataError::Empty);
        }
        let numbers: Vec<usize> = chosen.iter().map(|(n, _)| *n).collect();
        let demonstrations = self.demonstrations.selected(&numbers).cut(|i| chosen[i].1.clone());
        let labels = self.labels.as_ref().map(|labels| match labels {
            Labels::Modes(modes) => Labels::Modes(numbers.iter().map(|&n| modes[n]).collect()),
            Labels::Goals { dims, values } => {
                let goal = |&n: &usize| values[n * dims..][..*dims].to_vec();
                Labels::Goals { dims: *dims, values: numbers.iter().flat_map(goal).collect() }
            }
        });
        let whole = chosen.iter().all(|(_, steps)| steps.start == 0);
        let starts = self.starts.as_ref().filter(|_| whole).map(|starts| {
            let (nq, nv) = starts.widths;
            let qpos = numbers.iter().flat_map(|&n| starts.qpos[n * nq..][..nq].to_vec());
            let qvel = numbers.iter().flat_map(|&n| starts.qvel[n * nv..][..nv].to_vec());
            StartStates { widths: starts.widths, qpos: qpos.collect(), qvel: qvel.collect() }
        });
        let mut provenance = self.provenance.clone();
        // They were means over all trajectories.
        provenance.mean_return.clear();
        Ok(Self { demonstrations, labels, starts, provenance })
    }

    /// The trajectories of several files of one task, one after the other. Labels and start states
    /// stay where all files have them.
    ///
    /// # Errors
    /// [`DataError::Empty`] without a file.
    pub fn merged(files: &[Self]) -> Result<Self, DataError> {
        let [first, ..] = files else { return Err(DataError::Empty) };
        let mut all = first.clone();
        for file in &files[1..] {
            all.demonstrations = all.demonstrations.followed_by(&file.demonstrations);
            all.labels = match (all.labels.take(), &file.labels) {
                (Some(Labels::Modes(mut a)), Some(Labels::Modes(b))) => {
                    a.extend(b);
                    Some(Labels::Modes(a))
                }
                (
                    Some(Labels::Goals { dims, mut values }),
                    Some(Labels::Goals { dims: d, values: b }),
                ) if dims == *d => {
                    values.extend(b);
                    Some(Labels::Goals { dims, values })
                }
                _ => None,
            };
            all.starts = match (all.starts.take(), &file.starts) {
                (Some(mut a), Some(b)) if a.widths == b.widths => {
                    a.qpos.extend(&b.qpos);
                    a.qvel.extend(&b.qvel);
                    Some(a)
                }
                _ => None,
            };
        }
        if files.iter().any(|file| file.provenance.expert != first.provenance.expert) {
            all.provenance.expert = "merged".to_string();
        }
        all.provenance.mean_return.clear();
        Ok(all)
    }

    /// Cuts off actions at the task's bounds.
    pub fn clip(&mut self, task: &TaskInfo) {
        let width = task.action_dim();
        for (i, x) in self.demonstrations.actions.iter_mut().enumerate() {
            let (low, high) = (task.action_low[i % width], task.action_high[i % width]);
            *x = x.clamp(low as f32, high as f32);
        }
    }

    /// Numbers of the trajectories that stay and of those that are held out: the share `held_out`
    /// of each mode's (of all, without modes), at least one of several, by chance from the seed.
    pub fn split(&self, held_out: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
        let count = self.demonstrations.len();
        let mut groups: std::collections::BTreeMap<u32, Vec<usize>> = Default::default();
        for n in 0..count {
            let mode = match &self.labels {
                Some(Labels::Modes(modes)) => modes[n],
                _ => 0,
            };
            groups.entry(mode).or_default().push(n);
        }
        let mut rng = Pcg64::seed_from_u64(seed);
        let (mut stay, mut out) = (vec![], vec![]);
        for mut group in groups.into_values() {
            group.shuffle(&mut rng);
            let share = (held_out * group.len() as f64).round() as usize;
            let share = share.clamp(usize::from(group.len() > 1), group.len().saturating_sub(1));
            let (held, rest) = group.split_at(share);
            out.extend_from_slice(held);
            stay.extend_from_slice(rest);
        }
        stay.sort_unstable();
        out.sort_unstable();
        (stay, out)
    }
}
