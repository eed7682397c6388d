//! A first-in, first-out queue that is bounded by bytes: frames are of very different sizes, so a bound by count would
//! either waste memory or starve small frames.

use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc};

use crate::limits::FRAME_OVERHEAD_BYTES;

/// Why a value was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PushError {
    /// There is no room at the moment.
    Full,
    /// The receiver is gone.
    Closed,
}

/// The writing end; clones write into the same queue.
#[derive(Debug)]
pub(crate) struct QueueSender<T> {
    room: Arc<Semaphore>,
    items: mpsc::Sender<Item<T>>,
}

/// The reading end; dropping it wakes every waiting sender with [`PushError::Closed`].
#[derive(Debug)]
pub(crate) struct QueueReceiver<T> {
    room: Arc<Semaphore>,
    items: mpsc::Receiver<Item<T>>,
}

#[derive(Debug)]
struct Item<T> {
    value: T,
    _room: OwnedSemaphorePermit,
}

/// A queue for `bytes_max` bytes, each value charged its own bytes and [`FRAME_OVERHEAD_BYTES`].
pub(crate) fn bounded<T>(bytes_max: usize) -> (QueueSender<T>, QueueReceiver<T>) {
    let room = Arc::new(Semaphore::new(bytes_max));
    // Every item holds at least the overhead, so the channel has a place for whoever holds room.
    let (sender, receiver) = mpsc::channel(bytes_max / FRAME_OVERHEAD_BYTES);
    (QueueSender { room: Arc::clone(&room), items: sender }, QueueReceiver { room, items: receiver })
}

impl<T> Clone for QueueSender<T> {
    fn clone(&self) -> Self {
        Self { room: Arc::clone(&self.room), items: self.items.clone() }
    }
}

impl<T> QueueSender<T> {
    /// Queues `value` when there is room at once.
    pub(crate) fn try_push(&self, value: T, bytes: usize) -> Result<(), PushError> {
        let room = Arc::clone(&self.room).try_acquire_many_owned(charge(bytes)).map_err(|error| match error {
            TryAcquireError::NoPermits => PushError::Full,
            TryAcquireError::Closed => PushError::Closed,
        })?;
        self.put(value, room)
    }

    /// Queues `value` as soon as there is room; waiting values keep their order.
    pub(crate) async fn push(&self, value: T, bytes: usize) -> Result<(), PushError> {
        let room = Arc::clone(&self.room).acquire_many_owned(charge(bytes)).await.map_err(|_: AcquireError| PushError::Closed)?;
        self.put(value, room)
    }

    fn put(&self, value: T, room: OwnedSemaphorePermit) -> Result<(), PushError> {
        self.items.try_send(Item { value, _room: room }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => PushError::Full,
            mpsc::error::TrySendError::Closed(_) => PushError::Closed,
        })
    }
}

impl<T> QueueReceiver<T> {
    /// The oldest value; `None` once every sender is gone and the queue is empty.
    pub(crate) async fn pop(&mut self) -> Option<T> {
        self.items.recv().await.map(|item| item.value)
    }

    /// The oldest value, if there is one now.
    pub(crate) fn try_pop(&mut self) -> Option<T> {
        self.items.try_recv().ok().map(|item| item.value)
    }
}

impl<T> Drop for QueueReceiver<T> {
    fn drop(&mut self) {
        self.room.close();
    }
}

fn charge(bytes: usize) -> u32 {
    u32::try_from(bytes + FRAME_OVERHEAD_BYTES).expect("a frame is far below 4 GiB, limits.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn empty_values_fill_the_queue_too() {
        let (sender, mut receiver) = bounded(3 * FRAME_OVERHEAD_BYTES);
        for value in 0..3 {
            sender.try_push(value, 0).unwrap();
        }
        assert_eq!(sender.try_push(3, 0), Err(PushError::Full));
        assert_eq!(receiver.pop().await, Some(0));
        sender.try_push(3, 0).unwrap();
    }

    #[tokio::test]
    async fn a_waiting_sender_hears_that_the_receiver_is_gone() {
        let (sender, receiver) = bounded(FRAME_OVERHEAD_BYTES);
        sender.try_push(0, 0).unwrap();
        let waiting = tokio::spawn(async move { sender.push(1, 0).await });
        drop(receiver);
        assert_eq!(waiting.await.unwrap(), Err(PushError::Closed));
    }
}
