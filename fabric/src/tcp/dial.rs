//! The dialing end of a lane.

use std::{io, net::SocketAddr};

use strobe_core::model::PartitionUid;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::socket;
use crate::{
    counters::Refusal,
    hello::{self, Hello, WELCOME_BYTES},
    identity::{PeerIdentity, TlsIdentity},
    lane::Lane,
    limits::HANDSHAKE_TIME_MAX,
    link::{Arrival, DialError, Wire},
};

/// Connects lanes by TCP and TLS.
pub(super) struct TlsWire {
    partition: PartitionUid,
    connector: TlsConnector,
}

impl TlsWire {
    pub(super) fn new(identity: &TlsIdentity) -> Self {
        Self { partition: identity.identity.partition, connector: TlsConnector::from(identity.client.clone()) }
    }

    async fn connect(&self, address: SocketAddr, hello: &Hello) -> Result<Arrival, DialError> {
        let stream = TcpStream::connect(address).await.map_err(|_| DialError::Unreachable)?;
        socket::prepare(&stream).map_err(|_| DialError::Unreachable)?;
        let expected = PeerIdentity::node(self.partition, hello.to);
        let mut stream = self.connector.connect(expected.tls_name(), stream).await.map_err(|error| classify(&error))?;
        let answer = greet(&mut stream, hello).await.map_err(|error| classify(&error))?;
        hello::decode_welcome(answer).map_err(DialError::Refused)?.map_err(DialError::RefusedByPeer)?;
        let (tcp, session) = stream.get_ref();
        let material = socket::export(session, hello).map_err(|_| DialError::Refused(Refusal::Stranger))?;
        socket::reset_on_close(tcp).map_err(|_| DialError::Unreachable)?;
        Ok(Arrival { number: hello.number, class: hello.class, lane: Lane::new(stream), material })
    }
}

impl Wire for TlsWire {
    async fn dial(&self, address: SocketAddr, hello: &Hello) -> Result<Arrival, DialError> {
        timeout(HANDSHAKE_TIME_MAX, self.connect(address, hello)).await.unwrap_or(Err(DialError::Refused(Refusal::TimedOut)))
    }
}

async fn greet(stream: &mut TlsStream<TcpStream>, hello: &Hello) -> io::Result<[u8; WELCOME_BYTES]> {
    stream.write_all(&hello.encode()).await?;
    stream.flush().await?;
    let mut welcome = [0; WELCOME_BYTES];
    stream.read_exact(&mut welcome).await?;
    Ok(welcome)
}

/// In TLS 1.3 the peer's refusal of our certificate arrives as an alert, after our side of the handshake is done.
fn classify(error: &io::Error) -> DialError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (tls, socket::tls_refusal(error)) {
        (Some(rustls::Error::AlertReceived(_)), _) => DialError::RefusedByPeer(Refusal::Stranger),
        (_, Some(refusal)) => DialError::Refused(refusal),
        (_, None) => DialError::Unreachable,
    }
}
