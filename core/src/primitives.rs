//! The three primitives: records in one order, the memory that they make, and what became of each operation.
//!
//! XFER-AND-SIGNAL and COMPARE-AND-WRITE are [`Request`]s that any node submits and the manager numbers; TEST-EVENT is
//! the shell's wait for an [`Outcome`] or for a remote event (section 4 of the design; section 3 of Frachtenberg et al.,
//! "Designing Parallel Operating Systems via Parallel Programming", 2004).
//! *Invariant:* a record is applied only when it is stable, that is held by all members of the view, so that no reader
//! sees what a term change could take back.

pub mod digest;
mod memory;
pub mod pipeline;
mod record;
pub mod transfer;

pub use memory::{Applied, GangMemory, GangPhase, Memory, Region};
pub use record::{
    AbortReason, Block, Cell, Compare, CompareResult, Comparison, Content, GangCommand, GangVerb, OperationId, Outcome, Payload, Record,
    RegionName, RegionOwner, Request, Write, Xfer,
};
