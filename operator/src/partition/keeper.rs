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

/// See the module.
pub(super) struct Keeper {
    store: Store,
    kept: Kept,
    version: Version,
    /// True while a version is on its way.
    writing: bool,
    /// Something has changed since that one.
    changed: bool,
    /// Answered with the version that is on its way, and with the next one.
    now: Vec<Waiting>,
    next: Vec<Waiting>,
    events: mpsc::Sender<Event>,
}

impl Keeper {
    pub(super) fn new(store: Store, (kept, version): (Kept, Version), events: mpsc::Sender<Event>) -> Self {
        Self { store, kept, version, writing: false, changed: false, now: Vec::new(), next: Vec::new(), events }
    }

    /// What is kept, or soon will be.
    pub(super) const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Keeps the record of a term.
    pub(super) fn keep_term(&mut self, record: TermRecord) {
        self.kept.term = Some(record);
        self.write();
    }

    /// Changes what is kept of the nodes; whoever waits is answered when it is written.
    pub(super) fn keep_nodes<Answer>(&mut self, change: impl FnOnce(&mut Kept) -> Answer) -> Answer {
        let before = self.kept.clone();
        let answer = change(&mut self.kept);
        if self.kept != before {
            self.write();
        }
        answer
    }

    /// Answers an enrolment, once it is kept.
    pub(super) fn answer(&mut self, waiting: Waiting) {
        match (self.writing, self.changed) {
            (false, _) => tell(waiting),
            (true, false) => self.now.push(waiting),
            (true, true) => self.next.push(waiting),
        }
    }

    /// A version was written: gives the record in it. None when somebody else was faster, and all has to be read again.
    pub(super) fn written(&mut self, result: Result<(Version, Option<TermRecord>), StoreError>) -> Option<TermRecord> {
        self.writing = false;
        match result {
            Ok((version, record)) => {
                self.version = version;
                std::mem::take(&mut self.now).into_iter().for_each(tell);
                self.now = std::mem::take(&mut self.next);
                if std::mem::take(&mut self.changed) {
                    self.write();
                } else {
                    std::mem::take(&mut self.now).into_iter().for_each(tell);
                }
                record
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "what must not be forgotten was not written; reading it again");
                self.read();
                None
            }
        }
    }

    /// What was read again.
    pub(super) fn found(&mut self, (kept, version): (Kept, Version)) {
        (self.kept, self.version, self.writing, self.changed) = (kept, version, false, false);
        for waiting in self.now.drain(..).chain(self.next.drain(..)) {
            // An agent that has gone meanwhile hears nothing.
            let _gone = waiting.answer.send(Err(EnrolmentRefused::Unavailable));
        }
    }

    fn write(&mut self) {
        if self.writing {
            self.changed = true;
            return;
        }
        self.writing = true;
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

    fn read(&mut self) {
        self.writing = true;
        let (store, events) = (self.store.clone(), self.events.clone());
        tokio::spawn(async move {
            let found = read(&store).await;
            // The receiver is gone only when the partition is.
            let _gone = events.send(Event::Found(found)).await;
        });
    }
}

/// Reads what is kept, however long it takes: without it nobody may command.
pub(super) async fn read(store: &Store) -> (Kept, Version) {
    loop {
        match store.load().await {
            Ok(found) => return found,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "what must not be forgotten cannot be read yet");
                tokio::time::sleep(STORE_AGAIN).await;
            }
        }
    }
}

fn tell(waiting: Waiting) {
    // An agent that has gone meanwhile hears nothing.
    let _gone = waiting.answer.send(Ok(waiting.place));
}
