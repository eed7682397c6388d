//! Connections taken one after the other and served side by side, few at a time: what every listening socket of ours has in common.

use std::{io, net::SocketAddr, sync::Arc};

use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    back_off::BackOff,
    counters::Refusal,
    limits::{HANDSHAKE_TIME_MAX, HANDSHAKES_MAX},
    tcp::tls_refusal,
};

/// What gRPC is called where a protocol is chosen.
const HTTP_2: &[u8] = b"h2";

/// A connection that TLS has let in; tonic takes it for a result, which here is never an error.
pub type Accepted = io::Result<TlsStream<TcpStream>>;

/// Accepts until it is dropped, and what it has begun to serve ends with it. At most [`HANDSHAKES_MAX`] connections are served at a time.
pub(crate) async fn accept_all<Served>(listener: TcpListener, mut back_off: BackOff, serve: impl Fn(TcpStream, SocketAddr) -> Served)
where
    Served: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let mut handshakes = JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        while handshakes.try_join_next().is_some() {}
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Mostly a lack of descriptors: others must close some first, and the connection waits.
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(back_off.wait()).await;
                continue;
            }
        };
        back_off.reset();
        let served = serve(stream, address);
        handshakes.spawn(async move {
            served.await;
            drop(place);
        });
    }
}

/// The connections of gRPC clients that TLS lets in, until they are taken no more; `refused` hears of the others. tonic by itself would
/// neither count nor time those.
pub fn tls_connections(
    listener: TcpListener,
    config: &ServerConfig,
    refused: impl Fn(Refusal) + Clone + Send + Sync + 'static,
) -> mpsc::Receiver<Accepted> {
    let mut config = config.clone();
    config.alpn_protocols = vec![HTTP_2.to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (taken, connections) = mpsc::channel(1);
    tokio::spawn(async move {
        let serve = |stream, _| {
            let (acceptor, refused, taken) = (acceptor.clone(), refused.clone(), taken.clone());
            async move {
                match shake_hands(&acceptor, stream).await {
                    // Nobody takes it when whoever listened has ended.
                    Ok(stream) => drop(taken.send(Ok(stream)).await),
                    Err(refusal) => refused(refusal),
                }
            }
        };
        tokio::select! {
            () = accept_all(listener, BackOff::new(0), serve) => {}
            () = taken.closed() => {}
        }
    });
    connections
}

async fn shake_hands(acceptor: &TlsAcceptor, stream: TcpStream) -> Result<TlsStream<TcpStream>, Refusal> {
    stream.set_nodelay(true).map_err(|_| Refusal::Stranger)?;
    let shaken = timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream)).await.map_err(|_| Refusal::TimedOut)?;
    shaken.map_err(|error| tls_refusal(&error).unwrap_or(Refusal::Stranger))
}
