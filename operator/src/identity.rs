//! Who an agent is: its token, its pod and its node have to say the same (docs/adr/0014). Whoever is an agent gets a certificate, and is
//! told what its node is in which partition.

mod proof;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Client;
use strobe_core::model::CpuIndex;
use strobe_fabric::authority::CertificateAuthority;
use strobe_fabric::identity::{CertificateBundle, PeerIdentity};
use strobe_proto::identity::identity_server::{Identity, IdentityServer};
use strobe_proto::identity::{Enrolment, EnrolmentRequest};
use strobe_proto::{VERSIONS, partition_bytes};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity as ServerIdentity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::leading::Leading;
use crate::limits::{CERTIFICATE_VALIDITY, ENROLMENT_BYTES, ENROLMENT_TIME};
use crate::partitions::{EnrolmentRefused, Place};
use proof::Prover;

/// What proves itself at the API server, and where it is enrolled.
struct Service {
    prover: Prover,
    authority: Arc<CertificateAuthority>,
    leading: Leading,
}

/// What the service needs.
#[derive(Debug)]
pub struct Options {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The name under which agents dial it.
    pub server_name: String,
    /// The namespace of the operator and its agents.
    pub namespace: String,
}

/// Why nobody can enrol.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The server has no certificate.
    #[error("no certificate for the server {0}")]
    Certificate(String, #[source] strobe_fabric::authority::AuthorityError),
    /// TLS does not take it.
    #[error("the server's certificate cannot be used")]
    Tls(#[source] tonic::transport::Error),
    /// It broke off.
    #[error("agents cannot enrol any more")]
    Serve(#[source] tonic::transport::Error),
}

/// Serves until it breaks.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(options: Options, client: Client, authority: Arc<CertificateAuthority>, leading: Leading) -> Result<(), ServeError> {
    let Options { listen, server_name, namespace } = options;
    let bundle = authority.issue_server(&server_name).map_err(|source| ServeError::Certificate(server_name, source))?;
    let CertificateBundle { certificate_pem, key_pem, .. } = bundle;
    let tls = ServerTlsConfig::new().identity(ServerIdentity::from_pem(certificate_pem, key_pem));
    let service = Service { prover: Prover::new(client, namespace), authority, leading };
    let service = IdentityServer::new(service).max_decoding_message_size(ENROLMENT_BYTES);
    let listener = TcpListener::bind(listen).await.map_err(|source| ServeError::Listen(listen, source))?;
    let server = Server::builder().timeout(ENROLMENT_TIME).tls_config(tls).map_err(ServeError::Tls)?.add_service(service);
    tracing::info!(%listen, "agents enrol here");
    server.serve_with_incoming(TcpListenerStream::new(listener)).await.map_err(ServeError::Serve)
}

#[tonic::async_trait]
impl Identity for Service {
    async fn enrol(&self, request: Request<EnrolmentRequest>) -> Result<Response<Enrolment>, Status> {
        let request = request.into_inner();
        if request.version_min > *VERSIONS.end() || request.version_max < *VERSIONS.start() {
            return Err(Status::failed_precondition(format!("this operator speaks versions {VERSIONS:?} of the contract")));
        }
        let node = self.prover.prove(&request.token).await?;
        let address = request.session_address.parse().map_err(|_| Status::invalid_argument("session_address is no address:port"))?;
        let cpus = request.cpus.iter().map(|cpu| u16::try_from(*cpu).map(CpuIndex)).collect::<Result<_, _>>();
        let cpus = cpus.map_err(|_| Status::invalid_argument("a CPU has a number above 65535"))?;
        let name = node.metadata.name.clone().unwrap_or_default();
        let place = self.place(node, address, cpus, request.boot_id).await.map_err(|refused| status(&refused))?;
        let identity = PeerIdentity::node(place.partition, place.node);
        let signed = self.authority.sign(&request.certificate_request, identity, CERTIFICATE_VALIDITY);
        let certificate_pem = signed.map_err(|error| Status::invalid_argument(error.to_string()))?;
        tracing::info!(node = name, index = %place.node, partition = place.name, "an agent has enrolled");
        Ok(Response::new(Enrolment {
            certificate_pem,
            roots_pem: self.authority.roots_pem().to_owned(),
            partition: partition_bytes(place.partition),
            node: place.node.0.into(),
            settings: Some((&place.settings).into()),
            cpus: place.cpus.iter().map(|cpu| cpu.0.into()).collect(),
        }))
    }
}

impl Service {
    async fn place(&self, node: Node, address: SocketAddr, cpus: Vec<CpuIndex>, boot_id: String) -> Result<Place, EnrolmentRefused> {
        let partitions = self.leading.borrow().clone().ok_or(EnrolmentRefused::NotLeading)?;
        partitions.enrol(node, address, cpus, boot_id).await
    }
}

/// What an agent is told that may not take part: it asks again, for all of it may change.
fn status(refused: &EnrolmentRefused) -> Status {
    match refused {
        EnrolmentRefused::Unavailable | EnrolmentRefused::NotLeading => Status::unavailable(refused.to_string()),
        EnrolmentRefused::NoPartition
        | EnrolmentRefused::SeveralPartitions(_)
        | EnrolmentRefused::Full
        | EnrolmentRefused::NoCpus
        | EnrolmentRefused::BadCpus(_) => Status::failed_precondition(refused.to_string()),
    }
}

/// The shortest certificate is longer than the longest pause between two attempts to renew it.
const _: () = assert!(CERTIFICATE_VALIDITY.as_secs() > 3 * Duration::from_secs(3600).as_secs());
