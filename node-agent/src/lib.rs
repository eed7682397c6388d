//! Library shared by the agent and the supervisor.

pub mod agent;
mod back_off;
pub mod cgroup;
mod csi;
pub mod executor;
pub mod freezer;
mod health;
pub mod node;
pub mod pmi;
mod process_tree;
pub mod strobe_thread;
pub mod supervisor;
pub mod supervisor_protocol;
mod switch_trace;
pub mod sys;
pub mod systemd;
