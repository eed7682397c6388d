//! The operator's program at a real API server, with the rights that its manifest gives it and no others.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends the test")]

mod admission;
mod certificates;
mod cluster;
mod figures;
mod lives;
mod partition_nodes;
mod pod_groups;
