//! How kubelet takes in the plugin.

use std::path::PathBuf;

use tonic::{Request, Response, Status, async_trait};

use super::{
    NAME,
    protocol::registration::{InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse, registration_server::Registration},
};
use crate::health::Health;

/// Versions of the interface that the plugin speaks.
const VERSIONS: [&str; 1] = ["1.0.0"];

/// See the module.
#[derive(Debug)]
pub(super) struct Registrar {
    /// Where the plugin serves, as a path of the node.
    pub(super) endpoint: PathBuf,
    pub(super) health: Health,
}

#[async_trait]
impl Registration for Registrar {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: NAME.to_owned(),
            endpoint: self.endpoint.to_string_lossy().into_owned(),
            supported_versions: VERSIONS.map(str::to_owned).into(),
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        if status.plugin_registered {
            tracing::info!("kubelet has taken in the volume plugin");
        } else {
            tracing::error!(error = status.error, "kubelet has not taken in the volume plugin");
        }
        self.health.registered(status.plugin_registered);
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
