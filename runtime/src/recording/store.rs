//! Episodes on the disk.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{Episode, layout};
use crate::{
    contract::{Contract, ContractError},
    os::files::{Output, write_atomic},
    policy::Terms,
    tensors::{self, Tensor, TensorError, TensorFile},
};

/// Why a file cannot be gone on with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The system says no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// It is no readable set of tensors, or one is missing or misshapen.
    #[error("{}: {source}", path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: TensorError,
    },
    /// Its demonstrations are of something else.
    #[error("{}: {source}", path.display())]
    Contract {
        /// The file.
        path: PathBuf,
        /// What differs.
        source: ContractError,
    },
    /// It holds more than a recording has.
    #[error("{}: found {found}, need {needed}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What is needed.
        needed: &'static str,
    },
}

/// A demonstration file that grows by whole episodes: after each change it is written beside and
/// renamed, and is on the disk when the call returns.
#[derive(Debug)]
pub struct Store {
    output: Output,
    /// Whether the file is ours, to be replaced.
    begun: bool,
    contract: Contract,
    provenance: Vec<(&'static str, String)>,
    episodes: Vec<Episode>,
    /// Mode of each episode, where they are known: for evaluation alone.
    modes: Vec<u32>,
}

impl Store {
    /// A file to come; it is there with its first episode. `provenance` are metadata beside those
    /// that say what it is of: `expert`, `generator`, `seed`.
    pub fn new(
        output: Output,
        contract: Contract,
        provenance: Vec<(&'static str, String)>,
    ) -> Self {
        Self { output, begun: false, contract, provenance, episodes: vec![], modes: vec![] }
    }

    /// Goes on with the file that is there, if there is one.
    ///
    /// # Errors
    /// [`StoreError`] if it is not one of this recorder's, of the same task, terms, period and
    /// bounds.
    pub fn go_on(mut self) -> Result<Self, StoreError> {
        let path = self.output.path().to_path_buf();
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(self),
            Err(source) => return Err(StoreError::Io { path, source }),
            Ok(bytes) => bytes,
        };
        self.episodes = read(&path, &bytes, &self.contract)?;
        self.begun = true;
        Ok(self)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.output.path()
    }

    /// What is in it.
    pub fn episodes(&self) -> &[Episode] {
        &self.episodes
    }

    /// Adds an episode, with its mode where that is known of all of them.
    ///
    /// # Errors
    /// What the disk says; the file is then as it was, and the episode goes with the next one.
    pub fn add(&mut self, episode: Episode, mode: Option<u32>) -> io::Result<()> {
        self.episodes.push(episode);
        self.modes.extend(mode);
        self.write()
    }

    /// Removes the last episode; a file without any is left as an empty one cannot be: not at all.
    ///
    /// # Errors
    /// What the disk says.
    pub fn remove_last(&mut self) -> io::Result<()> {
        if self.modes.len() == self.episodes.len() {
            self.modes.pop();
        }
        self.episodes.pop();
        if self.episodes.is_empty() && self.begun {
            self.begun = false;
            return std::fs::remove_file(self.path());
        }
        self.write()
    }

    fn write(&mut self) -> io::Result<()> {
        let bytes = self.to_bytes();
        if self.begun {
            return write_atomic(self.path(), &bytes);
        }
        self.output.write(&bytes)?;
        self.begun = true;
        Ok(())
    }

    fn to_bytes(&self) -> Vec<u8> {
        let dims = (self.contract.obs_dim(), self.contract.action_dim());
        let episodes: Vec<(&[f32], &[f32])> =
            self.episodes.iter().map(|e| (&*e.observations, &*e.actions)).collect();
        let mut tensors = layout::tensors(&episodes, dims);
        if !self.modes.is_empty() && self.modes.len() == episodes.len() {
            tensors.insert("modes".to_string(), Tensor::u32(&[episodes.len()], &self.modes));
        }
        let mut metadata = layout::metadata(&self.contract);
        let own = self.provenance.iter().map(|(key, value)| (key.to_string(), value.clone()));
        metadata.extend(own);
        let missing: Vec<u64> = self.episodes.iter().map(|episode| episode.missing).collect();
        if missing.iter().any(|&missing| missing > 0) {
            metadata.insert(MISSING.to_string(), layout::list(&missing));
        }
        tensors::serialize(&tensors, &metadata)
    }
}

/// Metadata: steps of each episode that have no pair, a JSON list; absent where none is missing.
const MISSING: &str = "missing";

/// The episodes of a recorded file.
fn read(path: &Path, bytes: &[u8], contract: &Contract) -> Result<Vec<Episode>, StoreError> {
    let tensor = |source| StoreError::Tensors { path: path.to_path_buf(), source };
    let content = |found: String, needed| {
        Err(StoreError::Content { path: path.to_path_buf(), found, needed })
    };
    let file = TensorFile::parse(bytes).map_err(tensor)?;
    file.verify_checksum().map_err(tensor)?;
    let theirs = contract_in(path, &file)?;
    let fits = contract.check_fits(&theirs);
    fits.map_err(|source| StoreError::Contract {
        path: path.to_path_buf(),
        source: source.between("the robot", "the file"),
    })?;
    let known = ["observations", "actions", "lengths"];
    if let Some(other) = file.names().into_iter().find(|name| !known.contains(name)) {
        let needed =
            "a file of recordings alone; record into a new one, `sog demos merge` joins them";
        return content(format!("the tensor `{other}`"), needed);
    }
    let (s, a) = (contract.obs_dim(), contract.action_dim());
    let shape = file.shape("observations").map_err(tensor)?;
    let &[n, t, _] = shape.as_slice() else {
        return content(format!("`observations` of shape {shape:?}"), "[N, T, S]");
    };
    let observations = file.f32_of("observations", &[n, t, s]).map_err(tensor)?;
    let actions = file.f32_of("actions", &[n, t, a]).map_err(tensor)?;
    let lengths = file.u32("lengths").map_err(tensor)?;
    let missing: Vec<u64> = file
        .metadata()
        .get(MISSING)
        .and_then(|list| serde_json::from_str(list).ok())
        .unwrap_or_default();
    if lengths.len() != n || lengths.iter().any(|&l| l == 0 || l as usize > t) {
        return content(format!("`lengths` {lengths:?}"), "numbers from 1 to T, one an episode");
    }
    let episode = |(i, &length): (usize, &u32)| Episode {
        observations: observations[i * t * s..][..length as usize * s].to_vec(),
        actions: actions[i * t * a..][..length as usize * a].to_vec(),
        missing: missing.get(i).copied().unwrap_or(0),
        terminated: false,
    };
    Ok(lengths.iter().enumerate().map(episode).collect())
}

/// The contract of a demonstration or policy file; infinite bounds where it states none.
///
/// # Errors
/// [`StoreError::Tensors`] for other files, [`StoreError::Content`] naming what cannot be
/// understood.
pub fn contract_of(path: &Path, bytes: &[u8]) -> Result<Contract, StoreError> {
    let parsed = TensorFile::parse(bytes);
    let file = parsed.map_err(|source| StoreError::Tensors { path: path.to_path_buf(), source })?;
    contract_in(path, &file)
}

fn contract_in(path: &Path, file: &TensorFile<'_>) -> Result<Contract, StoreError> {
    let text = |key: &str| file.metadata().get(key).map_or("", String::as_str);
    let bad = |key: &str| StoreError::Content {
        path: path.to_path_buf(),
        found: format!("`{key}` = `{}`", text(key)),
        needed: "what demonstration and policy files say there",
    };
    let terms =
        |key: &str| -> Result<Terms, StoreError> { text(key).parse().map_err(|_| bad(key)) };
    let (obs_terms, action_terms) = (terms("obs.terms")?, terms("action.terms")?);
    let dt_s = text("dt").parse().ok().filter(|dt: &f64| dt.is_finite() && *dt > 0.0);
    // A policy has them as tensors.
    let bounds = |key: &str, unknown: f32| -> Result<Vec<f32>, StoreError> {
        if file.contains(key) {
            return file.f32_of(key, &[action_terms.width()]).map_err(|_| bad(key));
        }
        if !file.metadata().contains_key(key) {
            return Ok(vec![unknown; action_terms.width()]);
        }
        let listed: Option<Vec<f32>> = serde_json::from_str(text(key)).ok();
        listed.filter(|l| l.len() == action_terms.width()).ok_or_else(|| bad(key))
    };
    if text("task").is_empty() {
        return Err(bad("task"));
    }
    Ok(Contract {
        task: text("task").to_string(),
        dt_s: dt_s.ok_or_else(|| bad("dt"))?,
        action_low: bounds("action.low", f32::NEG_INFINITY)?,
        action_high: bounds("action.high", f32::INFINITY)?,
        obs_terms,
        action_terms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::files::Outputs;

    fn contract() -> Contract {
        Contract {
            task: "arm".to_string(),
            obs_terms: Terms::new(&[("q", 2)]),
            action_terms: Terms::new(&[("tau", 1)]),
            dt_s: 0.02,
            action_low: vec![-0.4],
            action_high: vec![0.4],
        }
    }

    fn episode(steps: usize, first: f32) -> Episode {
        Episode {
            observations: (0..2 * steps).map(|i| first + i as f32).collect(),
            actions: (0..steps).map(|i| -(first + i as f32)).collect(),
            missing: steps as u64 % 3,
            terminated: false,
        }
    }

    fn store(path: &Path, force: bool) -> Store {
        let output = Outputs::new(force).claim(path).unwrap();
        Store::new(output, contract(), vec![("expert", "recorded".to_string())])
    }

    #[test]
    fn what_is_added_is_on_the_disk_and_can_be_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("demos.safetensors");
        let mut first = store(&path, false);
        assert!(!path.exists(), "there is no file without an episode");
        for (i, steps) in [3, 5, 1].into_iter().enumerate() {
            first.add(episode(steps, i as f32), None).unwrap();
            let there = read(&path, &std::fs::read(&path).unwrap(), &contract()).unwrap();
            assert_eq!(there, first.episodes());
        }
        first.remove_last().unwrap();
        let mut second = store(&path, true).go_on().unwrap();
        assert_eq!(second.episodes(), [episode(3, 0.0), episode(5, 1.0)]);
        second.add(episode(2, 9.0), None).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(read(&path, &bytes, &contract()).unwrap().len(), 3);
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "nothing is left lying about");

        (0..3).for_each(|_| second.remove_last().unwrap());
        assert!(!path.exists(), "a file without episodes would be none");
        second.add(episode(4, 2.0), None).unwrap();
        assert!(path.exists());
    }

    #[test]
    fn a_file_of_another_robot_is_not_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("demos.safetensors");
        store(&path, false).add(episode(3, 0.0), None).unwrap();
        let other = Contract { dt_s: 0.01, ..contract() };
        let output = Outputs::new(true).claim(&path).unwrap();
        let refused = Store::new(output, other, vec![]).go_on().unwrap_err().to_string();
        assert!(refused.contains("control period") && refused.contains("0.02"), "{refused}");
        store(&path, true).add(episode(3, 0.0), Some(1)).unwrap();
        let refused = store(&path, true).go_on().unwrap_err().to_string();
        assert!(refused.contains("`modes`") && refused.contains("merge"), "{refused}");
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(store(&path, true).go_on().is_err());
        std::fs::write(&path, b"no tensors").unwrap();
        assert!(store(&path, true).go_on().is_err());
    }
}
