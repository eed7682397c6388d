//! Why something was not done in a cluster: what is missing, and what would be right.

use kube::Error;
use kube::config::{InferConfigError, KubeconfigError};

/// How the resources come into a cluster.
const INSTALL: &str = "install Strobe there: helm install strobe helm/strobe";

/// See the module.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    /// Nothing says which cluster.
    #[error("no cluster is configured: name one by --kubeconfig, KUBECONFIG or the file that kubectl reads by itself")]
    NoConfiguration {
        /// What was tried.
        #[source]
        source: Box<InferConfigError>,
    },
    /// The file is none.
    #[error("--kubeconfig is {path}, which cannot be read; it must be a file as kubectl reads it")]
    BadFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        source: Box<KubeconfigError>,
    },
    /// The file says nothing of the cluster.
    #[error("the context names no cluster that is configured; `kubectl config get-contexts` lists those that are")]
    NoContext {
        /// What is missing.
        #[source]
        source: Box<KubeconfigError>,
    },
    /// The file says how, but not rightly.
    #[error("the cluster at {address} cannot be asked as it is configured")]
    BadConfiguration {
        /// The API server.
        address: String,
        /// What is wrong.
        #[source]
        source: Box<Error>,
    },
    /// Nobody answers.
    #[error("the cluster at {address} is not reached; check that it runs, and that --kubeconfig and --context name the right one")]
    Unreachable {
        /// The API server.
        address: String,
        /// What came instead.
        #[source]
        source: Box<Error>,
    },
    /// Nobody whom it knows.
    #[error("the cluster at {address} does not know you ({message}); renew your credentials")]
    Unauthorised {
        /// The API server.
        address: String,
        /// Its words.
        message: String,
    },
    /// It lacks our resources.
    #[error("the cluster at {address} does not have Strobe's resources ({what} cannot be read); {INSTALL}")]
    NotInstalled {
        /// The API server.
        address: String,
        /// What was asked for.
        what: String,
    },
    /// No such object.
    #[error("there is no {what}; `kubectl strobe list -A` shows the jobs, `kubectl get partitions` the partitions")]
    NotFound {
        /// Kind, name and namespace.
        what: String,
    },
    /// The user may not.
    #[error("{what}: you are not allowed to ({message})")]
    Forbidden {
        /// What was asked for.
        what: String,
        /// The API server's words.
        message: String,
    },
    /// It does not want to.
    #[error("{what}: refused ({message})")]
    Refused {
        /// What was asked for.
        what: String,
        /// The API server's words.
        message: String,
    },
    /// It answers something else.
    #[error("{what}: the cluster's answer cannot be read")]
    Unreadable {
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        #[source]
        source: Box<Error>,
    },
    /// The matrix of which one?
    #[error("there are the partitions {}; name one of them", .0.join(", "))]
    WhichPartition(Vec<String>),
    /// None at all.
    #[error("there is no Partition; apply one, as README.md shows")]
    NoPartition,
    /// The job is over.
    #[error("ParallelJob {name:?} is {state}: it cannot be {verb} any more")]
    Over {
        /// The job.
        name: String,
        /// Its state.
        state: String,
        /// What was wished, in the participle.
        verb: &'static str,
    },
    /// It has fewer ranks.
    #[error("--rank is {rank}, but ParallelJob {name:?} has the ranks 0 to {last}")]
    NoRank {
        /// What was asked for.
        rank: u32,
        /// The job.
        name: String,
        /// Its last rank.
        last: u32,
    },
    /// Nothing to read from.
    #[error("ParallelJob {name:?} has no pods ({why}); `kubectl strobe explain {name}` says more")]
    NoPods {
        /// The job.
        name: String,
        /// Its state.
        why: String,
    },
    /// No runtime.
    #[error("cannot start waiting for answers")]
    Runtime(#[source] std::io::Error),
    /// What is told cannot be written.
    #[error("cannot write to standard output")]
    Write(#[source] std::io::Error),
    /// Nor as YAML.
    #[error("this cannot be written as YAML")]
    Yaml(#[source] serde_saphyr::ser_error::Error),
}

impl ClusterError {
    /// What an API server's answer to a question means.
    pub(super) fn answered(what: String, address: &str, error: Error) -> Self {
        let address = address.to_owned();
        match error {
            Error::Api(status) => match status.code {
                401 => Self::Unauthorised { address, message: status.message },
                403 => Self::Forbidden { what, message: status.message },
                // Of an object it says which; of a resource that it does not have it knows nothing.
                404 if status.details.as_ref().is_none_or(|details| details.name.is_empty()) => Self::NotInstalled { address, what },
                404 => Self::NotFound { what },
                _ => Self::Refused { what, message: status.message },
            },
            error @ Error::SerdeError(_) => Self::Unreadable { what, source: Box::new(error) },
            error => Self::Unreachable { address, source: Box::new(error) },
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    fn told(code: u16, name: &str) -> String {
        let details = json!({ "name": name, "kind": "paralleljobs" });
        let status: Status = serde_json::from_value(json!({ "code": code, "message": "its words", "details": details })).unwrap();
        ClusterError::answered("ParallelJob \"sor\"".to_owned(), "https://here", Error::Api(Box::new(status))).to_string()
    }

    #[test]
    fn an_error_names_what_is_missing_and_what_would_be_right() {
        assert!(told(404, "").contains("https://here does not have Strobe's resources") && told(404, "").contains("helm install"));
        assert!(told(404, "sor").starts_with("there is no ParallelJob \"sor\"; `kubectl strobe list -A`"));
        assert_eq!(told(403, "sor"), "ParallelJob \"sor\": you are not allowed to (its words)");
        assert_eq!(told(401, ""), "the cluster at https://here does not know you (its words); renew your credentials");
        assert_eq!(told(409, "sor"), "ParallelJob \"sor\": refused (its words)");
    }
}
