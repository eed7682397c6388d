//! Queue pairs: a reliable connection between two nodes, with what is under way on it.

use std::{
    fmt,
    mem::ManuallyDrop,
    os::fd::{AsFd, BorrowedFd},
    ptr::NonNull,
    time::{Duration, Instant},
};

use rdma_sys::{ibv_destroy_qp, ibv_qp};
use ring::rand::{SecureRandom, SystemRandom};

use super::{
    completion::CompletionQueue,
    domain::Domain,
    endpoint::{Endpoint, WindowKey, packet_number},
    error::VerbsError,
    in_flight::{InFlight, Kind, WorkId},
    memory::Buffer,
    request::{self, Target},
    status::Status,
};

/// One end of a reliable connection. Dropped, it ends as [`Self::close`] ends it, but nobody gets its buffers back.
///
/// *Expected flow*, of one who may not block: [`Self::take`] until there is nothing; [`Self::arm`]; [`Self::take`] once more; wait until
/// the descriptor is readable; [`Self::clear`]; from the beginning.
#[derive(Debug)]
pub struct QueuePair {
    pair: NonNull<ibv_qp>,
    first_packet: u32,
    connected: bool,
    /// What the card has. It is not given back to the kernel before the pair has ended.
    in_flight: ManuallyDrop<InFlight<Buffer>>,
    /// Ends after the pair.
    completions: CompletionQueue,
    /// Ends after the pair.
    domain: Domain,
}

/// A work request that has ended.
#[derive(Debug)]
pub struct Completion {
    /// Which one.
    pub id: WorkId,
    /// What it did.
    pub kind: Kind,
    /// The buffer that it was posted with.
    pub buffer: Buffer,
    /// How it ended; of a message that arrived, its bytes.
    pub outcome: Result<usize, Status>,
}

/// A work request that was not posted, with the buffer that it was to be posted with.
pub struct Refused {
    /// The buffer, as it was.
    pub buffer: Buffer,
    /// The reason.
    pub error: VerbsError,
}

/// How long to wait, and how.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For so long the CPU looks again and again, which is the quickest.
    pub look: Duration,
    /// For so long altogether, asleep after `look` is over.
    pub wait: Duration,
}

// SAFETY: libibverbs lets every thread call every function on one pair, and the pointer is given away with its owner only.
unsafe impl Send for QueuePair {}

// === impl QueuePair ===

impl QueuePair {
    /// A new pair, to which buffers for messages can be posted already.
    ///
    /// # Errors
    /// The device has no more of them.
    pub fn new(domain: &Domain) -> Result<Self, VerbsError> {
        let mut random = [0; 4];
        SystemRandom::new().fill(&mut random).map_err(|_| VerbsError::Random)?;
        let completions = CompletionQueue::new(domain.device())?;
        let pair = request::create(domain, &completions)?;
        let first_packet = packet_number(u32::from_ne_bytes(random));
        let in_flight = ManuallyDrop::new(InFlight::new());
        let made = Self { pair, first_packet, connected: false, in_flight, completions, domain: domain.clone() };
        request::initialise(pair, domain.device())?;
        Ok(made)
    }

    /// What the peer has to know of it.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        let device = self.domain.device();
        // SAFETY: the pair is there for as long as this is.
        let queue_pair = unsafe { (*self.pair.as_ptr()).qp_num };
        Endpoint { queue_pair, first_packet: self.first_packet, gid: device.gid(), lid: device.lid(), mtu: device.mtu() }
    }

    /// Connects it to its peer's, which has to do the same before either sends.
    ///
    /// # Errors
    /// [`VerbsError::Modify`]: it is connected already, or the peer's port cannot be reached.
    pub fn connect(&mut self, peer: &Endpoint) -> Result<(), VerbsError> {
        request::receive(self.pair, self.domain.device(), peer)?;
        request::send(self.pair, self.first_packet)?;
        self.connected = true;
        Ok(())
    }

    /// Posts a buffer in which a message may arrive, in the order in which they were posted.
    ///
    /// # Errors
    /// With the buffer.
    pub fn post_receive(&mut self, buffer: Buffer) -> Result<WorkId, Refused> {
        let bytes = buffer.bytes();
        self.post(Kind::Receive, buffer, bytes, Target::default())
    }

    /// Sends the first `bytes` of a buffer as a message. Its completion says that it has arrived in a buffer of the peer's.
    ///
    /// # Errors
    /// With the buffer.
    pub fn post_send(&mut self, buffer: Buffer, bytes: usize) -> Result<WorkId, Refused> {
        self.post(Kind::Send, buffer, bytes, Target::default())
    }

    /// Writes the first `bytes` of a buffer into a window of the peer from `offset` on. Its completion says that they are there.
    ///
    /// *Caveat:* it is the peer's device that refuses what lies beyond the window, not this node's: [`Status::RemoteAccess`] then.
    ///
    /// # Errors
    /// With the buffer.
    pub fn post_write(&mut self, buffer: Buffer, bytes: usize, window: &WindowKey, offset: u64) -> Result<WorkId, Refused> {
        let target = Target { address: window.address.wrapping_add(offset), key: window.key };
        self.post(Kind::Write, buffer, bytes, target)
    }

    /// How many work requests are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.in_flight.len()
    }

    /// Takes what has ended, if anything has.
    ///
    /// # Errors
    /// The device fails.
    pub fn take(&mut self) -> Result<Option<Completion>, VerbsError> {
        let Some(raw) = self.completions.take()? else { return Ok(None) };
        let id = WorkId(raw.number);
        let entry = self.in_flight.remove(id).ok_or(VerbsError::UnknownWork { number: raw.number })?;
        let bytes = if entry.kind == Kind::Receive { raw.bytes as usize } else { 0 };
        Ok(Some(Completion { id, kind: entry.kind, buffer: entry.buffer, outcome: raw.outcome.map(|()| bytes) }))
    }

    /// Makes the descriptor readable as soon as something more has ended.
    ///
    /// # Errors
    /// The device fails.
    pub fn arm(&mut self) -> Result<(), VerbsError> {
        self.completions.arm()
    }

    /// Makes the descriptor quiet.
    ///
    /// # Errors
    /// The device fails.
    pub fn clear(&mut self) -> Result<(), VerbsError> {
        self.completions.clear()
    }

    /// Waits until something has ended; `None` when nothing has in all that time. It blocks the thread.
    ///
    /// # Errors
    /// The device fails.
    pub fn wait(&mut self, patience: Patience) -> Result<Option<Completion>, VerbsError> {
        let began = Instant::now();
        while began.elapsed() < patience.look.min(patience.wait) {
            if let Some(completion) = self.take()? {
                return Ok(Some(completion));
            }
            std::hint::spin_loop();
        }
        let deadline = began + patience.wait;
        loop {
            self.clear()?;
            self.arm()?;
            if let Some(completion) = self.take()? {
                return Ok(Some(completion));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            self.completions.sleep(deadline)?;
        }
    }

    /// Ends the connection. *Guarantees:* when it returns, the network card has nothing of this pair any more, and nothing that the peer
    /// still sends to it is written anywhere; the peer hears of it by [`Status::Unacknowledged`]. What was under way comes back in
    /// the order of its ends, most of it [`Status::Flushed`].
    ///
    /// # Errors
    /// The pair does not go to error, or not all of it is flushed within `limit`. The pair has ended all the same when this returns.
    pub fn close(mut self, limit: Duration) -> Result<Vec<Completion>, VerbsError> {
        request::fail(self.pair)?;
        let deadline = Instant::now() + limit;
        let mut ended = Vec::with_capacity(self.under_way());
        while self.under_way() > 0 {
            let patience = Patience { look: Duration::ZERO, wait: deadline.saturating_duration_since(Instant::now()) };
            match self.wait(patience)? {
                Some(completion) => ended.push(completion),
                None => return Err(VerbsError::NotFlushed { left: self.under_way(), limit }),
            }
        }
        Ok(ended)
    }

    fn post(&mut self, kind: Kind, buffer: Buffer, bytes: usize, target: Target) -> Result<WorkId, Refused> {
        if kind != Kind::Receive && !self.connected {
            return Err(Refused { buffer, error: VerbsError::NotConnected });
        }
        let Some(length) = u32::try_from(bytes).ok().filter(|_| bytes <= buffer.bytes()) else {
            let error = VerbsError::OutOfRegion { offset: 0, bytes, region_bytes: buffer.bytes() };
            return Err(Refused { buffer, error });
        };
        let full = |buffer| Refused { buffer, error: VerbsError::Full { kind, limit: kind.limit() } };
        let id = self.in_flight.insert(kind, buffer).map_err(full)?;
        let entry = self.in_flight.get(id).expect("it was inserted just now");
        // SAFETY: the pair is there for as long as this is; the buffer lies in the table, which gives it away only with the completion of
        // `id`, below when nothing was posted, or when the pair is destroyed.
        let posted = unsafe { request::post(self.pair, (id, kind), (&entry.buffer, length), target) };
        posted.map(|()| id).map_err(|error| {
            let entry = self.in_flight.remove(id).expect("nothing was posted, so nothing has completed");
            Refused { buffer: entry.buffer, error }
        })
    }
}

impl AsFd for QueuePair {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.completions.as_fd()
    }
}

impl Drop for QueuePair {
    fn drop(&mut self) {
        // SAFETY: it was made by `new` and ends nowhere else.
        let answer = unsafe { ibv_destroy_qp(self.pair.as_ptr()) };
        // A pair that does not end may still use its buffers: those are kept for ever then.
        if answer == 0 {
            // SAFETY: the table is dropped here only, and not used any more.
            unsafe { ManuallyDrop::drop(&mut self.in_flight) };
        }
    }
}

// === impl Refused ===

impl fmt::Debug for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Refused").field("error", &self.error).finish_non_exhaustive()
    }
}
