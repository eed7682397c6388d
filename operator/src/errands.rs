//! What the operator's program does once and then ends.

mod await_job;
mod withdraw;

pub use await_job::await_job;
pub use withdraw::withdraw;

use crate::access::AccessError;

/// Why an errand was not done.
#[derive(Debug, thiserror::Error)]
pub enum ErrandError {
    /// The API server refused or did not answer.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// A watch broke off for good.
    #[error("cannot {what}")]
    Watch {
        /// What was waited for.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The job that was waited for has failed.
    #[error("ParallelJob {name:?} failed: {message}")]
    Failed {
        /// Its name.
        name: String,
        /// What its status says.
        message: String,
    },
}
