//! One end of the socket between agent and supervisor: sends and receives whole messages with their
//! descriptors on a non-blocking SOCK_SEQPACKET socket, in any event loop.
//!
//! *Expected flow*: wait until the descriptor is readable, call [`Endpoint::receive`] until it gives
//! `None`; call [`Endpoint::queue`] to send and [`Endpoint::flush`] at once and whenever the descriptor is
//! writable while [`Endpoint::wants_write`] says so. With tokio, wrap it in `AsyncFd`.
//!
//! A packet is one header byte (1 if more packets of the message follow, else 0) and at most
//! [`limits::PACKET_BYTES`] of payload; descriptors travel with a message's last packet. After any error the
//! connection must be dropped: the streams of packets no longer agree.

use std::{
    collections::VecDeque,
    io::{IoSlice, IoSliceMut},
    marker::PhantomData,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

use rustix::{
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg,
        sendmsg,
    },
};
use serde::{Serialize, de::DeserializeOwned};

use crate::sys::peer::{Peer, peer_of};

use super::{
    codec,
    error::ProtocolError,
    limits,
    messages::{ToAgent, ToSupervisor},
};

const LAST: u8 = 0;
const MORE: u8 = 1;
// One more than allowed, so that a peer that sends too many is seen rather than cut.
const DESCRIPTOR_ROOM: usize = limits::DESCRIPTORS + 1;

/// The agent's end.
pub type AgentEndpoint = Endpoint<ToSupervisor, ToAgent>;
/// The supervisor's end.
pub type SupervisorEndpoint = Endpoint<ToAgent, ToSupervisor>;

/// One end of the socket; sends `Outgoing`, receives `Incoming`.
#[derive(Debug)]
pub struct Endpoint<Outgoing, Incoming> {
    socket: OwnedFd,
    outgoing: VecDeque<Packet>,
    queued_bytes: usize,
    partial: Vec<u8>,
    packet: Vec<u8>,
    types: PhantomData<fn(Outgoing) -> Incoming>,
}

/// A message and the descriptors that came with it.
#[derive(Debug)]
pub struct Received<Incoming> {
    /// The message.
    pub message: Incoming,
    /// Its descriptor, close-on-exec, if one came.
    pub descriptor: Option<OwnedFd>,
}

/// Who is at the other end, as the kernel noted it when the connection was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Process id in the asker's PID namespace; 0 where it has none there, as the agent in a pod's.
    pub pid: i32,
    /// User id in the asker's user namespace.
    pub uid: u32,
    /// Group id in the asker's user namespace.
    pub gid: u32,
}

#[derive(Debug)]
struct Packet {
    bytes: Vec<u8>,
    descriptor: Option<OwnedFd>,
}

impl<Outgoing: Serialize, Incoming: DeserializeOwned> Endpoint<Outgoing, Incoming> {
    /// Wraps a connected SOCK_SEQPACKET socket and makes it non-blocking.
    ///
    /// # Errors
    /// [`ProtocolError::Socket`] if the kernel refuses that.
    pub fn new(socket: OwnedFd) -> Result<Self, ProtocolError> {
        rustix::io::ioctl_fionbio(&socket, true).map_err(ProtocolError::socket("set non-blocking"))?;
        Ok(Self {
            socket,
            outgoing: VecDeque::new(),
            queued_bytes: 0,
            partial: Vec::new(),
            packet: vec![0; limits::PACKET_BYTES + 1],
            types: PhantomData,
        })
    }

    /// Who is at the other end.
    ///
    /// # Errors
    /// [`ProtocolError::Socket`] if the kernel does not know.
    pub fn peer(&self) -> Result<PeerCredentials, ProtocolError> {
        let Peer { pid, uid, gid } = peer_of(self.socket.as_fd()).map_err(ProtocolError::socket("getsockopt"))?;
        Ok(PeerCredentials { pid, uid, gid })
    }

    /// Puts a message in the queue; nothing is sent before [`Self::flush`].
    ///
    /// # Errors
    /// [`ProtocolError::TooLong`], [`ProtocolError::Encode`], or [`ProtocolError::PeerDoesNotRead`] when the
    /// queue is full; the queue is then as before.
    pub fn queue(&mut self, message: &Outgoing, descriptor: Option<OwnedFd>) -> Result<(), ProtocolError> {
        let bytes = codec::encode(message)?;
        let waiting = self.queued_bytes + bytes.len();
        if waiting > limits::QUEUED_BYTES {
            return Err(ProtocolError::PeerDoesNotRead { bytes: waiting });
        }
        self.queued_bytes = waiting;
        let mut chunks = bytes.chunks(limits::PACKET_BYTES).peekable();
        while let Some(chunk) = chunks.next() {
            let last = chunks.peek().is_none();
            let header = if last { LAST } else { MORE };
            self.outgoing.push_back(Packet { bytes: [&[header], chunk].concat(), descriptor: None });
        }
        if let Some(packet) = self.outgoing.back_mut() {
            packet.descriptor = descriptor;
        }
        Ok(())
    }

    /// Sends what the socket takes now.
    ///
    /// # Errors
    /// [`ProtocolError::Closed`] or [`ProtocolError::Socket`].
    pub fn flush(&mut self) -> Result<(), ProtocolError> {
        while let Some(packet) = self.outgoing.front() {
            match send_packet(&self.socket, packet) {
                Ok(()) => {
                    self.queued_bytes -= packet.bytes.len() - 1;
                    self.outgoing.pop_front();
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(ProtocolError::Closed),
                Err(source) => return Err(ProtocolError::Socket { operation: "sendmsg", source }),
            }
        }
        Ok(())
    }

    /// Whether something waits to be sent.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// The next whole message, or `None` when the socket has no more for now.
    ///
    /// # Errors
    /// Any [`ProtocolError`]; [`ProtocolError::Closed`] when the peer is gone.
    pub fn receive(&mut self) -> Result<Option<Received<Incoming>>, ProtocolError> {
        loop {
            let (length, descriptor) = match self.receive_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => return Ok(None),
                Err(error) => return Err(error),
            };
            codec::check_length(self.partial.len() + length - 1)?;
            self.partial.extend_from_slice(&self.packet[1..length]);
            match self.packet[0] {
                LAST => return self.whole_message(descriptor).map(Some),
                MORE if descriptor.is_none() => {}
                _ => return Err(ProtocolError::BadPacket { bytes: length }),
            }
        }
    }

    fn whole_message(&mut self, descriptor: Option<OwnedFd>) -> Result<Received<Incoming>, ProtocolError> {
        let bytes = std::mem::take(&mut self.partial);
        Ok(Received { message: codec::decode(&bytes)?, descriptor })
    }

    fn receive_packet(&mut self) -> Result<Option<(usize, Option<OwnedFd>)>, ProtocolError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTOR_ROOM))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut slices = [IoSliceMut::new(&mut self.packet)];
            match recvmsg(&self.socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::CONNRESET) => return Err(ProtocolError::Closed),
                Err(source) => return Err(ProtocolError::Socket { operation: "recvmsg", source }),
                Ok(received) => break received,
            }
        };
        let descriptor = one_descriptor(&mut control)?;
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(ProtocolError::BadPacket { bytes: received.bytes });
        }
        // A packet of zero bytes cannot be told from the end; no side sends one.
        if received.bytes == 0 { Err(ProtocolError::Closed) } else { Ok(Some((received.bytes, descriptor))) }
    }
}

impl<Outgoing, Incoming> AsFd for Endpoint<Outgoing, Incoming> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<Outgoing, Incoming> AsRawFd for Endpoint<Outgoing, Incoming> {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn send_packet(socket: &OwnedFd, packet: &Packet) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(limits::DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<BorrowedFd<'_>> = packet.descriptor.iter().map(AsFd::as_fd).collect();
    if !descriptors.is_empty() {
        let fits = control.push(SendAncillaryMessage::ScmRights(&descriptors));
        assert!(fits, "the room is that of the limit, and a packet holds no more");
    }
    sendmsg(socket, &[IoSlice::new(&packet.bytes)], &mut control, SendFlags::NOSIGNAL).map(|_| ())
}

fn one_descriptor(control: &mut RecvAncillaryBuffer<'_>) -> Result<Option<OwnedFd>, ProtocolError> {
    let mut descriptors: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    if descriptors.len() > limits::DESCRIPTORS {
        let descriptors = descriptors.len();
        return Err(ProtocolError::TooManyDescriptors { descriptors, limit: limits::DESCRIPTORS });
    }
    Ok(descriptors.pop())
}
