//! The volumes: a folder each beneath the plugin's own, mounted into its pod, and served at its socket. All that has to outlive the
//! plugin is in that folder.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount_bind, mount_remount, unmount};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use crate::plugin::listen;
use crate::protocol::csi::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest};

/// Where the plugin serves a pod: found anew by its name whenever the pod connects.
const SOCKET: &str = "agent.sock";

/// Where that same socket is mounted by itself when a pod asks for it, to compare.
const BOUND_SOCKET: &str = "bound.sock";

/// The attribute of a volume that asks for it.
const BIND_SOCKET: &str = "bindSocket";

/// The attribute of a volume that may be writable, for the test that shows why others may not.
const WRITABLE: &str = "acceptWritable";

/// What kubelet said about the volume.
const PUBLICATION: &str = "publication.json";

/// A place of the plugin's own container, whose mounts nobody else sees.
const STAGING: &str = "/tmp";

/// All volumes of this plugin on this node.
pub(crate) struct Volumes {
    /// The folder of their folders.
    root: PathBuf,
    program: PathBuf,
    served: Mutex<BTreeMap<String, JoinHandle<()>>>,
}

// === impl Volumes ===

impl Volumes {
    /// # Errors
    /// The plugin's folder cannot be written.
    pub(crate) fn open(plugin: &Path) -> Result<Self> {
        let root = plugin.join("volumes");
        fs::create_dir_all(&root).with_context(|| format!("make {}", root.display()))?;
        Ok(Self { root, program: plugin.join("csi-driver"), served: Mutex::default() })
    }

    /// Serves the volumes of an earlier life.
    ///
    /// # Errors
    /// One of their sockets cannot be made anew.
    pub(crate) fn serve_again(&self) -> Result<()> {
        for entry in fs::read_dir(&self.root).context("list the volumes")? {
            let id = entry.context("list the volumes")?.file_name().to_string_lossy().into_owned();
            self.serve(&id)?;
        }
        Ok(())
    }

    /// Makes a volume and mounts it; changes nothing when it is mounted already.
    ///
    /// # Errors
    /// It cannot be made or mounted.
    pub(crate) fn publish(&self, request: &NodePublishVolumeRequest) -> Result<()> {
        let (folder, target) = (self.folder(&request.volume_id)?, Path::new(&request.target_path));
        // The container's runtime mounts by what the pod asks for, whatever mount it finds here.
        ensure!(request.readonly || request.volume_context.contains_key(WRITABLE), "the volume must be declared with readOnly: true");
        if is_same(&folder, target) {
            return Ok(());
        }
        self.fill(&folder, request)?;
        self.serve(&request.volume_id)?;
        fs::create_dir_all(target).with_context(|| format!("make {}", target.display()))?;
        mount_read_only(&folder, target, Path::new(STAGING))?;
        if request.volume_context.contains_key(BIND_SOCKET) {
            mount_bind(folder.join(SOCKET), target.join(BOUND_SOCKET)).context("mount the socket")?;
        }
        Ok(())
    }

    /// Unmounts and removes a volume; does nothing when it is gone already.
    ///
    /// # Errors
    /// Something of it stays.
    pub(crate) fn unpublish(&self, request: &NodeUnpublishVolumeRequest) -> Result<()> {
        let (folder, target) = (self.folder(&request.volume_id)?, Path::new(&request.target_path));
        for mounted in [target.join(BOUND_SOCKET), target.to_path_buf()] {
            unmount_if_mounted(&mounted)?;
        }
        absent(fs::remove_dir(target)).with_context(|| format!("remove {}", target.display()))?;
        if let Some(task) = self.served.lock().expect("no holder panics").remove(&request.volume_id) {
            task.abort();
        }
        absent(fs::remove_dir_all(&folder)).with_context(|| format!("remove {}", folder.display()))
    }

    /// A volume's own folder.
    fn folder(&self, id: &str) -> Result<PathBuf> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        ensure!(!id.is_empty() && id.bytes().all(is_name), "volume {id:?}: must be named by letters, digits and dashes");
        Ok(self.root.join(id))
    }

    fn fill(&self, folder: &Path, request: &NodePublishVolumeRequest) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        fs::set_permissions(folder, Permissions::from_mode(0o755)).context("let the pod into its folder")?;
        let present = fs::hard_link(&self.program, folder.join("csi-driver"));
        present.or_else(|error| if error.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }).context("link the program")?;
        fs::write(folder.join(BOUND_SOCKET), "").context("make a place for the socket's own mount")?;
        fs::write(folder.join(PUBLICATION), json!(request.volume_context).to_string()).context("write what kubelet said")
    }

    /// Answers at a volume's socket from now on.
    fn serve(&self, id: &str) -> Result<()> {
        let folder = self.folder(id)?;
        let socket = folder.join(SOCKET);
        let listener = listen(&socket)?;
        fs::set_permissions(&socket, Permissions::from_mode(0o666)).context("let every user of the pod connect")?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A pod that goes away before its answer misses nothing that anybody waits for.
                let _ = answer(stream, &folder).await;
            }
        });
        if let Some(earlier) = self.served.lock().expect("no holder panics").insert(id.to_owned(), task) {
            earlier.abort();
        }
        Ok(())
    }
}

/// Tells who asked, as this side sees it.
async fn answer(mut stream: UnixStream, folder: &Path) -> Result<()> {
    let publication = fs::read(folder.join(PUBLICATION)).context("read what kubelet said")?;
    let publication: Value = serde_json::from_slice(&publication).context("read what kubelet said")?;
    let peer = stream.peer_cred().context("ask who connects")?;
    let cgroup = peer.pid().and_then(|pid| fs::read_to_string(format!("/proc/{pid}/cgroup")).ok());
    let answer = json!({ "publication": publication, "uid": peer.uid(), "gid": peer.gid(), "cgroup": cgroup, "by": std::process::id() });
    stream.write_all(format!("{answer}\n").as_bytes()).await.context("answer")
}

/// Mounts so that the very first appearance of the mount is read-only: a mount that is protected afterwards is protected only here,
/// while the node has got a writable copy already.
fn mount_read_only(folder: &Path, target: &Path, staging: &Path) -> Result<()> {
    let staged = staging.join(folder.file_name().context("a volume's folder has a name")?);
    fs::create_dir_all(&staged).context("make a place to mount at")?;
    mount_bind(folder, &staged).context("mount the folder aside")?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    let mounted = mount_remount(&staged, flags, "").context("protect it").and_then(|()| {
        let shown = mount_bind(&staged, target);
        shown.with_context(|| format!("mount at {}", target.display()))
    });
    unmount(&staged, UnmountFlags::DETACH).context("unmount what was mounted aside")?;
    fs::remove_dir(&staged).context("remove the place to mount at")?;
    mounted
}

fn unmount_if_mounted(path: &Path) -> Result<()> {
    match unmount(path, UnmountFlags::empty()) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("unmount {}", path.display())),
    }
}

/// Whether both are one folder, which a mounted one and its source are.
fn is_same(folder: &Path, target: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    identity(folder).is_some_and(|found| identity(target) == Some(found))
}

/// Takes what is not there for removed.
fn absent(removed: std::io::Result<()>) -> std::io::Result<()> {
    removed.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}
