//! What the schema cannot refuse and the operator must: it takes other objects to know, or belongs to fields that are not ours.
//!
//! Nothing here asks anybody: whoever wants to know has looked up what the job refers to.

use k8s_openapi::api::core::v1::{Container, Namespace, PodSpec};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::ResourceExt as _;
use kube::core::{Selector, SelectorExt as _};
use strobe_crds::parallel_job::{ParallelJob, Reason};
use strobe_crds::partition::Partition;
use strobe_crds::rules::parallel_job::violations;

use crate::{probes, resources};

/// Parts of the names under which device plugins count whole accelerators.
const ACCELERATORS: [&str; 5] = ["gpu", "nvidia.com/mig-", "google.com/tpu", "aws.amazon.com/neuron", "habana.ai/"];

/// Handlers of container runtimes whose processes are no processes of the node: Kata Containers and gVisor.
const HIDDEN_RUNTIMES: [&str; 3] = ["kata", "runsc", "gvisor"];

/// The objects that a job refers to, as far as they exist.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings<'a> {
    /// The partition that it names.
    pub partition: Option<&'a Partition>,
    /// The namespace that it is in.
    pub namespace: Option<&'a Namespace>,
    /// The runtime class that its template names.
    pub runtime_class: Option<&'a RuntimeClass>,
}

/// Why a job is not admitted, whatever room its partition has. Only a change of the job, or of what it refers to, can mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For machines.
    pub reason: Reason,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// The first thing that speaks against a job; none where nothing does.
#[must_use]
pub fn refusal(job: &ParallelJob, surroundings: &Surroundings<'_>) -> Option<Refusal> {
    invalid(job).or_else(|| not_in_partition(job, surroundings)).or_else(|| {
        let pod = job.spec.template.spec.as_ref()?;
        let shared = surroundings.partition.is_some_and(|partition| partition.spec.rows > 1);
        host_network(pod)
            .or_else(|| hidden_runtime(surroundings.runtime_class?))
            .or_else(|| if shared { accelerator(pod) } else { None })
            .or_else(|| endless_container(job, pod))
            .or_else(|| cpu_of_the_pod(pod))
            .or_else(|| low_cpu_limit(job))
            .or_else(|| unanswerable_probe(job))
    })
}

/// An API server with our schema lets no such job in. One with an older schema may.
fn invalid(job: &ParallelJob) -> Option<Refusal> {
    let broken = violations(job, None);
    let first = broken.first()?;
    let more = if broken.len() > 1 { format!(", and {} more", broken.len() - 1) } else { String::new() };
    Some(Refusal::new(Reason::InvalidSpec, format!("{first}{more}")))
}

fn not_in_partition(job: &ParallelJob, surroundings: &Surroundings<'_>) -> Option<Refusal> {
    let name = &job.spec.partition;
    let Some(partition) = surroundings.partition else {
        let message = format!("no Partition is called {name:?}; `kubectl get partitions` lists those that there are");
        return Some(Refusal::new(Reason::PartitionNotFound, message));
    };
    if partition.metadata.deletion_timestamp.is_some() {
        return Some(Refusal::new(Reason::PartitionNotReady, format!("Partition {name:?} is being deleted, and takes no further job")));
    }
    let namespace = job.namespace().unwrap_or_default();
    if admits(partition, &namespace, surroundings.namespace) {
        return None;
    }
    let message = format!(
        "Partition {name:?} does not take jobs of namespace {namespace:?}: its allowedNamespaces must name it or its namespaceSelector match it"
    );
    Some(Refusal::new(Reason::NamespaceNotAllowed, message))
}

/// Whether a partition takes jobs of a namespace: when it says nothing about namespaces, names it, or selects its labels.
fn admits(partition: &Partition, name: &str, namespace: Option<&Namespace>) -> bool {
    let spec = &partition.spec;
    if spec.allowed_namespaces.iter().any(|allowed| allowed == name) {
        return true;
    }
    let Some(selector) = &spec.namespace_selector else {
        return spec.allowed_namespaces.is_empty();
    };
    // A selector that cannot be read selects nothing.
    let selector = Selector::try_from(selector.clone()).ok();
    selector.zip(namespace).is_some_and(|(selector, namespace)| selector.matches(namespace.labels()))
}

fn host_network(pod: &PodSpec) -> Option<Refusal> {
    let message = "the template asks for hostNetwork, where pods of several gangs would share one node's ports: leave it out";
    (pod.host_network == Some(true)).then(|| Refusal::new(Reason::HostNetworkRefused, message.to_owned()))
}

fn hidden_runtime(class: &RuntimeClass) -> Option<Refusal> {
    let hidden = HIDDEN_RUNTIMES.iter().any(|runtime| class.handler.starts_with(runtime));
    let message = || {
        let (name, handler) = (class.name_any(), &class.handler);
        format!("ranks under runtime class {name:?} (handler {handler:?}) are no processes of the node and cannot be frozen: name none")
    };
    hidden.then(|| Refusal::new(Reason::RuntimeClassRefused, message()))
}

/// Gangs take turns on CPUs; an accelerator keeps its memory and its work when its gang does not run.
fn accelerator(pod: &PodSpec) -> Option<Refusal> {
    let asked = containers(pod).find_map(accelerator_of)?;
    let message = format!("the template asks for {asked}, and gangs of a partition with several rows take turns: use one whose rows is 1");
    Some(Refusal::new(Reason::AcceleratorsNotShared, message))
}

fn accelerator_of(container: &Container) -> Option<String> {
    let resources = container.resources.as_ref()?;
    if let Some(claim) = resources.claims.iter().flatten().next() {
        return Some(format!("the claim {:?} in container {:?}", claim.name, container.name));
    }
    let asked = resources.limits.iter().chain(&resources.requests).flat_map(|resources| resources.keys());
    let mut accelerators = asked.filter(|name| ACCELERATORS.iter().any(|part| name.contains(part)));
    accelerators.next().map(|name| format!("{name} in container {:?}", container.name))
}

/// The pod ends when its ranks have, so that only they may be an ordinary container.
fn endless_container(job: &ParallelJob, pod: &PodSpec) -> Option<Refusal> {
    let (ranks, _) = job.spec.find_rank_container()?;
    let (_, other) = pod.containers.iter().enumerate().find(|(index, _)| *index != ranks)?;
    let message = format!(
        "container {:?} beside the ranks' one would outlive them: make it an init container whose restartPolicy is Always",
        other.name
    );
    Some(Refusal::new(Reason::ContainerNeverEnds, message))
}

/// Ranks are pinned to CPUs that are theirs: a limit that is lower stops them in the middle of their quantum, each in another.
fn low_cpu_limit(job: &ParallelJob) -> Option<Refusal> {
    let (_, ranks) = job.spec.find_rank_container()?;
    let need = resources::cpu_need(job);
    resources::cpu_limit(ranks).filter(|limit| *limit < need)?;
    let message = format!(
        "container {:?} has a CPU limit below the {} CPUs of its ranks on a node, and the kernel stops ranks that come to it: leave it out",
        ranks.name,
        need / 1000
    );
    Some(Refusal::new(Reason::InvalidSpec, message))
}

/// What is stated for a pod as a whole goes before what its containers ask for, which is planned.
fn cpu_of_the_pod(pod: &PodSpec) -> Option<Refusal> {
    let resources = pod.resources.as_ref()?;
    let mut stated = resources.requests.iter().chain(&resources.limits);
    let message =
        "the template states CPU for the pod as a whole, which Strobe plans: leave it out, or state it of containers beside the ranks' one";
    stated.any(|figures| figures.contains_key("cpu")).then(|| Refusal::new(Reason::InvalidSpec, message.to_owned()))
}

fn unanswerable_probe(job: &ParallelJob) -> Option<Refusal> {
    let (_, ranks) = job.spec.find_rank_container()?;
    probes::refusal(ranks).map(|message| Refusal::new(Reason::InvalidSpec, message))
}

fn containers(pod: &PodSpec) -> impl Iterator<Item = &Container> {
    pod.containers.iter().chain(pod.init_containers.iter().flatten())
}

// === impl Refusal ===

impl Refusal {
    fn new(reason: Reason, message: String) -> Self {
        Self { reason, message }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(change: impl FnOnce(&mut Value)) -> ParallelJob {
        let mut object = json!({
            "apiVersion": "strobe.dev/v1alpha1", "kind": "ParallelJob", "metadata": { "name": "sor", "namespace": "physics" },
            "spec": { "partition": "all", "template": { "spec": { "containers": [{ "name": "rank", "command": ["sor"] }] } } },
        });
        change(&mut object);
        serde_json::from_value(object).unwrap()
    }

    fn partition(spec: &Value) -> Partition {
        serde_json::from_value(
            json!({ "apiVersion": "strobe.dev/v1alpha1", "kind": "Partition", "metadata": { "name": "all" }, "spec": spec }),
        )
        .unwrap()
    }

    fn namespace(labels: &Value) -> Namespace {
        serde_json::from_value(json!({ "metadata": { "name": "physics", "labels": labels } })).unwrap()
    }

    /// What speaks against a job in a partition of four rows.
    fn reason(change: impl FnOnce(&mut Value)) -> Option<Reason> {
        let partition = partition(&json!({}));
        refusal(&job(change), &Surroundings { partition: Some(&partition), ..Surroundings::default() }).map(|refusal| refusal.reason)
    }

    #[test]
    fn nothing_speaks_against_an_ordinary_job() {
        assert_eq!(reason(|_| {}), None);
    }

    #[test]
    fn a_job_whose_partition_does_not_exist_is_told_its_name() {
        let refusal = refusal(&job(|_| {}), &Surroundings::default()).unwrap();
        assert_eq!(refusal.reason, Reason::PartitionNotFound);
        assert!(refusal.message.starts_with("no Partition is called \"all\";"), "{}", refusal.message);
    }

    #[test]
    fn a_rule_that_an_older_schema_does_not_have_is_kept_here() {
        let refused = job(|job| job["spec"]["rankContainer"] = json!("nobody"));
        let refusal = refusal(&refused, &Surroundings::default()).unwrap();
        assert_eq!(refusal.reason, Reason::InvalidSpec);
        assert!(refusal.message.contains("rankContainer"), "{}", refusal.message);
    }

    #[test]
    fn namespaces_are_admitted_by_silence_by_name_or_by_label() {
        let admitted = |spec: &Value, labels: &Value| {
            let (partition, namespace) = (partition(spec), namespace(labels));
            let surroundings = Surroundings { partition: Some(&partition), namespace: Some(&namespace), runtime_class: None };
            refusal(&job(|_| {}), &surroundings).map(|refusal| refusal.reason)
        };
        let selector = || json!({ "matchLabels": { "team": "hpc" } });
        assert_eq!(admitted(&json!({}), &json!({})), None);
        assert_eq!(admitted(&json!({ "allowedNamespaces": ["physics"] }), &json!({})), None);
        assert_eq!(admitted(&json!({ "allowedNamespaces": ["chemistry"] }), &json!({})), Some(Reason::NamespaceNotAllowed));
        assert_eq!(admitted(&json!({ "namespaceSelector": selector() }), &json!({ "team": "hpc" })), None);
        assert_eq!(admitted(&json!({ "namespaceSelector": selector() }), &json!({ "team": "web" })), Some(Reason::NamespaceNotAllowed));
        let both = json!({ "allowedNamespaces": ["physics"], "namespaceSelector": selector() });
        assert_eq!(admitted(&both, &json!({ "team": "web" })), None, "one of the two is enough");
    }

    #[test]
    fn the_hosts_network_is_refused() {
        assert_eq!(reason(|job| job["spec"]["template"]["spec"]["hostNetwork"] = json!(true)), Some(Reason::HostNetworkRefused));
        assert_eq!(reason(|job| job["spec"]["template"]["spec"]["hostNetwork"] = json!(false)), None);
    }

    #[test]
    fn a_runtime_that_hides_its_processes_is_refused_by_its_handler() {
        let refused = |handler: &str| {
            let partition = partition(&json!({}));
            let class: RuntimeClass = serde_json::from_value(json!({ "metadata": { "name": "safe" }, "handler": handler })).unwrap();
            let surroundings = Surroundings { partition: Some(&partition), namespace: None, runtime_class: Some(&class) };
            refusal(&job(|_| {}), &surroundings).map(|refusal| refusal.reason)
        };
        assert_eq!(refused("kata-qemu"), Some(Reason::RuntimeClassRefused));
        assert_eq!(refused("runsc"), Some(Reason::RuntimeClassRefused));
        assert_eq!(refused("runc"), None);
    }

    #[test]
    fn accelerators_are_refused_where_gangs_take_turns() {
        let asks_for = |resources: Value| move |job: &mut Value| job["spec"]["template"]["spec"]["containers"][0]["resources"] = resources;
        let gpu = || json!({ "limits": { "nvidia.com/gpu": "1" } });
        assert_eq!(reason(asks_for(gpu())), Some(Reason::AcceleratorsNotShared));
        assert_eq!(reason(asks_for(json!({ "claims": [{ "name": "one" }] }))), Some(Reason::AcceleratorsNotShared));
        assert_eq!(reason(asks_for(json!({ "limits": { "memory": "1Gi", "rdma/hca": "1" } }))), None);
        let one_row = partition(&json!({ "rows": 1 }));
        let surroundings = Surroundings { partition: Some(&one_row), ..Surroundings::default() };
        assert_eq!(refusal(&job(asks_for(gpu())), &surroundings), None);
    }

    #[test]
    fn a_cpu_limit_below_the_ranks_cpus_is_refused() {
        let limited = |cpu: &'static str| {
            move |job: &mut Value| {
                job["spec"]["cpusPerRank"] = json!(2);
                job["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({ "limits": { "cpu": cpu } });
            }
        };
        assert_eq!(reason(limited("1500m")), Some(Reason::InvalidSpec));
        assert_eq!(reason(limited("2")), None);
    }

    #[test]
    fn cpu_of_the_pod_as_a_whole_is_refused() {
        let whole = |figures: Value| move |job: &mut Value| job["spec"]["template"]["spec"]["resources"] = figures;
        assert_eq!(reason(whole(json!({ "requests": { "cpu": "1" } }))), Some(Reason::InvalidSpec));
        assert_eq!(reason(whole(json!({ "limits": { "cpu": "1" } }))), Some(Reason::InvalidSpec));
        assert_eq!(reason(whole(json!({ "limits": { "memory": "1Gi" } }))), None);
    }

    #[test]
    fn a_probe_that_only_kubelet_can_ask_is_refused() {
        let probe = |probe: Value| move |job: &mut Value| job["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = probe;
        assert_eq!(reason(probe(json!({ "grpc": { "port": 9 } }))), Some(Reason::InvalidSpec));
        assert_eq!(reason(probe(json!({ "httpGet": { "port": 9 } }))), None);
    }

    #[test]
    fn an_accelerator_of_an_init_container_counts_too() {
        let init = json!([{ "name": "warm-up", "resources": { "requests": { "gpu.intel.com/i915": "1" } } }]);
        assert_eq!(reason(|job| job["spec"]["template"]["spec"]["initContainers"] = init), Some(Reason::AcceleratorsNotShared));
    }

    #[test]
    fn only_the_ranks_may_be_an_ordinary_container() {
        let two = json!([{ "name": "rank", "command": ["sor"] }, { "name": "logs", "command": ["tail"] }]);
        assert_eq!(reason(|job| job["spec"]["template"]["spec"]["containers"] = two.clone()), Some(Reason::ContainerNeverEnds));
        let named = |job: &mut Value| {
            job["spec"]["template"]["spec"]["containers"] = two;
            job["spec"]["rankContainer"] = json!("logs");
        };
        assert_eq!(reason(named), Some(Reason::ContainerNeverEnds), "whichever is the ranks'");
        let sidecar = json!([{ "name": "logs", "restartPolicy": "Always" }]);
        assert_eq!(reason(|job| job["spec"]["template"]["spec"]["initContainers"] = sidecar), None);
    }
}
