//! Why a volume, or the plugin, cannot be served.

use std::{
    io,
    path::{Path, PathBuf},
};

use tonic::{Code, Status};

use crate::cgroup::CgroupError;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// A file, a folder or a mount.
    #[error("cannot {operation} {path}")]
    Access {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// kubelet's request does not name what it must.
    #[error("the request's {field} is {value:?}: {problem}")]
    Request {
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What it should.
        problem: &'static str,
    },
    /// The pod's UID.
    #[error("the request's pod has no UID")]
    Pod(#[source] CgroupError),
    /// The runtime mounts by the pod's word: the supervisor of all pods would be writable.
    #[error("the pod must declare the volume with readOnly: true")]
    Writable,
    /// Nobody has asked for a gang with a part in the pod.
    #[error("pod {0} is not in this node's plan: the operator has not asked for its gang here, or this agent has no session with it")]
    NotPlanned(String),
}

// === impl PluginError ===

impl PluginError {
    /// Makes the error of an operation on a path.
    pub(super) fn at<E: Into<io::Error>>(operation: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self::Access { operation, path, source: source.into() }
    }
}

impl From<PluginError> for Status {
    fn from(error: PluginError) -> Self {
        let code = match error {
            PluginError::Access { .. } => Code::Internal,
            PluginError::Request { .. } | PluginError::Pod(_) | PluginError::Writable => Code::InvalidArgument,
            PluginError::NotPlanned(_) => Code::Unavailable,
        };
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        Self::new(code, format!("{error}{cause}"))
    }
}
