//! The session's connections: TLS is spoken here and not by tonic, which would neither count nor time those that it refuses.

use std::{io, sync::Arc};

use strobe_fabric::{
    counters::Refusal,
    identity::TlsIdentity,
    limits::{HANDSHAKE_TIME_MAX, HANDSHAKES_MAX},
    tcp::tls_refusal,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    agent::refusals::{Refusals, SessionRefusal},
    back_off::BackOff,
};

/// What gRPC is called where a protocol is chosen.
const HTTP_2: &[u8] = b"h2";

/// A connection whose peer is of the partition; tonic takes it for a result, which here is never an error.
type Accepted = io::Result<TlsStream<TcpStream>>;

/// The connections that TLS lets in, until they are taken no more. At most [`HANDSHAKES_MAX`] handshakes run at a time.
pub(super) fn connections(listener: TcpListener, identity: &TlsIdentity, refusals: Refusals) -> ReceiverStream<Accepted> {
    let mut config = (*identity.server).clone();
    config.alpn_protocols = vec![HTTP_2.to_vec()];
    let (taken, connections) = mpsc::channel(1);
    tokio::spawn(accept_all(listener, TlsAcceptor::from(Arc::new(config)), refusals, taken));
    ReceiverStream::new(connections)
}

async fn accept_all(listener: TcpListener, acceptor: TlsAcceptor, refusals: Refusals, taken: mpsc::Sender<Accepted>) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let mut back_off = BackOff::new();
    while !taken.is_closed() {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Mostly a lack of descriptors: others must close some first, and the connection waits.
                tracing::warn!(%error, "accepting a session failed");
                sleep(back_off.wait()).await;
                continue;
            }
        };
        back_off.reset();
        let (acceptor, refusals, taken) = (acceptor.clone(), refusals.clone(), taken.clone());
        tokio::spawn(async move {
            match shake_hands(&acceptor, stream).await {
                // The agent ends, and takes no connection any more.
                Ok(stream) => drop(taken.send(Ok(stream)).await),
                Err(refusal) => {
                    tracing::debug!(refusal = refusal.label(), "a connection to the session's port was refused");
                    refusals.session(SessionRefusal::Tls(refusal));
                }
            }
            drop(place);
        });
    }
}

async fn shake_hands(acceptor: &TlsAcceptor, stream: TcpStream) -> Result<TlsStream<TcpStream>, Refusal> {
    stream.set_nodelay(true).map_err(|_| Refusal::Stranger)?;
    let shaken = timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream)).await.map_err(|_| Refusal::TimedOut)?;
    shaken.map_err(|error| tls_refusal(&error).unwrap_or(Refusal::Stranger))
}
