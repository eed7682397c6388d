//! What the tests against a real Kubernetes use: an API server alone, with its store (`api_server`), or the cluster of
//! `cargo xtask lab` (`laboratory`).

pub mod api_server;
pub mod ask;
mod client;
pub mod laboratory;
pub mod programs;
