//! Spike h: an agent's pod shows who and where it is by a token of its service account that kubelet gives it. What needs no kubelet of it
//! is in `tests/admission`.

use std::time::Instant;

use kube::Client;
use serde_json::{Value, json};
use strobe_e2e::ask::{Answer, Ask};
use strobe_e2e::cluster::{Namespace, SHELL_IMAGE, WORKERS};

const AUDIENCE: &str = "strobe.dev/agent";
const SHORTEST_SECONDS: u32 = 600;

/// A namespace with the agents' account, and a client.
struct Agents {
    namespace: Namespace,
    client: Client,
}

impl Agents {
    async fn make(name: &str) -> Self {
        let namespace = Namespace::make(name).unwrap();
        namespace.run(&["create", "serviceaccount", "agent"]).unwrap();
        let client = namespace.client().await.unwrap();
        Self { namespace, client }
    }

    fn path(&self, of: &str) -> String {
        format!("/api/v1/namespaces/{}/{of}", self.namespace.name())
    }

    /// Starts agents' pods; each is where its name says.
    fn start(&self, nodes: &[&str]) {
        for node in nodes {
            self.namespace.apply(&agent(node)).unwrap();
        }
        for node in nodes {
            self.namespace.wait("condition=Ready", &format!("pod/{node}")).unwrap();
        }
    }

    fn token(&self, pod: &str) -> String {
        self.namespace.exec(pod, &["cat", "/token/token"]).unwrap()
    }

    async fn pod(&self, name: &str) -> Value {
        Ask::read(&self.path(&format!("pods/{name}"))).accepted(&self.client).await.unwrap()
    }

    /// Asks for a token as kubelet of a node does.
    fn ask_as_node(&self, node: &str, pod: &Value, audience: &str) -> Ask {
        let bound_to = json!({ "apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"] });
        let spec = json!({ "audiences": [audience], "expirationSeconds": SHORTEST_SECONDS, "boundObjectRef": bound_to });
        let request = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec });
        let groups = ["system:nodes", "system:authenticated"];
        Ask::create(&self.path("serviceaccounts/agent/token"), &request).by(&format!("system:node:{node}"), &groups)
    }
}

/// A pod with a token for us, as an agent's has it: on the host's network, as any user.
fn agent(node: &str) -> Value {
    let token = json!({ "serviceAccountToken": { "audience": AUDIENCE, "expirationSeconds": SHORTEST_SECONDS, "path": "token" } });
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": node },
        "spec": {
            "serviceAccountName": "agent", "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0, "hostNetwork": true,
            "nodeSelector": { "kubernetes.io/hostname": node },
            "volumes": [{ "name": "token", "projected": { "sources": [token] } }],
            "containers": [{
                "name": "agent", "image": SHELL_IMAGE, "imagePullPolicy": "Never", "command": ["sleep", "3600"],
                "volumeMounts": [{ "name": "token", "mountPath": "/token", "readOnly": true }],
            }],
        },
    })
}

fn review(token: &str, audience: &str) -> Ask {
    let spec = json!({ "token": token, "audiences": [audience] });
    let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec });
    Ask::create("/apis/authentication.k8s.io/v1/tokenreviews", &review)
}

fn is_refused(answer: &Answer) -> bool {
    answer.as_ref().is_ok_and(|review| review["status"]["authenticated"] != true)
}

fn extra<'a>(review: &'a Value, field: &str) -> Option<&'a str> {
    review["status"]["user"]["extra"].get(format!("authentication.kubernetes.io/{field}"))?[0].as_str()
}

#[tokio::test]
async fn a_pods_token_names_the_pod_and_the_node_that_it_runs_on() {
    let agents = Agents::make("spike-identity-names").await;
    agents.start(&WORKERS);
    for node in WORKERS {
        let review = review(&agents.token(node), AUDIENCE).accepted(&agents.client).await.unwrap();
        assert_eq!(review["status"]["user"]["username"], "system:serviceaccount:spike-identity-names:agent");
        let pod = agents.pod(node).await;
        assert_eq!((extra(&review, "node-name"), extra(&review, "pod-name")), (Some(node), Some(node)));
        assert_eq!(extra(&review, "pod-uid"), pod["metadata"]["uid"].as_str());
        assert_eq!(pod["spec"]["nodeName"], node);
        let stored = Ask::read(&format!("/api/v1/nodes/{node}")).accepted(&agents.client).await.unwrap();
        assert_eq!(extra(&review, "node-uid"), stored["metadata"]["uid"].as_str());
    }
}

#[tokio::test]
async fn a_token_for_us_is_good_for_nothing_else() {
    let agents = Agents::make("spike-identity-audience").await;
    agents.start(&WORKERS[..1]);
    let token = agents.token(WORKERS[0]);
    review(&token, AUDIENCE).accepted(&agents.client).await.unwrap();
    let refused = review(&token, "strobe.dev/other").until(&agents.client, is_refused).await.unwrap().unwrap();
    let error = refused["status"]["error"].as_str().unwrap();
    assert!(error.contains(r#"token audiences ["strobe.dev/agent"] is invalid for the target audiences"#), "{error}");
    // The API server itself takes it from nobody, so that an agent has no rights there by it.
    let arguments = ["--kubeconfig=/dev/null", "--insecure-skip-tls-verify", "auth", "whoami", "--token", &token, "--server"];
    let server = agents.namespace.run(&["config", "view", "--minify", "--output=jsonpath={.clusters[0].cluster.server}"]).unwrap();
    let error = agents.namespace.run(&[&arguments[..], &[&server]].concat()).unwrap_err().to_string();
    assert!(error.contains("Unauthorized") || error.contains("must be logged in"), "{}", error.replace(&token, "TOKEN"));
}

#[tokio::test]
async fn a_node_gets_tokens_of_its_own_pods_and_their_audiences_only() {
    let agents = Agents::make("spike-identity-nodes").await;
    agents.start(&WORKERS[..1]);
    let pod = agents.pod(WORKERS[0]).await;
    let given = agents.ask_as_node(WORKERS[0], &pod, AUDIENCE).accepted(&agents.client).await.unwrap();
    let review = review(given["status"]["token"].as_str().unwrap(), AUDIENCE).accepted(&agents.client).await.unwrap();
    assert_eq!(extra(&review, "node-name"), Some(WORKERS[0]));
    let status = agents.ask_as_node(WORKERS[1], &pod, AUDIENCE).refused(&agents.client).await.unwrap();
    let why = "no relationship found between node 'strobe-worker2' and this object";
    assert!(status.code == 403 && status.message.ends_with(why), "{}", status.message);
    let status = agents.ask_as_node(WORKERS[0], &pod, "strobe.dev/other").refused(&agents.client).await.unwrap();
    assert_eq!(status.code, 403, "{}", status.message);
    println!("another audience: {}", status.message);
}

#[tokio::test]
async fn after_its_pod_a_token_is_refused_within_seconds() {
    let agents = Agents::make("spike-identity-gone").await;
    agents.start(&WORKERS[1..2]);
    let token = agents.token(WORKERS[1]);
    review(&token, AUDIENCE).accepted(&agents.client).await.unwrap();
    agents.namespace.run(&["delete", "pod", WORKERS[1], "--grace-period=5"]).unwrap();
    let began = Instant::now();
    let refused = review(&token, AUDIENCE).until(&agents.client, is_refused).await.unwrap().unwrap();
    println!("refused {} ms after the pod was gone", began.elapsed().as_millis());
    assert_eq!(refused["status"]["error"], "[invalid bearer token, service account token has been invalidated]");
}
