//! The volume plugin by which the supervisor and a socket of the agent come into a gang's pod (docs/adr/0012): inline ephemeral
//! volumes, the services Identity and Node, and kubelet's registration.

mod error;
mod limits;
mod mounts;
mod program;
mod protocol;
mod registration;
mod service;
mod volume;
mod volumes;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub(crate) use error::PluginError;
use tokio::{net::UnixListener, sync::Mutex};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use crate::{agent::Mailbox, health::Health};
use protocol::{
    csi::{identity_server::IdentityServer, node_server::NodeServer},
    registration::registration_server::RegistrationServer,
};
use registration::Registrar;
use service::NodeService;
use volumes::Volumes;

/// The plugin's name, which is that of the CSIDriver object.
const NAME: &str = "csi.strobe.dev";

/// Begins the name of the socket in kubelet's registry, before an `@`: kubelet sends that socket's path as the name of the server, with
/// `%2F` for each slash, which Rust's HTTP/2 refuses unless an `@` makes all before it a user's name.
const REGISTRATION: &str = "registration";

/// What a plugin needs.
#[derive(Debug)]
pub(crate) struct Options {
    /// kubelet's folder; of the same name on the node and here.
    pub kubelet: PathBuf,
    /// The supervisor that goes into the volumes.
    pub supervisor: PathBuf,
    /// Mounts are made there before a pod's node sees them.
    pub aside: PathBuf,
    /// The agent, which knows the plan.
    pub mailbox: Mailbox,
    /// Told when kubelet has taken in the plugin.
    pub health: Health,
}

/// A plugin that serves until its process ends.
#[derive(Debug)]
pub(crate) struct Plugin {
    registered: PathBuf,
}

/// Begins to serve: first the sockets of the volumes that an earlier life has published, then kubelet's calls, the registration last.
///
/// # Errors
/// A folder of kubelet's is missing, or a socket cannot be made.
pub(crate) async fn begin(options: Options) -> Result<Plugin, PluginError> {
    let Options { kubelet, supervisor, aside, mailbox, health } = options;
    let folder = kubelet.join("plugins").join(NAME);
    let mut volumes = Volumes::open(&folder, &kubelet.join("pods"), aside, &supervisor, mailbox.clone())?;
    volumes.serve_again()?;
    let endpoint = folder.join("csi.sock");
    let service = NodeService::new(Arc::new(Mutex::new(volumes)), mailbox);
    let services = Server::builder().add_service(IdentityServer::new(service.clone())).add_service(NodeServer::new(service));
    let calls = UnixListenerStream::new(listen(&endpoint)?);
    tokio::spawn(async move {
        if let Err(error) = services.serve_with_incoming(calls).await {
            tracing::error!(%error, "volumes are served no more");
        }
    });
    // Last: kubelet calls as soon as it finds this one.
    let registered = kubelet.join("plugins_registry").join(format!("{REGISTRATION}@{NAME}.sock"));
    let registrations = UnixListenerStream::new(listen(&registered)?);
    let registrar = Server::builder().add_service(RegistrationServer::new(Registrar { endpoint, health }));
    tokio::spawn(async move {
        if let Err(error) = registrar.serve_with_incoming(registrations).await {
            tracing::error!(%error, "kubelet cannot take in the plugin any more");
        }
    });
    Ok(Plugin { registered })
}

// === impl Plugin ===

impl Plugin {
    /// Leaves kubelet's registry, so that it knows at once that the plugin is away.
    pub(crate) fn leave(self) {
        if let Err(error) = fs::remove_file(&self.registered) {
            tracing::warn!(%error, "the plugin is left in kubelet's registry");
        }
    }
}

/// Listens at a path, also where an earlier life has left its socket.
fn listen(path: &Path) -> Result<UnixListener, PluginError> {
    let listen = || {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        UnixListener::bind(path)
    };
    listen().map_err(PluginError::at("listen at", path))
}
