//! The operator: makes of each ParallelJob what its partition can take. It is the authority of every partition, makes the pods of gangs,
//! tells jobs what becomes of them, and tells agents who they are.

pub mod access;
pub mod certificates;
pub mod controller;
pub mod election;
pub mod errands;
pub mod expiry;
mod happenings;
pub mod identity;
pub mod leading;
pub mod limits;
pub mod metrics;
pub mod names;
pub mod network;
pub mod nodes;
mod partition;
pub mod partitions;
pub mod priority;
pub mod probes;
pub mod quantity;
pub mod refusal;
pub mod resources;
pub mod standing;
pub mod status;
pub mod trial;
pub mod watched;
