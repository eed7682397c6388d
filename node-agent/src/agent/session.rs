//! The gRPC contract, served to the authority alone.

use std::{net::SocketAddr, ops::RangeInclusive, sync::Arc};

use strobe_core::model::{Appointment, NodeSet, PartitionUid, Plan, Settings, TermRecord};
use strobe_fabric::{
    accept::tls_connections,
    counters::Refusal,
    identity::{CertificateBundle, IdentityError, PeerIdentity, Role, TlsIdentity, peer_identity},
};
use strobe_proto::{
    ConvertError, MESSAGE_BYTES_MAX, VERSIONS,
    agent::{
        AgentMessage, AuthorityMessage,
        agent_server::{Agent, AgentServer},
        authority_message::Message,
    },
    partition_uid,
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming, transport::Server};

use super::{
    LeavingReason,
    addresses::address_book,
    event::Event,
    limits::{REFUSAL_TIME, SESSION_MESSAGES_MAX},
    mailbox::Mailbox,
    refusals::{Refusals, SessionRefusal},
};

/// What an authority must have in common with the agent.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) partition: PartitionUid,
    pub(super) settings: Settings,
    /// An authority with other settings means that the partition was changed: the agent leaves, to learn what it is now. In local mode
    /// it is a mistake of whoever asks.
    pub(super) leaves_at_other_settings: bool,
}

/// The service.
struct Service {
    expected: Expected,
    events: mpsc::Sender<Event>,
    refusals: Refusals,
}

/// Why the contract cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// It is not known where is listened.
    #[error("the listener has no address")]
    Port(#[source] std::io::Error),
    /// The certificate cannot be used.
    #[error("the certificate cannot be used")]
    Tls(#[source] IdentityError),
}

/// Listens for the authority.
///
/// # Errors
/// [`ServeError::Listen`].
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen(address, source))
}

/// Serves the contract until the process ends, and returns the port.
///
/// # Errors
/// See [`ServeError`].
pub(super) fn serve(
    listener: TcpListener,
    expected: Expected,
    bundle: &CertificateBundle,
    Mailbox { events, refusals }: Mailbox,
) -> Result<u16, ServeError> {
    let port = listener.local_addr().map_err(ServeError::Port)?.port();
    let identity = TlsIdentity::new(bundle).map_err(ServeError::Tls)?;
    let counted = refusals.clone();
    let refused = move |refusal: Refusal| {
        tracing::debug!(refusal = refusal.label(), "a connection to the session's port was refused");
        counted.session(SessionRefusal::Tls(refusal));
    };
    let connections = ReceiverStream::new(tls_connections(listener, &identity.server, refused));
    let service = AgentServer::new(Service { expected, events, refusals }).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let server = Server::builder().add_service(service);
    tokio::spawn(async move {
        if let Err(error) = server.serve_with_incoming(connections).await {
            tracing::error!(%error, "the contract is served no more");
        }
    });
    Ok(port)
}

#[tonic::async_trait]
impl Agent for Service {
    type SessionStream = tokio_stream::adapters::Map<ReceiverStream<AgentMessage>, fn(AgentMessage) -> Result<AgentMessage, Status>>;

    async fn session(&self, request: Request<Streaming<AuthorityMessage>>) -> Result<Response<Self::SessionStream>, Status> {
        let mut messages = match self.check_authority(&request) {
            Ok(()) => request.into_inner(),
            Err(refused) => return Err(self.refuse(refused)),
        };
        let first = messages.message().await?;
        if let Err(refused) = self.check_hello(first) {
            self.leave_if_changed(&refused);
            return Err(self.refuse(refused));
        }
        let (outgoing, queue) = mpsc::channel(SESSION_MESSAGES_MAX);
        let events = self.events.clone();
        send(&events, Event::SessionOpened(outgoing)).await?;
        tokio::spawn(async move {
            match take_all(messages, &events).await {
                Ok(()) => tracing::info!("the authority has closed its session"),
                // An authority that dies closes nothing: its successor, or the owner's end, is told otherwise.
                Err(status) if is_broken_connection(&status) => tracing::info!(%status, "the authority's session is broken"),
                Err(status) => tracing::warn!(%status, "the authority's session is over"),
            }
        });
        Ok(Response::new(tokio_stream::StreamExt::map(ReceiverStream::new(queue), Ok)))
    }
}

impl Service {
    /// Counts a refusal, and gives the answer to it.
    fn refuse(&self, Refused { refusal, status }: Refused) -> Status {
        self.refusals.session(refusal);
        status
    }

    fn check_authority<T>(&self, request: &Request<T>) -> Result<(), Refused> {
        let refuse = |status| Refused { refusal: SessionRefusal::NotTheAuthority, status };
        let certificates = request.peer_certs().ok_or_else(|| refuse(Status::unauthenticated("a certificate is required")))?;
        let leaf = certificates.first().ok_or_else(|| refuse(Status::unauthenticated("a certificate is required")))?;
        let identity = peer_identity(leaf).map_err(|error| refuse(Status::unauthenticated(error.to_string())))?;
        let expected = PeerIdentity { partition: self.expected.partition, role: Role::Authority };
        let others = || refuse(Status::permission_denied("only the partition's authority may open a session"));
        (identity == expected).then_some(()).ok_or_else(others)
    }

    fn leave_if_changed(&self, refused: &Refused) {
        if refused.refusal == SessionRefusal::OtherSettings && self.expected.leaves_at_other_settings {
            let events = self.events.clone();
            tokio::spawn(async move {
                tokio::time::sleep(REFUSAL_TIME).await;
                // The receiver is gone only when the agent ends.
                let _agent_ends = events.send(Event::Leave(LeavingReason::PartitionChanged)).await;
            });
        }
    }

    fn check_hello(&self, first: Option<AuthorityMessage>) -> Result<(), Refused> {
        let Some(AuthorityMessage { message: Some(Message::Hello(hello)) }) = first else {
            return Err(Refused::at(SessionRefusal::BadHello, "a session begins with hello"));
        };
        let theirs: RangeInclusive<u32> = hello.version_min..=hello.version_max;
        if theirs.start() > VERSIONS.end() || theirs.end() < VERSIONS.start() {
            let problem = format!("versions {theirs:?} and {VERSIONS:?} of the contract have none in common");
            return Err(Refused::at(SessionRefusal::WrongVersion, problem));
        }
        if partition_uid(&hello.partition).map_err(|error| unreadable(&error))? != self.expected.partition {
            return Err(Refused::at(SessionRefusal::WrongPartition, "this agent serves another partition"));
        }
        let settings = hello.settings.ok_or(ConvertError::Missing { field: "settings" }).and_then(Settings::try_from);
        self.check_settings(&settings.map_err(|error| unreadable(&error))?)
    }

    /// A session between different settings would end in a watchdog that expires early, or in leases that overlap.
    fn check_settings(&self, theirs: &Settings) -> Result<(), Refused> {
        let ours = &self.expected.settings;
        if ours == theirs {
            return Ok(());
        }
        let problem = format!("the settings differ: this agent was started with {ours:?}, its authority has {theirs:?}");
        Err(Refused::at(SessionRefusal::OtherSettings, problem))
    }
}

/// A session that does not begin, and what is answered.
struct Refused {
    refusal: SessionRefusal,
    status: Status,
}

// === impl Refused ===

impl Refused {
    fn at(refusal: SessionRefusal, problem: impl Into<String>) -> Self {
        Self { refusal, status: Status::failed_precondition(problem) }
    }
}

/// A value of the hello that cannot be read, with what is wrong in it.
fn unreadable(error: &ConvertError) -> Refused {
    let cause = std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
    Refused { refusal: SessionRefusal::BadHello, status: Status::invalid_argument(format!("{error}{cause}")) }
}

async fn send(events: &mpsc::Sender<Event>, event: Event) -> Result<(), Status> {
    events.send(event).await.map_err(|_| Status::unavailable("the agent ends"))
}

async fn take_all(mut messages: Streaming<AuthorityMessage>, events: &mpsc::Sender<Event>) -> Result<(), Status> {
    while let Some(message) = messages.message().await? {
        let Some(message) = message.message else { continue };
        match event_of(message) {
            Ok(event) => send(events, event).await?,
            Err(error) => return Err(Status::invalid_argument(error.to_string())),
        }
    }
    Ok(())
}

/// True when the connection broke, and nobody said anything wrong. tonic has no code of its own for it: a reset or an end within a
/// stream is "unknown", and a cancelled one "cancelled".
fn is_broken_connection(status: &Status) -> bool {
    matches!(status.code(), Code::Unknown | Code::Cancelled | Code::Unavailable)
}

fn event_of(message: Message) -> Result<Event, ConvertError> {
    Ok(match message {
        Message::Hello(_) => return Err(ConvertError::Missing { field: "anything but a second hello" }),
        Message::Addresses(book) => Event::Addresses(address_book(&book).ok_or(ConvertError::Missing { field: "addresses" })?),
        Message::Appointment(appointment) => Event::Appointed(Box::new(Appointment::try_from(appointment)?)),
        Message::Introduction(record) => Event::Introduced(Box::new(TermRecord::try_from(record)?)),
        Message::Plan(plan) => Event::Plan(Arc::new(Plan::try_from(plan)?)),
        Message::Lost(lost) => Event::Lost(NodeSet::from_bits(lost.nodes)),
        Message::Launch(gang) => Event::Launch(Box::new(gang)),
        Message::Remove(run) => Event::Remove(run.into()),
        Message::Stage(file) => Event::StageFile(file),
        Message::Shutdown(_) => Event::Shutdown,
    })
}
