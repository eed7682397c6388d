//! The operator: makes of each ParallelJob what its partition can take. So far it tells every job what keeps it from being admitted.

pub mod controller;
pub mod limits;
pub mod refusal;
pub mod status;
