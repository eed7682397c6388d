//! Options of the connections, and what a TLS session gives beside the stream.

use std::io;

use rustls::ConnectionCommon;
use tokio::net::TcpStream;

use crate::{
    counters::Refusal,
    datagram::{EXPORTER_LABEL, KeyMaterial},
    hello::Hello,
    identity::{IdentityError, verify::identity_error},
    limits::{KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES, UNACKNOWLEDGED_MAX},
};

/// No waiting for more to send, and a dead host is noticed within seconds.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    let unacknowledged_ms = u32::try_from(UNACKNOWLEDGED_MAX.as_millis()).expect("seconds, limits.rs");
    sockopt::set_tcp_user_timeout(stream, unacknowledged_ms)?;
    Ok(())
}

/// A lane that ends is reset: what the kernel still holds of an old term must not be sent after the link was cut.
pub(super) fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    stream.set_zero_linger()
}

/// The datagram keys of the session's link; both ends export the same.
pub(super) fn export<Side>(session: &ConnectionCommon<Side>, hello: &Hello) -> Result<KeyMaterial, rustls::Error> {
    let context = KeyMaterial::context(hello.partition, hello.term, [hello.from, hello.to], hello.number);
    session.export_keying_material([0; 88], EXPORTER_LABEL, Some(&context)).map(KeyMaterial)
}

/// What a failed TLS handshake means; `None` if it failed below TLS.
#[must_use]
pub fn tls_refusal(error: &io::Error) -> Option<Refusal> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match identity_error(error) {
        Some(IdentityError::WrongPartition { .. }) => Refusal::WrongPartition,
        Some(IdentityError::WrongPeer { .. }) => Refusal::WrongPeer,
        Some(_) | None => Refusal::Stranger,
    })
}
