//! Certificate checks: the chain by webpki, then the name.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use strobe_core::model::PartitionUid;

use super::{IdentityError, PeerIdentity, partition_text, peer_identity};

/// The dialer's check: the peer is the very one that the plan names, by its server name.
#[derive(Debug)]
pub(super) struct NodeVerifier {
    partition: PartitionUid,
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The acceptor's check: the peer belongs to the partition. Which one it is, is compared with its hello afterwards.
#[derive(Debug)]
pub(super) struct MemberVerifier {
    partition: PartitionUid,
    chain: Arc<dyn ClientCertVerifier>,
}

// === impl NodeVerifier ===

impl NodeVerifier {
    pub(super) fn new(partition: PartitionUid, roots: Arc<RootCertStore>, provider: &CryptoProvider) -> Self {
        Self { partition, roots, algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, self.algorithms.all)?;
        let identity = member(end_entity, self.partition)?;
        let expected = server_name.to_str();
        if identity.server_name() != expected {
            return Err(refused(IdentityError::WrongPeer { expected: expected.into_owned(), found: identity.uri() }));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

// === impl MemberVerifier ===

impl MemberVerifier {
    pub(super) fn new(partition: PartitionUid, chain: Arc<dyn ClientCertVerifier>) -> Self {
        Self { partition, chain }
    }
}

impl ClientCertVerifier for MemberVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        member(end_entity, self.partition)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// The identity error that ended a TLS handshake, if one did.
pub(crate) fn identity_error(error: &Error) -> Option<&IdentityError> {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => inner.downcast_ref(),
        _ => None,
    }
}

fn member(certificate: &CertificateDer<'_>, partition: PartitionUid) -> Result<PeerIdentity, Error> {
    let identity = peer_identity(certificate).map_err(refused)?;
    if identity.partition != partition {
        let (expected, found) = (partition_text(partition), partition_text(identity.partition));
        return Err(refused(IdentityError::WrongPartition { expected, found }));
    }
    Ok(identity)
}

fn refused(error: IdentityError) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}
