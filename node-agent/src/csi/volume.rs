//! What kubelet asks for, checked.

use std::path::PathBuf;

use super::{error::PluginError, limits::VOLUME_BYTES_MAX, protocol::csi::NodePublishVolumeRequest};
use crate::cgroup::PodUid;

/// What kubelet says of the pod where the CSIDriver asks for it (`podInfoOnMount`).
const POD_UID: &str = "csi.storage.k8s.io/pod.uid";
const EPHEMERAL: &str = "csi.storage.k8s.io/ephemeral";

/// Names a volume, which lives as long as its pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct VolumeId(String);

/// A volume to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Publication {
    pub(super) id: VolumeId,
    pub(super) pod: PodUid,
    /// Where kubelet wants it mounted.
    pub(super) target: PathBuf,
}

// === impl VolumeId ===

impl VolumeId {
    /// Letters, digits and dashes: it names a folder.
    ///
    /// # Errors
    /// [`PluginError::Request`].
    pub(super) fn new(id: String) -> Result<Self, PluginError> {
        let valid = (1..=VOLUME_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if valid { Ok(Self(id)) } else { Err(refused("volume_id", id, "wants letters, digits and dashes")) }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

// === impl Publication ===

impl TryFrom<NodePublishVolumeRequest> for Publication {
    type Error = PluginError;

    fn try_from(request: NodePublishVolumeRequest) -> Result<Self, PluginError> {
        let NodePublishVolumeRequest { volume_id, target_path, readonly, mut volume_context } = request;
        if !readonly {
            return Err(PluginError::Writable);
        }
        let ephemeral = volume_context.remove(EPHEMERAL).unwrap_or_default();
        if ephemeral != "true" {
            return Err(refused("volume_context", ephemeral, "the volume must be an inline ephemeral one"));
        }
        let pod = PodUid::new(volume_context.remove(POD_UID).unwrap_or_default()).map_err(PluginError::Pod)?;
        Ok(Self { id: VolumeId::new(volume_id)?, pod, target: target_path.into() })
    }
}

pub(super) fn refused(field: &'static str, value: String, problem: &'static str) -> PluginError {
    PluginError::Request { field, value, problem }
}
