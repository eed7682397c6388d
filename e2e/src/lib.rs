//! What the tests against a real Kubernetes start: an API server alone, with its store (`api_server`).

pub mod api_server;
pub mod programs;
