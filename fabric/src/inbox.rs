//! What an agent reads from: two queues, and a gate that older terms do not pass.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use strobe_core::model::Term;

use crate::{
    limits::INBOX_BYTES_MAX,
    queue::{self, QueueReceiver, QueueSender},
    transport::{Delivery, Frame},
};

/// Link events and control frames, in the order in which they happened.
#[derive(Debug)]
pub struct ControlInbox {
    queue: QueueReceiver<Delivery>,
    floor: TermFloor,
}

/// Bulk frames. An agent that does not read them holds back the senders of bulk, and of nothing else.
#[derive(Debug)]
pub struct BulkInbox {
    queue: QueueReceiver<Frame>,
    floor: TermFloor,
}

/// The oldest term that is still delivered, shared by the inboxes and whoever closes links.
#[derive(Debug, Clone, Default)]
pub(crate) struct TermFloor(Arc<AtomicU64>);

/// The writing ends of both inboxes.
#[derive(Debug, Clone)]
pub(crate) struct InboxSenders {
    pub(crate) control: QueueSender<Delivery>,
    pub(crate) bulk: QueueSender<Frame>,
}

/// Both inboxes of a transport.
pub(crate) fn inboxes(floor: &TermFloor) -> (InboxSenders, ControlInbox, BulkInbox) {
    let (control, control_queue) = queue::bounded(INBOX_BYTES_MAX);
    let (bulk, bulk_queue) = queue::bounded(INBOX_BYTES_MAX);
    (
        InboxSenders { control, bulk },
        ControlInbox { queue: control_queue, floor: floor.clone() },
        BulkInbox { queue: bulk_queue, floor: floor.clone() },
    )
}

// === impl ControlInbox ===

impl ControlInbox {
    /// The next event or frame; `None` once the transport is gone. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Delivery> {
        loop {
            let delivery = self.queue.pop().await?;
            if self.floor.admits(delivery.link().term) {
                return Some(delivery);
            }
        }
    }
}

// === impl BulkInbox ===

impl BulkInbox {
    /// The next frame; `None` once the transport is gone. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = self.queue.pop().await?;
            if self.floor.admits(frame.link.term) {
                return Some(frame);
            }
        }
    }
}

// === impl TermFloor ===

impl TermFloor {
    /// Refuses every term below `term` from now on.
    pub(crate) fn raise(&self, term: Term) {
        self.0.fetch_max(term.0, Ordering::SeqCst);
    }

    pub(crate) fn get(&self) -> Term {
        Term(self.0.load(Ordering::SeqCst))
    }

    pub(crate) fn admits(&self, term: Term) -> bool {
        term >= self.get()
    }
}
