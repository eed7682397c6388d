//! A completion queue, and the descriptor that tells that there is something in it.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd},
    ptr::{self, NonNull},
    time::{Duration, Instant},
};

use rdma_sys::{
    ibv_ack_cq_events, ibv_comp_channel, ibv_cq, ibv_create_comp_channel, ibv_create_cq, ibv_destroy_comp_channel, ibv_destroy_cq,
    ibv_get_cq_event, ibv_poll_cq, ibv_req_notify_cq, ibv_wc,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
};

use super::{
    device::{Device, check},
    error::VerbsError,
    status::{Status, outcome},
};
use crate::limits::{VERBS_RECEIVES_MAX, VERBS_SENDS_MAX};

/// A queue with room for all that its one queue pair can have under way, so that it never overflows.
#[derive(Debug)]
pub(super) struct CompletionQueue {
    queue: NonNull<ibv_cq>,
    /// Ends after the queue.
    channel: Channel,
}

/// Where the card announces completions.
#[derive(Debug)]
struct Channel {
    channel: NonNull<ibv_comp_channel>,
    /// Closed after the channel.
    _device: Device,
}

/// A completion as the device has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw {
    /// The work request.
    pub(super) number: u64,
    /// Bytes that arrived, of a message that did.
    pub(super) bytes: u32,
    pub(super) outcome: Result<(), Status>,
}

// SAFETY: libibverbs lets every thread call every function on one queue, and the pointer is given away with its owner only.
unsafe impl Send for CompletionQueue {}
// SAFETY: likewise of a channel.
unsafe impl Send for Channel {}

// === impl CompletionQueue ===

impl CompletionQueue {
    pub(super) fn new(device: &Device) -> Result<Self, VerbsError> {
        let failed = VerbsError::CompletionQueue;
        let channel = Channel::new(device).map_err(failed)?;
        let entries = i32::try_from(VERBS_SENDS_MAX + VERBS_RECEIVES_MAX).expect("the limits are small");
        // SAFETY: context and channel are open for as long as the queue lives, for it keeps the channel and that a clone of the device.
        let queue = unsafe { ibv_create_cq(device.context(), entries, ptr::null_mut(), channel.channel.as_ptr(), 0) };
        let queue = NonNull::new(queue).ok_or_else(|| failed(io::Error::last_os_error()))?;
        Ok(Self { queue, channel })
    }

    pub(super) fn as_ptr(&self) -> *mut ibv_cq {
        self.queue.as_ptr()
    }

    /// Takes one completion, if there is one.
    pub(super) fn take(&mut self) -> Result<Option<Raw>, VerbsError> {
        let mut completion = MaybeUninit::<ibv_wc>::zeroed();
        // SAFETY: the queue is there, and there is room for one completion.
        let answer = unsafe { ibv_poll_cq(self.queue.as_ptr(), 1, completion.as_mut_ptr()) };
        match answer {
            0 => Ok(None),
            1 => {
                // SAFETY: one was written, and zeros were valid before.
                let completion = unsafe { completion.assume_init() };
                Ok(Some(Raw { number: completion.wr_id, bytes: completion.byte_len, outcome: outcome(completion.status) }))
            }
            number => Err(VerbsError::Poll(io::Error::from_raw_os_error(number.saturating_abs()))),
        }
    }

    /// Makes the next completion be announced. What came before this call is not: look once more after it.
    pub(super) fn arm(&mut self) -> Result<(), VerbsError> {
        const ANY_COMPLETION: i32 = 0;
        // SAFETY: the queue is there.
        let answer = unsafe { ibv_req_notify_cq(self.queue.as_ptr(), ANY_COMPLETION) };
        check(answer).map_err(VerbsError::Wait)
    }

    /// Takes all announcements, so that the descriptor is quiet until the queue was armed again and something came.
    pub(super) fn clear(&mut self) -> Result<(), VerbsError> {
        loop {
            let (mut queue, mut context) = (ptr::null_mut(), ptr::null_mut());
            // SAFETY: the channel is there, and both places for answers are ours. Its descriptor does not block.
            let answer = unsafe { ibv_get_cq_event(self.channel.channel.as_ptr(), &raw mut queue, &raw mut context) };
            if answer == 0 {
                // SAFETY: the channel has one queue only, so the announcement is this one's; each is acknowledged once, without which
                // the queue could not be destroyed.
                unsafe { ibv_ack_cq_events(self.queue.as_ptr(), 1) };
                continue;
            }
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(()) } else { Err(VerbsError::Wait(error)) };
        }
    }

    /// Sleeps until something is announced or the time is over.
    pub(super) fn sleep(&self, deadline: Instant) -> Result<(), VerbsError> {
        let left = deadline.saturating_duration_since(Instant::now());
        // A time that the kernel does not take is one that nobody lives to see.
        let left = Timespec::try_from(left.min(Duration::from_secs(1 << 30))).expect("it was made small enough");
        match poll(&mut [PollFd::new(&self.channel, PollFlags::IN)], Some(&left)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(VerbsError::Wait(error.into())),
        }
    }
}

impl AsFd for CompletionQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl Drop for CompletionQueue {
    fn drop(&mut self) {
        // SAFETY: it was made by `new` and ends nowhere else; the queue pair that used it has ended before.
        let _answer = unsafe { ibv_destroy_cq(self.queue.as_ptr()) };
    }
}

// === impl Channel ===

impl Channel {
    /// One whose descriptor does not block.
    fn new(device: &Device) -> io::Result<Self> {
        // SAFETY: the context is open for as long as the device, a clone of which is kept.
        let channel = unsafe { ibv_create_comp_channel(device.context()) };
        let channel = NonNull::new(channel).ok_or_else(io::Error::last_os_error)?;
        let channel = Self { channel, _device: device.clone() };
        let flags = fcntl_getfl(&channel)?;
        fcntl_setfl(&channel, flags | OFlags::NONBLOCK)?;
        Ok(channel)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the channel is there for as long as this is.
        let descriptor = unsafe { (*self.channel.as_ptr()).fd };
        // SAFETY: the descriptor is the channel's, which closes it when it ends, and it outlives this borrow.
        unsafe { BorrowedFd::borrow_raw(descriptor) }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // SAFETY: it was made by `new` and ends nowhere else; the queue that it was given to has ended before.
        let _answer = unsafe { ibv_destroy_comp_channel(self.channel.as_ptr()) };
    }
}
