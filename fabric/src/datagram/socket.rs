//! A UDP socket with a key ring, for one plain thread.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use strobe_core::model::Term;
use thiserror::Error;

use super::{
    DATAGRAM_HEADER_BYTES, DATAGRAM_PAYLOAD_BYTES_MAX, DatagramBuffer, DatagramCounters, DatagramError, DatagramKeys, KeyRing, KeyRingFull,
    SealError, counters::count,
};
use crate::{limits::DATAGRAM_BYTES_MAX, transport::LinkId};

/// Sends and receives sealed datagrams. Never blocks and never allocates once made: the thread waits for
/// [`DatagramSocket::as_fd`] to become readable, with its own deadline, and then receives until there is nothing left.
#[derive(Debug)]
pub struct DatagramSocket {
    socket: UdpSocket,
    ring: KeyRing,
    counters: Arc<DatagramCounters>,
    outgoing: DatagramBuffer,
    /// One byte longer than a datagram may be, so that an oversized one is seen as such.
    incoming: [u8; DATAGRAM_BYTES_MAX + 1],
}

/// An opened datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received<'a> {
    /// Who sent it, in which term: authenticated.
    pub from: LinkId,
    /// Its payload, in the socket's buffer until the next receive.
    pub payload: &'a [u8],
}

/// Why nothing was received.
#[derive(Debug, Error)]
pub enum ReceiveError {
    /// A datagram came and was refused (and counted). The next one may be good.
    #[error("a datagram was refused")]
    Refused(#[source] DatagramError),
    /// The socket failed.
    #[error("receiving a datagram failed")]
    Receive(#[source] io::Error),
}

/// Why a datagram was not sent.
#[derive(Debug, Error)]
pub enum DatagramSendError {
    /// It could not be sealed.
    #[error("the datagram could not be sealed")]
    Seal(#[from] SealError),
    /// The kernel did not take it (counted); `WouldBlock` if its buffer is full. Datagrams are soft state: go on.
    #[error("the kernel did not take the datagram")]
    Send(#[source] io::Error),
}

impl DatagramSocket {
    /// Binds a socket and takes the memory for `capacity` keys, see [`KeyRing::new`].
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn bind(address: SocketAddr, capacity: usize, counters: Arc<DatagramCounters>) -> io::Result<Self> {
        Self::new(UdpSocket::bind(address)?, capacity, counters)
    }

    /// Takes a socket that is already bound.
    ///
    /// # Errors
    /// It cannot be made non-blocking.
    pub fn new(socket: UdpSocket, capacity: usize, counters: Arc<DatagramCounters>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let ring = KeyRing::new(capacity, Arc::clone(&counters));
        Ok(Self { socket, ring, counters, outgoing: [0; DATAGRAM_BYTES_MAX], incoming: [0; DATAGRAM_BYTES_MAX + 1] })
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Puts the keys of a link that came up in, and the address of its peer's datagram socket.
    ///
    /// # Errors
    /// See [`KeyRingFull`].
    pub fn install(&mut self, keys: Box<DatagramKeys>, address: SocketAddr) -> Result<(), KeyRingFull> {
        self.ring.install(keys, address)
    }

    /// Drops the keys of older terms for ever; to be done before a seal is answered.
    pub fn close_links(&mut self, below: Term) {
        self.ring.close_links(below);
    }

    /// Drops the keys of one link.
    pub fn remove(&mut self, link: LinkId) {
        self.ring.remove(link);
    }

    /// Seals and sends `payload`.
    ///
    /// # Errors
    /// See [`DatagramSendError`].
    pub fn send(&mut self, to: LinkId, payload: &[u8]) -> Result<(), DatagramSendError> {
        if payload.len() > DATAGRAM_PAYLOAD_BYTES_MAX {
            return Err(SealError::Oversized(payload.len()).into());
        }
        self.outgoing[DATAGRAM_HEADER_BYTES..][..payload.len()].copy_from_slice(payload);
        let (bytes, address) = self.ring.seal_in_place(to, &mut self.outgoing, payload.len())?;
        match self.socket.send_to(&self.outgoing[..bytes], address) {
            Ok(_) => count(&self.counters.sent),
            Err(error) => {
                count(&self.counters.send_failed);
                return Err(DatagramSendError::Send(error));
            }
        }
        Ok(())
    }

    /// Receives and opens one datagram; `None` if none is there.
    ///
    /// # Errors
    /// See [`ReceiveError`].
    pub fn receive(&mut self) -> Result<Option<Received<'_>>, ReceiveError> {
        let bytes = match self.socket.recv_from(&mut self.incoming) {
            Ok((bytes, _)) => bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(ReceiveError::Receive(error)),
        };
        let (from, payload) = self.ring.open_in_place(&mut self.incoming[..bytes]).map_err(ReceiveError::Refused)?;
        Ok(Some(Received { from, payload: &self.incoming[payload] }))
    }
}

impl AsFd for DatagramSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
