//! The buffers that the network card has.

use std::fmt;

use crate::limits::{VERBS_RECEIVES_MAX, VERBS_SENDS_MAX};

/// A work request under way, as its completion names it. The number comes back once that has been taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WorkId(pub(super) u64);

/// What a work request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Sends a message.
    Send,
    /// Waits for a message.
    Receive,
    /// Writes into a window of the peer, which does not hear of it.
    Write,
}

/// The table: who posts gives a buffer, who polls gets it back.
pub(super) struct InFlight<Buffer> {
    slots: Vec<Option<Entry<Buffer>>>,
    free: Vec<usize>,
    receives: usize,
}

/// One work request.
#[derive(Debug)]
pub(super) struct Entry<Buffer> {
    pub(super) kind: Kind,
    pub(super) buffer: Buffer,
}

// === impl InFlight ===

impl<Buffer> InFlight<Buffer> {
    /// A table with room for all that both queues of a pair hold.
    pub(super) fn new() -> Self {
        let most = VERBS_SENDS_MAX + VERBS_RECEIVES_MAX;
        Self { slots: (0..most).map(|_| None).collect(), free: (0..most).rev().collect(), receives: 0 }
    }

    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Notes that the card gets a buffer.
    ///
    /// # Errors
    /// The queue is full; then with the buffer.
    pub(super) fn insert(&mut self, kind: Kind, buffer: Buffer) -> Result<WorkId, Buffer> {
        if self.len_of(kind) >= kind.limit() {
            return Err(buffer);
        }
        let slot = self.free.pop().expect("both queues together are as long as the table");
        self.receives += usize::from(kind == Kind::Receive);
        self.slots[slot] = Some(Entry { kind, buffer });
        Ok(WorkId(slot as u64))
    }

    /// The buffer while the card has it: to name it to the card, not to touch it.
    pub(super) fn get(&self, id: WorkId) -> Option<&Entry<Buffer>> {
        self.slots.get(usize::try_from(id.0).ok()?)?.as_ref()
    }

    /// Takes a buffer back; `None` for a number of nothing under way.
    pub(super) fn remove(&mut self, id: WorkId) -> Option<Entry<Buffer>> {
        let slot = usize::try_from(id.0).ok()?;
        let entry = self.slots.get_mut(slot)?.take()?;
        self.free.push(slot);
        self.receives -= usize::from(entry.kind == Kind::Receive);
        Some(entry)
    }

    fn len_of(&self, kind: Kind) -> usize {
        match kind {
            Kind::Receive => self.receives,
            Kind::Send | Kind::Write => self.len() - self.receives,
        }
    }
}

impl<Buffer> fmt::Debug for InFlight<Buffer> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("InFlight").field("all", &self.len()).field("receives", &self.receives).finish_non_exhaustive()
    }
}

// === impl Kind ===

impl Kind {
    /// How many of its queue may be under way.
    pub(super) const fn limit(self) -> usize {
        match self {
            Self::Receive => VERBS_RECEIVES_MAX,
            Self::Send | Self::Write => VERBS_SENDS_MAX,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Write => "write",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_queue_is_bounded_by_itself() {
        let mut table = InFlight::new();
        for number in 0..VERBS_SENDS_MAX {
            table.insert(if number % 2 == 0 { Kind::Send } else { Kind::Write }, number).unwrap();
        }
        assert_eq!(table.insert(Kind::Send, 1000), Err(1000));
        assert_eq!(table.insert(Kind::Write, 1000), Err(1000));
        for number in 0..VERBS_RECEIVES_MAX {
            table.insert(Kind::Receive, number).unwrap();
        }
        assert_eq!(table.insert(Kind::Receive, 1000), Err(1000));
        assert_eq!(table.len(), VERBS_SENDS_MAX + VERBS_RECEIVES_MAX);
    }

    #[test]
    fn a_buffer_comes_back_once() {
        let mut table = InFlight::new();
        let ids = [Kind::Send, Kind::Receive, Kind::Write].map(|kind| table.insert(kind, kind).unwrap());
        for id in ids {
            assert_eq!(table.get(id).unwrap().buffer, table.get(id).unwrap().kind);
            let entry = table.remove(id).unwrap();
            assert_eq!(entry.buffer, entry.kind);
            assert!(table.remove(id).is_none());
            assert!(table.get(id).is_none());
        }
        assert_eq!(table.len(), 0);
        assert!(table.remove(WorkId(u64::MAX)).is_none());
    }
}
