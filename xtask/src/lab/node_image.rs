//! The image of a node: a small Debian with systemd, containerd, kubelet and kubeadm, and the images of Kubernetes already in
//! containerd's store.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::build::Programs;
use super::files;
use super::images::{self, References};
use super::step::{Step, step};
use super::store::Store;
use crate::lock::Lock;
use crate::mirror;

/// Its systemd is the last but two that boots where the first cgroup hierarchy is mounted.
const DEBIAN: &str = "bookworm";

/// What a node is made of besides a minimal Debian.
const PACKAGES: [&str; 18] = [
    "systemd",
    "systemd-sysv",
    "dbus",
    "iproute2",
    "iptables",
    "nftables",
    "kmod",
    "conntrack",
    "ethtool",
    "socat",
    "util-linux",
    "mount",
    "procps",
    "containernetworking-plugins",
    "ca-certificates",
    "libseccomp2",
    "hostname",
    "libc-bin",
];

/// The file of an output.
const FILE: &str = "image.tar.zst";

/// Makes, or finds, the image as a compressed archive of the root's files.
///
/// # Errors
/// No root, no mirror of Debian, or what a step says.
pub(super) fn make(store: &Store, lock: &Lock, programs: &Programs, node_files: &Path) -> Result<PathBuf> {
    let made_of = [programs.recipe(), files::digest(node_files)?, images::recipe()];
    let recipe = format!("{DEBIAN} {PACKAGES:?} {SETTLE} {PRELOAD} {made_of:?}");
    let place = store.output(lock, &format!("node-image-{}", programs.version), &recipe, |folder| {
        let root = folder.join("root");
        let log = folder.join("log");
        step("make a Debian for nodes", |step| debootstrap(step, &root, &log))?;
        let references = References::of(programs)?;
        step("install Kubernetes into it", |_| install(programs, &references, node_files, &root))?;
        step("settle it", |step| step.run(in_root(&root, SETTLE, &[]), &log))?;
        step("load the images of Kubernetes", |step| preload(step, programs, &references, &root, &log))?;
        step("compress it", |step| compress(step, folder, &root, &log))?;
        fs::remove_dir_all(&root).with_context(|| format!("remove {}", root.display()))
    })?;
    Ok(place.join(FILE))
}

/// The image's name at the container engine: another image has another.
///
/// # Errors
/// The path is not one that [`make`] gave.
pub(super) fn name(image: &Path) -> Result<String> {
    let output = image.parent().and_then(Path::file_name).and_then(|name| name.to_str()).context("an image lies in its output's folder")?;
    let key = output.rsplit_once('-').context("an output's name ends with its key")?.1;
    Ok(format!("localhost/strobe-lab/node:{key}"))
}

fn debootstrap(step: &mut Step, root: &Path, log: &Path) -> Result<()> {
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", &format!("--include={}", PACKAGES.join(",")), DEBIAN]).arg(root);
    command.args(mirror::of_this_machine());
    step.run(command, log)
}

fn install(programs: &Programs, references: &References, node_files: &Path, root: &Path) -> Result<()> {
    files::copy(node_files, root)?;
    for (program, folder) in [
        ("containerd", "usr/local/bin"),
        ("containerd-shim-runc-v2", "usr/local/bin"),
        ("ctr", "usr/local/bin"),
        ("crictl", "usr/local/bin"),
        ("runc", "usr/local/sbin"),
        ("kubeadm", "usr/bin"),
        ("kubelet", "usr/bin"),
        ("kubectl", "usr/bin"),
    ] {
        let target = root.join(folder).join(program);
        fs::copy(programs.path(program), &target).with_context(|| format!("copy {}", target.display()))?;
    }
    fs::write(root.join("kind/version"), format!("v{}\n", programs.version)).context("write kind/version")?;
    let configuration = root.join("etc/containerd/config.toml");
    let text = fs::read_to_string(&configuration).context("read containerd's configuration")?;
    fs::write(&configuration, text.replace("PAUSE_IMAGE", references.pause()?)).context("write containerd's configuration")
}

/// Begins what a node needs, and nothing that belongs to the machine.
const SETTLE: &str = r"
set -eu
ln -sf /lib/systemd/systemd /sbin/init
rm -f /etc/systemd/system/*.wants/* /lib/systemd/system/multi-user.target.wants/* /lib/systemd/system/local-fs.target.wants/*
rm -f /lib/systemd/system/sockets.target.wants/*udev* /lib/systemd/system/sockets.target.wants/*initctl* /lib/systemd/system/basic.target.wants/*
rm -f /lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service
systemctl enable containerd.service kubelet.service
systemctl mask systemd-binfmt.service systemd-udevd.service systemd-modules-load.service
systemctl set-default multi-user.target
rm -rf /var/cache/apt /var/lib/apt/lists /usr/share/doc /usr/share/man /usr/share/locale /usr/share/info /var/log/*
mkdir -p /var/log/journal /etc/kubernetes/manifests /etc/cni/net.d
";

/// Takes the images in. The namespaces end with the shell, and with them containerd and every mount.
const PRELOAD: &str = r"
set -eu
containerd >/tmp/containerd.log 2>&1 &
containerd=$!
until ctr version >/dev/null 2>&1; do
  kill -0 $containerd || { cat /tmp/containerd.log; exit 1; }
  sleep 0.1
done
ctr --namespace k8s.io images import --label io.cri-containerd.pinned=pinned --no-unpack --digests /mnt/images.tar
kill $containerd
wait $containerd || true
";

fn preload(step: &mut Step, programs: &Programs, references: &References, root: &Path, log: &Path) -> Result<()> {
    let archive = root.join("mnt/images.tar");
    images::write(programs, references, root, &archive)?;
    step.run(in_root(root, PRELOAD, &["run", "tmp"]), log)?;
    fs::remove_file(&archive).with_context(|| format!("remove {}", archive.display()))
}

/// A shell in the root, in namespaces of its own, with its own processes and devices, and these folders empty.
fn in_root(root: &Path, script: &str, empty: &[&str]) -> Command {
    let mut prelude = String::from("set -eu; mount --bind \"$1\" \"$1\"; mount -t proc proc \"$1/proc\"; mount --rbind /dev \"$1/dev\"; ");
    for folder in empty {
        prelude.push_str(&format!("mount -t tmpfs tmpfs \"$1/{folder}\"; "));
    }
    prelude.push_str("exec chroot \"$1\" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin bash -c \"$2\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &prelude, "sh"]).arg(root).arg(script);
    command
}

fn compress(step: &mut Step, folder: &Path, root: &Path, log: &Path) -> Result<()> {
    let mut command = Command::new("bash");
    let script = "set -eo pipefail; tar --directory \"$1\" --create --numeric-owner . | zstd --quiet --threads=0 -3 -o \"$2\"";
    command.args(["-c", script, "bash"]).arg(root).arg(folder.join(FILE));
    step.run(command, log)
}
