//! The Ousterhout matrix of a partition: rows are time slots, columns are CPUs grouped by node.

mod face;

pub use face::{NoPlacement, NodeCapacity, PlacementRequest};
