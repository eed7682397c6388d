//! The fabric: opaque frames and sealed datagrams between the agents of a partition.
//!
//! It knows partitions, nodes and terms, and nothing of what the agents say to each other.
//!
//! | part | is |
//! |---|---|
//! | [`transport`] | the contract: links between nodes, classes of frames, what is delivered and what is refused |
//! | [`loopback`] | the contract within one process, for tests and simulations of the shells |
//! | [`tcp`] | the contract over TCP and mutual TLS: the default |
//! | [`blocks`] | large blocks, given from node to node over the bulk lanes |
//! | [`datagram`] | fixed-size datagrams for the strobe thread, sealed with keys of the TLS session; no async runtime |
//! | [`identity`] | who a peer is: certificates, their names, and the TLS configurations that check them |
//! | [`accept`] | the connections that gRPC is spoken over: TLS first, and what it refuses is counted |
//! | `verbs` | RDMA, with the cargo feature `verbs`: what a transport over it is made of |
//! | [`authority`] | a certificate authority in memory, for one run of the local mode |
//!
//! *Invariant:* a link belongs to one term; once [`transport::Transport::close_links`] has returned, nothing of an older
//! term is delivered or written to the network any more.
//!
//! Why it is built this way stands in `docs/adr/0005-fabric-tls-and-datagrams.md`.

pub mod accept;
pub mod authority;
pub mod blocks;
pub mod counters;
pub mod datagram;
pub mod identity;
pub mod limits;
pub mod loopback;
pub mod tcp;
pub mod transport;
#[cfg(feature = "verbs")]
pub mod verbs;

mod back_off;
mod frame;
mod hello;
mod inbox;
mod lane;
mod link;
mod queue;
