//! The contract between the authority and the agents: how an agent is started, the gRPC messages, and their translation from
//! and to the core's types.
//!
//! The generated messages stay on the wire: everything else uses the core's types, and every field that comes from the
//! wire is checked as it is translated.

pub mod bootstrap;
mod convert;
pub mod files;

pub use convert::{ConvertError, partition_bytes, partition_uid};

pub use strobe::{agent::v1 as agent, identity::v1 as identity};

/// Messages, clients and servers, generated from `proto/`: what authority and agent say to each other (`agent`), and what an agent asks
/// of the operator first (`identity`). The generated code refers from package to package by these nested modules.
#[expect(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
#[allow(unused_qualifications, unreachable_pub, reason = "generated")]
mod strobe {
    pub mod agent {
        pub mod v1 {
            tonic::include_proto!("strobe.agent.v1");
        }
    }
    pub mod identity {
        pub mod v1 {
            tonic::include_proto!("strobe.identity.v1");
        }
    }
}

/// Versions of the contract that this build speaks, oldest and newest.
pub const VERSIONS: std::ops::RangeInclusive<u32> = 1..=1;

/// Bytes of one message at most; a larger one is refused by the receiver.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
