//! What the API server was asked for in vain.

/// The API server refused or did not answer.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}")]
pub struct AccessError {
    /// What was tried.
    what: &'static str,
    /// Its answer.
    #[source]
    source: Box<kube::Error>,
}

/// That this was asked for in vain.
pub(crate) fn access(what: &'static str) -> impl FnOnce(kube::Error) -> AccessError {
    move |source| AccessError { what, source: Box::new(source) }
}
