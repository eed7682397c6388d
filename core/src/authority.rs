//! The authority: who commands, what is admitted, where it runs, what becomes of it.

mod face;
mod limits;
mod node_state;
mod term_phase;

pub use face::{
    AuthorityEffect, AuthorityInput, JobPlacement, JobSpecification, JobStatus, LaunchFailure, NodeCapacity, PartitionConfiguration,
    RestartPolicy, StateReason,
};
pub use limits::{JOBS_MAX, SINCE_MAX, START_UP_DEFAULT};
pub use node_state::{NodeEvent, NodeState, WrongNodeEvent};
pub use term_phase::{TermEvent, TermPhase, WrongTermEvent};
