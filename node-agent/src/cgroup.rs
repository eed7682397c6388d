//! Rank cgroups: finding the cgroup v2 tree wherever it is mounted, making rank cgroups in it, moving ranks into them
//! with a check before and after, ending and removing them, and what earlier runs left behind.
//!
//! Everything here is slow-path work that may block and allocate; what the strobe thread needs of a rank cgroup is
//! prepared here once and then lives in [`crate::freezer`]. No controller is ever enabled (`subtree_control` is left
//! alone, ARCHITECTURE section 6): `cgroup.freeze`, `cgroup.kill`, `cgroup.events` and `cpu.stat` exist without any.

mod cpuset;
mod directory;
mod error;
mod first_version;
mod leftover;
pub mod limits;
mod memory_kills;
mod path;
mod pod;
mod process;
mod rank;
mod removal;
mod state;
mod tree;

pub use cpuset::{CpuSet, CpuSetError, Look};
pub(crate) use directory::is_gone;
pub use error::{CgroupError, Operation};
pub use first_version::FirstVersionError;
pub use leftover::Leftover;
pub use memory_kills::MemoryKills;
pub use path::{CgroupName, CgroupPath};
pub use pod::PodUid;
pub use process::{cgroup_of, process_of};
pub use rank::RankCgroup;
pub use state::CgroupState;
pub(crate) use state::EVENTS_BYTES;
pub use tree::CgroupTree;
