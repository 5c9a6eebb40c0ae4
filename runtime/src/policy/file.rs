//! The policy file: reading with full verification, and writing.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use super::{LatentKind, MeanScale, ParseKindError, Policy, Terms};
use crate::tensors::{self, Metadata, Tensor, TensorError, TensorFile};

/// Schema that this version writes and accepts.
pub const SCHEMA: &str = "sog.policy/1";

/// Added to the variance before its square root is taken.
pub const VARIANCE_FLOOR: f32 = 1e-8;

/// Largest difference between a golden action and the runtime's, relative to max(1, |golden|).
const GOLDEN_TOLERANCE: f32 = 1e-5;

/// The only architecture and activation there are.
const ARCH: &str = "two-branch";
const ACTIVATION: &str = "tanh";

/// Network weights, row-major `[out, in]` as in the file. S observation, H hidden, Z latent and
/// A action width.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// `actor.state.0.weight`, `[H, S]`.
    pub state0_weight: Vec<f32>,
    /// `actor.state.0.bias`, `[H]`.
    pub state0_bias: Vec<f32>,
    /// `actor.state.1.weight`, `[H, H]`.
    pub state1_weight: Vec<f32>,
    /// `actor.state.1.bias`, `[H]`.
    pub state1_bias: Vec<f32>,
    /// `actor.latent.weight`, `[H, Z]`; empty without a code.
    pub latent_weight: Vec<f32>,
    /// `actor.latent.bias`, `[H]`; empty without a code.
    pub latent_bias: Vec<f32>,
    /// `actor.mean.weight`, `[A, H]`.
    pub mean_weight: Vec<f32>,
    /// `actor.mean.bias`, `[A]`.
    pub mean_bias: Vec<f32>,
}

/// Frozen observation normaliser, `[S]` each.
#[derive(Clone, Debug, PartialEq)]
pub struct Normaliser {
    /// `obs.mean`.
    pub mean: Vec<f32>,
    /// `obs.var`.
    pub var: Vec<f32>,
    /// `obs.clip`: bound of the normalised observation.
    pub clip: f32,
}

/// Inputs with the action means that any implementation must give for them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Golden {
    /// `golden.obs`, `[n, S]`, not normalised.
    pub obs: Vec<f32>,
    /// `golden.latent`, `[n, Z]`; empty without a code.
    pub latent: Vec<f32>,
    /// `golden.action`, `[n, A]`: action means before any limit.
    pub action: Vec<f32>,
}

/// Where a policy comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// Program and version that wrote the file.
    pub producer: String,
    /// Algorithm, as `sog train --algo` names it.
    pub algorithm: String,
    /// Seed of the training run.
    pub seed: u64,
    /// SHA-256 of the demonstration file, hexadecimal; empty if there was none.
    pub demos_sha256: String,
    /// RFC 3339 time of the training run's end, or empty.
    pub created: String,
}

/// Everything a policy file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyFile {
    /// Task name.
    pub task: String,
    /// Observation terms, in order; their widths add to S.
    pub obs_terms: Terms,
    /// Action terms, in order; their widths add to A.
    pub action_terms: Terms,
    /// Control period in seconds.
    pub dt_s: f64,
    /// Latent code.
    pub latent: LatentKind,
    /// How the last layer becomes the action mean.
    pub mean_scale: MeanScale,
    /// Network weights.
    pub weights: Weights,
    /// Observation normaliser.
    pub normaliser: Normaliser,
    /// Lower action bounds, `[A]`.
    pub action_low: Vec<f32>,
    /// Upper action bounds, `[A]`.
    pub action_high: Vec<f32>,
    /// Logarithm of the exploration standard deviation, `[A]`.
    pub log_std: Vec<f32>,
    /// Golden vectors.
    pub golden: Golden,
    /// Origin.
    pub provenance: Provenance,
}

/// Why a policy file is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The file is not a readable set of tensors, or a tensor or entry is missing or misshapen.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// Another schema, perhaps a later one.
    #[error("schema is `{found}`, this runtime reads `{SCHEMA}`; use the runtime of that version")]
    Schema {
        /// Schema in the file.
        found: String,
    },
    /// A metadata entry cannot be understood.
    #[error("metadata `{key}`: found `{found}`, need {needed}")]
    Metadata {
        /// The entry.
        key: &'static str,
        /// Its value.
        found: String,
        /// What would be accepted.
        needed: String,
    },
    /// A metadata entry that this schema does not have.
    #[error(
        "metadata `{key}` is not part of `{SCHEMA}`: the file is damaged or of another version"
    )]
    UnknownMetadata {
        /// The entry.
        key: String,
    },
    /// A tensor that this schema does not have.
    #[error("tensor `{name}` is not part of `{SCHEMA}`: the file is damaged or of another version")]
    UnknownTensor {
        /// The tensor.
        name: String,
    },
    /// A number is NaN or infinite.
    #[error("tensor `{name}` holds {value} at index {index}; every number must be finite")]
    NonFinite {
        /// The tensor.
        name: &'static str,
        /// Flat index.
        index: usize,
        /// The number.
        value: f32,
    },
    /// A number is out of its range.
    #[error("tensor `{name}` holds {value} at index {index}, need {needed}")]
    Range {
        /// The tensor.
        name: &'static str,
        /// Flat index.
        index: usize,
        /// The number.
        value: f32,
        /// What would be accepted.
        needed: &'static str,
    },
    /// Inference does not give the golden actions.
    #[error(
        "golden vector {row}: action {component} is {computed}, the file says {golden}; \
         the weights or the golden vectors are damaged"
    )]
    Golden {
        /// Which golden vector.
        row: usize,
        /// Which action component.
        component: usize,
        /// What this runtime computes.
        computed: f32,
        /// What the file says.
        golden: f32,
    },
    /// The terms are not those the robot or task has.
    #[error(
        "{which} terms are `{found}`, the robot has `{needed}`; train for this robot or reorder its terms"
    )]
    Terms {
        /// `observation` or `action`.
        which: &'static str,
        /// Terms in the file.
        found: String,
        /// Terms of the robot.
        needed: String,
    },
    /// The policy is for another task.
    #[error("the policy is for task `{found}`, need `{needed}`")]
    Task {
        /// Task in the file.
        found: String,
        /// Task that is needed.
        needed: String,
    },
}

impl PolicyFile {
    /// Observation width S.
    pub fn obs_dim(&self) -> usize {
        self.obs_terms.width()
    }

    /// Action width A.
    pub fn action_dim(&self) -> usize {
        self.action_terms.width()
    }

    /// Latent width Z.
    pub fn latent_dim(&self) -> usize {
        self.latent.width()
    }

    /// Hidden width H.
    pub fn hidden_dim(&self) -> usize {
        self.weights.state0_bias.len()
    }

    /// Parses and verifies a whole file.
    ///
    /// # Errors
    /// The first of these that does not hold: readable tensors; schema; known metadata and
    /// tensors; shapes that fit the terms; finite numbers in range; golden actions to 1e-5;
    /// checksum.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        let file = TensorFile::parse(bytes)?;
        let schema = file.meta("schema")?;
        if schema != SCHEMA {
            return Err(PolicyError::Schema { found: schema.to_string() });
        }
        let policy = Self::read(&file)?;
        policy.refuse_unknown(&file)?;
        policy.check_numbers()?;
        policy.check_golden()?;
        file.verify_checksum()?;
        Ok(policy)
    }

    /// Bytes of the file; [`seal`](Self::seal) the golden vectors first.
    pub fn to_bytes(&self) -> Vec<u8> {
        let tensors: BTreeMap<String, Tensor> = self
            .tensors()
            .into_iter()
            .map(|(name, shape, values)| (name.to_string(), Tensor::f32(&shape, values)))
            .collect();
        tensors::serialize(&tensors, &self.metadata())
    }

    /// Refuses a policy that does not fit a robot's task, terms or their order.
    ///
    /// # Errors
    /// [`PolicyError::Task`], [`PolicyError::Terms`].
    pub fn check_fits(
        &self,
        task: &str,
        obs_terms: &Terms,
        action_terms: &Terms,
    ) -> Result<(), PolicyError> {
        if self.task != task {
            return Err(PolicyError::Task { found: self.task.clone(), needed: task.to_string() });
        }
        for (which, found, needed) in [
            ("observation", &self.obs_terms, obs_terms),
            ("action", &self.action_terms, action_terms),
        ] {
            if found != needed {
                return Err(PolicyError::Terms {
                    which,
                    found: found.to_string(),
                    needed: needed.to_string(),
                });
            }
        }
        Ok(())
    }

    /// Replaces the golden vectors by `n` new ones: observations spread over ±2 standard
    /// deviations, codes in turn (one-hot) or spread over ±2 (Gaussian), and the action means
    /// computed in double precision from the formula in the [module](super) documentation.
    #[cfg(feature = "std")]
    pub fn seal(&mut self, n: usize) {
        // SplitMix64, top 24 bits: uniform in [−2, 2), the same everywhere.
        let mut state = 0x5347_u64;
        let mut uniform = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 40) as f32 / (1 << 22) as f32 - 2.0
        };
        let (s, z) = (self.obs_dim(), self.latent_dim());
        let mut golden = Golden::default();
        for row in 0..n {
            let obs: Vec<f32> = (0..s)
                .map(|j| self.normaliser.mean[j] + self.normaliser.var[j].sqrt() * uniform())
                .collect();
            let latent: Vec<f32> = match self.latent {
                LatentKind::None => vec![],
                LatentKind::OneHot(k) => (0..k).map(|j| f32::from(j == row % k)).collect(),
                LatentKind::Gaussian(_) => (0..z).map(|_| uniform()).collect(),
            };
            golden.action.extend(self.reference_mean(&obs, &latent).iter().map(|&a| a as f32));
            golden.obs.extend(obs);
            golden.latent.extend(latent);
        }
        self.golden = golden;
    }

    /// Action mean for one observation `[S]` and code `[Z]`, in double precision, straight from
    /// the formula: slow, and independent of the packed inference that it checks.
    #[cfg(feature = "std")]
    pub fn reference_mean(&self, obs: &[f32], latent: &[f32]) -> Vec<f64> {
        let linear = |weight: &[f32], bias: &[f32], x: &[f64]| -> Vec<f64> {
            bias.iter()
                .enumerate()
                .map(|(i, &b)| {
                    let row = &weight[i * x.len()..(i + 1) * x.len()];
                    row.iter().zip(x).fold(f64::from(b), |sum, (&w, &x)| sum + f64::from(w) * x)
                })
                .collect()
        };
        let tanh = |x: Vec<f64>| -> Vec<f64> { x.into_iter().map(f64::tanh).collect() };
        let (w, norm) = (&self.weights, &self.normaliser);
        let clip = f64::from(norm.clip);
        let x: Vec<f64> = (0..obs.len())
            .map(|j| {
                let std = (f64::from(norm.var[j]) + f64::from(VARIANCE_FLOOR)).sqrt();
                ((f64::from(obs[j]) - f64::from(norm.mean[j])) / std).clamp(-clip, clip)
            })
            .collect();
        let hidden = tanh(linear(&w.state0_weight, &w.state0_bias, &x));
        let mut sum = linear(&w.state1_weight, &w.state1_bias, &hidden);
        if self.latent != LatentKind::None {
            let z: Vec<f64> = latent.iter().map(|&z| f64::from(z)).collect();
            for (s, l) in sum.iter_mut().zip(linear(&w.latent_weight, &w.latent_bias, &z)) {
                *s += l;
            }
        }
        let last = linear(&w.mean_weight, &w.mean_bias, &tanh(sum));
        match self.mean_scale {
            MeanScale::None => last,
            MeanScale::Tanh(c) => tanh(last).into_iter().map(|y| f64::from(c) * y).collect(),
        }
    }

    /// Name, shape and values of every tensor: the one list that reading and writing share.
    fn tensors(&self) -> Vec<(&'static str, Vec<usize>, &[f32])> {
        let (s, z, h, a) =
            (self.obs_dim(), self.latent_dim(), self.hidden_dim(), self.action_dim());
        let n = self.golden.action.len() / a.max(1);
        let w = &self.weights;
        let mut list: Vec<(&'static str, Vec<usize>, &[f32])> = vec![
            ("actor.state.0.weight", vec![h, s], &w.state0_weight),
            ("actor.state.0.bias", vec![h], &w.state0_bias),
            ("actor.state.1.weight", vec![h, h], &w.state1_weight),
            ("actor.state.1.bias", vec![h], &w.state1_bias),
            ("actor.mean.weight", vec![a, h], &w.mean_weight),
            ("actor.mean.bias", vec![a], &w.mean_bias),
            ("obs.mean", vec![s], &self.normaliser.mean),
            ("obs.var", vec![s], &self.normaliser.var),
            ("action.low", vec![a], &self.action_low),
            ("action.high", vec![a], &self.action_high),
            ("log_std", vec![a], &self.log_std),
            ("golden.obs", vec![n, s], &self.golden.obs),
            ("golden.action", vec![n, a], &self.golden.action),
        ];
        if self.latent != LatentKind::None {
            list.push(("actor.latent.weight", vec![h, z], &w.latent_weight));
            list.push(("actor.latent.bias", vec![h], &w.latent_bias));
            list.push(("golden.latent", vec![n, z], &self.golden.latent));
        }
        list
    }

    fn metadata(&self) -> Metadata {
        let p = &self.provenance;
        [
            ("schema", SCHEMA.to_string()),
            ("task", self.task.clone()),
            ("obs.terms", self.obs_terms.to_string()),
            ("action.terms", self.action_terms.to_string()),
            ("dt", self.dt_s.to_string()),
            ("latent.kind", self.latent.to_string()),
            ("arch", ARCH.to_string()),
            ("activation", ACTIVATION.to_string()),
            ("obs.clip", self.normaliser.clip.to_string()),
            ("mean.scale", self.mean_scale.to_string()),
            ("producer", p.producer.clone()),
            ("algorithm", p.algorithm.clone()),
            ("seed", p.seed.to_string()),
            ("demos.sha256", p.demos_sha256.clone()),
            ("created", p.created.clone()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_string(), value))
        .collect()
    }

    fn read(file: &TensorFile<'_>) -> Result<Self, PolicyError> {
        for (key, needed) in [("arch", ARCH), ("activation", ACTIVATION)] {
            let found = file.meta(key)?;
            if found != needed {
                return Err(metadata_error(key, found, format!("`{needed}`")));
            }
        }
        let obs_terms: Terms = parse_meta(file, "obs.terms")?;
        let action_terms: Terms = parse_meta(file, "action.terms")?;
        let latent: LatentKind = parse_meta(file, "latent.kind")?;
        let (s, z, a) = (obs_terms.width(), latent.width(), action_terms.width());
        let h = rows(file, "actor.state.0.bias", &[])?;
        let n = rows(file, "golden.obs", &[s])?;
        let conditioned = |name, shape: &[usize]| match latent {
            LatentKind::None => Ok(vec![]),
            _ => file.f32_of(name, shape),
        };
        Ok(Self {
            task: file.meta("task")?.to_string(),
            dt_s: positive(file, "dt")?,
            latent,
            mean_scale: parse_meta(file, "mean.scale")?,
            weights: Weights {
                state0_weight: file.f32_of("actor.state.0.weight", &[h, s])?,
                state0_bias: file.f32_of("actor.state.0.bias", &[h])?,
                state1_weight: file.f32_of("actor.state.1.weight", &[h, h])?,
                state1_bias: file.f32_of("actor.state.1.bias", &[h])?,
                latent_weight: conditioned("actor.latent.weight", &[h, z])?,
                latent_bias: conditioned("actor.latent.bias", &[h])?,
                mean_weight: file.f32_of("actor.mean.weight", &[a, h])?,
                mean_bias: file.f32_of("actor.mean.bias", &[a])?,
            },
            normaliser: Normaliser {
                mean: file.f32_of("obs.mean", &[s])?,
                var: file.f32_of("obs.var", &[s])?,
                clip: positive(file, "obs.clip")? as f32,
            },
            action_low: file.f32_of("action.low", &[a])?,
            action_high: file.f32_of("action.high", &[a])?,
            log_std: file.f32_of("log_std", &[a])?,
            golden: Golden {
                obs: file.f32_of("golden.obs", &[n, s])?,
                latent: conditioned("golden.latent", &[n, z])?,
                action: file.f32_of("golden.action", &[n, a])?,
            },
            provenance: Provenance {
                producer: file.meta("producer")?.to_string(),
                algorithm: file.meta("algorithm")?.to_string(),
                seed: file.meta("seed")?.parse().map_err(|_| {
                    let found = file.meta("seed").unwrap_or_default();
                    metadata_error("seed", found, "an unsigned 64-bit number".to_string())
                })?,
                demos_sha256: file.meta("demos.sha256")?.to_string(),
                created: file.meta("created")?.to_string(),
            },
            obs_terms,
            action_terms,
        })
    }

    fn refuse_unknown(&self, file: &TensorFile<'_>) -> Result<(), PolicyError> {
        let known = self.metadata();
        let strange = |key: &&String| *key != tensors::CHECKSUM_KEY && !known.contains_key(*key);
        if let Some(key) = file.metadata().keys().find(strange) {
            return Err(PolicyError::UnknownMetadata { key: key.clone() });
        }
        let known = self.tensors();
        let strange = |name: &&str| known.iter().all(|(k, ..)| k != name);
        match file.names().into_iter().find(strange) {
            Some(name) => Err(PolicyError::UnknownTensor { name: name.to_string() }),
            None => Ok(()),
        }
    }

    fn check_numbers(&self) -> Result<(), PolicyError> {
        for (name, _, values) in self.tensors() {
            if let Some(index) = values.iter().position(|v| !v.is_finite()) {
                return Err(PolicyError::NonFinite { name, index, value: values[index] });
            }
        }
        let range = |name, index: Option<usize>, values: &[f32], needed| match index {
            Some(index) => Err(PolicyError::Range { name, index, value: values[index], needed }),
            None => Ok(()),
        };
        let var = &self.normaliser.var;
        range("obs.var", var.iter().position(|&v| v < 0.0), var, "a variance, 0 or more")?;
        let crossed = self.action_low.iter().zip(&self.action_high).position(|(l, h)| l >= h);
        range("action.low", crossed, &self.action_low, "less than `action.high`")
    }

    fn check_golden(&self) -> Result<(), PolicyError> {
        let policy = Policy::new(self);
        let mut workspace = policy.workspace(1);
        let (s, z, a) = (self.obs_dim(), self.latent_dim(), self.action_dim());
        let mut action = vec![0.0; a];
        for (row, golden) in self.golden.action.chunks_exact(a).enumerate() {
            let obs = &self.golden.obs[row * s..(row + 1) * s];
            let latent = &self.golden.latent[row * z..(row + 1) * z];
            policy.mean_actions(&mut workspace, obs, latent, &mut action);
            for (component, (&computed, &golden)) in action.iter().zip(golden).enumerate() {
                let tolerance = GOLDEN_TOLERANCE * golden.abs().max(1.0);
                // Written so that NaN fails.
                let close = (computed - golden).abs() <= tolerance;
                if !close {
                    return Err(PolicyError::Golden { row, component, computed, golden });
                }
            }
        }
        Ok(())
    }
}

fn metadata_error(key: &'static str, found: &str, needed: String) -> PolicyError {
    PolicyError::Metadata { key, found: found.to_string(), needed }
}

fn parse_meta<T>(file: &TensorFile<'_>, key: &'static str) -> Result<T, PolicyError>
where
    T: core::str::FromStr<Err = ParseKindError>,
{
    let text = file.meta(key)?;
    text.parse::<T>().map_err(|e| metadata_error(key, text, e.needed.to_string()))
}

fn positive(file: &TensorFile<'_>, key: &'static str) -> Result<f64, PolicyError> {
    let text = file.meta(key)?;
    let number = text.parse::<f64>().ok().filter(|v| v.is_finite() && *v > 0.0);
    number.ok_or_else(|| metadata_error(key, text, "a positive number".to_string()))
}

/// First dimension of a tensor that must have the shape `[n, rest…]` with n ≥ 1.
fn rows(file: &TensorFile<'_>, name: &str, rest: &[usize]) -> Result<usize, PolicyError> {
    let found = file.shape(name)?;
    match found.split_first() {
        Some((&n, tail)) if n >= 1 && tail == rest => Ok(n),
        _ => {
            let needed = format!("[n ≥ 1] followed by {rest:?}");
            Err(TensorError::Shape { name: name.to_string(), found, needed }.into())
        }
    }
}
