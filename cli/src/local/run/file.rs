//! A file that a run gives to the stores of all its nodes.

use std::path::PathBuf;

use strobe_core::model::{Instant, NodeIndex, PartitionUid};
use strobe_proto::{
    agent::{FileStaging, StageFile, authority_message::Message, file_staging::State},
    files,
};

use super::Run;
use crate::local::{clock, view::JobLine};

/// Which file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::local) struct FileOptions {
    /// Where it is, from the root.
    pub path: String,
    /// Its name in the stores.
    pub name: String,
    /// Below this folder each node has its store.
    pub stores: PathBuf,
}

/// How far it is.
#[derive(Debug)]
pub(super) struct FileTask<'a> {
    options: &'a FileOptions,
    /// When the agent was asked first.
    asked: Option<Instant>,
    /// What that has told last, and when.
    told: Option<(FileStaging, Instant)>,
    /// Of which agents write parts.
    partition: PartitionUid,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::local) struct FileEnding {
    /// Its bytes.
    pub length: u64,
    /// From the first asking to the end.
    pub seconds: f64,
    /// Its SHA-256 where all nodes have it, or why they have not.
    pub given: Result<Vec<u8>, String>,
}

/// The number of the only request of a run.
const REQUEST: u64 = 1;

/// The node whose agent reads the file and gives it.
const GIVER: NodeIndex = NodeIndex(0);

// === impl FileOptions ===

impl FileOptions {
    /// The store of a node.
    pub(in crate::local) fn store(&self, node: NodeIndex) -> PathBuf {
        self.stores.join(format!("node-{node}"))
    }
}

// === impl FileTask ===

impl<'a> FileTask<'a> {
    pub(super) const fn new(options: &'a FileOptions, partition: PartitionUid) -> Self {
        Self { options, asked: None, told: None, partition }
    }

    /// Removes what agents that were killed have begun in the stores.
    pub(super) fn remove_parts(&self, nodes: impl Iterator<Item = NodeIndex>) {
        nodes.for_each(|node| files::remove_parts(&self.options.store(node), self.partition));
    }

    /// The newest that was told.
    pub(super) fn tell(&mut self, staging: FileStaging) {
        if staging.request == REQUEST && !self.is_over() {
            self.told = Some((staging, clock::now()));
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.told.as_ref().is_some_and(|(staging, _)| matches!(staging.state, Some(State::Done(_) | State::Failed(_))))
    }

    fn seconds(&self, now: Instant) -> f64 {
        self.asked.map_or(0.0, |asked| now.since(asked).as_secs_f64())
    }

    /// As the live view shows it.
    pub(super) fn line(&self, now: Instant) -> JobLine {
        let (length, stored) = match self.told.as_ref() {
            Some((FileStaging { length, state: Some(State::Stored(stored)), .. }, _)) => (*length, *stored),
            Some((FileStaging { length, state: Some(State::Done(_)), .. }, _)) => (*length, *length),
            Some((FileStaging { length, state: Some(State::Failed(_)) | None, .. }, _)) => (*length, 0),
            None => (0, 0),
        };
        let percent = (stored * 100).checked_div(length).and_then(|percent| u8::try_from(percent).ok());
        let seconds = self.seconds(now);
        JobLine {
            name: self.options.name.clone(),
            state: "Staging".to_owned(),
            progress: percent,
            seconds,
            over: self.is_over(),
            note: if stored > 0 { rate(stored, seconds) } else { String::new() },
        }
    }

    pub(super) fn ending(&self) -> FileEnding {
        let interrupted = || Err("it was interrupted".to_owned());
        let Some((staging, at)) = &self.told else { return FileEnding { length: 0, seconds: 0.0, given: interrupted() } };
        let given = match &staging.state {
            Some(State::Done(done)) => Ok(done.checksum.clone()),
            Some(State::Failed(why)) => Err(why.clone()),
            Some(State::Stored(_)) | None => interrupted(),
        };
        FileEnding { length: staging.length, seconds: self.seconds(*at), given }
    }
}

/// Bytes in a time, for people.
pub(in crate::local) fn rate(bytes: u64, seconds: f64) -> String {
    format!("{:.0} MB/s", bytes as f64 / 1e6 / seconds.max(1e-6))
}

// === impl Run ===

impl Run<'_> {
    /// Asks for the file, again in each session of the giver's: it begins no file twice.
    pub(super) fn ask_for_file(&mut self, now: Instant) {
        let all = self.options.prepared.nodes.iter().fold(0, |nodes, capacity| nodes | 1 << capacity.node.0);
        let Some(file) = self.file.as_mut().filter(|file| !file.is_over()) else { return };
        file.asked.get_or_insert(now);
        let FileOptions { path, name, .. } = file.options;
        let file = StageFile { request: REQUEST, path: path.clone(), name: name.clone(), nodes: all };
        self.agents.say(GIVER, Message::Stage(file));
    }
}
