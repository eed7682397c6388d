//! Waiting for a job: what the chart's test does.

use kube::Client;
use kube::api::Api;
use kube::runtime::wait;
use strobe_crds::parallel_job::{GangState, ParallelJob};

use super::ErrandError;

/// Waits until a job is over.
///
/// # Errors
/// It fails; see [`ErrandError`].
pub async fn await_job(client: &Client, namespace: &str, name: &str) -> Result<(), ErrandError> {
    let jobs: Api<ParallelJob> = Api::namespaced(client.clone(), namespace);
    let over = |job: Option<&ParallelJob>| {
        let status = job.and_then(|job| job.status.as_ref());
        if let Some(status) = status {
            tracing::info!(state = ?status.state, ready = status.ready, message = status.message, "the job");
        }
        status.and_then(|status| status.state).is_some_and(GangState::is_over)
    };
    let awaited = wait::await_condition(jobs, name, over).await;
    let job = awaited.map_err(|source| ErrandError::Watch { what: "wait for the job", source: Box::new(source) })?;
    let status = job.and_then(|job| job.status).unwrap_or_default();
    if status.state == Some(GangState::Complete) {
        return Ok(());
    }
    let message = status.message.unwrap_or_else(|| "its status says nothing more".to_owned());
    Err(ErrandError::Failed { name: name.to_owned(), message })
}
