//! The Ousterhout matrix of a partition: rows are time slots, columns are CPUs grouped by node.
//!
//! **Packing.** A gang goes to the row with the fewest free slots that still has room for it: gangs stand side by side in
//! one row before time is shared, and wide gangs find rows that are nearly empty. Within the row it gets the nodes whose
//! free slots are fewest and suffice, so that whole nodes stay free for wide gangs; on each node it gets the CPUs that
//! the other rows use least, so that row unification finds free slots. Ties go to the node that all rows together use
//! least, then to the lowest number.
//! Buddies of powers of two (the DHC scheme) are not used: slots of a node are chosen one by one, so a buddy would only
//! waste what does not fit its size.
//!
//! **Unification.** A gang also runs in other occupied rows where its slots stay free. Empty rows are left alone: the
//! strobe skips them, and giving them to one gang would take time from the others.
//!
//! **Compaction.** When a gang ends, gangs move to lower rows. Nodes and CPUs of a running gang never change.
//!
//! *Invariant:* no two gangs have one CPU in one row; memory and the table of gangs are counted over all rows together.

mod cells;
mod change;
mod face;
mod grid;
mod rows;
mod search;

pub use change::{MatrixChange, NotRestored, RowsChange};
pub use face::{NoPlacement, NodeCapacity, PlacementRequest};
pub use grid::{Matrix, MatrixGang};
