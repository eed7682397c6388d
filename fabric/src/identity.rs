//! Who a peer is: names in certificates, and TLS configurations that accept this partition's nodes and authority only.
//!
//! A certificate carries one URI name, `strobe://<partition-uid>/node/<index>` or `strobe://<partition-uid>/authority`,
//! which alone decides; and one DNS name of the same meaning ([`PeerIdentity::server_name`]) for TLS clients that can only
//! check those, such as tonic's.

pub(crate) mod verify;

use std::{fmt, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use strobe_core::model::{NodeIndex, PartitionUid};
use thiserror::Error;
use webpki::EndEntityCert;

const SCHEME: &str = "strobe://";

/// What a certificate says that its owner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerIdentity {
    /// The partition; certificates of another one are refused.
    pub partition: PartitionUid,
    /// What it is in the partition.
    pub role: Role,
}

/// What somebody is in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The agent of a node.
    Node(NodeIndex),
    /// Who appoints.
    Authority,
}

/// A certificate, its key and the roots that its peers are checked against, each as PEM. Several roots may stand in one
/// text while an authority is replaced.
#[derive(Clone)]
pub struct CertificateBundle {
    /// The owner's certificate, and intermediates if there are any.
    pub certificate_pem: String,
    /// The owner's private key.
    pub key_pem: String,
    /// The roots.
    pub roots_pem: String,
}

/// TLS 1.3 for both directions of a link. Sessions are never resumed: each link checks its peer and has keys of its own.
#[derive(Debug, Clone)]
pub struct TlsIdentity {
    /// Who this is.
    pub identity: PeerIdentity,
    /// For dialling. The server name given to it must be [`PeerIdentity::server_name`] of the expected peer.
    pub client: Arc<ClientConfig>,
    /// For accepting. It accepts every identity of the partition: ask [`peer_identity`] which one it is.
    pub server: Arc<ServerConfig>,
}

/// Why a certificate, or a bundle, is of no use.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum IdentityError {
    /// The name is not one of ours.
    #[error("{uri:?} is no strobe://<partition-uid>/node/<index> and no strobe://<partition-uid>/authority")]
    BadUri {
        /// The name.
        uri: String,
    },
    /// A certificate must have exactly one URI name.
    #[error("a certificate with {names} URI names, not 1")]
    NotOneUri {
        /// How many it has.
        names: usize,
    },
    /// The certificate cannot be parsed.
    #[error("the certificate cannot be parsed")]
    BadCertificate,
    /// The peer showed no certificate.
    #[error("the peer showed no certificate")]
    NoCertificate,
    /// A valid certificate of another partition.
    #[error("an identity of partition {found}, not {expected}")]
    WrongPartition {
        /// This partition.
        expected: String,
        /// The certificate's.
        found: String,
    },
    /// A valid certificate of somebody else.
    #[error("the peer is {found}, not {expected}")]
    WrongPeer {
        /// Whom the plan names.
        expected: String,
        /// Who it is.
        found: String,
    },
    /// A text of the bundle is not PEM, or holds nothing.
    #[error("the bundle's {part} is no PEM of that kind")]
    BadPem {
        /// Which text.
        part: &'static str,
    },
    /// rustls refused certificate, key or roots.
    #[error("TLS cannot use the bundle")]
    Unusable(#[source] rustls::Error),
}

/// What the configurations are made of.
struct Parts {
    identity: PeerIdentity,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

// === impl PeerIdentity ===

impl PeerIdentity {
    /// The identity of a node.
    #[must_use]
    pub const fn node(partition: PartitionUid, node: NodeIndex) -> Self {
        Self { partition, role: Role::Node(node) }
    }

    /// The identity of the authority.
    #[must_use]
    pub const fn authority(partition: PartitionUid) -> Self {
        Self { partition, role: Role::Authority }
    }

    /// The URI name in the certificate.
    #[must_use]
    pub fn uri(&self) -> String {
        let partition = partition_text(self.partition);
        match self.role {
            Role::Node(node) => format!("{SCHEME}{partition}/node/{node}"),
            Role::Authority => format!("{SCHEME}{partition}/authority"),
        }
    }

    /// The DNS name in the certificate, for example `node-3.<partition-uid>.strobe`.
    #[must_use]
    pub fn server_name(&self) -> String {
        let partition = partition_text(self.partition);
        match self.role {
            Role::Node(node) => format!("node-{node}.{partition}.strobe"),
            Role::Authority => format!("authority.{partition}.strobe"),
        }
    }

    /// Reads a URI name.
    ///
    /// # Errors
    /// [`IdentityError::BadUri`] unless it is written exactly as [`Self::uri`] writes it.
    pub fn parse(uri: &str) -> Result<Self, IdentityError> {
        let identity = uri.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/')).and_then(|(partition, path)| {
            let partition = parse_partition(partition)?;
            match path.strip_prefix("node/") {
                Some(index) => Some(Self::node(partition, NodeIndex(index.parse().ok()?))),
                None => (path == "authority").then_some(Self::authority(partition)),
            }
        });
        // One spelling only: "+3" and "03" parse as numbers too.
        identity.filter(|identity| identity.uri() == uri).ok_or_else(|| IdentityError::BadUri { uri: uri.to_owned() })
    }

    pub(crate) fn tls_name(&self) -> ServerName<'static> {
        ServerName::try_from(self.server_name()).expect("letters, digits, hyphens and dots are a DNS name")
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.uri())
    }
}

// === impl CertificateBundle ===

impl fmt::Debug for CertificateBundle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CertificateBundle").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

// === impl TlsIdentity ===

impl TlsIdentity {
    /// Reads a bundle; the partition is that of its certificate.
    ///
    /// # Errors
    /// See [`IdentityError`]: the bundle's texts must be PEM, and its certificate must name an identity.
    pub fn new(bundle: &CertificateBundle) -> Result<Self, IdentityError> {
        let chain = certificates(&bundle.certificate_pem, "certificate")?;
        let identity = peer_identity(&chain[0])?;
        let key = private_key(bundle)?;
        let mut roots = RootCertStore::empty();
        for root in certificates(&bundle.roots_pem, "roots")? {
            roots.add(root).map_err(IdentityError::Unusable)?;
        }
        let parts = Parts { identity, chain, key, roots: Arc::new(roots), provider: Arc::new(rustls::crypto::ring::default_provider()) };
        Ok(Self { identity, client: parts.client()?, server: parts.server()? })
    }
}

// === impl Parts ===

impl Parts {
    fn client(&self) -> Result<Arc<ClientConfig>, IdentityError> {
        let verifier = verify::NodeVerifier::new(self.identity.partition, Arc::clone(&self.roots), &self.provider);
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(IdentityError::Unusable)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(IdentityError::Unusable)?;
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        Ok(Arc::new(config))
    }

    fn server(&self) -> Result<Arc<ServerConfig>, IdentityError> {
        let chain_verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| IdentityError::Unusable(rustls::Error::General(error.to_string())))?;
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(IdentityError::Unusable)?
            .with_client_cert_verifier(Arc::new(verify::MemberVerifier::new(self.identity.partition, chain_verifier)))
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(IdentityError::Unusable)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

/// Who the owner of a verified certificate is. It reads the name only: the chain must have been checked by TLS.
///
/// # Errors
/// The certificate cannot be parsed, or does not have exactly one name of ours.
pub fn peer_identity(certificate: &CertificateDer<'_>) -> Result<PeerIdentity, IdentityError> {
    let parsed = EndEntityCert::try_from(certificate).map_err(|_| IdentityError::BadCertificate)?;
    let names: Vec<&str> = parsed.valid_uri_names().collect();
    match names[..] {
        [uri] => PeerIdentity::parse(uri),
        _ => Err(IdentityError::NotOneUri { names: names.len() }),
    }
}

/// A partition's UID as Kubernetes writes it: `8-4-4-4-12` hexadecimal digits.
#[must_use]
pub fn partition_text(partition: PartitionUid) -> String {
    let digits = format!("{:032x}", partition.0);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

fn parse_partition(text: &str) -> Option<PartitionUid> {
    let digits = text.replace('-', "");
    u128::from_str_radix(&digits, 16).ok().map(PartitionUid)
}

/// TLS 1.3 for a server whose clients show no certificate and prove themselves otherwise. The bundle's roots are not looked at.
///
/// # Errors
/// Certificate or key are no PEM, or do not belong together.
pub fn anonymous_server(bundle: &CertificateBundle) -> Result<ServerConfig, IdentityError> {
    let chain = certificates(&bundle.certificate_pem, "certificate")?;
    let key = private_key(bundle)?;
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(IdentityError::Unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(IdentityError::Unusable)
}

fn private_key(bundle: &CertificateBundle) -> Result<PrivateKeyDer<'static>, IdentityError> {
    PrivateKeyDer::from_pem_slice(bundle.key_pem.as_bytes()).map_err(|_| IdentityError::BadPem { part: "key" })
}

fn certificates(pem: &str, part: &'static str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or(IdentityError::BadPem { part })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_identity_is_read_as_written(partition: u128, node: u16) {
            for identity in [PeerIdentity::node(PartitionUid(partition), NodeIndex(node)), PeerIdentity::authority(PartitionUid(partition))] {
                prop_assert_eq!(PeerIdentity::parse(&identity.uri()), Ok(identity));
            }
        }

        #[test]
        fn any_text_is_an_identity_or_a_typed_error(text in "(strobe://)?[0-9a-f-]{0,40}(/node/|/authority|/)?[+0-9]{0,6}") {
            if let Ok(identity) = PeerIdentity::parse(&text) {
                prop_assert_eq!(identity.uri(), text);
            }
        }
    }

    #[test]
    fn only_one_spelling_of_a_name_is_accepted() {
        let good = "strobe://00000000-0000-0000-0000-00000000002a/node/3";
        assert_eq!(PeerIdentity::parse(good), Ok(PeerIdentity::node(PartitionUid(42), NodeIndex(3))));
        for bad in [
            "strobe://2a/node/3",
            "strobe://00000000-0000-0000-0000-00000000002A/node/3",
            "strobe://00000000-0000-0000-0000-00000000002a/node/03",
            "strobe://00000000-0000-0000-0000-00000000002a/node/65536",
            "strobe://00000000-0000-0000-0000-00000000002a/authority/",
            "spiffe://00000000-0000-0000-0000-00000000002a/node/3",
        ] {
            assert_eq!(PeerIdentity::parse(bad), Err(IdentityError::BadUri { uri: bad.to_owned() }));
        }
    }
}
