//! kubelet, as far as an agent sees it: it takes in the volume plugin, asks for volumes, and starts containers in their pods' cgroups.

use std::{
    collections::HashMap,
    fs::{self, File, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::mount::{UnmountFlags, unmount};
use strobe_node_agent::cgroup::{CgroupName, CgroupPath, CgroupTree};
use tonic::{Status, transport::Endpoint};

use crate::observe::{LOOK, PATIENCE};
use csi::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest, node_client::NodeClient};
use registration::{InfoRequest, RegistrationStatus, registration_client::RegistrationClient};

#[allow(clippy::all, unused_qualifications, unreachable_pub, dead_code, reason = "generated")]
mod csi {
    tonic::include_proto!("csi.v1");
}

#[allow(clippy::all, unused_qualifications, unreachable_pub, dead_code, reason = "generated")]
mod registration {
    tonic::include_proto!("pluginregistration");
}

/// Where the CPU sets of cgroup v1 are.
const CPU_SETS: &str = "/sys/fs/cgroup/cpuset";

/// The user of the pods: nobody.
const USER: &str = "65534";

/// kubelet's folder of one node, and the cgroup above its pods.
#[derive(Debug, Clone)]
pub(crate) struct Kubelet {
    folder: PathBuf,
    cgroup: CgroupPath,
}

/// The container of a pod: a supervisor in the container's cgroup.
pub(crate) struct Container {
    pub(crate) process: Child,
    pub(crate) cgroup: CgroupPath,
}

/// Says it where libtest does not hide it. Where nothing may be left out (`cargo xtask ci`) the test fails.
fn skipped(why: &str) {
    assert!(std::env::var_os("STROBE_NO_SKIP").is_none(), "nothing may be skipped here: {why}");
    std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes()).unwrap();
}

/// Whether pods can be played here: mounts and cgroups need root, and a pod's address is that of the way that leads out.
pub(crate) fn can_play_pods() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped("mounts for pods need root");
    }
    let has_way_out = strobe_node_agent::supervisor::network::own_place().is_some();
    if !has_way_out {
        skipped("no network leads out of here, so that a pod would have no address");
    }
    root && has_way_out
}

impl Kubelet {
    /// Makes the folders that kubelet has made before any pod starts.
    pub(crate) fn new(folder: PathBuf, cgroup: &str) -> Self {
        for below in ["plugins_registry", "plugins", "pods"] {
            fs::create_dir_all(folder.join(below)).unwrap();
        }
        Self { folder, cgroup: CgroupPath::parse(cgroup).unwrap() }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The socket by which the plugin is taken in.
    pub(crate) fn registration(&self) -> PathBuf {
        self.folder.join("plugins_registry/registration@csi.strobe.dev.sock")
    }

    /// Waits for the plugin, and takes it in.
    pub(crate) async fn take_in_plugin(&self) {
        let endpoint = Endpoint::try_from(format!("unix:{}", self.registration().display())).unwrap();
        let connecting = async {
            loop {
                // An agent that was killed has left its socket, at which nobody is.
                match endpoint.connect().await {
                    Ok(channel) => return channel,
                    Err(_nobody) => tokio::time::sleep(LOOK).await,
                }
            }
        };
        let channel = tokio::time::timeout(PATIENCE, connecting).await.expect("the plugin is in the registry");
        let mut client = RegistrationClient::new(channel);
        let info = client.get_info(InfoRequest {}).await.unwrap().into_inner();
        assert_eq!((info.r#type.as_str(), info.name.as_str()), ("CSIPlugin", "csi.strobe.dev"));
        assert_eq!(Path::new(&info.endpoint), self.plugin_socket());
        client.notify_registration_status(RegistrationStatus { plugin_registered: true, error: String::new() }).await.unwrap();
    }

    fn plugin_socket(&self) -> PathBuf {
        self.folder.join("plugins/csi.strobe.dev/csi.sock")
    }

    async fn plugin(&self) -> NodeClient<tonic::transport::Channel> {
        let endpoint = Endpoint::try_from(format!("unix:{}", self.plugin_socket().display())).unwrap();
        NodeClient::new(endpoint.connect().await.expect("the plugin serves"))
    }

    /// Where a pod's volume is mounted.
    pub(crate) fn target(&self, pod: &str) -> PathBuf {
        self.folder.join("pods").join(pod).join("volumes/kubernetes.io~csi/strobe/mount")
    }

    /// Asks for a pod's volume, as for one that is declared so.
    pub(crate) async fn publish(&self, pod: &str, readonly: bool) -> Result<(), Status> {
        let target = self.target(pod);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        let context = [("csi.storage.k8s.io/pod.uid", pod), ("csi.storage.k8s.io/ephemeral", "true")];
        let request = NodePublishVolumeRequest {
            volume_id: volume(pod),
            target_path: target.display().to_string(),
            readonly,
            volume_context: context.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect::<HashMap<_, _>>(),
        };
        self.plugin().await.node_publish_volume(request).await.map(drop)
    }

    /// Takes a pod's volume away.
    pub(crate) async fn unpublish(&self, pod: &str) -> Result<(), Status> {
        let request = NodeUnpublishVolumeRequest { volume_id: volume(pod), target_path: self.target(pod).display().to_string() };
        self.plugin().await.node_unpublish_volume(request).await.map(drop)
    }

    /// Starts a pod's container, whose program the volume has.
    pub(crate) fn start(&self, pod: &str, name: &str, output: &Path, script: &str) -> Container {
        let tree = CgroupTree::find().unwrap();
        let cgroup = self.pod_cgroup(pod).child(&CgroupName::new("container").unwrap());
        tree.create(&cgroup).unwrap();
        let process = self.supervisor(&tree.on_disk(&cgroup).unwrap(), pod, name, output, script);
        Container { process, cgroup }
    }

    /// Starts the same program for a pod, but in another cgroup than the pod's.
    pub(crate) fn start_outside(&self, pod: &str, name: &str, output: &Path, script: &str) -> Container {
        let tree = CgroupTree::find().unwrap();
        let cgroup = self.cgroup.child(&CgroupName::new("elsewhere").unwrap());
        tree.create(&cgroup).unwrap();
        let process = self.supervisor(&tree.on_disk(&cgroup).unwrap(), pod, name, output, script);
        Container { process, cgroup }
    }

    /// The container's place among the CPU sets of cgroup v1, made as a runtime makes it; none where they are not mounted.
    pub(crate) fn cpu_set(&self, pod: &str) -> Option<PathBuf> {
        let root = Path::new(CPU_SETS);
        if !root.join("cpuset.cpus").exists() {
            skipped("no CPU sets of cgroup v1 here");
            return None;
        }
        let place = format!("{}/container", self.pod_cgroup(pod));
        let mut folder = root.to_owned();
        for name in place.split('/').filter(|name| !name.is_empty()) {
            let above = folder.clone();
            folder.push(name);
            fs::create_dir_all(&folder).unwrap();
            for file in ["cpuset.cpus", "cpuset.mems"] {
                fs::write(folder.join(file), fs::read(above.join(file)).unwrap()).unwrap();
            }
        }
        Some(folder)
    }

    fn pod_cgroup(&self, pod: &str) -> CgroupPath {
        self.cgroup.child(&CgroupName::new(format!("pod{pod}")).unwrap())
    }

    fn supervisor(&self, cgroup: &Path, pod: &str, name: &str, output: &Path, script: &str) -> Child {
        let volume = self.target(pod);
        let cpu_set = Path::new(CPU_SETS).join(format!("{}/container/tasks", self.pod_cgroup(pod)).trim_start_matches('/'));
        let join_cpu_set = if cpu_set.exists() { format!("echo $$ > {} && ", cpu_set.display()) } else { String::new() };
        let join = format!("{join_cpu_set}echo $$ > {}/cgroup.procs && exec \"$@\"", cgroup.display());
        Command::new("/bin/sh")
            .args(["-c", &join, "sh", "setpriv", "--reuid", USER, "--regid", USER, "--clear-groups"])
            .arg(volume.join("strobe-init"))
            .args(["run", "--gang", name, "--incarnation", "1", "--socket"])
            .arg(volume.join("agent.sock"))
            .args(["--", "/bin/sh", "-c", script])
            .stdin(Stdio::null())
            .stdout(File::options().append(true).create(true).open(output).unwrap())
            .spawn()
            .unwrap()
    }

    /// Unmounts what a failed test has left, and removes the pods' cgroups.
    pub(crate) fn clean_up(&self) {
        for pod in fs::read_dir(self.folder.join("pods")).into_iter().flatten().flatten() {
            let _not_mounted = unmount(self.target(&pod.file_name().to_string_lossy()), UnmountFlags::DETACH);
        }
        remove_cpu_sets(&Path::new(CPU_SETS).join(self.cgroup.as_str().trim_start_matches('/')));
        let Ok(tree) = CgroupTree::find() else { return };
        for pod in tree.leftovers(&self.cgroup).unwrap_or_default() {
            pod.remove(Duration::from_secs(10)).expect("a pod's cgroup can be removed");
        }
        tree.remove_unused(&self.cgroup, &CgroupPath::root()).expect("an empty cgroup of the test can be removed");
    }
}

/// Removes a folder of CPU sets and those below it, and what is above it and empty.
fn remove_cpu_sets(folder: &Path) {
    for below in fs::read_dir(folder).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        remove_cpu_sets(&below.path());
    }
    let _absent_or_in_use = fs::remove_dir(folder);
    if let Some(above) = folder.parent().filter(|above| *above != Path::new(CPU_SETS)) {
        let _absent_or_in_use = fs::remove_dir(above);
    }
}

/// As long as those that kubelet makes.
fn volume(pod: &str) -> String {
    format!("csi-{pod:0>64}")
}

/// Lets every user into a folder: that of a pod is anybody.
pub(crate) fn open_to_all(folder: &Path) {
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
}
