//! The images of Kubernetes itself and of the nodes' network, for the nodes to have from the beginning.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::build::Programs;
use crate::libraries::Root;
use crate::oci::{Archive, Image, Layer, PATH};
use crate::prepare::BUSYBOX;

/// Of a node's root: what kube-proxy and the network agent call.
const NETWORK_TOOLS: [&str; 4] = ["usr/sbin/xtables-nft-multi", "usr/sbin/nft", "usr/sbin/conntrack", "usr/bin/ip"];

/// Names under which the first of the tools is called.
const IPTABLES: [&str; 6] = ["iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"];

/// iptables loads its matches and targets from here.
const EXTENSIONS: &str = "usr/lib/x86_64-linux-gnu/xtables";

/// The commands of a shell in an image.
const SHELL: [&str; 12] = ["sh", "cat", "ls", "sleep", "env", "id", "hostname", "nc", "nslookup", "mount", "ps", "kill"];

/// The network agent's image, as its DaemonSet names it.
const NETWORK_AGENT: &str = "localhost/strobe-lab/network-agent:1";

/// An image with nothing but a shell, for tests.
const SHELL_IMAGE: &str = "localhost/strobe-lab/shell:1";

/// Another number wherever the same programs make other images.
const COMPOSITION: u32 = 2;

/// The images that kubeadm takes, under the names it takes them by.
pub(super) struct References(Vec<String>);

/// Writes all images into one archive; `root` is a node's.
///
/// # Errors
/// A program or a library is missing, or the archive cannot be written.
pub(super) fn write(programs: &Programs, references: &References, root: &Path, archive: &Path) -> Result<()> {
    let mut images = Archive::default();
    images.layer("base", base());
    images.layer("network-tools", network_tools(root)?);
    for reference in &references.0 {
        let name = name_of(reference);
        images.layer(name, program(programs, name));
        let lower: &[&str] = if name == "kube-proxy" { &["base", "network-tools"] } else { &["base"] };
        images.image(image(reference, lower, name));
    }
    images.image(Image { layers: vec!["base".to_owned()], entrypoint: Vec::new(), ..image(SHELL_IMAGE, &[], "base") });
    images.layer("network-agent", program(programs, "network-agent"));
    images.image(image(NETWORK_AGENT, &["base", "network-tools"], "network-agent"));
    images.write(archive).map(|_| ())
}

/// What decides about the images besides programs and root.
pub(super) fn recipe() -> String {
    format!("{COMPOSITION} {NETWORK_TOOLS:?} {IPTABLES:?} {SHELL:?} {SHELL_IMAGE} {NETWORK_AGENT} {PATH}")
}

fn base() -> Layer {
    let mut layer = Layer::default();
    layer.directory("tmp", 0o1777).directory("root", 0o700);
    layer.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", 0o644);
    layer.text("etc/group", "root:x:0:\nnogroup:x:65534:\n", 0o644);
    layer.file("bin/busybox", Path::new(BUSYBOX), 0o755);
    for command in SHELL {
        layer.link(&format!("bin/{command}"), "busybox");
    }
    layer
}

/// A layer with one program.
fn program(programs: &Programs, name: &str) -> Layer {
    let mut layer = Layer::default();
    layer.file(&format!("usr/local/bin/{name}"), &programs.path(name), 0o755);
    layer
}

fn image(reference: &str, lower: &[&str], program: &str) -> Image {
    Image {
        reference: reference.to_owned(),
        layers: lower.iter().copied().chain([program]).map(str::to_owned).collect(),
        entrypoint: vec![format!("/usr/local/bin/{program}")],
        user: None,
        environment: vec![PATH.to_owned()],
    }
}

/// Tools of the node's root, with the libraries that they load.
fn network_tools(folder: &Path) -> Result<Layer> {
    let tools = NETWORK_TOOLS.map(|tool| format!("/{tool}"));
    let extensions: Vec<String> = extensions(folder)?.iter().map(|extension| format!("/{EXTENSIONS}/{extension}")).collect();
    let root = Root::within(folder);
    let libraries = root.libraries_of(tools.iter().chain(&extensions).map(String::as_str))?;
    let mut layer = Layer::default();
    root.add(&mut layer, tools.iter().chain(&libraries).map(String::as_str))?;
    for extension in &extensions {
        layer.file(extension, &folder.join(extension.trim_start_matches('/')), 0o644);
    }
    for name in IPTABLES {
        layer.link(&format!("usr/sbin/{name}"), "xtables-nft-multi");
    }
    Ok(layer)
}

fn extensions(root: &Path) -> Result<Vec<String>> {
    let folder = root.join(EXTENSIONS);
    let entries = folder.read_dir().with_context(|| format!("read {}", folder.display()))?;
    let names = entries.map(|entry| Ok(entry.context("read a folder")?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

/// The image's name without registry and tag.
fn name_of(reference: &str) -> &str {
    let path = reference.rsplit_once(':').map_or(reference, |(path, _)| path);
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

// === impl References ===

impl References {
    /// Asks kubeadm.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) fn of(programs: &Programs) -> Result<Self> {
        let mut command = Command::new(programs.path("kubeadm"));
        // With a version it does not ask the network for the newest one.
        command.args(["config", "images", "list", "--kubernetes-version", programs.version]);
        let output = command.output().context("run kubeadm")?;
        if !output.status.success() {
            bail!("kubeadm config images list: {}", String::from_utf8_lossy(&output.stderr));
        }
        let references: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
        Ok(Self(references))
    }

    /// The image of a pod's first container.
    ///
    /// # Errors
    /// kubeadm names none.
    pub(super) fn pause(&self) -> Result<&str> {
        self.0.iter().map(String::as_str).find(|reference| name_of(reference) == "pause").context("kubeadm names no image of a pause")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_without_registry_and_tag() {
        for (reference, name) in [("example.org/a/coredns:v1", "coredns"), ("example.org:5000/etcd:3", "etcd"), ("pause", "pause")] {
            assert_eq!(name_of(reference), name);
        }
    }
}
