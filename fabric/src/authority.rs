//! Certificate authorities: the operator keeps one for all partitions; the local mode makes one per run, in memory, and hands each
//! agent its bundle.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateSigningRequestDer;
use strobe_core::model::{NodeIndex, PartitionUid};
use thiserror::Error;

use crate::identity::{CertificateBundle, PeerIdentity, partition_text};

/// How far back a certificate that expires begins, for clocks that are not set alike.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// A root, the key that signs with it, and the roots that are trusted.
pub struct CertificateAuthority {
    root_pem: String,
    /// Its own root first; while it takes another's place, or another its, that one's too.
    roots_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Issues the certificates of one partition for one run. Its key is never written anywhere and dies with it, so the
/// certificates need no expiry: they are good for as long as somebody trusts this root, which is the run.
pub struct LocalAuthority {
    partition: PartitionUid,
    authority: CertificateAuthority,
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
    /// What was kept of an authority is no root with its key.
    #[error("this is no certificate of an authority with its key")]
    Load(#[source] rcgen::Error),
    /// The request is none, or is not signed by its own key.
    #[error("this is no certificate signing request")]
    Request(#[source] rcgen::Error),
}

// === impl CertificateAuthority ===

impl CertificateAuthority {
    /// A new authority with a new key.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn new(name: &str) -> Result<Self, AuthorityError> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = common_name(name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(AuthorityError::Key)?;
        let root = parameters.self_signed(&key).map_err(|source| AuthorityError::Sign { subject: name.to_owned(), source })?;
        Ok(Self { root_pem: root.pem(), roots_pem: root.pem(), issuer: Issuer::new(parameters, key) })
    }

    /// The authority of which [`Self::root_pem`] and [`Self::key_pem`] were kept.
    ///
    /// # Errors
    /// [`AuthorityError::Load`].
    pub fn load(root_pem: &str, key_pem: &str) -> Result<Self, AuthorityError> {
        let key = KeyPair::from_pem(key_pem).map_err(AuthorityError::Load)?;
        let issuer = Issuer::from_ca_cert_pem(root_pem, key).map_err(AuthorityError::Load)?;
        Ok(Self { root_pem: root_pem.to_owned(), roots_pem: root_pem.to_owned(), issuer })
    }

    /// Trusts what another root has signed, too.
    #[must_use]
    pub fn trusting(mut self, other_root_pem: &str) -> Self {
        self.roots_pem.push_str(other_root_pem);
        self
    }

    /// The roots that every certificate is checked against, as PEM.
    #[must_use]
    pub fn roots_pem(&self) -> &str {
        &self.roots_pem
    }

    /// The root that stands for its own key, as PEM.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The key, as PEM: whoever has it can be anybody.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A new key and a certificate for it that does not expire, for both ends of a connection.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn issue(&self, identity: PeerIdentity) -> Result<CertificateBundle, AuthorityError> {
        self.issue_for(&identity_parameters(identity)?, &identity.uri())
    }

    /// A new key and a certificate for a server of this DNS name, which is nobody in a partition.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn issue_server(&self, name: &str) -> Result<CertificateBundle, AuthorityError> {
        let sign = |source| AuthorityError::Sign { subject: name.to_owned(), source };
        let mut parameters = CertificateParams::new([name.to_owned()]).map_err(sign)?;
        parameters.distinguished_name = common_name(name);
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue_for(&parameters, name)
    }

    /// A certificate, as PEM, for the key of a request (PKCS #10, DER). Of the request only its key counts.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn sign(&self, request: &[u8], identity: PeerIdentity, validity: Duration) -> Result<String, AuthorityError> {
        let request = CertificateSigningRequestDer::from(request);
        let mut request = CertificateSigningRequestParams::from_der(&request).map_err(AuthorityError::Request)?;
        request.params = identity_parameters(identity)?;
        let now = SystemTime::now();
        request.params.not_before = (now - CLOCK_SKEW).into();
        request.params.not_after = (now + validity).into();
        let certificate = request.signed_by(&self.issuer).map_err(|source| AuthorityError::Sign { subject: identity.uri(), source })?;
        Ok(certificate.pem())
    }

    fn issue_for(&self, parameters: &CertificateParams, subject: &str) -> Result<CertificateBundle, AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError::Key)?;
        let sign = |source| AuthorityError::Sign { subject: subject.to_owned(), source };
        let certificate = parameters.signed_by(&key, &self.issuer).map_err(sign)?;
        Ok(CertificateBundle { certificate_pem: certificate.pem(), key_pem: key.serialize_pem(), roots_pem: self.roots_pem.clone() })
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CertificateAuthority").field("root_pem", &self.root_pem).finish_non_exhaustive()
    }
}

// === impl LocalAuthority ===

impl LocalAuthority {
    /// A new authority with a new key.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn new(partition: PartitionUid) -> Result<Self, AuthorityError> {
        Ok(Self { partition, authority: CertificateAuthority::new(&format!("strobe {}", partition_text(partition)))? })
    }

    /// Key and certificate of a node's agent, for both ends of a connection.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn issue_node(&self, node: NodeIndex) -> Result<CertificateBundle, AuthorityError> {
        self.authority.issue(PeerIdentity::node(self.partition, node))
    }

    /// Key and certificate of the authority itself, for both ends of a connection.
    ///
    /// # Errors
    /// See [`AuthorityError`].
    pub fn issue_authority(&self) -> Result<CertificateBundle, AuthorityError> {
        self.authority.issue(PeerIdentity::authority(self.partition))
    }

    /// The root that every certificate of this run is checked against, as PEM.
    #[must_use]
    pub fn root_pem(&self) -> String {
        self.authority.root_pem().to_owned()
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

fn identity_parameters(identity: PeerIdentity) -> Result<CertificateParams, AuthorityError> {
    let sign = |source| AuthorityError::Sign { subject: identity.uri(), source };
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = common_name(&identity.server_name());
    parameters.subject_alt_names =
        vec![SanType::URI(identity.uri().try_into().map_err(sign)?), SanType::DnsName(identity.server_name().try_into().map_err(sign)?)];
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};

    use super::*;
    use crate::identity::TlsIdentity;

    /// The identifier of the extension that makes a certificate an authority's, in DER.
    const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

    const NODE: PeerIdentity = PeerIdentity::node(PartitionUid(7), NodeIndex(3));

    fn request(key: &KeyPair) -> Vec<u8> {
        let mut parameters = CertificateParams::new(["authority.of.everything".to_owned()]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.serialize_request(key).unwrap().der().to_vec()
    }

    #[test]
    fn a_request_is_signed_for_who_it_comes_from_and_not_for_what_it_says() {
        let authority = CertificateAuthority::new("test").unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate_pem = authority.sign(&request(&key), NODE, Duration::from_secs(60)).unwrap();
        let bundle = CertificateBundle { certificate_pem, key_pem: key.serialize_pem(), roots_pem: authority.root_pem().to_owned() };
        assert_eq!(TlsIdentity::new(&bundle).unwrap().identity, NODE);
        let der = CertificateDer::from_pem_slice(bundle.certificate_pem.as_bytes()).unwrap();
        let holds = |part: &[u8]| der.windows(part.len()).any(|window| window == part);
        assert!(holds(NODE.server_name().as_bytes()) && !holds(b"authority.of.everything"));
        assert!(!holds(BASIC_CONSTRAINTS), "a wish to sign others is not granted");
    }

    #[test]
    fn what_is_no_request_or_not_its_keys_own_is_refused() {
        let authority = CertificateAuthority::new("test").unwrap();
        let mut altered = request(&KeyPair::generate().unwrap());
        let last = altered.len() - 1;
        altered[last] ^= 1;
        for request in [&b"no request"[..], &altered] {
            assert!(matches!(authority.sign(request, NODE, Duration::from_secs(60)), Err(AuthorityError::Request(_))));
        }
    }

    #[test]
    fn a_kept_authority_signs_what_its_root_stands_for() {
        let first = CertificateAuthority::new("test").unwrap();
        let second = CertificateAuthority::load(first.root_pem(), &first.key_pem()).unwrap();
        assert_eq!(second.root_pem(), first.root_pem());
        let bundle = second.issue(NODE).unwrap();
        assert_eq!(TlsIdentity::new(&bundle).unwrap().identity, NODE);
        assert!(matches!(CertificateAuthority::load(first.root_pem(), "no key"), Err(AuthorityError::Load(_))));
    }

    #[test]
    fn whoever_trusts_another_root_hands_both_out() {
        let (old, new) = (CertificateAuthority::new("old").unwrap(), CertificateAuthority::new("new").unwrap());
        let root = old.root_pem().to_owned();
        let new = new.trusting(&root);
        assert_eq!(new.roots_pem(), format!("{}{root}", new.root_pem()));
        assert_eq!(new.issue(NODE).unwrap().roots_pem, new.roots_pem());
    }
}
