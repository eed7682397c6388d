//! `strobe-init`, the supervisor of a gang's ranks on one node: forks, pins and reaps them, carries their
//! output, serves PMI to them, and thaws them when their agent is gone.
//!
//! One thread, one poll loop ([`run`]); every decision is in [`life`], which reads no clock and does
//! nothing. The single thread is a requirement, not a convenience: the parent-death signal that ends the
//! ranks with their supervisor is tied to the thread that forked them.

pub mod arguments;
pub mod environment;
pub mod error;
pub mod life;
pub mod limits;
pub mod network;
pub mod output;
pub mod probe;
pub mod program;
pub mod stub;

mod agent_link;
mod event_loop;
mod journal;
mod pmi_service;
mod probe_service;
mod rank_process;
mod signals;
mod sink;

pub use event_loop::run;
