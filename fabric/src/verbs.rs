//! RDMA by libibverbs: messages between two nodes, and memory that a peer writes into while this node's CPUs do something else.
//!
//! All that this crate knows of libibverbs is in this module and below it, and nothing of it is in their public faces: the crate of
//! bindings behind them can be replaced, and `docs/adr/0019-verbs.md` says why it is the one that it is. This is what a transport
//! is made of, and none yet.
//!
//! | part | is |
//! |---|---|
//! | [`Device`] | the port of this node's own address |
//! | [`Domain`] | what belongs together: neither memory nor queue pairs of two domains reach each other |
//! | [`Buffer`] | memory that only this node's own work requests touch |
//! | [`Window`] | memory that peers write into, for as long as they have its [`WindowKey`] |
//! | [`QueuePair`] | one reliable connection, its work requests under way and their completions |
//! | [`Endpoint`] | what the other end has to know of a queue pair, told over a channel that is authenticated already |
//!
//! *Invariant:* memory that the network card may touch belongs to nobody else. A buffer is given away with its work request and comes
//! back with the completion; of a window only copies are read.
//!
//! *Invariant:* once [`QueuePair::close`] has returned, nothing that its peer still sends is written anywhere. A term has a domain,
//! queue pairs and memory keys of its own: keys are small numbers that come back, but no key of one domain opens another.
#![allow(unsafe_code, reason = "libibverbs is a C library; tidy lets `unsafe` stand nowhere else in this crate")]

mod completion;
mod device;
mod domain;
mod endpoint;
mod error;
mod in_flight;
mod memory;
mod port;
mod queue_pair;
mod request;
mod status;

pub use device::Device;
pub use domain::Domain;
pub use endpoint::{Endpoint, EndpointError, Gid, Mtu, WindowKey};
pub use error::VerbsError;
pub use in_flight::{Kind, WorkId};
pub use memory::{Buffer, Memory, Unopened, Window};
pub use port::{ClosedDevice, FoundPort, FoundPorts};
pub use queue_pair::{Completion, Patience, QueuePair, Refused};
pub use status::Status;
