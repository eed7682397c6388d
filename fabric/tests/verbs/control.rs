//! The channel beside RDMA, by which the two processes keep step.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

const PORT: u16 = 7471;
/// Emulated machines are slow, and whatever runs beside them makes them slower.
const PATIENCE: Duration = Duration::from_secs(120);

/// Both ends have it, and each says as much as the other hears.
pub(crate) struct Control(TcpStream);

impl Control {
    pub(crate) fn accept(own: IpAddr) -> Self {
        let (stream, _) = TcpListener::bind(SocketAddr::new(own, PORT)).unwrap().accept().unwrap();
        Self::of(stream)
    }

    /// The peer may be started at the same time.
    pub(crate) fn connect(peer: IpAddr) -> Self {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match TcpStream::connect(SocketAddr::new(peer, PORT)) {
                Ok(stream) => return Self::of(stream),
                Err(error) => assert!(Instant::now() < deadline, "{peer} does not answer: {error}"),
            }
        }
    }

    pub(crate) fn tell(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub(crate) fn hear<const BYTES: usize>(&mut self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Returns when the other has come here, too.
    pub(crate) fn meet(&mut self) {
        self.tell(&[77]);
        assert_eq!(self.hear(), [77], "the two are out of step");
    }

    fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }
}
