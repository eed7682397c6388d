//! Writes what an authority must not forget, one version after the other, beside its loop.

use strobe_core::model::TermRecord;
use tokio::sync::{mpsc, oneshot};

use super::event::Event;
use super::kept::{Kept, Store, StoreError, Version};
use crate::limits::STORE_AGAIN;
use crate::partitions::{EnrolmentRefused, Place};

/// An enrolment that is answered once it is kept.
pub(super) struct Waiting {
    pub(super) place: Place,
    pub(super) answer: oneshot::Sender<Result<Place, EnrolmentRefused>>,
}

/// Counts the changes of what is kept, in the life of a keeper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Change(u64);

/// See the module.
pub(super) struct Keeper {
    store: Store,
    kept: Kept,
    version: Version,
    /// The newest change, the newest that is on its way, and the newest that is written.
    newest: Change,
    sent: Change,
    written: Change,
    /// True while a version is on its way.
    writing: bool,
    waiting: Vec<(Change, Waiting)>,
    events: mpsc::Sender<Event>,
}

impl Keeper {
    pub(super) fn new(store: Store, (kept, version): (Kept, Version), events: mpsc::Sender<Event>) -> Self {
        let none = Change::default();
        Self { store, kept, version, newest: none, sent: none, written: none, writing: false, waiting: Vec::new(), events }
    }

    /// What is kept, or soon will be.
    pub(super) const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Changes what is kept. Whatever follows from a change may happen once [`Self::has_written`] it.
    pub(super) fn keep<Answer>(&mut self, change: impl FnOnce(&mut Kept) -> Answer) -> (Change, Answer) {
        let before = self.kept.clone();
        let answer = change(&mut self.kept);
        if self.kept != before {
            self.newest.0 += 1;
            self.write();
        }
        (self.newest, answer)
    }

    /// True when a change is written.
    pub(super) fn has_written(&self, change: Change) -> bool {
        change <= self.written
    }

    /// Answers an enrolment, once its change is written.
    pub(super) fn answer(&mut self, change: Change, waiting: Waiting) {
        self.waiting.push((change, waiting));
        self.tell();
    }

    /// A version was written: gives the record in it.
    ///
    /// # Errors
    /// Somebody else was faster: this authority is over.
    pub(super) fn was_written(
        &mut self,
        result: Result<(Version, Option<TermRecord>), StoreError>,
    ) -> Result<Option<TermRecord>, StoreError> {
        self.writing = false;
        let (version, record) = result?;
        (self.version, self.written) = (version, self.sent);
        self.tell();
        if self.newest > self.written {
            self.write();
        }
        Ok(record)
    }

    fn tell(&mut self) {
        let written = self.written;
        for (_, waiting) in self.waiting.extract_if(.., |(change, _)| *change <= written) {
            // An agent that has gone meanwhile hears nothing.
            let _gone = waiting.answer.send(Ok(waiting.place));
        }
    }

    fn write(&mut self) {
        if std::mem::replace(&mut self.writing, true) {
            return;
        }
        self.sent = self.newest;
        let (store, kept, version, events) = (self.store.clone(), self.kept.clone(), self.version.clone(), self.events.clone());
        tokio::spawn(async move {
            let result = loop {
                match store.save(&kept, version.clone()).await {
                    Err(StoreError::Unavailable(error)) => {
                        tracing::warn!(error = &*error as &dyn std::error::Error, "not written yet");
                        tokio::time::sleep(STORE_AGAIN).await;
                    }
                    result => break result,
                }
            };
            // The receiver is gone only when the partition is.
            let _gone = events.send(Event::Written(result.map(|version| (version, kept.term)))).await;
        });
    }
}
