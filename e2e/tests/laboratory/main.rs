//! What a real cluster does: the laboratory itself, then each question that the design of the integration rests on (docs/spikes).

#![expect(clippy::unwrap_used, reason = "a helper that fails ends the test")]

mod csi;
mod identity;
mod placement;
mod smoke;
