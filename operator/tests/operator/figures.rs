//! What a replica shows of itself, at a real API server: whether it leads, the jobs, and whom it has refused where agents enrol.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use serde_json::json;
use strobe_operator::leading::{Options, Replica};
use strobe_operator::metrics::{self, Metrics};
use strobe_operator::{certificates, identity};
use strobe_proto::VERSIONS;
use strobe_proto::identity::EnrolmentRequest;
use strobe_proto::identity::identity_client::IdentityClient;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};

use super::cluster::{Cluster, until};

/// The name in the certificate of where agents enrol.
const NAME: &str = "strobe-operator.strobe-system.svc";

/// A replica in this process; it ends with the test.
struct Shown {
    enrolling: SocketAddr,
    figures: SocketAddr,
    roots_pem: String,
    /// As long as it is there, the replica is not asked to end.
    _running: watch::Sender<bool>,
}

impl Shown {
    async fn start(cluster: &Cluster) -> Self {
        let client = cluster.server().client().await.unwrap();
        let authority = Arc::new(certificates::authority(&client, "strobe-system").await.unwrap());
        let roots_pem = authority.roots_pem().to_owned();
        let metrics = Metrics::default();
        let (namespace, instance) = ("strobe-system".to_owned(), "in-the-test".to_owned());
        let (replica, leading) = Replica::new(Options {
            client: client.clone(),
            namespace: namespace.clone(),
            instance,
            authority: Arc::clone(&authority),
            metrics: metrics.clone(),
            pod_groups: false,
        });
        let (running, ending) = watch::channel(false);
        tokio::spawn(replica.run(ending));
        let (enrolling, figures) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let addresses = (enrolling.local_addr().unwrap(), figures.local_addr().unwrap());
        let options = identity::Options { listener: enrolling, server_name: NAME.to_owned(), namespace, metrics: metrics.clone() };
        tokio::spawn(identity::serve(options, client, authority, leading.clone()));
        tokio::spawn(metrics::serve(figures, metrics, leading));
        Self { enrolling: addresses.0, figures: addresses.1, roots_pem, _running: running }
    }

    /// The value of a series; none where it is not shown.
    fn value(&self, series: &str) -> Option<u64> {
        let mut stream = TcpStream::connect(self.figures).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.to_lowercase().contains("content-type: application/openmetrics-text"), "{answer}");
        answer.lines().find_map(|line| line.strip_prefix(&format!("strobe_operator_{series} "))?.parse().ok())
    }

    fn refused(&self, reason: &str) -> Option<u64> {
        self.value(&format!("refused_total{{reason=\"{reason}\"}}"))
    }

    /// What an agent is answered that shows this token.
    async fn enrol(&self, change: impl FnOnce(&mut EnrolmentRequest)) -> Code {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.roots_pem)).domain_name(NAME);
        let channel = Channel::from_shared(format!("https://{}", self.enrolling)).unwrap().tls_config(tls).unwrap();
        let mut request = EnrolmentRequest { version_min: *VERSIONS.start(), version_max: *VERSIONS.end(), ..EnrolmentRequest::default() };
        change(&mut request);
        IdentityClient::new(channel.connect().await.unwrap()).enrol(request).await.unwrap_err().code()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_counts_whom_it_refuses_and_shows_the_jobs_while_it_leads() {
    let Some(cluster) = Cluster::start("a_replica_counts").await else { return };
    let shown = Shown::start(&cluster).await;
    for reason in ["stranger", "timed_out", "wrong_version", "bad_token", "not_an_agent", "bad_request", "unavailable", "no_place"] {
        assert_eq!(shown.refused(reason), Some(0), "{reason}");
    }

    let mut stranger = TcpStream::connect(shown.enrolling).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    until("a stranger is counted", || shown.refused("stranger") == Some(1));
    assert_eq!(shown.enrol(|request| request.version_min = u32::MAX).await, Code::FailedPrecondition);
    assert_eq!(shown.refused("wrong_version"), Some(1));
    assert_eq!(shown.enrol(|request| request.token = "none".to_owned()).await, Code::Unauthenticated);
    assert_eq!(shown.refused("bad_token"), Some(1));
    cluster.create(&json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "somebody", "namespace": "default" } }));
    let token = cluster.run(&["create", "token", "somebody", "--audience=strobe.dev/operator"]);
    assert_eq!(shown.enrol(|request| request.token = token.trim().to_owned()).await, Code::PermissionDenied);
    assert_eq!(shown.refused("not_an_agent"), Some(1));
    assert_eq!(shown.value("enrolments_total"), Some(0));

    until("the replica leads", || shown.value("leads") == Some(1));
    cluster.create(&json!({
        "apiVersion": "strobe.dev/v1alpha1", "kind": "Partition", "metadata": { "name": "here" }, "spec": { "nodeSelector": {} },
    }));
    let job = |name: &str, partition: &str| {
        let template = json!({ "spec": { "containers": [{ "name": "rank", "image": "any", "command": ["sor"] }] } });
        json!({
            "apiVersion": "strobe.dev/v1alpha1", "kind": "ParallelJob", "metadata": { "name": name, "namespace": "default" },
            "spec": { "partition": partition, "nodes": 2, "template": template },
        })
    };
    cluster.create(&job("one", "here"));
    cluster.create(&job("two", "here"));
    cluster.create(&job("three", "nowhere"));
    until("the jobs are shown", || shown.value("jobs{state=\"Queued\"}") == Some(3));
    assert!(shown.value("reconciliations_total{outcome=\"done\"}").unwrap() >= 3);
    cluster.run(&["delete", "pj", "one", "two", "three"]);
    until("jobs that are gone are shown no more", || shown.value("jobs{state=\"Queued\"}").is_none());
}
