//! What a segment of a fleet's rollout recorded.

use super::member::{Lanes, Member};

/// Whether and how an episode ended with a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Ended {
    /// It goes on.
    #[default]
    No,
    /// The task's failure: the value of what follows is 0.
    Failed,
    /// The horizon: what follows has the value of [`EpisodeEnd::obs`].
    TimeLimit,
}

/// A segment of n environments × T steps, environment-major: row `env · T + t` of each buffer.
/// Widths: S observation, Z code, A action, M rewards.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// n, number of environments.
    pub envs: usize,
    /// T, steps of the segment.
    pub steps: usize,
    /// `[n, T, S]`: raw observations before each step.
    pub obs: Vec<f32>,
    /// `[n, T, Z]`: codes.
    pub codes: Vec<f32>,
    /// `[n, T, A]`: the actor's action means.
    pub means: Vec<f32>,
    /// `[n, T, A]`: actions decided, exploration included, perturbation not.
    pub actions: Vec<f32>,
    /// `[n, T, M]`: rewards of every mode or goal.
    pub rewards: Vec<f32>,
    /// `[n, T]`: how the step ended its episode; the next row starts another.
    pub ended: Vec<Ended>,
    /// `[n, S]`: observations after the last step (of the new episode, where one ended there).
    pub last_obs: Vec<f32>,
    /// `[n, Z]`: codes after the last step.
    pub last_codes: Vec<f32>,
    ends: Vec<Ends>,
}

/// An episode that ended within the segment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpisodeEnd<'a> {
    /// Environment.
    pub env: usize,
    /// Its last step, an index into the segment.
    pub t: usize,
    /// Steps of the whole episode, earlier segments included.
    pub length: usize,
    /// How it ended.
    pub ended: Ended,
    /// `[S]`: observation after its last step.
    pub obs: &'a [f32],
    /// `[Z]`: its code.
    pub code: &'a [f32],
    /// `[M]`: undiscounted returns of the whole episode.
    pub returns: &'a [f64],
}

/// Episode ends of one environment, structure of arrays.
#[derive(Clone, Debug, Default, PartialEq)]
struct Ends {
    t: Vec<usize>,
    length: Vec<usize>,
    obs: Vec<f32>,
    codes: Vec<f32>,
    returns: Vec<f64>,
}

impl Batch {
    /// Buffers for `envs` × `steps` and widths S, Z, A and M.
    pub(super) fn new(envs: usize, steps: usize, [s, z, a, m]: [usize; 4]) -> Self {
        let n = envs * steps;
        Self {
            envs,
            steps,
            obs: vec![0.0; n * s],
            codes: vec![0.0; n * z],
            means: vec![0.0; n * a],
            actions: vec![0.0; n * a],
            rewards: vec![0.0; n * m],
            ended: vec![Ended::No; n],
            last_obs: vec![0.0; envs * s],
            last_codes: vec![0.0; envs * z],
            ends: vec![Ends::default(); envs],
        }
    }

    /// Number of rows, n·T.
    pub fn rows(&self) -> usize {
        self.envs * self.steps
    }

    /// The episodes that ended within the segment, by environment and then time.
    pub fn episodes(&self) -> impl Iterator<Item = EpisodeEnd<'_>> {
        self.ends.iter().enumerate().flat_map(move |(env, ends)| {
            let count = ends.t.len();
            let part = move |i: usize, len: usize| i * (len / count)..(i + 1) * (len / count);
            (0..count).map(move |i| EpisodeEnd {
                env,
                t: ends.t[i],
                length: ends.length[i],
                ended: self.ended[env * self.steps + ends.t[i]],
                obs: &ends.obs[part(i, ends.obs.len())],
                code: &ends.codes[part(i, ends.codes.len())],
                returns: &ends.returns[part(i, ends.returns.len())],
            })
        })
    }

    /// One mutable record an environment, in order.
    pub(super) fn records(&mut self) -> Vec<Record<'_>> {
        let steps = self.steps;
        let mut obs = Parts::new(&mut self.obs, self.envs);
        let mut codes = Parts::new(&mut self.codes, self.envs);
        let mut means = Parts::new(&mut self.means, self.envs);
        let mut actions = Parts::new(&mut self.actions, self.envs);
        let mut rewards = Parts::new(&mut self.rewards, self.envs);
        let mut ended = Parts::new(&mut self.ended, self.envs);
        let mut last_obs = Parts::new(&mut self.last_obs, self.envs);
        let mut last_code = Parts::new(&mut self.last_codes, self.envs);
        self.ends
            .iter_mut()
            .map(|ends| {
                ends.clear();
                Record {
                    steps,
                    obs: obs.take(),
                    codes: codes.take(),
                    means: means.take(),
                    actions: actions.take(),
                    rewards: rewards.take(),
                    ended: ended.take(),
                    last_obs: last_obs.take(),
                    last_code: last_code.take(),
                    ends,
                }
            })
            .collect()
    }
}

/// A buffer handed out in equal parts; an empty buffer gives empty parts.
struct Parts<'a, T> {
    rest: &'a mut [T],
    width: usize,
}

impl<'a, T> Parts<'a, T> {
    fn new(rest: &'a mut [T], parts: usize) -> Self {
        let width = rest.len() / parts.max(1);
        Self { rest, width }
    }

    fn take(&mut self) -> &'a mut [T] {
        let (part, rest) = std::mem::take(&mut self.rest).split_at_mut(self.width);
        self.rest = rest;
        part
    }
}

/// One environment's part of a [`Batch`].
pub(super) struct Record<'a> {
    steps: usize,
    obs: &'a mut [f32],
    codes: &'a mut [f32],
    means: &'a mut [f32],
    actions: &'a mut [f32],
    rewards: &'a mut [f32],
    ended: &'a mut [Ended],
    pub(super) last_obs: &'a mut [f32],
    pub(super) last_code: &'a mut [f32],
    ends: &'a mut Ends,
}

impl Record<'_> {
    /// Records step `t`, just taken by `member` in `lane`.
    pub(super) fn step(
        &mut self,
        t: usize,
        lanes: &Lanes<'_>,
        lane: usize,
        member: &Member,
        ended: Ended,
    ) {
        let steps = self.steps;
        row(self.obs, t, steps).copy_from_slice(lanes.obs(lane));
        row(self.codes, t, steps).copy_from_slice(&member.code);
        row(self.means, t, steps).copy_from_slice(lanes.mean(lane));
        row(self.actions, t, steps).copy_from_slice(lanes.action(lane));
        let rewards = row(self.rewards, t, steps);
        rewards.iter_mut().zip(&member.rewards).for_each(|(out, &r)| *out = r as f32);
        self.ended[t] = ended;
    }

    /// Records that `member`'s episode ended with step `t`; call before it starts another.
    pub(super) fn end(&mut self, t: usize, lanes: &mut Lanes<'_>, member: &Member) {
        let ends = &mut *self.ends;
        ends.t.push(t);
        ends.length.push(member.step);
        let at = ends.obs.len();
        ends.obs.resize(at + self.last_obs.len(), 0.0);
        lanes.observe(member, &mut ends.obs[at..]);
        ends.codes.extend_from_slice(&member.code);
        ends.returns.extend_from_slice(&member.returns);
    }
}

/// Row `t` of a buffer of `rows` rows.
fn row(buffer: &mut [f32], t: usize, rows: usize) -> &mut [f32] {
    let width = buffer.len() / rows;
    &mut buffer[t * width..][..width]
}

impl Ends {
    fn clear(&mut self) {
        let Self { t, length, obs, codes, returns } = self;
        t.clear();
        length.clear();
        obs.clear();
        codes.clear();
        returns.clear();
    }
}
