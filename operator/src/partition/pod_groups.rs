//! Groups of pods, by which the scheduler binds all pods of a gang or none: an option beside gates and affinity, for API servers that serve
//! them as they were tried (docs/adr/0013). Each life of a gang has a group, made before its pods and deleted after them. Where groups are
//! not served, or in another version, gangs are placed without, and their Partition's events say so.

use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource as _, ResourceExt as _};
use serde_json::json;
use strobe_core::model::GangRun;
use strobe_crds::parallel_job::ParallelJob;
use strobe_crds::partition::Partition;

use super::{answered, pod, pods};
use crate::controller::OURS;
use crate::names::{LABEL_INCARNATION, LABEL_JOB, LABEL_JOB_UID, LABEL_PARTITION_UID};

/// Where they are served, and the version that was tried.
const GROUP: &str = "scheduling.k8s.io";
const VERSION: &str = "v1alpha2";

/// Their kind, and what they are called in paths.
pub(crate) const KIND: &str = "PodGroup";
const PLURAL: &str = "podgroups";

/// The option, where it is on.
#[derive(Clone)]
pub(crate) struct PodGroups {
    client: Client,
    recorder: Recorder,
}

/// How an API server serves groups of pods.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Served {
    AsTried,
    /// In these versions, which nobody has tried; or not at all.
    Otherwise(Vec<String>),
}

// === impl PodGroups ===

impl PodGroups {
    pub(crate) fn new(client: Client, instance: String) -> Self {
        let reporter = Reporter { controller: OURS.to_owned(), instance: Some(instance) };
        Self { recorder: Recorder::new(client.clone(), reporter), client }
    }

    /// Says once of a Partition what becomes of the option there, however long it takes to find that out.
    pub(crate) async fn tell(&self, partition: &Partition) {
        let name = partition.name_any();
        let served = answered("find out whether groups of pods are served", || served(&self.client)).await;
        let Served::Otherwise(versions) = served else {
            return tracing::info!(partition = name, "each gang is a group of pods for the scheduler");
        };
        let note = ignored(&versions);
        tracing::warn!(partition = name, "{note}");
        let event = Event {
            type_: EventType::Warning,
            reason: "PodGroupsIgnored".to_owned(),
            note: Some(note),
            action: "Place".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &partition.object_ref(&())).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "an event was not taken");
        }
    }

    /// The group of so many pods of a gang's life, to be made before them; none where groups are not served as they were tried. Asked anew
    /// for each life: a server may have begun or ceased to serve them, and a pod that names a group which is not there is not bound.
    ///
    /// # Errors
    /// The API server does not say what it serves.
    pub(super) async fn group(&self, job: &ParallelJob, place: &Place<'_>) -> Result<Option<DynamicObject>, kube::Error> {
        Ok((served(&self.client).await? == Served::AsTried).then(|| group(job, place)))
    }

    /// Deletes the group of a gang's life, if there is one; it goes when its pods have ended.
    pub(super) async fn remove(&self, job: &ParallelJob, run: GangRun) {
        let (api, name) = (api(&self.client, &job.namespace().unwrap_or_default()), pod::group_name(job, run));
        let found = match api.get_opt(&name).await {
            Ok(found) => found,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                return tracing::warn!(name, error, "a group of pods is not deleted; its job's end does that");
            }
        };
        let is_ours = |found: &DynamicObject| found.labels().get(LABEL_JOB_UID) == job.metadata.uid.as_ref();
        if let Some(uid) = found.filter(is_ours).and_then(|found| found.uid()) {
            pods::delete(&api, KIND, &name, uid).await;
        }
    }
}

/// A life of a gang for whose pods there is to be a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) run: GangRun,
    /// UID of the partition, as Kubernetes writes it.
    pub(super) partition_uid: &'a str,
    /// How many pods it has.
    pub(super) pods: usize,
}

/// The groups of a namespace.
pub(crate) fn api(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource())
}

/// The kind of groups that was tried.
pub(crate) fn resource() -> ApiResource {
    ApiResource {
        group: GROUP.to_owned(),
        version: VERSION.to_owned(),
        api_version: format!("{GROUP}/{VERSION}"),
        kind: KIND.to_owned(),
        plural: PLURAL.to_owned(),
    }
}

fn group(job: &ParallelJob, place: &Place<'_>) -> DynamicObject {
    let labels = [
        (LABEL_JOB, job.name_any()),
        (LABEL_JOB_UID, job.uid().unwrap_or_default()),
        (LABEL_INCARNATION, place.run.incarnation.to_string()),
        (LABEL_PARTITION_UID, place.partition_uid.to_owned()),
    ];
    let mut group = DynamicObject::new(&pod::group_name(job, place.run), &resource());
    group.metadata.namespace = job.namespace();
    group.metadata.labels = Some(labels.map(|(key, value)| (key.to_owned(), value)).into());
    group.metadata.owner_references = job.controller_owner_ref(&()).map(|owner| vec![owner]);
    group.data = json!({ "spec": { "schedulingPolicy": { "gang": { "minCount": place.pods } } } });
    group
}

/// What people are told who wished for groups of pods.
fn ignored(versions: &[String]) -> String {
    let others = match versions {
        [] => String::new(),
        versions => format!(" (but in {}, which is ignored)", versions.join(", ")),
    };
    format!("the API server does not serve {KIND} in {GROUP}/{VERSION}{others}: gangs are placed by gates and affinity alone")
}

async fn served(client: &Client) -> Result<Served, kube::Error> {
    if is_served(client, VERSION).await? {
        return Ok(Served::AsTried);
    }
    let groups = client.list_api_groups().await?.groups;
    let versions = groups.into_iter().filter(|group| group.name == GROUP).flat_map(|group| group.versions);
    let mut others = Vec::new();
    for version in versions {
        if is_served(client, &version.version).await? {
            others.push(version.version);
        }
    }
    Ok(Served::Otherwise(others))
}

async fn is_served(client: &Client, version: &str) -> Result<bool, kube::Error> {
    match client.list_api_group_resources(&format!("{GROUP}/{version}")).await {
        Ok(list) => Ok(list.resources.iter().any(|resource| resource.name == PLURAL)),
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use axum::http::StatusCode;
    use axum::{Router, routing};
    use k8s_openapi::api::core::v1::Pod;
    use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
    use serde_json::Value;
    use strobe_core::model::{GangId, GangIncarnation, NodeIndex};
    use strobe_e2e::api_server::ApiServer;

    use super::super::making::{self, Made, MakeError, Wanted};
    use super::*;

    const RUN: GangRun = GangRun { gang: GangId(7), incarnation: GangIncarnation(2) };
    const PLACE: Place<'_> = Place { run: RUN, partition_uid: "0b9e", pods: 2 };
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A namespace of an API server, with a job there.
    struct Namespace {
        client: Client,
        job: ParallelJob,
    }

    impl Namespace {
        async fn make(server: Option<&'static ApiServer>, name: &str) -> Option<Self> {
            let server = server?;
            for arguments in [["create", "namespace", name], ["create", "serviceaccount", "default"]] {
                let made = server.kubectl().args(["--namespace", name]).args(arguments).output().unwrap();
                assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            }
            Some(Self { client: server.client().await.unwrap(), job: job(name, "c0ffee") })
        }

        /// Where groups are served.
        async fn with_groups(name: &str) -> Option<Self> {
            Self::make(ApiServer::shared_with_pod_groups(name).await.unwrap(), name).await
        }

        fn option(&self) -> PodGroups {
            PodGroups::new(self.client.clone(), "in-the-test".to_owned())
        }

        fn groups(&self) -> Api<DynamicObject> {
            api(&self.client, &self.job.namespace().unwrap())
        }

        fn pods(&self) -> Api<Pod> {
            Api::namespaced(self.client.clone(), &self.job.namespace().unwrap())
        }

        /// A life of the gang, as it is made, with a group where there is to be one.
        async fn launch(&self, patience: Duration) -> Result<Made, MakeError> {
            let group = self.option().group(&self.job, &PLACE).await.unwrap();
            let place = |index| pod::Place {
                run: RUN,
                index,
                node: Some("worker"),
                partition_uid: "0b9e",
                cpu: 0,
                rows: 1,
                is_grouped: group.is_some(),
            };
            let pods = [0_u16, 1].map(|index| (NodeIndex(index), pod::pod(&self.job, &place(index.into())))).into();
            making::make(&self.client, Wanted { namespace: self.job.namespace().unwrap(), group, pods }, patience).await
        }

        /// Lets a group go that is being deleted: nobody here sees that no pod of it is left.
        async fn let_go(&self, name: &str) {
            let without = json!({ "metadata": { "finalizers": null } });
            self.groups().patch(name, &PatchParams::default(), &Patch::Merge(without)).await.unwrap();
        }
    }

    fn job(namespace: &str, uid: &str) -> ParallelJob {
        serde_json::from_value(json!({
            "apiVersion": "strobe.dev/v1alpha1", "kind": "ParallelJob", "metadata": { "name": "sor", "namespace": namespace, "uid": uid },
            "spec": { "partition": "all", "nodes": 2, "template": {
                "spec": { "containers": [{ "name": "rank", "image": "any", "command": ["sor"] }] },
            } },
        }))
        .unwrap()
    }

    /// An API server that serves these versions of the group, each with these resources.
    fn serving(versions: &[(&'static str, &[&str])]) -> Client {
        let listed = |(version, _): &(&str, &[&str])| json!({ "groupVersion": format!("{GROUP}/{version}"), "version": version });
        let listed: Vec<Value> = versions.iter().map(listed).collect();
        let group = json!({ "name": GROUP, "versions": listed });
        let groups = json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [{ "name": "batch", "versions": [] }, group] });
        let mut router = Router::new().route("/apis", routing::get(move || async move { groups.to_string() }));
        for (version, resources) in versions {
            let resource = |name: &&str| json!({ "name": name, "singularName": "", "namespaced": true, "kind": "Any", "verbs": ["get"] });
            let resources: Vec<Value> = resources.iter().map(resource).collect();
            let list = json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/{version}"), "resources": resources });
            router = router.route(&format!("/apis/{GROUP}/{version}"), routing::get(move || async move { list.to_string() }));
        }
        let missing =
            json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound", "message": "" });
        Client::new(router.fallback(move || async move { (StatusCode::NOT_FOUND, missing.to_string()) }), "default")
    }

    #[tokio::test]
    async fn groups_are_taken_in_the_version_that_was_tried_and_in_no_other() {
        let classes: (&str, &[&str]) = ("v1", &["priorityclasses"]);
        let found = async |versions: &[_]| served(&serving(versions)).await.unwrap();
        assert_eq!(found(&[classes, ("v1alpha2", &["workloads", "podgroups"])]).await, Served::AsTried);
        assert_eq!(found(&[classes]).await, Served::Otherwise(Vec::new()));
        assert_eq!(found(&[classes, ("v1alpha2", &["workloads"])]).await, Served::Otherwise(Vec::new()));
        let later = found(&[classes, ("v1beta1", &["podgroups"]), ("v1alpha3", &["podgroups"])]).await;
        assert_eq!(later, Served::Otherwise(vec!["v1beta1".to_owned(), "v1alpha3".to_owned()]));
    }

    #[test]
    fn the_versions_that_are_ignored_are_named() {
        let said = |versions: &[&str]| ignored(&versions.iter().map(|version| (*version).to_owned()).collect::<Vec<_>>());
        let start = "the API server does not serve PodGroup in scheduling.k8s.io/v1alpha2";
        assert_eq!(said(&[]), format!("{start}: gangs are placed by gates and affinity alone"));
        let both = format!("{start} (but in v1beta1, v1alpha3, which is ignored): gangs are placed by gates and affinity alone");
        assert_eq!(said(&["v1beta1", "v1alpha3"]), both);
    }

    #[tokio::test]
    async fn a_life_has_a_group_of_all_its_pods_and_each_names_it() {
        let Some(namespace) = Namespace::with_groups("a-life-has-a-group").await else { return };
        let made = namespace.launch(PATIENCE).await.unwrap();
        let group = namespace.groups().get("sor-2").await.unwrap();
        assert_eq!(made.group, Some(("sor-2".to_owned(), group.uid().unwrap())));
        assert_eq!(group.data["spec"]["schedulingPolicy"], json!({ "gang": { "minCount": 2 } }));
        let owners: Vec<_> = group.owner_references().iter().map(|owner| (owner.kind.as_str(), owner.uid.as_str())).collect();
        assert_eq!(owners, [("ParallelJob", "c0ffee")]);
        let pods = namespace.pods().list(&Default::default()).await.unwrap().items;
        assert_eq!(pods.len(), 2);
        for pod in pods {
            let in_common = |labels: &BTreeMap<String, String>| group.labels().iter().all(|(key, value)| labels.get(key) == Some(value));
            assert!(in_common(pod.labels()), "{:?} {:?}", pod.labels(), group.labels());
            let named = pod.spec.unwrap().scheduling_group.and_then(|group| group.pod_group_name);
            assert_eq!(named.as_deref(), Some("sor-2"));
        }
        let again = namespace.launch(PATIENCE).await.unwrap();
        assert_eq!((again.group, again.pods), (made.group, made.pods), "what is there from an earlier attempt is taken");
    }

    #[tokio::test]
    async fn where_groups_are_not_served_a_life_has_none() {
        let name = "no-groups";
        let Some(namespace) = Namespace::make(ApiServer::shared(name).await.unwrap(), name).await else { return };
        let made = namespace.launch(PATIENCE).await.unwrap();
        assert_eq!((made.group, made.pods.len()), (None, 2));
        // Nothing is there to be removed, which does no harm.
        namespace.option().remove(&namespace.job, RUN).await;
    }

    #[tokio::test]
    async fn the_group_of_pods_that_cannot_be_made_is_deleted() {
        let Some(namespace) = Namespace::with_groups("pods-that-cannot-be-made").await else { return };
        let other = json!({ "metadata": { "name": "sor-2-1" }, "spec": { "containers": [{ "name": "any", "image": "any" }] } });
        namespace.pods().create(&PostParams::default(), &serde_json::from_value(other).unwrap()).await.unwrap();
        let failed = namespace.launch(PATIENCE).await.unwrap_err();
        assert!(matches!(&failed, MakeError::Taken { kind: "pod", name } if name == "sor-2-1"), "{failed}");
        assert!(namespace.groups().get("sor-2").await.unwrap().metadata.deletion_timestamp.is_some());
        assert!(namespace.pods().get_opt("sor-2-0").await.unwrap().is_none_or(|pod| pod.metadata.deletion_timestamp.is_some()));
    }

    #[tokio::test]
    async fn a_group_that_is_somebody_elses_fails_the_gang_and_stays() {
        let Some(namespace) = Namespace::with_groups("a-group-of-somebody-else").await else { return };
        let mut other = group(&namespace.job, &PLACE);
        (other.metadata.labels, other.metadata.owner_references) = (None, None);
        namespace.groups().create(&PostParams::default(), &other).await.unwrap();
        let failed = namespace.launch(PATIENCE).await.unwrap_err();
        let said = r#"PodGroup "sor-2" exists and is not of this gang: delete it, or give the job another name"#;
        assert_eq!(failed.to_string(), said);
        namespace.option().remove(&namespace.job, RUN).await;
        assert_eq!(namespace.groups().get("sor-2").await.unwrap().metadata.deletion_timestamp, None);
        assert_eq!(namespace.pods().list(&Default::default()).await.unwrap().items, []);
    }

    #[tokio::test]
    async fn the_group_of_an_earlier_job_that_is_being_deleted_is_waited_for() {
        let Some(namespace) = Namespace::with_groups("group-of-an-earlier-job").await else { return };
        let earlier = group(&job("group-of-an-earlier-job", "tea"), &PLACE);
        namespace.groups().create(&PostParams::default(), &earlier).await.unwrap();
        namespace.groups().delete("sor-2", &DeleteParams::default()).await.unwrap();
        let late = namespace.launch(Duration::from_secs(5)).await.unwrap_err();
        assert!(matches!(late, MakeError::Taken { kind: KIND, .. }), "{late}");
        let (made, ()) = tokio::join!(namespace.launch(PATIENCE), namespace.let_go("sor-2"));
        let there = namespace.groups().get("sor-2").await.unwrap();
        assert_eq!(made.unwrap().group.unwrap().1, there.uid().unwrap());
        assert_eq!(there.labels()[LABEL_JOB_UID], "c0ffee");
    }

    #[tokio::test]
    async fn the_group_of_a_life_that_is_over_is_deleted_by_whoever_knows_its_job() {
        let Some(namespace) = Namespace::with_groups("group-of-a-life-that-is-over").await else { return };
        let made = namespace.launch(PATIENCE).await.unwrap();
        namespace.option().remove(&job("group-of-a-life-that-is-over", "tea"), RUN).await;
        assert_eq!(
            namespace.groups().get("sor-2").await.unwrap().metadata.deletion_timestamp,
            None,
            "another job's of that name is not its own"
        );
        namespace.option().remove(&namespace.job, RUN).await;
        let going = namespace.groups().get("sor-2").await.unwrap();
        assert!(going.metadata.deletion_timestamp.is_some());
        // It goes only after its pods, which takes a controller; what was made is unmade all the same.
        making::unmake(namespace.client.clone(), made).await;
        assert_eq!(namespace.pods().list(&Default::default()).await.unwrap().items, []);
    }
}
