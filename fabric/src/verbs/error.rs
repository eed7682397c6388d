//! What fails in this module, and where it can be helped, how.

use std::{io, net::IpAddr, time::Duration};

use thiserror::Error;

use super::{in_flight::Kind, port::FoundPorts};
use crate::limits::VERBS_REGION_BYTES_MAX;

/// Why something was not done.
#[derive(Debug, Error)]
pub enum VerbsError {
    /// The kernel has no RDMA at all, or its files are not there.
    #[error("RDMA devices cannot be listed")]
    List(#[source] io::Error),
    /// The own port does not tell of itself.
    #[error("port {port} of the RDMA device {device} does not tell of itself")]
    Query {
        /// The device.
        device: String,
        /// The port's number.
        port: u8,
        /// The reason.
        source: io::Error,
    },
    /// No port is this node's own.
    #[error("no active port has the RoCE v2 address of {address}: {found}")]
    NoPort {
        /// The node's address.
        address: IpAddr,
        /// What there is.
        found: FoundPorts,
    },
    /// Two ports have the same address, in two network namespaces for example.
    #[error("several active ports have the RoCE v2 address of {address}: {found}")]
    SeveralPorts {
        /// The node's address.
        address: IpAddr,
        /// What there is.
        found: FoundPorts,
    },
    /// The device has no more domains, or no memory for one.
    #[error("no protection domain was made")]
    Domain(#[source] io::Error),
    /// See [`VERBS_REGION_BYTES_MAX`].
    #[error("a region of {bytes} bytes, from 1 to {VERBS_REGION_BYTES_MAX}")]
    RegionSize {
        /// Its bytes.
        bytes: usize,
    },
    /// The kernel gives no memory.
    #[error("no memory of {bytes} bytes was given")]
    Map {
        /// How much was asked for.
        bytes: usize,
        /// The reason.
        source: io::Error,
    },
    /// The process may not lock so much memory, and the network card needs it locked.
    #[error(
        "{bytes} bytes of memory for the network card may not be locked: at most {limit_bytes} bytes by RLIMIT_MEMLOCK. Raise it where the process is started (`LimitMEMLOCK=infinity` in a systemd unit, that of the container runtime for containers, for Kubernetes has no field for it), or give the container the capability IPC_LOCK"
    )]
    LockedMemory {
        /// How much was asked for.
        bytes: usize,
        /// How much the process may lock altogether.
        limit_bytes: u64,
        /// The reason.
        source: io::Error,
    },
    /// The device does not take the memory.
    #[error("{bytes} bytes of memory cannot be registered with the network card")]
    Register {
        /// How much was asked for.
        bytes: usize,
        /// The reason.
        source: io::Error,
    },
    /// The device still holds the memory. It is not given back to the kernel then.
    #[error("memory is still registered with the network card")]
    Deregister(#[source] io::Error),
    /// Bytes beyond a region's end.
    #[error("{bytes} bytes from {offset}, in a region of {region_bytes} bytes")]
    OutOfRegion {
        /// The first byte.
        offset: usize,
        /// How many.
        bytes: usize,
        /// How many there are.
        region_bytes: usize,
    },
    /// The device has no more completion queues, or no memory for one.
    #[error("no completion queue was made")]
    CompletionQueue(#[source] io::Error),
    /// The device has no more queue pairs, or no memory for one.
    #[error("no queue pair was made")]
    QueuePair(#[source] io::Error),
    /// The system has no random numbers.
    #[error("there are no random numbers for the first packet")]
    Random,
    /// A queue pair does not change its state.
    #[error("the queue pair cannot go to {state}")]
    Modify {
        /// The state: INIT, RTR, RTS or ERROR.
        state: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// A queue pair sends and writes only once it is connected.
    #[error("the queue pair is not connected")]
    NotConnected,
    /// As many work requests as may be are under way. Take their completions first.
    #[error("{limit} {kind}s are under way, which is the most")]
    Full {
        /// What was to be posted.
        kind: Kind,
        /// How many may be under way.
        limit: usize,
    },
    /// The device does not take a work request.
    #[error("a {kind} was not posted")]
    Post {
        /// What was to be posted.
        kind: Kind,
        /// The reason.
        source: io::Error,
    },
    /// Completions cannot be read.
    #[error("completions cannot be read")]
    Poll(#[source] io::Error),
    /// Completions cannot be waited for.
    #[error("completions cannot be waited for")]
    Wait(#[source] io::Error),
    /// The device says that something has ended that never began. Nothing on this device can be relied on.
    #[error("a completion of work request {number}, which is not under way")]
    UnknownWork {
        /// The work request.
        number: u64,
    },
    /// The device kept work requests beyond the time. The queue pair is destroyed all the same.
    #[error("{left} work requests were not flushed within {limit:?}")]
    NotFlushed {
        /// How many.
        left: usize,
        /// The time.
        limit: Duration,
    },
}
