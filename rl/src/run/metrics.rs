//! Metric files: JSON lines and TensorBoard events, appended together and cut back together.

use std::{
    fs::{File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{RunError, tensorboard};

/// The metrics of a run: one JSON object a line.
pub const METRICS_FILE: &str = "metrics.jsonl";
/// The same for TensorBoard.
pub const EVENTS_FILE: &str = "events.out.tfevents.0.sog";

/// Lengths of the metric files in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct MetricLengths {
    jsonl: u64,
    events: u64,
}

/// A file that only grows, except when it is cut back to a checkpoint.
#[derive(Debug)]
struct Appended {
    path: PathBuf,
    file: File,
    len: u64,
}

/// The open metric files of a run.
#[derive(Debug)]
pub(super) struct MetricFiles {
    jsonl: Appended,
    events: Appended,
}

impl Appended {
    fn open(path: PathBuf) -> Result<Self, RunError> {
        let open = OpenOptions::new().create(true).write(true).truncate(false).open(&path);
        let file = open.map_err(RunError::io("open", &path))?;
        let len = file.metadata().map_err(RunError::io("open", &path))?.len();
        Ok(Self { path, file, len })
    }

    /// Writes at the end; a partial write is taken back, so that no torn line stays.
    fn append(&mut self, bytes: &[u8]) -> Result<(), RunError> {
        let at_end = self.file.seek(SeekFrom::Start(self.len));
        if let Err(source) = at_end.and_then(|_| self.file.write_all(bytes)) {
            let _ = self.file.set_len(self.len);
            return Err(RunError::Io { action: "write", path: self.path.clone(), source });
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> Result<(), RunError> {
        self.file.set_len(len).map_err(RunError::io("truncate", &self.path))?;
        self.len = len;
        Ok(())
    }

    fn sync(&self) -> Result<u64, RunError> {
        self.file.sync_data().map_err(RunError::io("flush", &self.path))?;
        Ok(self.len)
    }
}

impl MetricFiles {
    pub(super) fn open(dir: &Path) -> Result<Self, RunError> {
        Ok(Self {
            jsonl: Appended::open(dir.join(METRICS_FILE))?,
            events: Appended::open(dir.join(EVENTS_FILE))?,
        })
    }

    /// Appends the values of one step to both files.
    pub(super) fn append(
        &mut self,
        step: u64,
        wall_s: f64,
        values: &[(&str, f64)],
    ) -> Result<(), RunError> {
        let mut line = format!("{{\"step\":{step},\"wall_s\":{wall_s:.3}");
        for (name, value) in values {
            line.push_str(&format!(",{}:{}", serde_json::json!(name), serde_json::json!(value)));
        }
        line.push_str("}\n");
        self.jsonl.append(line.as_bytes())?;

        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut bytes = Vec::new();
        if self.events.len == 0 {
            bytes.extend(tensorboard::record(&tensorboard::file_version(now)));
        }
        bytes.extend(tensorboard::record(&tensorboard::scalars(now, step, values)));
        self.events.append(&bytes)
    }

    /// Cuts both files back.
    pub(super) fn truncate(&mut self, lengths: &MetricLengths) -> Result<(), RunError> {
        // Check both before either is cut.
        for (file, len) in [(&self.jsonl, lengths.jsonl), (&self.events, lengths.events)] {
            if file.len < len {
                let path = file.path.clone();
                return Err(RunError::Metrics { path, found: file.len, needed: len });
            }
        }
        self.jsonl.truncate(lengths.jsonl)?;
        self.events.truncate(lengths.events)
    }

    /// Flushes both files to the disk and returns their lengths.
    pub(super) fn sync(&self) -> Result<MetricLengths, RunError> {
        Ok(MetricLengths { jsonl: self.jsonl.sync()?, events: self.events.sync()? })
    }
}
