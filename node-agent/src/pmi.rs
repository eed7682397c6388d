//! PMI-1, the text protocol by which MPICH, Intel MPI and their kin wire up their ranks: a server without
//! any input or output of its own. Bytes from a rank go in, replies and other effects come out.
//!
//! Ranks are not trusted: whatever a rank sends, the answer is at worst an error to that rank. Facts about
//! the protocol were taken from traces of MPICH 4.0.2 and 5.0.2 (ADR 0002).

pub mod block;
mod group;
mod groups;
pub mod limits;
mod line;
mod puts;
mod server;

pub use block::BlockError;
pub use line::{Line, LineError};
pub use server::{BarrierError, GroupEntered, LocalRank, PmiEffect, PmiServer, PmiSettings};
