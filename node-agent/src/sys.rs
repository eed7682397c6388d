//! The thin layer under the agent that talks to the kernel: clocks, scheduling class, CPU affinity and
//! memory locking of threads, leases of files, peers of sockets. The only module of the agent (with its children) that may hold `unsafe`;
//! everything for which rustix has a safe call goes through rustix.

pub mod affinity;
pub mod clock;
pub mod descriptor;
pub(crate) mod first_version;
pub mod lease;
pub mod memory;
pub mod peer;
pub mod scheduler;
