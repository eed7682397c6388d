//! The Kubernetes types of Strobe, `ParallelJob`, `Partition` and `PartitionNode`: fields, defaults, limits and rules, nothing else.
//!
//! [`manifest`] reads files of them strictly, [`validate`] turns them into types that need no further checks,
//! [`render`] writes the CRDs. The same rules hold in a cluster and in local mode: see [`rules`].

#[cfg(feature = "cases")]
pub mod cases;
pub mod cpu_list;
pub mod duration;
pub mod limits;
pub mod manifest;
pub mod names;
pub mod parallel_job;
pub mod partition;
pub mod partition_node;
pub mod render;
pub mod rules;
mod schema;
pub mod selection;
pub mod validate;

pub use parallel_job::{ParallelJob, ParallelJobSpec};
pub use partition::{Partition, PartitionSpec};
pub use partition_node::{PartitionNode, PartitionNodeSpec};

/// API group and version of every type.
pub const API_VERSION: &str = "strobe.dev/v1alpha1";
