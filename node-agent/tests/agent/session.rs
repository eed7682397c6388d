//! What an agent asks of an authority before it takes orders.

use std::{
    net::{Ipv4Addr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
    version::{TLS12, TLS13},
};
use strobe_core::model::Settings;
use strobe_proto::agent::{self, AuthorityHello};
use tonic::Code;

use crate::authority::Nodes;

fn with_settings(hello: AuthorityHello, settings: &Settings) -> AuthorityHello {
    AuthorityHello { settings: Some(settings.into()), ..hello }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_refused_when_its_hello_does_not_fit_and_the_agent_lives_on() {
    let nodes = Nodes::start(1).await;
    let good = nodes.hello();
    let other = Settings { watchdog: Duration::from_secs(7), ..Settings::default() };
    let no_rows = good.settings.map(|settings| agent::Settings { rows: 0, ..settings });
    let refused = [
        (with_settings(good.clone(), &other), Code::FailedPrecondition, "watchdog: 7s"),
        (AuthorityHello { settings: None, ..good.clone() }, Code::InvalidArgument, "settings is missing"),
        (AuthorityHello { settings: no_rows, ..good.clone() }, Code::InvalidArgument, "settings are refused: "),
        (AuthorityHello { partition: vec![0; 16], ..good.clone() }, Code::FailedPrecondition, "another partition"),
        (AuthorityHello { partition: vec![0; 15], ..good.clone() }, Code::InvalidArgument, "16 bytes, not 15"),
        (AuthorityHello { version_min: 2, version_max: 9, ..good.clone() }, Code::FailedPrecondition, "none in common"),
        (AuthorityHello { version_min: 0, version_max: 0, ..good.clone() }, Code::FailedPrecondition, "none in common"),
    ];
    for (hello, code, part) in refused {
        let status = nodes.refusal(0, hello).await.expect("the session is refused");
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(part), "{:?} does not say {part:?}", status.message());
    }
    assert!(nodes.refusal(0, good).await.is_none(), "a good hello is refused");
    nodes.stop().await;
}

/// Shakes hands with an agent's session port, offering one version of TLS alone.
fn shake_hands(nodes: &Nodes, version: &'static SupportedProtocolVersion) -> Result<ProtocolVersion, Error> {
    let (roots_pem, name) = nodes.trust(0);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(roots_pem.as_bytes()).expect("roots are PEM")).expect("a root can be used");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), name.try_into().expect("a DNS name"))?;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, nodes.listening(0).session_port)).expect("the agent listens");
    while client.is_handshaking() {
        if let Err(error) = client.complete_io(&mut stream) {
            let inner = error.into_inner().expect("TLS says why");
            return Err(*inner.downcast().expect("an error of TLS"));
        }
    }
    Ok(client.protocol_version().expect("hands were shaken"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_speaks_no_tls_before_1_3() {
    let nodes = Nodes::start(1).await;
    assert_eq!(shake_hands(&nodes, &TLS13), Ok(ProtocolVersion::TLSv1_3));
    assert_eq!(shake_hands(&nodes, &TLS12), Err(Error::AlertReceived(AlertDescription::ProtocolVersion)));
    nodes.stop().await;
}
