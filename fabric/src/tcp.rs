//! The transport contract over TCP and mutual TLS 1.3: two connections a link, one for each class.
//!
//! The node with the lower index dials. Each connection begins with a hello and a welcome of fixed size; frames follow.

mod accept;
mod dial;
#[cfg(test)]
mod hostile;
mod socket;

use std::{fmt, io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use strobe_core::model::{NodeIndex, Term};
use thiserror::Error;
use tokio::{net::TcpListener, task::AbortHandle};

use crate::{
    counters::FabricCounters,
    identity::{Role, TlsIdentity},
    link::{LinkOptions, Links},
    transport::{Class, Endpoint, FaultHook, LinkId, LinkPlan, OpenError, SendError, Transport},
};

use dial::TlsWire;
pub use socket::tls_refusal;

/// How a node takes part.
pub struct TcpOptions {
    /// Where connections are accepted; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Who this node is: its certificate must be a node's.
    pub identity: TlsIdentity,
    /// Decides the jitter of reconnects; should differ between nodes.
    pub jitter_seed: u64,
    /// Decides on the fate of frames; `None` outside tests and experiments.
    pub faults: Option<Arc<dyn FaultHook>>,
}

/// One node's end. Dropping it closes the listener and every link.
#[derive(Debug)]
pub struct TcpTransport {
    links: Arc<Links<TlsWire>>,
    local_address: SocketAddr,
    listener: AbortHandle,
}

/// Why a transport could not be made.
#[derive(Debug, Error)]
pub enum BindError {
    /// Only nodes take part.
    #[error("{identity} is no node")]
    NotANode {
        /// Whose certificate it is.
        identity: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
}

impl TcpTransport {
    /// Listens, and accepts links from then on; must be called within a tokio runtime.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind(options: TcpOptions) -> Result<Endpoint<Self>, BindError> {
        let TcpOptions { listen, identity, jitter_seed, faults } = options;
        let Role::Node(node) = identity.identity.role else {
            return Err(BindError::NotANode { identity: identity.identity.uri() });
        };
        let failed = |source| BindError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let local_address = listener.local_addr().map_err(failed)?;
        let link_options = LinkOptions { partition: identity.identity.partition, node, jitter_seed, faults };
        let (links, control, bulk) = Links::new(link_options, TlsWire::new(&identity));
        let accepting = tokio::spawn(accept::accept_all(listener, identity.server, Arc::clone(&links)));
        let transport = Self { links, local_address, listener: accepting.abort_handle() };
        Ok(Endpoint { transport, control, bulk })
    }

    /// Where connections are accepted.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.local_address
    }
}

impl Transport for TcpTransport {
    fn node(&self) -> NodeIndex {
        self.links.options().node
    }

    fn open_links(&self, plan: &LinkPlan) -> Result<(), OpenError> {
        self.links.open(plan)
    }

    async fn close_links(&self, below: Term) {
        self.links.close(below).await;
    }

    fn try_send(&self, to: LinkId, class: Class, payload: Bytes) -> Result<(), SendError> {
        self.links.try_send(to, class, payload)
    }

    async fn send(&self, to: LinkId, class: Class, payload: Bytes) -> Result<(), SendError> {
        self.links.send(to, class, payload).await
    }

    fn counters(&self) -> &FabricCounters {
        self.links.counters()
    }
}

impl Drop for TcpTransport {
    fn drop(&mut self) {
        self.listener.abort();
        self.links.cut_all();
    }
}

impl fmt::Debug for TcpOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TcpOptions").field("listen", &self.listen).finish_non_exhaustive()
    }
}
