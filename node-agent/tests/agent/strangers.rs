//! Who has no business with an agent is refused at each of its sockets, and counted.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
};

use rustix::{
    fs::Mode,
    net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with},
    process::{Uid, geteuid},
    thread::set_thread_res_uid,
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, Stream,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use strobe_core::model::{NodeIndex, PartitionUid};
use strobe_fabric::identity::CertificateBundle;
use strobe_proto::{agent::AuthorityHello, partition_bytes};

use crate::{
    authority::{Certificates, Nodes},
    metrics::Scrape,
    observe::eventually,
};

const NOBODY: u32 = 65534;

/// How often an agent has refused somebody at a socket for a reason.
fn refused(nodes: &Nodes, socket: &str, reason: &str) -> f64 {
    let series = format!("strobe_refused_total{{node=\"0\",socket=\"{socket}\",reason=\"{reason}\"}}");
    Scrape::of(nodes, 0).value(&series).unwrap_or(0.0)
}

async fn is_counted(nodes: &Nodes, socket: &str, reason: &str, times: f64) {
    let what = format!("{times} refusals at {socket} for {reason}");
    eventually(&what, || (refused(nodes, socket, reason) - times).abs() < f64::EPSILON).await;
}

/// Says something that is no TLS, and waits until the agent has closed.
fn speak_plainly(to: SocketAddr) {
    let mut stream = TcpStream::connect(to).expect("the agent listens");
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("the agent reads");
    // Whether it answers by an alert, a reset or nothing: it ends.
    let _closed = stream.read_to_end(&mut Vec::new());
}

/// Shows a certificate, and waits until the agent has closed.
fn show(to: SocketAddr, nodes: &Nodes, certificate: &CertificateBundle) {
    let (roots_pem, name) = nodes.trust(0);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(roots_pem.as_bytes()).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(certificate.certificate_pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap();
    let mut stream = TcpStream::connect(to).expect("the agent listens");
    let _refused = Stream::new(&mut client, &mut stream).read_to_end(&mut Vec::new());
}

fn connected(path: &Path) -> OwnedFd {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    connect(&socket, &SocketAddrUnix::new(path).unwrap()).expect("the agent listens");
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_certificate_of_the_partition_is_refused_and_counted() {
    let nodes = Nodes::start(1).await;
    let [stream, datagram] = nodes.fabric(0);
    let session = SocketAddr::new(stream.ip(), nodes.listening(0).session_port);
    let elsewhere = Certificates::new(PartitionUid(1)).issue_authority();
    tokio::task::block_in_place(|| {
        for port in [stream, session] {
            speak_plainly(port);
            show(port, &nodes, &elsewhere);
        }
    });
    is_counted(&nodes, "fabric", "stranger", 2.0).await;
    is_counted(&nodes, "session", "stranger", 2.0).await;
    let socket = UdpSocket::bind((stream.ip(), 0)).unwrap();
    let [short, of_another_version, mut of_nobody] = [vec![1; 8], vec![9; 64], vec![0; 64]];
    of_nobody[0] = 1;
    for packet in [short, of_another_version, of_nobody] {
        socket.send_to(&packet, datagram).unwrap();
    }
    for reason in ["truncated", "wrong_version", "unknown_key"] {
        is_counted(&nodes, "datagram", reason, 1.0).await;
    }
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_refused_is_counted_by_its_reason() {
    let nodes = Nodes::start(1).await;
    let wrong_partition = AuthorityHello { partition: partition_bytes(PartitionUid(1)), ..nodes.hello() };
    let wrong_version = AuthorityHello { version_min: 0, version_max: 0, ..nodes.hello() };
    let bad_hello = AuthorityHello { settings: None, ..nodes.hello() };
    for (hello, reason) in [(wrong_partition, "wrong_partition"), (wrong_version, "wrong_version"), (bad_hello, "bad_hello")] {
        assert!(nodes.refusal(0, hello).await.is_some(), "{reason} is let in");
        is_counted(&nodes, "session", reason, 1.0).await;
    }
    let status = nodes.refusal_of(0, &nodes.certificates().issue_node(NodeIndex(1))).await.expect("another node is no authority");
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
    is_counted(&nodes, "session", "not_the_authority", 1.0).await;
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_supervisor_is_refused_and_counted() {
    let nodes = Nodes::start(1).await;
    let path = nodes.path().join("node-0/agent.sock");
    let [nonsense, silent] = [(); 2].map(|()| connected(&path));
    send(&nonsense, &[0xff; 64], SendFlags::empty()).unwrap();
    is_counted(&nodes, "supervisor", "malformed", 1.0).await;
    is_counted(&nodes, "supervisor", "silent", 1.0).await;
    drop(silent);
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_user_is_no_supervisor() {
    if !geteuid().is_root() {
        return eprintln!("not tested here: only root can be another user");
    }
    let nodes = Nodes::start(1).await;
    let path = nodes.path().join("node-0/agent.sock");
    // As if the folder and the file's mode did not keep them out.
    for open in [path.parent().unwrap(), &path] {
        rustix::fs::chmod(open, Mode::from(0o777)).unwrap();
    }
    let stranger = std::thread::spawn(move || {
        let nobody = Uid::from_raw(NOBODY);
        set_thread_res_uid(nobody, nobody, nobody).unwrap();
        let socket = connected(&path);
        rustix::io::read(&socket, &mut [0; 64])
    });
    let answer = tokio::task::block_in_place(|| stranger.join().unwrap());
    assert_eq!(answer, Ok(0), "it is told nothing, and closed");
    is_counted(&nodes, "supervisor", "wrong_user", 1.0).await;
    nodes.stop().await;
}
