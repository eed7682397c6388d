//! What a real cluster does: the laboratory itself, then each question that the design of the integration rests on (docs/spikes).

#![expect(clippy::unwrap_used, reason = "a helper that fails ends the test")]

mod cpuset;
mod csi;
mod freezing;
mod identity;
mod mpi;
mod placement;
mod real_time;
mod smoke;
mod thaw_descriptor;
