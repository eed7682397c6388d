//! What the tests against a real Kubernetes use: an API server alone, with its store (`api_server`), or a whole cluster (`cluster`), and what
//! is measured there (`measure`).

pub mod api_server;
pub mod ask;
mod client;
pub mod cluster;
pub mod measure;
pub mod programs;
