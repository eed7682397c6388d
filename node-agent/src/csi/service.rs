//! The services Identity and Node, as far as a volume needs them that lives as long as its pod.

use std::{path::Path, sync::Arc};

use tokio::{sync::Mutex, time::timeout};
use tonic::{Request, Response, Status, async_trait};

use super::{
    NAME,
    error::PluginError,
    limits::PLAN_TIME_MAX,
    protocol::csi::{
        GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse,
        NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse, NodePublishVolumeRequest,
        NodePublishVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse, ProbeRequest, ProbeResponse,
        identity_server::Identity, node_server::Node,
    },
    volume::{Publication, VolumeId},
    volumes::Volumes,
};
use crate::agent::Mailbox;

/// Both services.
#[derive(Debug, Clone)]
pub(super) struct NodeService {
    volumes: Arc<Mutex<Volumes>>,
    mailbox: Mailbox,
}

// === impl NodeService ===

impl NodeService {
    pub(super) fn new(volumes: Arc<Mutex<Volumes>>, mailbox: Mailbox) -> Self {
        Self { volumes, mailbox }
    }

    /// Waits until the agent was asked for a gang with a part in the pod: a refusal would cost kubelet's pause, a wait costs nothing
    /// more than itself.
    async fn publish(&self, request: NodePublishVolumeRequest) -> Result<(), PluginError> {
        let publication = Publication::try_from(request)?;
        if self.volumes.lock().await.is_published(&publication) {
            return Ok(());
        }
        let launched = timeout(PLAN_TIME_MAX, self.mailbox.await_launch(publication.pod.clone())).await;
        let (Ok(Ok(())), pod) = (launched, &publication.pod) else { return Err(PluginError::NotPlanned(publication.pod.to_string())) };
        tracing::info!(%pod, "a gang's pod gets its volume");
        self.volumes.lock().await.publish(&publication)
    }
}

#[async_trait]
impl Identity for NodeService {
    async fn get_plugin_info(&self, _: Request<GetPluginInfoRequest>) -> Result<Response<GetPluginInfoResponse>, Status> {
        Ok(Response::new(GetPluginInfoResponse { name: NAME.to_owned(), vendor_version: env!("CARGO_PKG_VERSION").to_owned() }))
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<GetPluginCapabilitiesRequest>,
    ) -> Result<Response<GetPluginCapabilitiesResponse>, Status> {
        Ok(Response::new(GetPluginCapabilitiesResponse {}))
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        Ok(Response::new(ProbeResponse {}))
    }
}

#[async_trait]
impl Node for NodeService {
    async fn node_publish_volume(&self, request: Request<NodePublishVolumeRequest>) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let published = self.publish(request.into_inner()).await;
        let published = published.inspect_err(|error| tracing::warn!(error = error as &dyn std::error::Error, "a volume is not published"));
        Ok(published.map(|()| Response::new(NodePublishVolumeResponse {}))?)
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let NodeUnpublishVolumeRequest { volume_id, target_path } = request.into_inner();
        let id = VolumeId::new(volume_id)?;
        let removed = self.volumes.lock().await.unpublish(&id, Path::new(&target_path));
        let removed = removed.inspect_err(|error| tracing::warn!(error = error as &dyn std::error::Error, "a volume is not removed"));
        Ok(removed.map(|()| Response::new(NodeUnpublishVolumeResponse {}))?)
    }

    async fn node_get_capabilities(&self, _: Request<NodeGetCapabilitiesRequest>) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        Ok(Response::new(NodeGetCapabilitiesResponse {}))
    }

    async fn node_get_info(&self, _: Request<NodeGetInfoRequest>) -> Result<Response<NodeGetInfoResponse>, Status> {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(Response::new(NodeGetInfoResponse { node_id: name }))
    }
}
