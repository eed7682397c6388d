//! Spike g: pods of a gang are made with a gate and pinned to their nodes; without the gate the scheduler binds each to its node or says
//! why not. What the API server alone decides of it is in `tests/admission`.

use kube::Client;
use serde_json::{Value, json};
use strobe_e2e::ask::{Answer, Ask, Change};
use strobe_e2e::cluster::{Namespace, SHELL_IMAGE, WORKERS};

const OURS: &str = "strobe.dev/gang";
const OTHER: &str = "example.com/quota";

/// No other test's pods are scheduled to it: it may be cordoned.
const CONTROL_PLANE: &str = "strobe-control-plane";

/// What the scheduler says of the nodes to which a pod is not pinned.
const OTHER_NODES: &str = "node(s) didn't satisfy plugin(s) [NodeAffinity]";

/// A namespace and a client for it.
struct Gang {
    namespace: Namespace,
    client: Client,
}

/// A pod that is to be planned.
fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "schedulingGates": [{ "name": OURS }],
            "containers": [{
                "name": "rank", "image": SHELL_IMAGE, "imagePullPolicy": "Never", "command": ["sleep", "3600"],
                "resources": { "requests": { "memory": "1Mi" } },
            }],
        },
    })
}

/// The pod with its node in every term of what it requires of nodes, as a placement is to be written down. A term without requirements
/// matches no node and stays as it is: with the node in it, it would match that.
fn pinned(mut pod: Value, node: &str) -> Value {
    let is_node = json!({ "key": "metadata.name", "operator": "In", "values": [node] });
    let terms = &mut pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    if terms.is_null() {
        *terms = json!([{ "matchFields": [is_node] }]);
        return pod;
    }
    for term in terms.as_array_mut().unwrap().iter_mut().filter(|term| **term != json!({})) {
        let fields = term["matchFields"].take();
        term["matchFields"] = fields.as_array().into_iter().flatten().chain([&is_node]).cloned().collect();
    }
    pod
}

fn requiring(mut pod: Value, terms: &Value) -> Value {
    pod["spec"]["affinity"] =
        json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } } });
    pod
}

fn in_group(mut pod: Value, group: &str) -> Value {
    pod["spec"]["schedulingGroup"] = json!({ "podGroupName": group });
    pod
}

fn asking_for(mut pod: Value, memory: &str) -> Value {
    pod["spec"]["containers"][0]["resources"]["requests"]["memory"] = json!(memory);
    pod
}

fn label(key: &str, value: &str) -> Value {
    json!({ "matchExpressions": [{ "key": key, "operator": "In", "values": [value] }] })
}

/// The condition that says whether a pod has a node: status, reason and message.
fn scheduled(pod: &Value) -> Option<(&str, &str, &str)> {
    let conditions = pod["status"]["conditions"].as_array()?;
    let condition = conditions.iter().find(|condition| condition["type"] == "PodScheduled")?;
    let field = |name: &str| condition[name].as_str().unwrap_or_default();
    Some((field("status"), field("reason"), field("message")))
}

impl Gang {
    async fn make(name: &str) -> Self {
        let namespace = Namespace::make(name).unwrap();
        let client = namespace.client().await.unwrap();
        Self { namespace, client }
    }

    fn path(&self, of: &str) -> String {
        format!("/api/v1/namespaces/{}/{of}", self.namespace.name())
    }

    async fn create(&self, pods: &[Value]) {
        for pod in pods {
            Ask::create(&self.path("pods"), pod).accepted(&self.client).await.unwrap();
        }
    }

    async fn open(&self, gate: &str, pods: &[&str]) {
        let change = json!({ "spec": { "schedulingGates": [{ "$patch": "delete", "name": gate }] } });
        for pod in pods {
            Ask::change(&self.path(&format!("pods/{pod}")), Change::Strategic, &change).accepted(&self.client).await.unwrap();
        }
    }

    /// Waits until the scheduler has spoken of a pod.
    async fn until(&self, name: &str, wanted: impl Fn(&str, &str, &str) -> bool) -> Value {
        let is_wanted =
            |answer: &Answer| scheduled(answer.as_ref().unwrap()).is_some_and(|(status, reason, message)| wanted(status, reason, message));
        let ask = Ask::read(&self.path(&format!("pods/{name}")));
        ask.until(&self.client, is_wanted).await.unwrap().unwrap()
    }

    async fn node_of(&self, name: &str) -> String {
        let pod = self.until(name, |status, _, _| status == "True").await;
        pod["spec"]["nodeName"].as_str().unwrap().to_owned()
    }

    /// What the scheduler says of a pod that it cannot place, once that contains something.
    async fn refusal(&self, name: &str, part: &str) -> String {
        let pod = self.until(name, |_, reason, message| reason == "Unschedulable" && message.contains(part)).await;
        assert_eq!((&pod["spec"]["nodeName"], &pod["status"]["phase"]), (&Value::Null, &json!("Pending")));
        scheduled(&pod).unwrap().2.to_owned()
    }

    async fn assert_gated(&self, name: &str) {
        let pod = self.until(name, |_, reason, _| reason == "SchedulingGated").await;
        let said = ("False", "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates");
        assert_eq!(scheduled(&pod), Some(said));
        assert_eq!(pod["spec"].get("nodeName"), None);
    }
}

#[tokio::test]
async fn gated_pods_wait_and_then_go_to_exactly_the_planned_nodes() {
    let gang = Gang::make("spike-placement-plan").await;
    // Neither in the order of the nodes nor of what is free there.
    let plan = [("sor-0", WORKERS[2]), ("sor-1", WORKERS[0]), ("sor-2", WORKERS[1])];
    gang.create(&plan.map(|(name, node)| pinned(pod(name), node))).await;
    for (name, _) in plan {
        gang.assert_gated(name).await;
    }
    gang.open(OURS, &plan.map(|(name, _)| name)).await;
    for (name, node) in plan {
        assert_eq!(gang.node_of(name).await, node, "{name}");
    }
}

#[tokio::test]
async fn what_the_user_requires_of_nodes_holds_beside_the_plan() {
    let gang = Gang::make("spike-placement-terms").await;
    let [worker, other, _] = WORKERS;
    let mut selecting = pod("selecting");
    selecting["spec"]["nodeSelector"] = json!({ "kubernetes.io/os": "linux" });
    let mut selecting_other = pod("selecting-other");
    selecting_other["spec"]["nodeSelector"] = json!({ "kubernetes.io/hostname": other });
    let (linux, plan9) = (label("kubernetes.io/os", "linux"), label("kubernetes.io/os", "plan9"));
    let not_other = json!({ "matchFields": [{ "key": "metadata.name", "operator": "NotIn", "values": [other] }] });
    for (pod, is_bound) in [
        (selecting, true),
        (selecting_other, false),
        (requiring(pod("second-term"), &json!([plan9, linux])), true),
        (requiring(pod("no-term"), &json!([plan9, plan9])), false),
        (requiring(pod("not-there"), &json!([not_other])), true),
        (requiring(pod("empty-term"), &json!([{}, plan9])), false),
    ] {
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        gang.create(&[pinned(pod, worker)]).await;
        gang.open(OURS, &[&name]).await;
        if is_bound {
            assert_eq!(gang.node_of(&name).await, worker, "{name}");
        } else {
            gang.refusal(&name, "node(s) didn't ").await;
        }
    }
}

/// Why an empty term must stay empty.
#[tokio::test]
async fn a_node_in_an_empty_term_makes_it_match() {
    let gang = Gang::make("spike-placement-empty").await;
    let wrongly = json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [WORKERS[0]] }] });
    gang.create(&[requiring(pod("empty"), &json!([{}])), requiring(pod("wrongly"), &json!([wrongly]))]).await;
    gang.open(OURS, &["empty", "wrongly"]).await;
    let message = gang.refusal("empty", "node(s) didn't ").await;
    assert!(message.contains("3 node(s) didn't match Pod's node affinity/selector"), "{message}");
    assert_eq!(gang.node_of("wrongly").await, WORKERS[0]);
}

#[tokio::test]
async fn another_controllers_gate_holds_a_pod_whose_own_gate_is_open() {
    let gang = Gang::make("spike-placement-gates").await;
    let mut held = pinned(pod("held"), WORKERS[1]);
    held["spec"]["schedulingGates"] = json!([{ "name": OTHER }, { "name": OURS }]);
    gang.create(&[held, pinned(pod("free"), WORKERS[1])]).await;
    gang.open(OURS, &["held", "free"]).await;
    // The scheduler has seen both by the time that it binds the second.
    assert_eq!(gang.node_of("free").await, WORKERS[1]);
    gang.assert_gated("held").await;
    let held = Ask::read(&gang.path("pods/held")).accepted(&gang.client).await.unwrap();
    assert_eq!(held["spec"]["schedulingGates"], json!([{ "name": OTHER }]));
    gang.open(OTHER, &["held"]).await;
    assert_eq!(gang.node_of("held").await, WORKERS[1]);
}

#[tokio::test]
async fn a_pod_that_its_node_cannot_take_is_pending_and_says_why() {
    let gang = Gang::make("spike-placement-refused").await;
    let mut tolerating = pinned(pod("cordoned"), CONTROL_PLANE);
    tolerating["spec"]["tolerations"] = json!([{ "key": "node-role.kubernetes.io/control-plane", "operator": "Exists" }]);
    let mut labelled = pinned(pod("labelled"), WORKERS[0]);
    labelled["spec"]["nodeSelector"] = json!({ "disk": "fast" });
    assert_refused(&gang, asking_for(pinned(pod("large"), WORKERS[0]), "900Gi"), "1 Insufficient memory").await;
    assert_refused(&gang, pinned(pod("tainted"), CONTROL_PLANE), "1 node(s) had untolerated taint(s)").await;
    assert_refused(&gang, labelled, "1 node(s) didn't match Pod's node affinity/selector").await;
    let cordon = Cordon::lay(&gang);
    assert_refused(&gang, tolerating, "1 node(s) were unschedulable").await;
    drop(cordon);
    assert_eq!(gang.node_of("cordoned").await, CONTROL_PLANE, "it is bound as soon as it can be: who gives it up must delete it");
    gang.create(&[pinned(pod("missing"), "no-such-node")]).await;
    gang.open(OURS, &["missing"]).await;
    let message = gang.refusal("missing", OTHER_NODES).await;
    assert!(message.starts_with("0/4 nodes are available: 4 node(s)"), "no word of the node: {message}");
}

async fn assert_refused(gang: &Gang, pod: Value, why: &str) {
    let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
    gang.create(&[pod]).await;
    gang.open(OURS, &[&name]).await;
    let message = gang.refusal(&name, why).await;
    let start = format!("0/4 nodes are available: {why}, 3 {OTHER_NODES}. ");
    assert!(message.starts_with(&start), "{message}");
    // An event says the same, later.
    let is_said = |answer: &Answer| {
        let events = answer.as_ref().unwrap()["items"].as_array().unwrap();
        let says_it = |event: &&Value| event["reason"] == "FailedScheduling" && event["message"] == message;
        events.iter().filter(says_it).any(|event| event["involvedObject"]["name"] == name)
    };
    Ask::read(&gang.path("events")).until(&gang.client, is_said).await.unwrap().unwrap();
}

/// A cordon around the control plane, for as long as a test needs it.
struct Cordon<'a> {
    gang: &'a Gang,
}

impl<'a> Cordon<'a> {
    fn lay(gang: &'a Gang) -> Self {
        gang.namespace.run(&["cordon", CONTROL_PLANE]).unwrap();
        Self { gang }
    }
}

impl Drop for Cordon<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.gang.namespace.run(&["uncordon", CONTROL_PLANE]) {
            eprintln!("node {CONTROL_PLANE} is left cordoned: {error:#}");
        }
    }
}

/// Whether the scheduler places groups of pods; where not, this is said, and fails where nothing may be left out.
async fn groups_are_served(gang: &Gang, test: &str) -> bool {
    let is_served = Ask::read("/apis/scheduling.k8s.io/v1alpha2").answer(&gang.client).await.unwrap().is_ok();
    if !is_served {
        strobe_e2e::programs::left_out(test, "this cluster serves no scheduling.k8s.io/v1alpha2");
    }
    is_served
}

async fn add_group(gang: &Gang, name: &str, least: usize) {
    let group = json!({
        "apiVersion": "scheduling.k8s.io/v1alpha2", "kind": "PodGroup", "metadata": { "name": name },
        "spec": { "schedulingPolicy": { "gang": { "minCount": least } } },
    });
    let path = format!("/apis/scheduling.k8s.io/v1alpha2/namespaces/{}/podgroups", gang.namespace.name());
    Ask::create(&path, &group).accepted(&gang.client).await.unwrap();
}

#[tokio::test]
async fn a_group_of_pods_holds_pinned_pods_until_the_last_gate_is_open() {
    let gang = Gang::make("spike-placement-group").await;
    if !groups_are_served(&gang, "groups of pods").await {
        return;
    }
    add_group(&gang, "sor", 3).await;
    let plan = [("sor-0", WORKERS[2]), ("sor-1", WORKERS[0]), ("sor-2", WORKERS[1])];
    gang.create(&plan.map(|(name, node)| in_group(pinned(pod(name), node), "sor"))).await;
    gang.open(OURS, &["sor-0", "sor-1"]).await;
    for name in ["sor-0", "sor-1"] {
        gang.refusal(name, "waiting for minCount pods from a gang to be scheduled").await;
    }
    gang.assert_gated("sor-2").await;
    gang.open(OURS, &["sor-2"]).await;
    for (name, node) in plan {
        assert_eq!(gang.node_of(name).await, node, "{name}");
    }
}

#[tokio::test]
async fn one_pod_that_does_not_fit_holds_its_group_but_without_a_group_only_itself() {
    let gang = Gang::make("spike-placement-unfit").await;
    let plan = |job: &str| {
        let fits = pinned(pod(&format!("{job}-0")), WORKERS[0]);
        [fits, asking_for(pinned(pod(&format!("{job}-1")), WORKERS[1]), "900Gi")]
    };
    gang.create(&plan("alone")).await;
    gang.open(OURS, &["alone-0", "alone-1"]).await;
    gang.refusal("alone-1", "1 Insufficient memory").await;
    assert_eq!(gang.node_of("alone-0").await, WORKERS[0]);
    if !groups_are_served(&gang, "a pod of a group that does not fit").await {
        return;
    }
    add_group(&gang, "sor", 2).await;
    gang.create(&plan("sor").map(|pod| in_group(pod, "sor"))).await;
    gang.open(OURS, &["sor-0", "sor-1"]).await;
    // Which pod is the reason is told by its own message alone.
    gang.refusal("sor-1", "1 Insufficient memory").await;
    gang.refusal("sor-0", "pod group is unschedulable").await;
}
