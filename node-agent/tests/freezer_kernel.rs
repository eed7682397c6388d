//! The freezer, rank cgroups and the switching step on the real kernel. Needs root (or a delegated cgroup) for all but
//! the signal freezer; a test that lacks the right says so and does nothing, for root it fails instead.
#![allow(clippy::unwrap_used, reason = "the helpers of these tests may unwrap as the tests do")]

#[path = "freezer_kernel/allocation.rs"]
mod allocation;
#[path = "freezer_kernel/leftovers.rs"]
mod leftovers;
#[path = "freezer_kernel/rank_cgroups.rs"]
mod rank_cgroups;
#[path = "freezer_kernel/real_time.rs"]
mod real_time;
#[path = "freezer_kernel/signals.rs"]
mod signals;
#[path = "freezer_kernel/stragglers.rs"]
mod stragglers;
#[path = "freezer_kernel/support.rs"]
mod support;
#[path = "freezer_kernel/switching.rs"]
mod switching;
