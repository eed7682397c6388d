//! The operator, as far as an agent that enrols sees it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use strobe_core::model::{NodeIndex, PartitionUid, Settings};
use strobe_proto::{
    identity::{
        Enrolment, EnrolmentRequest,
        identity_server::{Identity, IdentityServer},
    },
    partition_bytes,
};
use tokio::{net::TcpListener, sync::watch, task::AbortHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    transport::{self, Server, ServerTlsConfig},
};

use crate::authority::Certificates;

/// What it knows of the partition; none while the nodes are in no partition.
pub(crate) type Known = Option<(PartitionUid, Settings)>;

/// A server that knows a node by its token.
pub(crate) struct Operator {
    pub(crate) port: u16,
    pub(crate) known: watch::Sender<Known>,
    serving: AbortHandle,
}

struct Service {
    certificates: Arc<Certificates>,
    known: watch::Receiver<Known>,
}

/// The token of a node's pod.
pub(crate) fn token(node: NodeIndex) -> String {
    format!("token of node {node}")
}

impl Operator {
    pub(crate) async fn start(certificates: &Arc<Certificates>, known: Known) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let bundle = certificates.issue_operator();
        let tls = ServerTlsConfig::new().identity(transport::Identity::from_pem(bundle.certificate_pem, bundle.key_pem));
        let known = watch::Sender::new(known);
        let service = Service { certificates: Arc::clone(certificates), known: known.subscribe() };
        let server = Server::builder().tls_config(tls).unwrap().add_service(IdentityServer::new(service));
        let serving = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener))).abort_handle();
        Self { port, known, serving }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tonic::async_trait]
impl Identity for Service {
    async fn enrol(&self, request: Request<EnrolmentRequest>) -> Result<Response<Enrolment>, Status> {
        let request = request.into_inner();
        let node = (0..64).map(NodeIndex).find(|node| token(*node) == request.token);
        let node = node.ok_or_else(|| Status::unauthenticated("the token proves no agent"))?;
        let address: SocketAddr = request.session_address.parse().map_err(|_| Status::invalid_argument("no address"))?;
        assert!(address.port() > 0 && !request.cpus.is_empty(), "{address} with CPUs {:?}", request.cpus);
        let known = self.known.borrow().clone();
        let (partition, settings) = known.ok_or_else(|| Status::failed_precondition("the node is in no partition"))?;
        Ok(Response::new(Enrolment {
            certificate_pem: self.certificates.sign(&request.certificate_request, node),
            roots_pem: self.certificates.root_pem(),
            partition: partition_bytes(partition),
            node: node.0.into(),
            settings: Some((&settings).into()),
            cpus: Vec::new(),
        }))
    }
}
