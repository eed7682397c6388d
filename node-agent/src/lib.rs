//! Library shared by the agent and the supervisor.

pub mod cgroup;
pub mod executor;
pub mod freezer;
pub mod sys;
