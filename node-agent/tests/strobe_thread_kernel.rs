//! Strobe threads on the real kernel: real-time threads, real sockets on loopback, real rank cgroups with busy processes.
//! Needs root (or a delegated cgroup); a test that lacks the right says so and does nothing, for root it fails instead.
#![allow(clippy::unwrap_used, reason = "the helpers of these tests may unwrap as the tests do")]

#[path = "strobe_thread_kernel/datagrams.rs"]
mod datagrams;
#[path = "strobe_thread_kernel/gangs.rs"]
mod gangs;
#[path = "strobe_thread_kernel/node.rs"]
mod node;
#[path = "strobe_thread_kernel/rings.rs"]
mod rings;
#[path = "strobe_thread_kernel/strobing.rs"]
mod strobing;
#[allow(dead_code, reason = "shared with the tests of the freezer, which need the rest")]
#[path = "freezer_kernel/support.rs"]
mod support;
