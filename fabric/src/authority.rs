//! A certificate authority in memory: the local mode makes one per run and hands each agent its bundle.

use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use strobe_core::model::{NodeIndex, PartitionUid};
use thiserror::Error;

use crate::identity::{CertificateBundle, PeerIdentity, partition_text};

/// Issues the certificates of one partition for one run. Its key is never written anywhere and dies with it, so the
/// certificates need no expiry: they are good for as long as somebody trusts this root, which is the run.
pub struct LocalAuthority {
    partition: PartitionUid,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Why a certificate was not made.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// No key could be made: the system gave no random numbers.
    #[error("no key could be made")]
    Key(#[source] rcgen::Error),
    /// The certificate could not be signed.
    #[error("the certificate of {subject} could not be signed")]
    Sign {
        /// Whose it was to be.
        subject: String,
        /// What rcgen says.
        #[source]
        source: rcgen::Error,
    },
}

impl LocalAuthority {
    /// A new authority with a new key.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn new(partition: PartitionUid) -> Result<Self, AuthorityError> {
        let subject = format!("strobe {}", partition_text(partition));
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = common_name(&subject);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(AuthorityError::Key)?;
        let issuer = CertifiedIssuer::self_signed(parameters, key).map_err(|source| AuthorityError::Sign { subject, source })?;
        Ok(Self { partition, issuer })
    }

    /// Key and certificate of a node's agent, for both ends of a connection.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn issue_node(&self, node: NodeIndex) -> Result<CertificateBundle, AuthorityError> {
        self.issue(PeerIdentity::node(self.partition, node))
    }

    /// Key and certificate of the authority itself, for both ends of a connection.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn issue_authority(&self) -> Result<CertificateBundle, AuthorityError> {
        self.issue(PeerIdentity::authority(self.partition))
    }

    /// The root that every certificate of this run is checked against, as PEM.
    #[must_use]
    pub fn root_pem(&self) -> String {
        self.issuer.pem()
    }

    fn issue(&self, identity: PeerIdentity) -> Result<CertificateBundle, AuthorityError> {
        let sign = |source| AuthorityError::Sign { subject: identity.uri(), source };
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = common_name(&identity.server_name());
        parameters.subject_alt_names = vec![
            SanType::URI(identity.uri().try_into().map_err(sign)?),
            SanType::DnsName(identity.server_name().try_into().map_err(sign)?),
        ];
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().map_err(AuthorityError::Key)?;
        let certificate = parameters.signed_by(&key, &self.issuer).map_err(sign)?;
        Ok(CertificateBundle { certificate_pem: certificate.pem(), key_pem: key.serialize_pem(), roots_pem: self.root_pem() })
    }
}

impl fmt::Debug for LocalAuthority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LocalAuthority").field("partition", &self.partition).finish_non_exhaustive()
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
