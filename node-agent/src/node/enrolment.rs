//! Asking the operator who this node is (docs/adr/0014).

use std::{fs, io, net::SocketAddr, path::PathBuf};

use rcgen::{CertificateParams, KeyPair};
use strobe_core::{
    limits::MEMBERS_MAX,
    model::{CpuIndex, NodeIndex, PartitionUid, Settings, SettingsError},
};
use strobe_proto::{
    ConvertError, VERSIONS,
    identity::{Enrolment, EnrolmentRequest, identity_client::IdentityClient},
    partition_uid,
};
use tonic::{
    Code, Status,
    transport::{Certificate, Channel, ClientTlsConfig},
};

use super::{
    NodeArguments, NodeError,
    limits::{ANSWER_TIME_MAX, ENROLMENT_BYTES_MAX, ENROLMENT_PAUSE_MAX, ENROLMENT_PAUSE_MIN, SESSION_LOOK},
};
use crate::{
    back_off::BackOff,
    health::{Health, Occupation},
    sys::affinity::pinned_to,
};

/// The kernel's name for this life of the machine; kubelet reports it too.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What the operator has said of this node, with the key that it was said for.
#[derive(Clone)]
pub(super) struct Enrolled {
    pub(super) partition: PartitionUid,
    pub(super) node: NodeIndex,
    pub(super) settings: Settings,
    pub(super) cpus: Vec<CpuIndex>,
    pub(super) certificate_pem: String,
    pub(super) key_pem: String,
    pub(super) roots_pem: String,
}

/// Who asks.
pub(super) struct Enroller {
    operator: String,
    roots: PathBuf,
    token: PathBuf,
    key_pem: String,
    certificate_request: Vec<u8>,
    /// Where the authority reaches this agent.
    session: SocketAddr,
    /// The CPUs that this process may run on.
    cpus: Vec<u32>,
}

/// Why there is no enrolment yet. All of it may change.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnrolmentError {
    /// The token, or the roots.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// No connection that is the operator's.
    #[error("the operator cannot be reached at {operator}")]
    Connect {
        /// Its address.
        operator: String,
        /// What failed.
        #[source]
        source: tonic::transport::Error,
    },
    /// The operator refuses.
    #[error("the operator refuses: {} ({:?})", .0.message(), .0.code())]
    Refused(Status),
    /// The operator's answer makes no sense here.
    #[error("the operator's answer cannot be understood")]
    Answer(#[from] ConvertError),
    /// Its settings contradict each other.
    #[error("the partition's settings are refused")]
    Settings(#[from] SettingsError),
}

// === impl Enroller ===

impl Enroller {
    /// Makes the key that the certificate will be for; it never leaves this process.
    ///
    /// # Errors
    /// [`NodeError::Key`], [`NodeError::Cpus`].
    pub(super) fn new(arguments: &NodeArguments, session: SocketAddr) -> Result<Self, NodeError> {
        let key = KeyPair::generate()?;
        let request = CertificateParams::default().serialize_request(&key)?;
        Ok(Self {
            operator: arguments.operator.clone(),
            roots: arguments.operator_roots.clone(),
            token: arguments.token.clone(),
            key_pem: key.serialize_pem(),
            certificate_request: request.der().to_vec(),
            session,
            cpus: pinned_to(None)?.into_iter().map(|cpu| cpu.0.into()).collect(),
        })
    }

    /// Asks until it is answered, with growing pauses, and says once what each new answer is.
    pub(super) async fn enrol(&self, health: &Health) -> Enrolled {
        let mut back_off = BackOff::between(ENROLMENT_PAUSE_MIN, ENROLMENT_PAUSE_MAX);
        let mut last = String::new();
        loop {
            let error = match self.ask().await {
                Ok(enrolled) => {
                    tracing::info!(partition = %enrolled.partition, node = %enrolled.node, "the operator has said who this node is");
                    return enrolled;
                }
                Err(error) => error,
            };
            let answer = error.with_causes();
            health.occupied(error.occupation(answer.clone()));
            if answer != last {
                tracing::warn!(answer, "not enrolled yet; the operator is asked again");
                last = answer;
                back_off.reset();
            }
            tokio::time::sleep(back_off.wait()).await;
        }
    }

    /// Returns when the operator says something else of the node than it did. It is asked while the agent has no session alone: an
    /// authority that has one says by itself what is new.
    pub(super) async fn await_change(&self, enrolled: &Enrolled, health: &Health) {
        loop {
            tokio::time::sleep(SESSION_LOOK).await;
            if health.is_in_session() {
                continue;
            }
            match self.ask().await {
                Ok(now) if now.describes_the_same(enrolled) => {}
                Ok(_) => return,
                Err(EnrolmentError::Refused(status)) if status.code() == Code::FailedPrecondition => return,
                Err(error) => tracing::debug!(answer = error.with_causes(), "without a session, and the operator does not say why"),
            }
        }
    }

    /// Asks once. Token and roots are read anew: both are renewed in their files.
    async fn ask(&self) -> Result<Enrolled, EnrolmentError> {
        let read = |path: &PathBuf| fs::read_to_string(path).map_err(|source| EnrolmentError::Read { path: path.clone(), source });
        let (token, roots) = (read(&self.token)?, read(&self.roots)?);
        let boot_id = read(&PathBuf::from(BOOT_ID))?;
        let connect = |source| EnrolmentError::Connect { operator: self.operator.clone(), source };
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(roots));
        let endpoint = Channel::from_shared(self.operator.clone()).map_err(|_| ConvertError::Missing { field: "operator's address" })?;
        let endpoint = endpoint.connect_timeout(ANSWER_TIME_MAX).timeout(ANSWER_TIME_MAX).tls_config(tls).map_err(connect)?;
        let client = IdentityClient::new(endpoint.connect().await.map_err(connect)?);
        let request = EnrolmentRequest {
            version_min: *VERSIONS.start(),
            version_max: *VERSIONS.end(),
            token: token.trim().to_owned(),
            certificate_request: self.certificate_request.clone(),
            cpus: self.cpus.clone(),
            session_address: self.session.to_string(),
            boot_id: boot_id.trim().to_owned(),
        };
        let enrolment = client.max_decoding_message_size(ENROLMENT_BYTES_MAX).enrol(request).await.map_err(EnrolmentError::Refused)?;
        self.understand(enrolment.into_inner())
    }

    fn understand(&self, enrolment: Enrolment) -> Result<Enrolled, EnrolmentError> {
        let node = usize::try_from(enrolment.node).ok().filter(|node| *node < MEMBERS_MAX);
        let node = node.and_then(|node| u16::try_from(node).ok()).map(NodeIndex);
        let cpu = |cpu: &u32| u16::try_from(*cpu).map(CpuIndex).map_err(|_| out_of_range("cpus", *cpu));
        let settings = enrolment.settings.ok_or(ConvertError::Missing { field: "settings" })?;
        Ok(Enrolled {
            partition: partition_uid(&enrolment.partition)?,
            node: node.ok_or_else(|| out_of_range("node", enrolment.node))?,
            settings: Settings::try_from(settings)?.validated()?,
            cpus: enrolment.cpus.iter().map(cpu).collect::<Result<_, _>>()?,
            certificate_pem: enrolment.certificate_pem,
            key_pem: self.key_pem.clone(),
            roots_pem: enrolment.roots_pem,
        })
    }
}

// === impl Enrolled ===

impl Enrolled {
    /// Certificates differ each time.
    fn describes_the_same(&self, other: &Self) -> bool {
        (self.partition, self.node) == (other.partition, other.node) && self.settings == other.settings && self.cpus == other.cpus
    }
}

// === impl EnrolmentError ===

impl EnrolmentError {
    /// A node in no partition has nothing to do, which is no fault.
    fn occupation(&self, answer: String) -> Occupation {
        match self {
            Self::Refused(status) if status.code() == Code::FailedPrecondition => Occupation::Outside(answer),
            Self::Refused(_) | Self::Read { .. } | Self::Connect { .. } | Self::Answer(_) | Self::Settings(_) => {
                Occupation::Enrolling(answer)
            }
        }
    }

    fn with_causes(&self) -> String {
        let causes = std::iter::successors(std::error::Error::source(self), |&cause| cause.source());
        causes.fold(self.to_string(), |text, cause| format!("{text}: {cause}"))
    }
}

fn out_of_range(field: &'static str, value: u32) -> ConvertError {
    ConvertError::OutOfRange { field, value: value.into() }
}
