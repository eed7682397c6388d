//! Library shared by the agent and the supervisor.

pub mod cgroup;
pub mod executor;
pub mod freezer;
pub mod pmi;
pub mod supervisor;
pub mod supervisor_protocol;
pub mod sys;
