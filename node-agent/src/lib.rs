//! Library shared by the agent and the supervisor.

pub mod cgroup;
pub mod executor;
pub mod freezer;
pub mod supervisor_protocol;
pub mod sys;
