//! Who an agent is: its token, its pod and its node have to say the same (docs/adr/0014). Whoever is an agent gets a certificate, and is
//! told what its node is in which partition.

mod proof;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::Client;
use strobe_core::model::CpuIndex;
use strobe_fabric::accept::tls_connections;
use strobe_fabric::authority::CertificateAuthority;
use strobe_fabric::counters::Refusal;
use strobe_fabric::identity::{IdentityError, PeerIdentity, anonymous_server};
use strobe_proto::identity::identity_server::{Identity, IdentityServer};
use strobe_proto::identity::{Enrolment, EnrolmentRequest};
use strobe_proto::{VERSIONS, partition_bytes};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};

use crate::leading::Leading;
use crate::limits::{CERTIFICATE_VALIDITY, ENROLMENT_BYTES, ENROLMENT_TIME};
use crate::metrics::{Metrics, NotEnrolled};
use crate::partitions::{EnrolmentRefused, Place};
use proof::Prover;

/// What proves itself at the API server, and where it is enrolled.
struct Service {
    prover: Prover,
    authority: Arc<CertificateAuthority>,
    leading: Leading,
    metrics: Metrics,
}

/// What the service needs.
#[derive(Debug)]
pub struct Options {
    /// Where agents dial it.
    pub listener: TcpListener,
    /// The name under which agents dial it.
    pub server_name: String,
    /// The namespace of the operator and its agents.
    pub namespace: String,
    /// Where it counts.
    pub metrics: Metrics,
}

/// Why nobody can enrol.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The server has no certificate.
    #[error("no certificate for the server {0}")]
    Certificate(String, #[source] strobe_fabric::authority::AuthorityError),
    /// TLS does not take it.
    #[error("the server's certificate cannot be used")]
    Tls(#[source] IdentityError),
    /// It broke off.
    #[error("agents cannot enrol any more")]
    Serve(#[source] tonic::transport::Error),
}

/// Who is not enrolled: what is counted, and what is answered.
struct Refused {
    reason: NotEnrolled,
    status: Status,
}

/// Serves until it breaks.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve(options: Options, client: Client, authority: Arc<CertificateAuthority>, leading: Leading) -> Result<(), ServeError> {
    let Options { listener, server_name, namespace, metrics } = options;
    let bundle = authority.issue_server(&server_name).map_err(|source| ServeError::Certificate(server_name, source))?;
    let tls = anonymous_server(&bundle).map_err(ServeError::Tls)?;
    let counted = metrics.clone();
    let refused = move |refusal: Refusal| {
        tracing::debug!(refusal = refusal.label(), "a connection was refused where agents enrol");
        counted.refused(NotEnrolled::Tls(refusal));
    };
    let connections = tls_connections(listener, &tls, refused);
    let service = Service { prover: Prover::new(client, namespace), authority, leading, metrics };
    let service = IdentityServer::new(service).max_decoding_message_size(ENROLMENT_BYTES);
    let server = Server::builder().add_service(service);
    server.serve_with_incoming(ReceiverStream::new(connections)).await.map_err(ServeError::Serve)
}

#[tonic::async_trait]
impl Identity for Service {
    async fn enrol(&self, request: Request<EnrolmentRequest>) -> Result<Response<Enrolment>, Status> {
        // Here and not by the server, which would drop what is asked without counting it.
        let taken = timeout(ENROLMENT_TIME, self.take_in(request.into_inner())).await;
        match taken.unwrap_or_else(|_| Err(too_late())) {
            Ok(enrolment) => {
                self.metrics.enrolled();
                Ok(Response::new(enrolment))
            }
            Err(Refused { reason, status }) => {
                self.metrics.refused(reason);
                Err(status)
            }
        }
    }
}

impl Service {
    async fn take_in(&self, request: EnrolmentRequest) -> Result<Enrolment, Refused> {
        if request.version_min > *VERSIONS.end() || request.version_max < *VERSIONS.start() {
            let status = Status::failed_precondition(format!("this operator speaks versions {VERSIONS:?} of the contract"));
            return Err(Refused { reason: NotEnrolled::WrongVersion, status });
        }
        let node = self.prover.prove(&request.token).await.map_err(unproven)?;
        let address = request.session_address.parse().map_err(|_| unreadable("session_address is no address:port"))?;
        let cpus = request.cpus.iter().map(|cpu| u16::try_from(*cpu).map(CpuIndex)).collect::<Result<_, _>>();
        let cpus = cpus.map_err(|_| unreadable("a CPU has a number above 65535"))?;
        let name = node.metadata.name.clone().unwrap_or_default();
        let place = self.place(node, address, cpus, request.boot_id).await.map_err(|refused| unplaced(&refused))?;
        let identity = PeerIdentity::node(place.partition, place.node);
        let signed = self.authority.sign(&request.certificate_request, identity, CERTIFICATE_VALIDITY);
        let certificate_pem = signed.map_err(|error| unreadable(error.to_string()))?;
        tracing::info!(node = name, index = %place.node, partition = place.name, "an agent has enrolled");
        Ok(Enrolment {
            certificate_pem,
            roots_pem: self.authority.roots_pem().to_owned(),
            partition: partition_bytes(place.partition),
            node: place.node.0.into(),
            settings: Some((&place.settings).into()),
            cpus: place.cpus.iter().map(|cpu| cpu.0.into()).collect(),
        })
    }

    async fn place(&self, node: Node, address: SocketAddr, cpus: Vec<CpuIndex>, boot_id: String) -> Result<Place, EnrolmentRefused> {
        let partitions = self.leading.borrow().clone().ok_or(EnrolmentRefused::NotLeading)?;
        partitions.enrol(node, address, cpus, boot_id).await
    }
}

fn unproven(status: Status) -> Refused {
    let reason = match status.code() {
        Code::Unauthenticated => NotEnrolled::BadToken,
        Code::PermissionDenied => NotEnrolled::NotAnAgent,
        _ => NotEnrolled::Unavailable,
    };
    Refused { reason, status }
}

fn unreadable(message: impl Into<String>) -> Refused {
    Refused { reason: NotEnrolled::BadRequest, status: Status::invalid_argument(message) }
}

/// What an agent is told that may not take part: it asks again, for all of it may change.
fn unplaced(refused: &EnrolmentRefused) -> Refused {
    match refused {
        EnrolmentRefused::Unavailable | EnrolmentRefused::NotLeading => {
            Refused { reason: NotEnrolled::Unavailable, status: Status::unavailable(refused.to_string()) }
        }
        EnrolmentRefused::NoPartition
        | EnrolmentRefused::SeveralPartitions(_)
        | EnrolmentRefused::Full
        | EnrolmentRefused::NoCpus
        | EnrolmentRefused::BadCpus(_) => {
            Refused { reason: NotEnrolled::NoPlace, status: Status::failed_precondition(refused.to_string()) }
        }
    }
}

fn too_late() -> Refused {
    let status = Status::unavailable(format!("the API server or the partition's authority did not answer within {ENROLMENT_TIME:?}"));
    Refused { reason: NotEnrolled::Unavailable, status }
}

/// The shortest certificate is longer than the longest pause between two attempts to renew it.
const _: () = assert!(CERTIFICATE_VALIDITY.as_secs() > 3 * Duration::from_secs(3600).as_secs());
