//! What a stranger, a faulty node or a node of another version may send: each refused with its kind, and counted.

use std::{net::Ipv4Addr, time::Duration};

use rustls::pki_types::ServerName;
use strobe_core::model::PartitionUid;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;
use crate::{
    authority::LocalAuthority,
    counters::Refusal,
    frame::{FrameError, encode_header},
    hello::{HELLO_BYTES, Hello, WELCOME_BYTES, decode_welcome},
    identity::{CertificateBundle, PeerIdentity},
    limits::FRAME_BYTES_MAX,
    transport::{Delivery, DownReason, Peer},
};

const PARTITION: PartitionUid = PartitionUid(77);
const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const PATIENCE: Duration = Duration::from_secs(20);

/// Node 1, which expects node 0 in term 5, and the authority of both.
struct Victim {
    authority: LocalAuthority,
    end: Endpoint<TcpTransport>,
}

impl Victim {
    async fn new() -> Self {
        let authority = LocalAuthority::new(PARTITION).unwrap();
        let bundle = authority.issue_node(NodeIndex(1)).unwrap();
        Self::with(authority, &bundle).await
    }

    async fn with(authority: LocalAuthority, bundle: &CertificateBundle) -> Self {
        let end = bind(bundle).await;
        let peers = [0, 2].map(|node| Peer { node: NodeIndex(node), address: ANYWHERE }).to_vec();
        end.transport.open_links(&LinkPlan { term: Term(5), peers }).unwrap();
        Self { authority, end }
    }

    fn bundle(&self, node: u16) -> CertificateBundle {
        self.authority.issue_node(NodeIndex(node)).unwrap()
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.end.transport.local_address()).await.unwrap()
    }

    /// A TLS connection with `bundle`'s certificate.
    async fn tls(&self, bundle: &CertificateBundle) -> TlsStream<TcpStream> {
        let connector = TlsConnector::from(TlsIdentity::new(bundle).unwrap().client);
        connector.connect(PeerIdentity::node(PARTITION, NodeIndex(1)).tls_name(), self.tcp().await).await.unwrap()
    }

    /// Says `hello` with `bundle`'s certificate: the stream, and the answer if one came.
    async fn greet(&self, bundle: &CertificateBundle, hello: &[u8]) -> (TlsStream<TcpStream>, Option<Result<(), Refusal>>) {
        let mut stream = self.tls(bundle).await;
        let mut welcome = [0; WELCOME_BYTES];
        let written = stream.write_all(hello).await;
        let read = match written {
            Ok(()) => timeout(PATIENCE, stream.read_exact(&mut welcome)).await.expect("an answer, or the end of the connection"),
            Err(error) => Err(error),
        };
        let answer = read.is_ok().then(|| decode_welcome(welcome).expect("a welcome that can be read"));
        (stream, answer)
    }

    /// Waits until `refusal` was counted so often.
    async fn counted(&self, refusal: Refusal, times: u64) {
        let counting = async {
            while self.end.transport.counters().refused(refusal) < times {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, counting).await.unwrap_or_else(|_| panic!("{refusal:?} was not counted {times} times"));
        assert_eq!(self.end.transport.counters().refused(refusal), times);
    }

    /// Both lanes of one life of the link of node 0.
    async fn link(&mut self, number: u64) -> [TlsStream<TcpStream>; 2] {
        let bundle = self.bundle(0);
        let mut lanes = Vec::new();
        for class in Class::ALL {
            let (stream, answer) = self.greet(&bundle, &Hello { class, number, ..hello() }.encode()).await;
            assert_eq!(answer, Some(Ok(())));
            lanes.push(stream);
        }
        lanes.try_into().unwrap_or_else(|_| unreachable!("two classes"))
    }

    async fn next(&mut self) -> Delivery {
        timeout(PATIENCE, self.end.control.next()).await.expect("soon").expect("the transport is alive")
    }

    async fn up(&mut self) -> LinkId {
        match self.next().await {
            Delivery::Up(up) => up.link,
            other => panic!("{other:?} instead of a link that came up"),
        }
    }

    async fn down(&mut self) -> DownReason {
        match self.next().await {
            Delivery::Down(down) => down.reason,
            other => panic!("{other:?} instead of a link that went down"),
        }
    }
}

async fn bind(bundle: &CertificateBundle) -> Endpoint<TcpTransport> {
    let identity = TlsIdentity::new(bundle).unwrap();
    TcpTransport::bind(TcpOptions { listen: ANYWHERE, identity, jitter_seed: 1, faults: None }).await.unwrap()
}

fn hello() -> Hello {
    Hello { class: Class::Control, partition: PARTITION, term: Term(5), number: 1, from: NodeIndex(0), to: NodeIndex(1) }
}

#[tokio::test]
async fn bytes_that_are_no_tls_are_a_strangers() {
    let victim = Victim::new().await;
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 100], &[22, 3, 1, 255, 255], b""] {
        let mut stream = victim.tcp().await;
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // A reset is an end too.
        let _ = stream.read_to_end(&mut answer).await;
    }
    victim.counted(Refusal::Stranger, 4).await;
}

#[tokio::test]
async fn a_client_without_a_certificate_of_this_run_is_a_stranger() {
    let victim = Victim::new().await;
    let foreign = LocalAuthority::new(PARTITION).unwrap().issue_node(NodeIndex(0)).unwrap();
    // It trusts the victim, but the victim does not trust it.
    let foreign = CertificateBundle { roots_pem: victim.authority.root_pem(), ..foreign };
    assert_eq!(victim.greet(&foreign, &hello().encode()).await.1, None);
    victim.counted(Refusal::Stranger, 1).await;

    let mut roots = rustls::RootCertStore::empty();
    let root = <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(
        victim.authority.root_pem().as_bytes(),
    );
    roots.add(root.unwrap()).unwrap();
    let anonymous = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(PeerIdentity::node(PARTITION, NodeIndex(1)).server_name()).unwrap();
    // The DNS name is good for clients that know no other; the refusal follows at the first read.
    let mut stream = TlsConnector::from(Arc::new(anonymous)).connect(name, victim.tcp().await).await.unwrap();
    assert!(stream.read_u8().await.is_err());
    victim.counted(Refusal::Stranger, 2).await;
}

#[tokio::test]
async fn a_node_of_another_partition_is_refused_even_under_a_common_root() {
    let elsewhere = LocalAuthority::new(PartitionUid(78)).unwrap();
    let authority = LocalAuthority::new(PARTITION).unwrap();
    let mut bundle = authority.issue_node(NodeIndex(1)).unwrap();
    bundle.roots_pem += &elsewhere.root_pem();
    let victim = Victim::with(authority, &bundle).await;
    let stranger = elsewhere.issue_node(NodeIndex(0)).unwrap();
    let connector = {
        let mut roots = stranger.clone();
        roots.roots_pem += &victim.authority.root_pem();
        TlsConnector::from(TlsIdentity::new(&roots).unwrap().client)
    };
    // Its own check refuses the victim...
    let name = PeerIdentity::node(PARTITION, NodeIndex(1)).tls_name();
    let error = connector.connect(name, victim.tcp().await).await.unwrap_err();
    assert_eq!(tls_refusal(&error), Some(Refusal::WrongPartition));
    victim.counted(Refusal::Stranger, 1).await;
    // ... and if it does not check, the victim refuses it.
    let parts = TlsIdentity::new(&bundle).unwrap();
    let mut unchecked = (*parts.client).clone();
    let chain = vec![
        <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(stranger.certificate_pem.as_bytes())
            .unwrap(),
    ];
    let key =
        <rustls::pki_types::PrivateKeyDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(stranger.key_pem.as_bytes()).unwrap();
    let signing = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    unchecked.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(rustls::sign::CertifiedKey::new(chain, signing)));
    let name = PeerIdentity::node(PARTITION, NodeIndex(1)).tls_name();
    let mut stream = TlsConnector::from(Arc::new(unchecked)).connect(name, victim.tcp().await).await.unwrap();
    assert!(stream.read_u8().await.is_err());
    victim.counted(Refusal::WrongPartition, 1).await;
}

#[tokio::test]
async fn each_wrong_hello_is_answered_with_its_kind() {
    let victim = Victim::new().await;
    victim.end.transport.close_links(Term(4)).await;
    let (node0, node2, authority) = (victim.bundle(0), victim.bundle(2), victim.authority.issue_authority().unwrap());
    let mut no_magic = hello().encode();
    no_magic[0] ^= 1;
    let mut version = hello().encode();
    version[4..6].copy_from_slice(&[9, 9]);
    let cases: [(&CertificateBundle, [u8; HELLO_BYTES], Refusal); 9] = [
        (&authority, hello().encode(), Refusal::NotANode),
        (&node2, hello().encode(), Refusal::WrongPeer),
        (&node0, Hello { to: NodeIndex(3), ..hello() }.encode(), Refusal::WrongPeer),
        (&node2, Hello { from: NodeIndex(2), ..hello() }.encode(), Refusal::WrongDialer),
        (&node0, Hello { partition: PartitionUid(78), ..hello() }.encode(), Refusal::WrongPartition),
        (&node0, Hello { term: Term(3), ..hello() }.encode(), Refusal::OldTerm),
        (&node0, Hello { term: Term(6), ..hello() }.encode(), Refusal::NotPlanned),
        (&node0, no_magic, Refusal::BadHello),
        (&node0, version, Refusal::WrongVersion),
    ];
    let mut expected = std::collections::BTreeMap::new();
    for (bundle, bytes, refusal) in cases {
        let (mut stream, answer) = victim.greet(bundle, &bytes).await;
        assert_eq!(answer, Some(Err(refusal)));
        assert!(!matches!(stream.read(&mut [0; 1]).await, Ok(1)), "the connection must be closed");
        let times = expected.entry(refusal).or_insert(0);
        *times += 1;
        victim.counted(refusal, *times).await;
    }
}

#[tokio::test]
async fn a_hello_cut_off_anywhere_is_counted() {
    let victim = Victim::new().await;
    let bundle = victim.bundle(0);
    for (times, bytes) in [0, 1, HELLO_BYTES - 1].into_iter().enumerate() {
        let mut stream = victim.tls(&bundle).await;
        stream.write_all(&hello().encode()[..bytes]).await.unwrap();
        stream.shutdown().await.unwrap();
        victim.counted(Refusal::BadHello, times as u64 + 1).await;
    }
}

#[tokio::test]
async fn who_says_nothing_is_refused_in_time() {
    let victim = Victim::new().await;
    let _silent = victim.tcp().await;
    victim.counted(Refusal::TimedOut, 1).await;
}

#[tokio::test]
async fn a_bad_frame_ends_the_link_with_its_kind() {
    let mut victim = Victim::new().await;
    let mut version = encode_header(Class::Control, 0);
    version[0] = 2;
    let mut reserved = encode_header(Class::Control, 0);
    reserved[3] = 1;
    let cases: [(&[u8], FrameError); 6] = [
        (&version, FrameError::WrongVersion(2)),
        (&encode_header(Class::Bulk, 0), FrameError::WrongClass(2)),
        (&reserved, FrameError::ReservedBits(0x100)),
        (&encode_header(Class::Control, FRAME_BYTES_MAX + 1), FrameError::Oversized(FRAME_BYTES_MAX as u32 + 1)),
        (&encode_header(Class::Control, 0)[..5], FrameError::Truncated),
        (&encode_header(Class::Control, 10), FrameError::Truncated),
    ];
    for (number, (bytes, expected)) in cases.into_iter().enumerate() {
        let [mut control, _bulk] = victim.link(number as u64).await;
        assert_eq!(victim.up().await, LinkId { term: Term(5), node: NodeIndex(0) });
        control.write_all(&encode_header(Class::Control, 2)).await.unwrap();
        control.write_all(b"ok").await.unwrap();
        control.write_all(bytes).await.unwrap();
        control.shutdown().await.unwrap();
        assert!(matches!(victim.next().await, Delivery::Frame(frame) if &frame.payload[..] == b"ok"));
        assert_eq!(victim.down().await, DownReason::BadFrame(expected));
    }
    let counters = victim.end.transport.counters();
    let counted = [Refusal::WrongVersion, Refusal::BadFrame, Refusal::OversizedFrame, Refusal::TruncatedFrame];
    assert_eq!(counted.map(|refusal| counters.refused(refusal)), [1, 2, 1, 2]);
}

#[tokio::test]
async fn a_peer_that_dials_anew_replaces_its_link_when_both_lanes_are_there() {
    let mut victim = Victim::new().await;
    let [mut old, _old_bulk] = victim.link(1).await;
    victim.up().await;
    // Half of another life: the link stays as it is.
    let bundle = victim.bundle(0);
    let (_half, answer) = victim.greet(&bundle, &Hello { class: Class::Bulk, number: 2, ..hello() }.encode()).await;
    assert_eq!(answer, Some(Ok(())));
    old.write_all(&encode_header(Class::Control, 0)).await.unwrap();
    assert!(matches!(victim.next().await, Delivery::Frame(_)));
    let [_new, mut new_bulk] = victim.link(3).await;
    assert_eq!(victim.down().await, DownReason::Replaced);
    victim.up().await;
    new_bulk.write_all(&encode_header(Class::Bulk, 0)).await.unwrap();
    timeout(PATIENCE, victim.end.bulk.next()).await.expect("the lanes of one life belong together");
    assert!(!matches!(old.read(&mut [0; 1]).await, Ok(1)), "the old connection must be closed");
}

#[tokio::test]
async fn a_dialer_refuses_whom_the_plan_does_not_name() {
    let victim = Victim::new().await;
    let dialer = bind(&victim.bundle(0)).await;
    // Node 1 answers where the plan says that node 3 is.
    let peer = Peer { node: NodeIndex(3), address: victim.end.transport.local_address() };
    dialer.transport.open_links(&LinkPlan { term: Term(5), peers: vec![peer] }).unwrap();
    let refused = async {
        while dialer.transport.counters().refused(Refusal::WrongPeer) == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
}

#[tokio::test]
async fn the_authority_is_no_node() {
    let bundle = LocalAuthority::new(PARTITION).unwrap().issue_authority().unwrap();
    let identity = TlsIdentity::new(&bundle).unwrap();
    let bound = TcpTransport::bind(TcpOptions { listen: ANYWHERE, identity, jitter_seed: 1, faults: None }).await;
    assert!(matches!(bound, Err(BindError::NotANode { .. })));
}
