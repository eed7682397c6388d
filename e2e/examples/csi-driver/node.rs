//! The services Identity and Node, as far as a volume needs them that lives as long as its pod.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tonic::{Request, Response, Status, async_trait};

use crate::calls;
use crate::protocol::csi::identity_server::Identity;
use crate::protocol::csi::node_server::Node;
use crate::protocol::csi::{
    GetPluginCapabilitiesRequest, GetPluginCapabilitiesResponse, GetPluginInfoRequest, GetPluginInfoResponse, NodeGetCapabilitiesRequest,
    NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse, NodePublishVolumeRequest, NodePublishVolumeResponse,
    NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse, ProbeRequest, ProbeResponse,
};
use crate::volumes::Volumes;

/// The attribute of a volume that is published only so many seconds after kubelet has asked.
const HOLD: &str = "holdSeconds";

/// Both services of one plugin.
#[derive(Clone)]
pub(crate) struct NodeService {
    name: Arc<str>,
    volumes: Arc<Volumes>,
}

// === impl NodeService ===

impl NodeService {
    pub(crate) fn new(name: &str, volumes: Arc<Volumes>) -> Self {
        Self { name: name.into(), volumes }
    }
}

#[async_trait]
impl Identity for NodeService {
    async fn get_plugin_info(&self, _: Request<GetPluginInfoRequest>) -> Result<Response<GetPluginInfoResponse>, Status> {
        Ok(Response::new(GetPluginInfoResponse { name: self.name.to_string(), vendor_version: "1".to_owned() }))
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
        let request = request.into_inner();
        if let Some(seconds) = request.volume_context.get(HOLD).and_then(|seconds| seconds.parse().ok()) {
            calls::note("Hold", &json!({ "volume": request.volume_id }));
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
        let result = self.volumes.publish(&request).map_err(|error| format!("{error:#}"));
        let (target, context) = (&request.target_path, &request.volume_context);
        let details = json!({ "volume": request.volume_id, "target": target, "readonly": request.readonly, "context": context });
        calls::note("NodePublishVolume", &json!({ "request": details, "error": result.as_ref().err() }));
        result.map(|()| Response::new(NodePublishVolumeResponse {})).map_err(Status::internal)
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let result = self.volumes.unpublish(&request).map_err(|error| format!("{error:#}"));
        let details = json!({ "volume": request.volume_id, "target": request.target_path });
        calls::note("NodeUnpublishVolume", &json!({ "request": details, "error": result.as_ref().err() }));
        result.map(|()| Response::new(NodeUnpublishVolumeResponse {})).map_err(Status::internal)
    }

    async fn node_get_capabilities(&self, _: Request<NodeGetCapabilitiesRequest>) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        Ok(Response::new(NodeGetCapabilitiesResponse {}))
    }

    async fn node_get_info(&self, _: Request<NodeGetInfoRequest>) -> Result<Response<NodeGetInfoResponse>, Status> {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Ok(Response::new(NodeGetInfoResponse { node_id: name }))
    }
}
