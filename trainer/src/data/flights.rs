//! Demonstrations from the logs of flights: what a policy flew, or where a person took over.

use std::path::PathBuf;

use sha2::{Digest, Sha256};
use sog_runtime::{
    control::CommandKind,
    telemetry::{Log, LogError, Record},
};
use sog_sim::task::TaskInfo;

use super::{
    DataError, DemoFile, DemoProvenance,
    file::{Raw, hex},
};

/// Which stretches of a flight become demonstrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlightOptions {
    /// Only those where a person had taken over: corrections, as DAgger (Ross et al. 2011) asks for.
    pub interventions: bool,
    /// Shorter stretches are left out, steps.
    pub at_least: usize,
}

/// A stretch of a flight: observations `[T, S]` and what was applied there, `[T, A]`.
type Stretch = (Vec<f32>, Vec<f32>);

/// Reads a log.
///
/// # Errors
/// [`DataError::Io`], [`DataError::Log`].
pub fn read_log(path: &PathBuf) -> Result<Log, DataError> {
    let bytes =
        std::fs::read(path).map_err(|source| DataError::Io { path: path.clone(), source })?;
    let refused = |source: LogError| DataError::Log { path: path.clone(), source };
    Log::parse(&bytes).map_err(refused)
}

/// Demonstrations of the flights in some logs of one task, one after the other; a flight is cut
/// where a record or an observation is missing, and where nobody acted.
///
/// # Errors
/// [`DataError::Empty`] if no stretch is left; what a demonstration file is refused for.
pub fn demonstrations(
    logs: &[Log],
    task: &TaskInfo,
    options: FlightOptions,
) -> Result<DemoFile, DataError> {
    let (s, a) = (task.obs_dim(), task.action_dim());
    let stretches = logs.iter().flat_map(|log| stretches(log, options.interventions));
    let long = |(_, actions): &Stretch| actions.len() >= options.at_least.max(1) * a;
    let stretches: Vec<Stretch> = stretches.filter(long).collect();
    let n = stretches.len();
    let t = stretches.iter().map(|(_, actions)| actions.len() / a).max().unwrap_or(0);
    let mut digest = Sha256::new();
    let (mut observations, mut actions, mut lengths) = (vec![], vec![], vec![]);
    for (i, (o, acted)) in stretches.iter().enumerate() {
        o.iter().chain(acted).for_each(|x| digest.update(x.to_le_bytes()));
        observations.extend_from_slice(o);
        observations.resize((i + 1) * t * s, 0.0);
        actions.extend_from_slice(acted);
        actions.resize((i + 1) * t * a, 0.0);
        lengths.push(u32::try_from(acted.len() / a).unwrap_or(u32::MAX));
    }
    let what = if options.interventions { "interventions" } else { "flights" };
    let raw = Raw {
        observations: (observations, vec![n, t, s]),
        actions: (actions, vec![n, t, a]),
        lengths: Some(lengths),
        labels: None,
        starts: None,
        provenance: DemoProvenance {
            expert: format!("{what}:{}", hex(&digest.finalize())),
            generator: concat!("sog-trainer ", env!("CARGO_PKG_VERSION")).to_string(),
            ..DemoProvenance::default()
        },
    };
    DemoFile::from_raw(raw, task)
}

/// The stretches of a log without a gap.
fn stretches(log: &Log, interventions: bool) -> Vec<Stretch> {
    // An adapter may count several steps of the robot's in one of the policy's.
    let step = log.header.adapter.as_ref().map_or(1, |adapter| u64::from(adapter.steps));
    let (mut all, mut open) = (vec![], Stretch::default());
    for pair in log.records.windows(2) {
        match pair_of(&pair[0], &pair[1], step, interventions) {
            Some((obs, action)) => {
                open.0.extend_from_slice(obs);
                open.1.extend_from_slice(action);
            }
            None if !open.0.is_empty() => all.push(std::mem::take(&mut open)),
            None => {}
        }
    }
    all.extend(Some(open).filter(|open| !open.0.is_empty()));
    all
}

/// The observation of a record and what was applied there, which the next record tells where the
/// robot does.
fn pair_of<'a>(
    here: &'a Record,
    next: &'a Record,
    step: u64,
    interventions: bool,
) -> Option<(&'a [f32], &'a [f32])> {
    let (read, after) = (here.tick.read.ok()?, next.tick.read.ok()?);
    if next.tick.tick != here.tick.tick + 1 || after.step != read.step + step {
        return None;
    }
    let acted = here.tick.command == CommandKind::Act;
    let led = next.taken_over;
    let action = if next.applied.is_empty() { &here.action } else { &next.applied };
    let told = !next.applied.is_empty() || (acted && !led);
    let wanted = if interventions { led } else { acted || led };
    let finite = here.obs.iter().chain(action).all(|v| v.is_finite());
    (wanted && told && finite).then_some((&here.obs, action))
}
