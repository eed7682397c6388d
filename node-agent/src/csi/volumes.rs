//! The volumes of this node: a folder each with the supervisor and the pod's own socket, mounted into the pod. All that has to outlive
//! the agent is on the node, in kubelet's folder of the plugin.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tokio::task::AbortHandle;

use super::{
    error::PluginError,
    mounts::{absent, is_same, mount_read_only, unmount_all},
    program::{self, PROGRAM},
    volume::{Publication, VolumeId, refused},
};
use crate::{agent::Mailbox, cgroup::PodUid};

/// The agent's socket in a volume: found anew by its name whenever the supervisor connects.
const SOCKET: &str = "agent.sock";

/// See the module.
#[derive(Debug)]
pub(super) struct Volumes {
    /// What is mounted into pods, a folder for each volume.
    folders: PathBuf,
    /// Whose each volume is: a file for each, which no pod sees.
    owners: PathBuf,
    /// Where kubelet keeps its pods: every target lies there.
    pods: PathBuf,
    aside: PathBuf,
    program: PathBuf,
    mailbox: Mailbox,
    served: BTreeMap<VolumeId, AbortHandle>,
}

// === impl Volumes ===

impl Volumes {
    /// # Errors
    /// The plugin's folder cannot be written, or the supervisor is not there.
    pub(super) fn open(plugin: &Path, pods: &Path, aside: PathBuf, supervisor: &Path, mailbox: Mailbox) -> Result<Self, PluginError> {
        let (folders, owners) = (plugin.join("volumes"), plugin.join("owners"));
        for folder in [&folders, &owners] {
            fs::create_dir_all(folder).map_err(PluginError::at("make", folder))?;
        }
        let program = program::install(supervisor, &plugin.join("programs"))?;
        Ok(Self { folders, owners, pods: pods.to_owned(), aside, program, mailbox, served: BTreeMap::new() })
    }

    /// Serves the volumes of an earlier life. One whose socket cannot be made is left to its pod's end, and the others are served.
    ///
    /// # Errors
    /// The volumes cannot be listed.
    pub(super) fn serve_again(&mut self) -> Result<(), PluginError> {
        let list = |source| PluginError::at("list", &self.owners)(source);
        let entries: Vec<_> = fs::read_dir(&self.owners).map_err(list)?.collect::<io::Result<_>>().map_err(list)?;
        for entry in entries {
            let id = VolumeId::new(entry.file_name().to_string_lossy().into_owned());
            let pod = fs::read_to_string(entry.path()).map_err(PluginError::at("read", &entry.path()));
            let pod = pod.and_then(|uid| PodUid::new(uid).map_err(PluginError::Pod));
            let served = id.and_then(|id| self.serve(&id, pod?));
            if let Err(error) = served {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "a volume of an earlier life is not served: its pod's supervisor finds no agent");
            }
        }
        Ok(())
    }

    /// Whether it is mounted where it shall be, and served.
    pub(super) fn is_published(&self, publication: &Publication) -> bool {
        self.served.contains_key(&publication.id) && is_same(&self.folders.join(publication.id.as_str()), &publication.target)
    }

    /// Makes a volume and mounts it; changes nothing when it is mounted already.
    ///
    /// # Errors
    /// It cannot be made or mounted; what was made is used by the next try, or removed with the volume.
    pub(super) fn publish(&mut self, publication: &Publication) -> Result<(), PluginError> {
        let Publication { id, pod, target } = publication;
        self.check_target(target)?;
        if self.is_published(publication) {
            return Ok(());
        }
        let (folder, owner) = (self.folders.join(id.as_str()), self.owners.join(id.as_str()));
        // First: what is there has an owner, and goes when kubelet says so.
        fs::write(&owner, pod.to_string()).map_err(PluginError::at("write", &owner))?;
        self.fill(&folder)?;
        self.serve(id, pod.clone())?;
        if is_same(&folder, target) {
            return Ok(());
        }
        fs::create_dir_all(target).map_err(PluginError::at("make", target))?;
        mount_read_only(&folder, target, &self.aside.join(id.as_str()))
    }

    /// Unmounts and removes a volume; does nothing when it is gone already.
    ///
    /// # Errors
    /// Something of it stays.
    pub(super) fn unpublish(&mut self, id: &VolumeId, target: &Path) -> Result<(), PluginError> {
        self.check_target(target)?;
        unmount_all(target)?;
        absent(fs::remove_dir(target)).map_err(PluginError::at("remove", target))?;
        if let Some(serving) = self.served.remove(id) {
            serving.abort();
        }
        let (folder, owner) = (self.folders.join(id.as_str()), self.owners.join(id.as_str()));
        absent(fs::remove_dir_all(&folder)).map_err(PluginError::at("remove", &folder))?;
        // Last: until then it is known that there is something to remove.
        absent(fs::remove_file(&owner)).map_err(PluginError::at("remove", &owner))
    }

    /// Nothing but a pod's own folder is mounted to.
    fn check_target(&self, target: &Path) -> Result<(), PluginError> {
        let plain = target.components().all(|part| !matches!(part, std::path::Component::ParentDir));
        if plain && target.starts_with(&self.pods) && target != self.pods {
            Ok(())
        } else {
            Err(refused("target_path", target.display().to_string(), "is not below kubelet's folder of pods"))
        }
    }

    fn fill(&self, folder: &Path) -> Result<(), PluginError> {
        fs::create_dir_all(folder).map_err(PluginError::at("make", folder))?;
        fs::set_permissions(folder, Permissions::from_mode(0o755)).map_err(PluginError::at("let pods into", folder))?;
        let program = folder.join(PROGRAM);
        match fs::hard_link(&self.program, &program) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(PluginError::at("link", &program)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Serves the volume's socket from now on.
    fn serve(&mut self, id: &VolumeId, pod: PodUid) -> Result<(), PluginError> {
        let socket = self.folders.join(id.as_str()).join(SOCKET);
        let serving = self.mailbox.serve_pod(&socket, pod).map_err(PluginError::at("listen at", &socket))?;
        if let Some(earlier) = self.served.insert(id.clone(), serving) {
            earlier.abort();
        }
        Ok(())
    }
}
