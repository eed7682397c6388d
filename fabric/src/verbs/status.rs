//! How a work request ended.

use rdma_sys::ibv_wc_status;
use thiserror::Error;

/// Why a work request did not do what it was to do. The queue pair is then in error: it does nothing more, and whatever else was under
/// way on it ends as [`Status::Flushed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Status {
    /// A message was longer than the buffer that waited for it.
    #[error("a message longer than its buffer")]
    LocalLength,
    /// A buffer of another domain, or beyond its end.
    #[error("a buffer that the queue pair may not touch")]
    LocalProtection,
    /// It had not ended when the queue pair went to error.
    #[error("flushed, for the queue pair is in error")]
    Flushed,
    /// The peer's device found the request itself bad: a message longer than its buffer, for example.
    #[error("a request that the peer's device takes for bad")]
    RemoteRequest,
    /// The peer has no such key, or not for so many bytes.
    #[error("the peer's memory does not open to this key, address and length")]
    RemoteAccess,
    /// The peer's device could not finish it.
    #[error("the peer's device could not finish it")]
    RemoteOperation,
    /// Nobody acknowledged it: the peer's queue pair or its port is gone, or the network in between.
    #[error("nobody acknowledged it, however often it was sent")]
    Unacknowledged,
    /// The peer had posted no buffer for a message, and still had none when it was sent again.
    #[error("the peer had no buffer for it, however often it was sent")]
    ReceiverNotReady,
    /// Another one.
    #[error("the device's status {0}")]
    Unexpected(u32),
}

/// The outcome as the device names it.
pub(super) fn outcome(status: ibv_wc_status::Type) -> Result<(), Status> {
    Err(match status {
        ibv_wc_status::IBV_WC_SUCCESS => return Ok(()),
        ibv_wc_status::IBV_WC_LOC_LEN_ERR => Status::LocalLength,
        ibv_wc_status::IBV_WC_LOC_PROT_ERR => Status::LocalProtection,
        ibv_wc_status::IBV_WC_WR_FLUSH_ERR => Status::Flushed,
        ibv_wc_status::IBV_WC_REM_INV_REQ_ERR => Status::RemoteRequest,
        ibv_wc_status::IBV_WC_REM_ACCESS_ERR => Status::RemoteAccess,
        ibv_wc_status::IBV_WC_REM_OP_ERR => Status::RemoteOperation,
        ibv_wc_status::IBV_WC_RETRY_EXC_ERR => Status::Unacknowledged,
        ibv_wc_status::IBV_WC_RNR_RETRY_EXC_ERR => Status::ReceiverNotReady,
        other => Status::Unexpected(other),
    })
}
