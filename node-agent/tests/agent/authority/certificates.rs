//! The certificates of a test: as the local authority issues them, and as the operator does, for keys that it never sees.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateSigningRequestDer;
use strobe_core::model::{NodeIndex, PartitionUid};
use strobe_fabric::identity::{CertificateBundle, PeerIdentity};

/// Name of the operator's server.
pub(crate) const OPERATOR: &str = "localhost";

/// A certificate authority of one test.
pub(crate) struct Certificates {
    partition: PartitionUid,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    pub(crate) fn new(partition: PartitionUid) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self { partition, issuer: CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap() }
    }

    pub(crate) fn issue_node(&self, node: NodeIndex) -> CertificateBundle {
        self.issue(&of_peer(PeerIdentity::node(self.partition, node)))
    }

    pub(crate) fn issue_authority(&self) -> CertificateBundle {
        self.issue(&of_peer(PeerIdentity::authority(self.partition)))
    }

    /// For the operator's server.
    pub(crate) fn issue_operator(&self) -> CertificateBundle {
        self.issue(&named(vec![SanType::DnsName(OPERATOR.try_into().unwrap())]))
    }

    /// A node's certificate for the key of a request, which says nothing else that counts.
    pub(crate) fn sign(&self, request: &[u8], node: NodeIndex) -> String {
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request)).unwrap();
        of_peer(PeerIdentity::node(self.partition, node)).signed_by(&request.public_key, &self.issuer).unwrap().pem()
    }

    pub(crate) fn root_pem(&self) -> String {
        self.issuer.pem()
    }

    fn issue(&self, parameters: &CertificateParams) -> CertificateBundle {
        let key = KeyPair::generate().unwrap();
        let certificate_pem = parameters.signed_by(&key, &self.issuer).unwrap().pem();
        CertificateBundle { certificate_pem, key_pem: key.serialize_pem(), roots_pem: self.root_pem() }
    }
}

fn of_peer(peer: PeerIdentity) -> CertificateParams {
    named(vec![SanType::URI(peer.uri().try_into().unwrap()), SanType::DnsName(peer.server_name().try_into().unwrap())])
}

fn named(names: Vec<SanType>) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.subject_alt_names = names;
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    parameters
}
