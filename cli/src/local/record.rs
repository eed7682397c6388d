//! The authority's record of terms, in a file.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
};

use strobe_core::model::TermRecord;

/// The file. It is written beside and renamed, so that a reader sees the old record or the new, whole.
#[derive(Debug)]
pub(super) struct RecordFile {
    path: PathBuf,
}

/// The record could not be written: no term may begin.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the record of terms, {path}")]
pub(crate) struct RecordError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl RecordFile {
    /// The file at that path; it is there after the first write.
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Writes the record; when this returns it is on the file system.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(super) fn write(&self, record: &TermRecord) -> Result<(), RecordError> {
        let beside = self.path.with_extension("new");
        let text = serde_json::to_vec(record).expect("a record of numbers is JSON");
        let write = || {
            let mut file = File::create(&beside)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&beside, &self.path)
        };
        write().map_err(|source| RecordError { path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use strobe_core::model::{AgentIncarnation, NodeIncarnation, NodeIndex, PartitionUid, Term};

    use super::*;

    #[test]
    fn the_newest_record_is_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        let file = RecordFile::new(path.clone());
        let manager = NodeIncarnation { node: NodeIndex(1), incarnation: AgentIncarnation(2) };
        for term in [1, 2] {
            let record = TermRecord {
                partition: PartitionUid(u128::MAX),
                term: Term(term),
                manager,
                members: vec![manager],
                established: None,
                since: Vec::new(),
            };
            file.write(&record).unwrap();
            assert_eq!(serde_json::from_slice::<TermRecord>(&fs::read(&path).unwrap()).unwrap(), record);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_record_that_cannot_be_written_is_an_error() {
        let manager = NodeIncarnation { node: NodeIndex(0), incarnation: AgentIncarnation(1) };
        let record = TermRecord { partition: PartitionUid(1), term: Term(1), manager, members: vec![], established: None, since: vec![] };
        assert!(RecordFile::new("/nowhere/record.json".into()).write(&record).is_err());
    }
}
