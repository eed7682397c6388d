//! The two sockets of a plugin: kubelet finds the one in its registry, and is told there of the other.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, async_trait};

use crate::calls;
use crate::node::NodeService;
use crate::protocol::csi::identity_server::IdentityServer;
use crate::protocol::csi::node_server::NodeServer;
use crate::protocol::registration::registration_server::{Registration, RegistrationServer};
use crate::protocol::registration::{InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse};
use crate::volumes::Volumes;

/// The plugin's own folder, kubelet's `plugins/NAME` on the node.
const FOLDER: &str = "/plugin";

/// Kubelet's registry: it watches this folder for sockets.
const REGISTRY: &str = "/registry";

/// Begins the name of the socket in the registry, before an `@`. Kubelet's client sends that socket's path as the name of the server,
/// with `%2F` for each slash. Rust's HTTP/2 refuses such a name, with PROTOCOL_ERROR, unless an `@` makes all before it a user's name.
const REGISTRATION: &str = "registration";

/// Made once kubelet has taken the plugin in: what the container's readiness probe looks for.
const REGISTERED: &str = "/tmp/registered";

struct Registrar {
    name: String,
}

/// Serves until SIGTERM; then leaves the registry, so that kubelet knows at once that the plugin is away.
///
/// # Errors
/// A folder is missing, or a socket cannot be made.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn serve(name: &str) -> Result<()> {
    let mut end = signal(SignalKind::terminate()).context("hear of SIGTERM")?;
    let volumes = Arc::new(Volumes::open(Path::new(FOLDER))?);
    volumes.serve_again()?;
    let endpoint = listen(&Path::new(FOLDER).join("csi.sock"))?;
    // Last: kubelet calls as soon as it finds this one.
    let registered = Path::new(REGISTRY).join(format!("{REGISTRATION}@{name}.sock"));
    let registry = listen(&registered)?;
    calls::note("Start", &json!({ "pid": std::process::id() }));
    let service = NodeService::new(name, volumes);
    let serving = Server::builder()
        .add_service(IdentityServer::new(service.clone()))
        .add_service(NodeServer::new(service))
        .serve_with_incoming(UnixListenerStream::new(endpoint));
    let registering = Server::builder()
        .add_service(RegistrationServer::new(Registrar { name: name.to_owned() }))
        .serve_with_incoming(UnixListenerStream::new(registry));
    tokio::select! {
        ended = serving => ended.context("serve volumes"),
        ended = registering => ended.context("serve the registration"),
        _ = end.recv() => fs::remove_file(&registered).context("leave kubelet's registry"),
    }
}

/// Listens at a path, also where an earlier life has left its socket.
///
/// # Errors
/// The folder is missing, or the path too long for a socket.
pub(crate) fn listen(path: &Path) -> Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).with_context(|| format!("remove {}", path.display())),
        _ => UnixListener::bind(path).with_context(|| format!("listen at {}", path.display())),
    }
}

// === impl Registrar ===

#[async_trait]
impl Registration for Registrar {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        calls::note("GetInfo", &json!({}));
        let endpoint = PathBuf::from("/var/lib/kubelet/plugins").join(&self.name).join("csi.sock");
        Ok(Response::new(PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: self.name.clone(),
            endpoint: endpoint.to_string_lossy().into_owned(),
            supported_versions: vec!["1.0.0".to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        calls::note("NotifyRegistrationStatus", &json!({ "registered": status.plugin_registered, "error": status.error }));
        if status.plugin_registered {
            fs::write(REGISTERED, "").map_err(|error| Status::internal(error.to_string()))?;
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
