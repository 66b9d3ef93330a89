//! What survives a restart of the driver: open executions, schedules and the asynchronous queue, in one small JSON file.
//!
//! Written whole at each change, to a second file that is then renamed. Must never: be needed for anything while the driver runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The file's name in the folder.
const FILE: &str = "aws-dev.json";

/// A state file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The folder or file cannot be read or made.
    #[error("the state in {folder} cannot be opened: {why}")]
    Open {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// It is not what this driver writes.
    #[error("{file} is not a state file of this driver ({why}); move it away to start without it")]
    Format {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: serde_json::Error,
    },
}

/// What is kept, by kind and key.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    kinds: BTreeMap<String, BTreeMap<String, Value>>,
}

/// The file, or nothing if no folder was given.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    file: Option<PathBuf>,
    kept: Mutex<Kept>,
}

impl Journal {
    /// Opens the file in a folder, which is made if it is not there.
    pub(crate) fn open(folder: Option<&Path>) -> Result<Self, JournalError> {
        let Some(folder) = folder else { return Ok(Self::default()) };
        let failed = |why| JournalError::Open { folder: folder.to_owned(), why };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let file = folder.join(FILE);
        let kept = match std::fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).map_err(|why| JournalError::Format { file: file.clone(), why })?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Kept::default(),
            Err(e) => return Err(failed(e)),
        };
        Ok(Self { file: Some(file), kept: Mutex::new(kept) })
    }

    /// Keeps a value.
    pub(crate) fn put(&self, kind: &str, key: &str, value: &impl Serialize) {
        if self.file.is_none() {
            return;
        }
        match serde_json::to_value(value) {
            Ok(value) => self.change(|kept| drop(kept.kinds.entry(kind.to_owned()).or_default().insert(key.to_owned(), value))),
            Err(e) => tracing::error!("{kind} {key} cannot be kept: {e}"),
        }
    }

    /// Keeps it no longer.
    pub(crate) fn remove(&self, kind: &str, key: &str) {
        if self.file.is_some() {
            self.change(|kept| {
                if let Some(all) = kept.kinds.get_mut(kind) {
                    all.remove(key);
                }
            });
        }
    }

    /// All that is kept of a kind. What cannot be read is left out, and said.
    pub(crate) fn all<T: DeserializeOwned>(&self, kind: &str) -> Vec<(String, T)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = kept.kinds.get(kind).into_iter().flatten();
        let read = entries.filter_map(|(key, value)| match T::deserialize(value) {
            Ok(value) => Some((key.clone(), value)),
            Err(e) => {
                tracing::error!("{kind} {key} of the last run cannot be read and is left out: {e}");
                None
            }
        });
        read.collect()
    }

    fn change(&self, change: impl FnOnce(&mut Kept)) {
        let Some(file) = &self.file else { return };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut kept);
        let written = serde_json::to_vec(&*kept).map_err(std::io::Error::other).and_then(|text| {
            let new = file.with_extension("new");
            std::fs::write(&new, text)?;
            std::fs::rename(&new, file)
        });
        if let Err(e) = written {
            tracing::error!("{} cannot be written: {e}; a restart of the driver would lose what has changed", file.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_finds_what_the_first_kept() {
        let folder = tempfile::tempdir().unwrap();
        let first = Journal::open(Some(folder.path())).unwrap();
        first.put("event", "a", &1);
        first.put("event", "b", &2);
        first.put("schedule", "c", &"x");
        first.remove("event", "a");
        let second = Journal::open(Some(folder.path())).unwrap();
        assert_eq!(second.all::<i32>("event"), [("b".to_owned(), 2)]);
        assert_eq!(second.all::<String>("schedule"), [("c".to_owned(), "x".to_owned())]);
        assert!(second.all::<i32>("schedule").is_empty(), "what has another form is left out");
    }

    #[test]
    fn a_foreign_file_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "[]").unwrap();
        let refused = Journal::open(Some(folder.path())).unwrap_err().to_string();
        assert!(refused.contains(FILE), "{refused}");
    }
}
