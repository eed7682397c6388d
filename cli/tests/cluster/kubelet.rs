//! What a kubelet is to an API server that is asked for logs: an HTTPS server that answers for containers of its node.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Answers for as long as the test's runtime lives, with what `log` says of a pod. Gives its port.
pub(crate) async fn serve(log: fn(&str) -> String) -> u16 {
    let key = rcgen::generate_simple_self_signed(vec!["kubelet".to_owned()]).unwrap();
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let configuration = versions.with_no_client_auth().with_single_cert(vec![key.cert.der().clone()], private).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(configuration));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(acceptor.clone(), stream, log));
        }
    });
    port
}

/// One request a connection: the path is `/containerLogs/NAMESPACE/POD/CONTAINER`.
async fn answer(acceptor: TlsAcceptor, stream: TcpStream, log: fn(&str) -> String) {
    let mut stream = acceptor.accept(stream).await.unwrap();
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut bytes = [0; 1024];
        let read = stream.read(&mut bytes).await.unwrap();
        request.extend_from_slice(&bytes[..read]);
    }
    let request = String::from_utf8(request).unwrap();
    let pod = request.split('/').nth(3).unwrap_or_default().to_owned();
    let response = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n{}", log(&pod));
    stream.write_all(response.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
}
