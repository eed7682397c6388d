//! The accepting end: from a connection to a lane, or to a counted refusal.

use std::{net::SocketAddr, sync::Arc};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{dial::TlsWire, socket};
use crate::{
    accept,
    back_off::BackOff,
    counters::{Refusal, RefusedPeer},
    hello::{self, HELLO_BYTES, Hello},
    identity::{PeerIdentity, peer_identity},
    lane::Lane,
    limits::HANDSHAKE_TIME_MAX,
    link::{Arrival, Links},
};

/// A refusal, and of whom.
struct Refused(RefusedPeer, Refusal);

/// Accepts until it is aborted; what is being served then ends with it.
pub(super) async fn accept_all(listener: TcpListener, config: Arc<ServerConfig>, links: Arc<Links<TlsWire>>) {
    let acceptor = TlsAcceptor::from(config);
    let back_off = BackOff::new(links.options().jitter_seed);
    let serve = |stream, address| {
        let (acceptor, links) = (acceptor.clone(), Arc::clone(&links));
        async move { handshake(&acceptor, &links, stream, address).await }
    };
    accept::accept_all(listener, back_off, serve).await;
}

async fn handshake(acceptor: &TlsAcceptor, links: &Links<TlsWire>, stream: TcpStream, address: SocketAddr) {
    let stranger = RefusedPeer::Address(address.ip());
    let outcome = timeout(HANDSHAKE_TIME_MAX, receive(acceptor, links, stream, stranger)).await;
    if let Err(Refused(peer, refusal)) = outcome.unwrap_or(Err(Refused(stranger, Refusal::TimedOut))) {
        links.counters().refuse(peer, refusal);
    }
}

async fn receive(acceptor: &TlsAcceptor, links: &Links<TlsWire>, stream: TcpStream, stranger: RefusedPeer) -> Result<(), Refused> {
    let refuse = |refusal| Refused(stranger, refusal);
    socket::prepare(&stream).map_err(|_| refuse(Refusal::Stranger))?;
    let mut stream = acceptor.accept(stream).await.map_err(|error| refuse(socket::tls_refusal(&error).unwrap_or(Refusal::Stranger)))?;
    let identity = identity_of(&stream).map_err(refuse)?;
    let peer = match identity.role {
        crate::identity::Role::Node(node) => RefusedPeer::Node(node),
        crate::identity::Role::Authority => stranger,
    };
    let mut bytes = [0; HELLO_BYTES];
    stream.read_exact(&mut bytes).await.map_err(|_| Refused(peer, Refusal::BadHello))?;
    let admitted = Hello::decode(&bytes).and_then(|hello| Ok((hello, links.admit(&hello, &identity)?)));
    let answer = admitted.as_ref().map(|_| ()).map_err(|refusal| *refusal);
    let answered = write_welcome(&mut stream, answer).await;
    let (hello, arrivals) = admitted.map_err(|refusal| Refused(peer, refusal))?;
    // A dialer that has gone away meanwhile dials again.
    if answered {
        hand_over(stream, &hello, arrivals).await.map_err(|refusal| Refused(peer, refusal))?;
    }
    Ok(())
}

fn identity_of(stream: &TlsStream<TcpStream>) -> Result<PeerIdentity, Refusal> {
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).ok_or(Refusal::Stranger)?;
    peer_identity(certificate).map_err(|_| Refusal::Stranger)
}

async fn write_welcome(stream: &mut TlsStream<TcpStream>, answer: Result<(), Refusal>) -> bool {
    let written = stream.write_all(&hello::encode_welcome(answer)).await;
    written.is_ok() && stream.flush().await.is_ok()
}

async fn hand_over(stream: TlsStream<TcpStream>, hello: &Hello, arrivals: mpsc::Sender<Arrival>) -> Result<(), Refusal> {
    let (tcp, session) = stream.get_ref();
    let material = socket::export(session, hello).map_err(|_| Refusal::Stranger)?;
    socket::reset_on_close(tcp).map_err(|_| Refusal::Stranger)?;
    let arrival = Arrival { number: hello.number, class: hello.class, lane: Lane::new(stream), material };
    // The link may have been cut meanwhile: then the lane is dropped with it.
    let _ = arrivals.send(arrival).await;
    Ok(())
}
