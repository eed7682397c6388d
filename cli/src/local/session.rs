//! A session with one agent: dialled over mutual TLS, one task, messages both ways.

use std::time::Duration;

use strobe_core::model::{Instant, NodeIncarnation, PartitionUid};
use strobe_fabric::identity::{CertificateBundle, PeerIdentity};
use strobe_proto::{
    MESSAGE_BYTES_MAX, VERSIONS,
    agent::{AuthorityHello, AuthorityMessage, Settings, agent_client::AgentClient, authority_message::Message},
    partition_bytes,
};
use tokio::{sync::mpsc, task::AbortHandle, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::{
    agent_process::ADDRESS,
    event::Event,
    limits::{SESSION_MESSAGES, SESSION_OPENING},
};

/// Names a session in the life of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SessionId {
    /// The agent.
    pub agent: NodeIncarnation,
    /// Which of its sessions.
    pub number: u64,
}

/// The authority's end of a session. Dropping it ends the session.
#[derive(Debug)]
pub(super) struct Session {
    /// Its name.
    pub id: SessionId,
    /// When the agent was last heard.
    pub heard: Instant,
    /// True once the agent has said who it is.
    pub open: bool,
    outgoing: mpsc::Sender<AuthorityMessage>,
    task: AbortHandle,
}

/// What every session of a run needs.
#[derive(Debug, Clone)]
pub(super) struct SessionOptions {
    /// The partition.
    pub partition: PartitionUid,
    /// Its times and policy.
    pub settings: Settings,
    /// Who this is.
    pub certificate: CertificateBundle,
}

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// It could not be opened.
    #[error("the agent cannot be reached")]
    Dial(#[source] tonic::transport::Error),
    /// It was not opened in time.
    #[error("the agent does not answer")]
    Late,
    /// The agent refused it, or it broke.
    #[error("the session broke: {}", .0.message())]
    Broken(#[source] Box<tonic::Status>),
    /// The agent closed it.
    #[error("the agent closed the session")]
    Closed,
}

impl Session {
    /// Dials an agent; what comes of it are events.
    pub(super) fn dial(id: SessionId, port: u16, options: &SessionOptions, now: Instant, events: mpsc::Sender<Event>) -> Self {
        let (outgoing, queue) = mpsc::channel(SESSION_MESSAGES);
        let hello = AuthorityHello {
            version_min: *VERSIONS.start(),
            version_max: *VERSIONS.end(),
            partition: partition_bytes(options.partition),
            settings: Some(options.settings),
        };
        let endpoint = endpoint(id, port, options);
        let task = tokio::spawn(async move {
            let error = match endpoint {
                Ok(endpoint) => talk(id, &endpoint, queue, &events).await,
                Err(error) => SessionError::Dial(error),
            };
            // The receiver is gone only when the run is over.
            let _run_is_over = events.send(Event::SessionOver(id, error)).await;
        });
        let session = Self { id, heard: now, open: false, outgoing, task: task.abort_handle() };
        session.say(Message::Hello(hello));
        session
    }

    /// Queues a message. False when there is no room: the session is of no more use.
    pub(super) fn say(&self, message: Message) -> bool {
        self.outgoing.try_send(AuthorityMessage { message: Some(message) }).is_ok()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn endpoint(id: SessionId, port: u16, options: &SessionOptions) -> Result<Endpoint, tonic::transport::Error> {
    let bundle = &options.certificate;
    let tls = ClientTlsConfig::new()
        .domain_name(PeerIdentity::node(options.partition, id.agent.node).server_name())
        .ca_certificate(Certificate::from_pem(&bundle.roots_pem))
        .identity(Identity::from_pem(&bundle.certificate_pem, &bundle.key_pem));
    Endpoint::from_shared(format!("https://{ADDRESS}:{port}"))?.tls_config(tls).map(|endpoint| endpoint.tcp_nodelay(true))
}

/// Talks until the session is over.
async fn talk(id: SessionId, endpoint: &Endpoint, queue: mpsc::Receiver<AuthorityMessage>, events: &mpsc::Sender<Event>) -> SessionError {
    let open = async {
        let channel = endpoint.connect().await.map_err(SessionError::Dial)?;
        let mut client = AgentClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        client.session(ReceiverStream::new(queue)).await.map_err(broken)
    };
    let mut messages = match timeout(SESSION_OPENING, open).await {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(error)) => return error,
        Err(_late) => return SessionError::Late,
    };
    loop {
        match messages.message().await {
            Ok(Some(message)) => {
                if events.send(Event::Message(id, Box::new(message))).await.is_err() {
                    return SessionError::Closed;
                }
            }
            Ok(None) => return SessionError::Closed,
            Err(status) => return broken(status),
        }
    }
}

fn broken(status: tonic::Status) -> SessionError {
    SessionError::Broken(Box::new(status))
}

/// How long an agent may be silent before it counts as not reached.
pub(super) fn silence(suspicion: Duration) -> Duration {
    suspicion.max(super::limits::SILENCE)
}
