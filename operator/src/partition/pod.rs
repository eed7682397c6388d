//! The pods of a gang: its template, held at our gate, pinned to the planned node, with the supervisor before the ranks' command.
//!
//! Source: docs/adr/0012 (the volume), docs/adr/0013 (gates and placement).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, CSIVolumeSource, Container, EmptyDirVolumeSource, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod,
    PodSchedulingGate, PodSchedulingGroup, PodSpec, Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource as _, ResourceExt as _};
use strobe_core::model::GangRun;
use strobe_crds::parallel_job::ParallelJob;

use crate::names::{
    ANNOTATION_INDEX, CSI_DRIVER, GATE, LABEL_INCARNATION, LABEL_INDEX, LABEL_JOB, LABEL_JOB_UID, LABEL_PARTITION_UID, TAINT,
};
use crate::{probes, resources};

/// The volume that the agent of the node fills, and where it is mounted.
const VOLUME: &str = "strobe";
const FOLDER: &str = "/strobe";

/// Shared memory of the ranks of a pod: what a container runtime gives by itself, 64 MiB, is too little for MPI.
const SHARED_MEMORY: &str = "strobe-shared-memory";
const SHARED_MEMORY_FOLDER: &str = "/dev/shm";

/// What keeps autoscalers from evicting a pod to save its node: with it the whole gang would end.
const KEPT_IN_PLACE: [(&str, &str); 2] =
    [("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"), ("karpenter.sh/do-not-disrupt", "true")];

/// Least grace of a pod: without any, its object is gone before its ranks are (docs/adr/0012).
const LEAST_GRACE_SECONDS: i64 = 1;

/// One pod of a gang's life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The gang's life.
    pub(crate) run: GangRun,
    /// Place of the node among the gang's, from 0.
    pub(crate) index: usize,
    /// The node's name; none where the pod is only tried.
    pub(crate) node: Option<&'a str>,
    /// UID of the partition, as Kubernetes writes it.
    pub(crate) partition_uid: &'a str,
    /// What it asks for of the node's CPUs, in thousandths of one.
    pub(crate) cpu: u64,
    /// Rows of the matrix.
    pub(crate) rows: u8,
    /// True where there is a group of the life's pods.
    pub(crate) is_grouped: bool,
}

/// The name of a gang's pod: with its life, so that the next one's can be made while this one's go.
pub(super) fn name(job: &ParallelJob, run: GangRun, index: usize) -> String {
    format!("{}-{index}", group_name(job, run))
}

/// The name of the group of the pods of a gang's life.
pub(super) fn group_name(job: &ParallelJob, run: GangRun) -> String {
    format!("{}-{}", job.name_any(), run.incarnation)
}

/// The pod that runs a gang's ranks on a node.
pub(crate) fn pod(job: &ParallelJob, place: &Place<'_>) -> Pod {
    let template = job.spec.template.clone();
    let mut pod = Pod { metadata: template.metadata.unwrap_or_default(), spec: template.spec, status: None };
    pod.metadata.name = Some(name(job, place.run, place.index));
    pod.metadata.namespace = job.namespace();
    pod.metadata.owner_references = job.controller_owner_ref(&()).map(|owner: OwnerReference| vec![owner]);
    pod.metadata.labels.get_or_insert_default().extend(labels(job, place));
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(ANNOTATION_INDEX.to_owned(), place.index.to_string());
    for (key, value) in KEPT_IN_PLACE {
        annotations.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }
    let rank_container = job.spec.find_rank_container().map_or(0, |(index, _)| index);
    let spec = pod.spec.get_or_insert_default();
    settle(spec, job, place);
    if let Some(node) = place.node {
        pin(spec, node);
    }
    resources::settle(spec, rank_container, place.cpu);
    if let Some(container) = spec.containers.get_mut(rank_container) {
        supervise(container, job, place);
    }
    pod
}

fn labels(job: &ParallelJob, place: &Place<'_>) -> BTreeMap<String, String> {
    let pairs = [
        (LABEL_JOB, job.name_any()),
        (LABEL_JOB_UID, job.uid().unwrap_or_default()),
        (LABEL_INCARNATION, place.run.incarnation.to_string()),
        (LABEL_INDEX, place.index.to_string()),
        (LABEL_PARTITION_UID, place.partition_uid.to_owned()),
    ];
    pairs.map(|(key, value)| (key.to_owned(), value)).into()
}

/// What holds for every pod of a gang, whatever its template says.
fn settle(spec: &mut PodSpec, job: &ParallelJob, place: &Place<'_>) {
    spec.restart_policy = Some("Never".to_owned());
    spec.hostname.get_or_insert_with(|| format!("{}-{}", job.name_any(), place.index));
    // With the job's headless Service, by which each pod has a name.
    spec.subdomain.get_or_insert_with(|| job.name_any());
    spec.termination_grace_period_seconds = spec.termination_grace_period_seconds.map(|seconds| seconds.max(LEAST_GRACE_SECONDS));
    spec.scheduling_gates.get_or_insert_default().push(PodSchedulingGate { name: GATE.to_owned() });
    if place.is_grouped {
        // A pod has one group, so that one of the template gives way.
        spec.scheduling_group = Some(PodSchedulingGroup { pod_group_name: Some(group_name(job, place.run)) });
    }
    if spec.priority_class_name.is_none() {
        spec.priority_class_name.clone_from(&job.spec.priority_class_name);
    }
    spec.tolerations.get_or_insert_default().push(Toleration {
        key: Some(TAINT.to_owned()),
        operator: Some("Equal".to_owned()),
        value: Some(job.spec.partition.clone()),
        ..Toleration::default()
    });
    let csi = CSIVolumeSource { driver: CSI_DRIVER.to_owned(), read_only: Some(true), ..CSIVolumeSource::default() };
    let volumes = spec.volumes.get_or_insert_default();
    volumes.push(Volume { name: VOLUME.to_owned(), csi: Some(csi), ..Volume::default() });
    let memory = EmptyDirVolumeSource { medium: Some("Memory".to_owned()), ..EmptyDirVolumeSource::default() };
    volumes.push(Volume { name: SHARED_MEMORY.to_owned(), empty_dir: Some(memory), ..Volume::default() });
}

/// Requires the node in every term of the template that is not empty; a term without requirements matches no node and stays as it is.
fn pin(spec: &mut PodSpec, node: &str) {
    let is_node =
        NodeSelectorRequirement { key: "metadata.name".to_owned(), operator: "In".to_owned(), values: Some(vec![node.to_owned()]) };
    let affinity: &mut Affinity = spec.affinity.get_or_insert_default();
    let node_affinity: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    let required: &mut NodeSelector = node_affinity.required_during_scheduling_ignored_during_execution.get_or_insert_default();
    if required.node_selector_terms.is_empty() {
        required.node_selector_terms.push(NodeSelectorTerm { match_fields: Some(vec![is_node]), match_expressions: None });
        return;
    }
    for term in required.node_selector_terms.iter_mut().filter(|term| **term != NodeSelectorTerm::default()) {
        term.match_fields.get_or_insert_default().push(is_node.clone());
    }
}

/// Puts the supervisor before the ranks' command. References such as `$(SIZE)` in it are still the kubelet's to expand.
fn supervise(container: &mut Container, job: &ParallelJob, place: &Place<'_>) {
    let program = format!("{FOLDER}/strobe-init");
    let mut command: Vec<String> = [
        &program,
        "run",
        "--socket",
        &format!("{FOLDER}/agent.sock"),
        "--gang",
        &job.name_any(),
        "--incarnation",
        &place.run.incarnation.to_string(),
    ]
    .map(str::to_owned)
    .into();
    if probes::has_any(container) {
        command.extend(["--probe-socket", probes::SOCKET].map(str::to_owned));
        probes::rewrite(container, &program, place.rows);
    }
    command.push("--".to_owned());
    command.append(container.command.get_or_insert_default());
    container.command = Some(command);
    let mounts = container.volume_mounts.get_or_insert_default();
    mounts.push(VolumeMount { name: VOLUME.to_owned(), mount_path: FOLDER.to_owned(), read_only: Some(true), ..VolumeMount::default() });
    if mounts.iter().all(|mount| mount.mount_path.trim_end_matches('/') != SHARED_MEMORY_FOLDER) {
        mounts.push(VolumeMount { name: SHARED_MEMORY.to_owned(), mount_path: SHARED_MEMORY_FOLDER.to_owned(), ..VolumeMount::default() });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use strobe_core::model::{GangId, GangIncarnation};

    use super::*;

    const RUN: GangRun = GangRun { gang: GangId(7), incarnation: GangIncarnation(2) };
    const PLACE: Place<'_> =
        Place { run: RUN, index: 1, node: Some("worker-1"), partition_uid: "0b9e", cpu: 250, rows: 2, is_grouped: false };

    fn made(template: &Value) -> Value {
        made_at(template, &PLACE)
    }

    fn made_at(template: &Value, place: &Place<'_>) -> Value {
        let object = json!({
            "apiVersion": "strobe.dev/v1alpha1", "kind": "ParallelJob",
            "metadata": { "name": "sor", "namespace": "physics", "uid": "c0ffee" },
            "spec": { "partition": "all", "nodes": 2, "rankContainer": "rank", "template": template },
        });
        serde_json::to_value(pod(&serde_json::from_value(object).unwrap(), place)).unwrap()
    }

    fn plain() -> Value {
        json!({ "spec": { "containers": [{ "name": "rank", "command": ["sor", "$(SIZE)"], "args": ["fast"] }] } })
    }

    #[test]
    fn a_pod_belongs_to_its_job_its_life_and_its_place() {
        let pod = made(&plain());
        assert_eq!((&pod["metadata"]["name"], &pod["metadata"]["namespace"]), (&json!("sor-2-1"), &json!("physics")));
        assert_eq!(pod["metadata"]["labels"]["strobe.dev/job-uid"], "c0ffee");
        assert_eq!(pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"], "1");
        assert_eq!(pod["metadata"]["ownerReferences"][0]["controller"], true);
        assert_eq!((&pod["spec"]["restartPolicy"], &pod["spec"]["hostname"]), (&json!("Never"), &json!("sor-1")));
    }

    #[test]
    fn no_autoscaler_moves_a_pod_unless_its_template_says_so_and_its_name_is_within_the_jobs_service() {
        let mut template = plain();
        template["metadata"] = json!({ "annotations": { "karpenter.sh/do-not-disrupt": "false" } });
        let pod = made(&template);
        assert_eq!(pod["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"], "false");
        assert_eq!(pod["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"], "false");
        assert_eq!(pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"], "1");
        assert_eq!(pod["spec"]["subdomain"], "sor");
        template["spec"]["subdomain"] = json!("mine");
        assert_eq!(made(&template)["spec"]["subdomain"], "mine");
    }

    #[test]
    fn the_supervisor_comes_before_the_command_and_the_arguments_stay() {
        let container = &made(&plain())["spec"]["containers"][0];
        let command = ["/strobe/strobe-init", "run", "--socket", "/strobe/agent.sock", "--gang", "sor", "--incarnation", "2", "--"];
        assert_eq!(container["command"], json!(command.into_iter().chain(["sor", "$(SIZE)"]).collect::<Vec<_>>()));
        assert_eq!(container["args"], json!(["fast"]));
    }

    #[test]
    fn probes_are_asked_by_the_supervisors_program_which_then_asks_the_supervisor() {
        let mut template = plain();
        template["spec"]["containers"][0]["readinessProbe"] = json!({ "tcpSocket": { "port": 9 } });
        let container = &made(&template)["spec"]["containers"][0];
        let command = container["command"].as_array().unwrap();
        let (before, after) = command.split_at(command.iter().position(|word| word == "--").unwrap());
        assert_eq!((before.last(), before.len(), after.len()), (Some(&json!("strobe-probe")), 10, 3));
        assert_eq!(container["readinessProbe"]["exec"]["command"][1], "probe");
    }

    #[test]
    fn it_waits_at_the_gate_for_its_node() {
        let mut template = plain();
        template["spec"]["schedulingGates"] = json!([{ "name": "example.com/quota" }]);
        let spec = &made(&template)["spec"];
        assert_eq!(spec["schedulingGates"], json!([{ "name": "example.com/quota" }, { "name": "strobe.dev/gang" }]));
        let terms = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
        let node = json!({ "key": "metadata.name", "operator": "In", "values": ["worker-1"] });
        assert_eq!(*terms, json!([{ "matchFields": [node] }]));
    }

    #[test]
    fn it_names_the_group_of_its_life_where_there_is_one() {
        let mut own = plain();
        own["spec"]["schedulingGroup"] = json!({ "podGroupName": "mine" });
        let group_of = |template: &Value, is_grouped| made_at(template, &Place { is_grouped, ..PLACE })["spec"]["schedulingGroup"].clone();
        assert_eq!((group_of(&plain(), false), group_of(&own, false)), (Value::Null, json!({ "podGroupName": "mine" })));
        assert_eq!(
            [&plain(), &own].map(|template| group_of(template, true)),
            [json!({ "podGroupName": "sor-2" }), json!({ "podGroupName": "sor-2" })]
        );
    }

    #[test]
    fn what_the_user_requires_of_nodes_holds_beside_the_plan_and_an_empty_term_stays_empty() {
        let mut template = plain();
        let disk = json!({ "matchExpressions": [{ "key": "disk", "operator": "In", "values": ["ssd"] }] });
        template["spec"]["affinity"] = json!({ "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [disk.clone(), {}] },
        } });
        let spec = &made(&template)["spec"];
        let terms = &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
        assert_eq!(terms[0]["matchExpressions"], disk["matchExpressions"]);
        assert_eq!(terms[0]["matchFields"][0]["values"], json!(["worker-1"]));
        assert_eq!(terms[1], json!({}));
    }

    #[test]
    fn a_grace_of_nothing_becomes_the_least_and_any_other_stays() {
        let grace = |seconds: i64| {
            let mut template = plain();
            template["spec"]["terminationGracePeriodSeconds"] = json!(seconds);
            made(&template)["spec"]["terminationGracePeriodSeconds"].clone()
        };
        assert_eq!((grace(0), grace(45)), (json!(1), json!(45)));
    }

    #[test]
    fn shared_memory_of_the_template_is_kept() {
        let mounts = |template: &Value| made(template)["spec"]["containers"][0]["volumeMounts"].as_array().unwrap().len();
        assert_eq!(mounts(&plain()), 2);
        let mut own = plain();
        own["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "mine", "mountPath": "/dev/shm/" }]);
        assert_eq!(mounts(&own), 2);
    }
}
