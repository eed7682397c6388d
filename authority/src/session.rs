//! A session with one agent: dialled over mutual TLS, one task, messages both ways.

use std::{net::SocketAddr, time::Duration};

use strobe_core::model::{Instant, NodeIndex, PartitionUid};
use strobe_fabric::identity::{CertificateBundle, PeerIdentity};
use strobe_proto::{
    MESSAGE_BYTES_MAX, VERSIONS,
    agent::{AgentMessage, AuthorityHello, AuthorityMessage, Settings, agent_client::AgentClient, authority_message::Message},
    partition_bytes,
};
use tokio::{sync::mpsc, task::AbortHandle, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::limits::{SESSION_MESSAGES, SESSION_OPENING, SILENCE};

/// Names a session in the life of an authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionId {
    /// The agent's node.
    pub node: NodeIndex,
    /// Which of all sessions.
    pub number: u64,
}

/// Where an agent is dialled.
pub type AgentAddress = SocketAddr;

/// What comes of a session.
#[derive(Debug)]
pub enum SessionEvent {
    /// The agent says something.
    Message(SessionId, Box<AgentMessage>),
    /// It is over.
    Over(SessionId, SessionError),
}

/// The authority's end of a session. Dropping it ends the session.
#[derive(Debug)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// When the agent was last heard.
    pub heard: Instant,
    /// True once the agent has said who it is.
    pub open: bool,
    outgoing: mpsc::Sender<AuthorityMessage>,
    task: AbortHandle,
}

/// What all sessions of an authority need.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// The partition.
    pub partition: PartitionUid,
    /// Its times and policy.
    pub settings: Settings,
    /// Who this is.
    pub certificate: CertificateBundle,
}

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
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
    #[must_use]
    pub fn dial<Event>(id: SessionId, address: AgentAddress, options: &SessionOptions, now: Instant, events: mpsc::Sender<Event>) -> Self
    where
        Event: From<SessionEvent> + Send + 'static,
    {
        let (outgoing, queue) = mpsc::channel(SESSION_MESSAGES);
        let hello = AuthorityHello {
            version_min: *VERSIONS.start(),
            version_max: *VERSIONS.end(),
            partition: partition_bytes(options.partition),
            settings: Some(options.settings),
        };
        let endpoint = endpoint(id, address, options);
        let task = tokio::spawn(async move {
            let error = match endpoint {
                Ok(endpoint) => talk(id, &endpoint, queue, &events).await,
                Err(error) => SessionError::Dial(error),
            };
            // The receiver is gone only when the authority is.
            let _nobody_listens = events.send(SessionEvent::Over(id, error).into()).await;
        });
        let session = Self { id, heard: now, open: false, outgoing, task: task.abort_handle() };
        let fits = session.say(Message::Hello(hello));
        assert!(fits, "the first message finds room");
        session
    }

    /// Queues a message. False when there is no room: the session is of no more use.
    #[must_use]
    pub fn say(&self, message: Message) -> bool {
        self.outgoing.try_send(AuthorityMessage { message: Some(message) }).is_ok()
    }

    /// How long an agent of a partition may be silent before it counts as not reached.
    #[must_use]
    pub fn silence(suspicion: Duration) -> Duration {
        suspicion.max(SILENCE)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn endpoint(id: SessionId, address: AgentAddress, options: &SessionOptions) -> Result<Endpoint, tonic::transport::Error> {
    let bundle = &options.certificate;
    let tls = ClientTlsConfig::new()
        .domain_name(PeerIdentity::node(options.partition, id.node).server_name())
        .ca_certificate(Certificate::from_pem(&bundle.roots_pem))
        .identity(Identity::from_pem(&bundle.certificate_pem, &bundle.key_pem));
    Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls).map(|endpoint| endpoint.tcp_nodelay(true))
}

/// Talks until the session is over.
async fn talk<Event: From<SessionEvent>>(
    id: SessionId,
    endpoint: &Endpoint,
    queue: mpsc::Receiver<AuthorityMessage>,
    events: &mpsc::Sender<Event>,
) -> SessionError {
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
                if events.send(SessionEvent::Message(id, Box::new(message)).into()).await.is_err() {
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
