//! Mirror images of a robot: an expert for one direction is an expert for its mirror image.
//!
//! A mirror maps an observation s to M s and an action a to N a, both signed permutations. If
//! policy π walks towards θ, then N⁻¹ π(M s) walks towards the mirror image of θ; applied to the
//! weights, the result is an ordinary policy again. The tests run mirrored pairs through the
//! simulator.
//!
//! Under the reflection of the y axis, vectors change the sign of y, and axial vectors (angular
//! velocities, the vector part of a quaternion) those of x and z; likewise for the x axis.

use std::collections::BTreeMap;

use serde::Deserialize;
use sog_runtime::policy::{PolicyFile, Terms};
use sog_sim::tasks::TaskFolder;

use crate::run::ConfigError;

/// Entry i of the image is `sign`·(entry `source` of the original).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// Index in the original.
    pub source: usize,
    /// 1 or −1.
    pub sign: f32,
}

/// A mirror image of a robot.
#[derive(Clone, Debug, PartialEq)]
pub struct Mirror {
    /// M, one entry an observation component.
    pub obs: Vec<Entry>,
    /// N, one entry an action component.
    pub action: Vec<Entry>,
}

/// A reflection of the plane.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Reflection {
    /// x → −x.
    X,
    /// y → −y.
    Y,
    /// Both: half a turn.
    Xy,
}

/// The file of a task's folder that says what its mirror images are.
const FILE: &str = "symmetry.toml";

/// What a mirror image is made of, as the file says it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Image {
    /// Terms of the observation that do not stay as they are.
    observation: BTreeMap<String, Change>,
    /// Terms of the action that do not stay as they are.
    action: BTreeMap<String, Change>,
    /// Other images, one after the other, instead.
    then: Vec<Reflection>,
}

/// What becomes of a term.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Change {
    /// Another term, or its negative: `"-hip_4_angle"`.
    Term(String),
    /// The same term, in blocks that change places, each with these signs.
    Parts(Parts),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    /// Block that takes each block's place; one block by default.
    #[serde(default)]
    blocks: Vec<usize>,
    /// One sign a component of a block.
    signs: Vec<f32>,
}

impl Mirror {
    /// A mirror image of a task's robot, as `symmetry.toml` beside the task says it.
    ///
    /// # Errors
    /// [`ConfigError`] if the robot has no such image or the file does not fit the task.
    pub fn of(task: &TaskFolder, reflection: Reflection) -> Result<Self, ConfigError> {
        let error = |key: &str, found: String, needed: &str| ConfigError::Range {
            key: format!("{FILE}: {key}"),
            found,
            needed: needed.to_string(),
        };
        let text =
            task.read(FILE).map_err(|e| error("", e.to_string(), "a file that can be read"))?;
        let text = text.unwrap_or_default();
        let images: BTreeMap<Reflection, Image> = toml::from_str(&text)
            .map_err(|e| ConfigError::Syntax { reason: format!("{FILE}: {e}") })?;
        let Some(image) = images.get(&reflection) else {
            let found = format!("{reflection:?} for {}", task.info().name);
            return Err(error("mirror", found, "an image that the task's robot has"));
        };
        if let [first, rest @ ..] = &image.then[..] {
            if image.then.contains(&reflection) {
                return Err(error("then", format!("{reflection:?}"), "other images"));
            }
            let mut mirror = Self::of(task, *first)?;
            for next in rest {
                mirror = mirror.then(&Self::of(task, *next)?);
            }
            return Ok(mirror);
        }
        let entries = |terms: &Terms, changes: &BTreeMap<String, Change>| {
            entries(terms, changes).map_err(|(key, found, needed)| error(&key, found, needed))
        };
        Ok(Self {
            obs: entries(&task.info().obs_terms, &image.observation)?,
            action: entries(&task.info().action_terms, &image.action)?,
        })
    }

    /// This mirror, then another.
    pub fn then(&self, next: &Self) -> Self {
        let compose = |first: &[Entry], second: &[Entry]| {
            let entry = |e: &Entry| Entry {
                source: first[e.source].source,
                sign: e.sign * first[e.source].sign,
            };
            second.iter().map(entry).collect()
        };
        Self { obs: compose(&self.obs, &next.obs), action: compose(&self.action, &next.action) }
    }

    /// The policy N⁻¹ π(M s), sealed with golden vectors of its own.
    pub fn policy(&self, original: &PolicyFile) -> PolicyFile {
        let mut image = original.clone();
        let (first, image_first) = (&original.network.hidden[0], &mut image.network.hidden[0]);
        let inputs = first.inputs();
        for (i, e) in self.obs.iter().enumerate() {
            let rows = first.weight.chunks_exact(inputs);
            for (row, image) in rows.zip(image_first.weight.chunks_exact_mut(inputs)) {
                image[e.source] = e.sign * row[i];
            }
            image.normaliser.mean[e.source] = e.sign * original.normaliser.mean[i];
            image.normaliser.var[e.source] = original.normaliser.var[i];
        }
        let (last, image_last) = (&original.network.mean, &mut image.network.mean);
        let h = last.inputs();
        for (k, e) in self.action.iter().enumerate() {
            let from = &last.weight[k * h..(k + 1) * h];
            let to = &mut image_last.weight[e.source * h..(e.source + 1) * h];
            to.iter_mut().zip(from).for_each(|(to, w)| *to = e.sign * w);
            image_last.bias[e.source] = e.sign * last.bias[k];
            image.log_std[e.source] = original.log_std[k];
        }
        image.seal(original.golden.action.len() / original.action_dim().max(1));
        image
    }
}

/// A key, what it holds, and what it needs to hold.
type Fault = (String, String, &'static str);

/// One entry a component of `terms`.
fn entries(terms: &Terms, changes: &BTreeMap<String, Change>) -> Result<Vec<Entry>, Fault> {
    let start_of = |name: &str| {
        let at = terms.0.iter().position(|term| term.name == name)?;
        let start = terms.0[..at].iter().map(|term| term.width).sum::<usize>();
        Some((start, terms.0[at].width))
    };
    if let Some(unknown) = changes.keys().find(|name| start_of(name).is_none()) {
        return Err((unknown.clone(), "a change".to_string(), "a term of the task"));
    }
    let mut entries = Vec::new();
    for term in &terms.0 {
        let own = entries.len();
        let (mut blocks, mut signs, mut start) = (vec![0], vec![1.0; term.width], own);
        match changes.get(&term.name) {
            None => {}
            Some(Change::Term(text)) => {
                let other = text.strip_prefix('-').unwrap_or(text);
                let Some((at, _)) = start_of(other).filter(|(_, width)| *width == term.width)
                else {
                    return Err((term.name.clone(), text.clone(), "a term of the same width"));
                };
                start = at;
                if text.starts_with('-') {
                    signs.fill(-1.0);
                }
            }
            Some(Change::Parts(parts)) => {
                signs.clone_from(&parts.signs);
                if !parts.blocks.is_empty() {
                    blocks.clone_from(&parts.blocks);
                }
            }
        }
        let mut sorted = blocks.clone();
        sorted.sort_unstable();
        let fits = blocks.len() * signs.len() == term.width
            && sorted.into_iter().eq(0..blocks.len())
            && signs.iter().all(|sign| sign.abs() == 1.0);
        if !fits {
            let found = format!("{} blocks of {} signs", blocks.len(), signs.len());
            return Err((term.name.clone(), found, "blocks that are the term, signs of 1 and -1"));
        }
        for block in blocks {
            let at = start + block * signs.len();
            entries
                .extend(signs.iter().enumerate().map(|(i, &sign)| Entry { source: at + i, sign }));
        }
    }
    let mut seen = vec![false; entries.len()];
    for (i, entry) in entries.iter().enumerate() {
        if std::mem::replace(&mut seen[entry.source], true) {
            let found = format!("component {i} and one before come from the same");
            return Err(("".to_string(), found, "each component to come from one of its own"));
        }
    }
    Ok(entries)
}
