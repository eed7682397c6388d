//! The images of Kubernetes itself and of the nodes' network, for the nodes to have from the beginning.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::build::Programs;
use crate::oci::{Archive, Image, Layer};
use crate::prepare::BUSYBOX;

/// Of a node's root: what kube-proxy and the network agent call.
const NETWORK_TOOLS: [&str; 4] = ["usr/sbin/xtables-nft-multi", "usr/sbin/nft", "usr/sbin/conntrack", "usr/bin/ip"];

/// Names under which the first of the tools is called.
const IPTABLES: [&str; 6] = ["iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"];

/// iptables loads its matches and targets from here.
const EXTENSIONS: &str = "usr/lib/x86_64-linux-gnu/xtables";

/// The commands of a shell in an image.
const SHELL: [&str; 12] = ["sh", "cat", "ls", "sleep", "env", "id", "hostname", "nc", "nslookup", "mount", "ps", "kill"];

/// What every container finds.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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
        environment: vec![PATH.to_owned()],
    }
}

/// Tools of the node's root, with the libraries that they load.
fn network_tools(root: &Path) -> Result<Layer> {
    let mut layer = Layer::default();
    let extensions = extensions(root)?;
    let mut libraries = BTreeSet::new();
    for tool in NETWORK_TOOLS {
        layer.file(tool, &root.join(tool), 0o755);
        libraries.extend(libraries_of(root, tool)?);
    }
    for extension in &extensions {
        let path = format!("{EXTENSIONS}/{extension}");
        layer.file(&path, &root.join(&path), 0o644);
        libraries.extend(libraries_of(root, &path)?);
    }
    for library in libraries {
        let path = library.trim_start_matches('/');
        layer.file(path, &within(root, path)?, 0o755);
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

/// The files that the dynamic linker would load, as paths in the root.
fn libraries_of(root: &Path, program: &str) -> Result<Vec<String>> {
    let output = Command::new("chroot").arg(root).args(["ldd", &format!("/{program}")]).output().context("run ldd")?;
    if !output.status.success() {
        bail!("ldd /{program}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(parse_libraries(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_libraries(said: &str) -> Vec<String> {
    said.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned).collect()
}

/// The file that a path in the root leads to, whose links are the root's and not this machine's.
fn within(root: &Path, path: &str) -> Result<PathBuf> {
    let output = Command::new("chroot").arg(root).args(["readlink", "--canonicalize-existing", &format!("/{path}")]).output();
    let output = output.context("run readlink")?;
    let found = String::from_utf8_lossy(&output.stdout);
    match found.trim().strip_prefix('/') {
        Some(found) => Ok(root.join(found)),
        None => bail!("{path} is not in {}", root.display()),
    }
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

    #[test]
    fn libraries_are_paths_and_not_names_or_addresses() {
        let said = "\tlinux-vdso.so.1 (0x7ff)\n\tlibmnl.so.0 => /lib/x/libmnl.so.0 (0x7f)\n\t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        assert_eq!(parse_libraries(said), ["/lib/x/libmnl.so.0", "/lib64/ld-linux-x86-64.so.2"]);
    }
}
