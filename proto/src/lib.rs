//! The contract between the authority and the agents: how an agent is started, the gRPC messages, and their translation from
//! and to the core's types.
//!
//! The generated messages stay on the wire: everything else uses the core's types, and every field that comes from the
//! wire is checked as it is translated.

pub mod bootstrap;
mod convert;

pub use convert::{ConvertError, partition_bytes, partition_uid};

/// The contract's messages, client and server, generated from `proto/strobe/agent/v1/agent.proto`.
#[expect(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
#[allow(unused_qualifications, unreachable_pub, reason = "generated")]
pub mod agent {
    tonic::include_proto!("strobe.agent.v1");
}

/// Versions of the contract that this build speaks, oldest and newest.
pub const VERSIONS: std::ops::RangeInclusive<u32> = 1..=1;

/// Bytes of one message at most; a larger one is refused by the receiver.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
