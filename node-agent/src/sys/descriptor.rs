//! Descriptors that the asynchronous runtime waits for.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use tokio::io::unix::AsyncFd;

use crate::{strobe_thread::StrobeReports, supervisor_protocol::AgentEndpoint};

/// Something whose `as_raw_fd` names one descriptor, the same and open, for its whole life.
pub trait OwnsDescriptor: AsRawFd {}

impl OwnsDescriptor for OwnedFd {}
impl OwnsDescriptor for AgentEndpoint {}
impl OwnsDescriptor for StrobeReports {}

/// Registers a descriptor with the runtime.
///
/// # Errors
/// When the kernel's poller refuses it.
#[expect(unsafe_code, reason = "the runtime cannot know whose descriptor it is given")]
pub fn register<Owner: OwnsDescriptor>(owner: Owner) -> io::Result<AsyncFd<Owner>> {
    // SAFETY: the runtime needs the descriptor to stay the same and open until the owner is dropped, which is what
    // `OwnsDescriptor` states and each of its three implementations, all in this crate or the standard library, keeps:
    // none of them ever replaces or closes its descriptor before it is dropped.
    unsafe { AsyncFd::register(owner) }.map_err(Into::into)
}
