//! What `strobe-agent node` is told.

use std::{net::IpAddr, path::PathBuf};

use clap::Args;

/// Be the agent of a cluster's node, in a pod of the DaemonSet: serve the volumes of gangs' pods, ask the operator who this node is, and
/// serve its partition until that changes or the process is asked to end. Gangs run on then.
#[derive(Debug, Clone, Args)]
pub struct NodeArguments {
    /// Address of the node; sessions, fabric and health are served there.
    #[arg(long, env = "NODE_ADDRESS")]
    pub address: IpAddr,
    /// Where the operator says who this node is.
    #[arg(long, env = "STROBE_OPERATOR", default_value = "https://strobe-operator.strobe-system.svc:7443")]
    pub operator: String,
    /// Roots that the operator's certificate is checked against, as PEM.
    #[arg(long, env = "STROBE_OPERATOR_ROOTS", default_value = "/etc/strobe/roots/roots.pem")]
    pub operator_roots: PathBuf,
    /// Service-account token of this pod for the operator; read again for each request, since kubelet renews it.
    #[arg(long, env = "STROBE_TOKEN", default_value = "/var/run/secrets/strobe/token")]
    pub token: PathBuf,
    /// Folder on a tmpfs of the node: what the agent has promised, what it has begun, its number of lives. It outlives the pod, and not
    /// the machine's boot.
    #[arg(long, env = "STROBE_DIRECTORY", default_value = "/run/strobe")]
    pub directory: PathBuf,
    /// Port of the authority's sessions; 0 for any.
    #[arg(long, env = "STROBE_SESSION_PORT", default_value_t = 7410)]
    pub session_port: u16,
    /// Port of the other agents: frames by TCP, the strobe by UDP; 0 for any.
    #[arg(long, env = "STROBE_FABRIC_PORT", default_value_t = 7411)]
    pub fabric_port: u16,
    /// Port of /healthz, /readyz and /metrics, plain HTTP; 0 for any.
    #[arg(long, env = "STROBE_HEALTH_PORT", default_value_t = 7412)]
    pub health_port: u16,
    /// kubelet's folder, which must have the same name on the node and here.
    #[arg(long, env = "STROBE_KUBELET_DIRECTORY", default_value = "/var/lib/kubelet")]
    pub kubelet_directory: PathBuf,
    /// The static supervisor that goes into pods; else strobe-init beside this program.
    #[arg(long, env = "STROBE_SUPERVISOR")]
    pub supervisor: Option<PathBuf>,
}
