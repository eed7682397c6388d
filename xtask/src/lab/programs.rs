//! Which programs make a Kubernetes, and at which versions. They are built from their source as Go modules, because no registry of images
//! is needed for that; on a machine that has one, `lab up --image` takes ordinary images instead.

/// The Kubernetes that everything is tried with.
pub(super) const KUBERNETES: &str = "1.36.3";

/// The minor versions before it that Kubernetes still supports; `lab build --kubernetes` makes them too.
pub(super) const KUBERNETES_OLDER: [&str; 2] = ["1.35.4", "1.34.4"];

/// A module whose `main` packages are built.
pub(super) struct Module {
    /// Of its outputs in the store.
    pub(super) name: &'static str,
    pub(super) path: &'static str,
    /// Without the leading v.
    pub(super) version: &'static str,
    /// Package beneath the module's path, and the program's name; a dot is the module itself.
    pub(super) programs: &'static [(&'static str, &'static str)],
    pub(super) tags: &'static str,
    /// Variables that tell a program its version.
    pub(super) version_variables: &'static [&'static str],
    /// Needs a C compiler.
    pub(super) cgo: bool,
}

/// The module path of Kubernetes itself.
pub(super) const KUBERNETES_MODULE: &str = "k8s.io/kubernetes";

/// What of Kubernetes the tests of the API server take.
pub(super) const API_SERVER_PROGRAMS: [&str; 2] = ["kube-apiserver", "kubectl"];

/// What of Kubernetes only a cluster takes.
pub(super) const CLUSTER_PROGRAMS: [&str; 5] = ["kube-controller-manager", "kube-scheduler", "kube-proxy", "kubeadm", "kubelet"];

/// The API server's store.
pub(super) const ETCD: Module = Module {
    name: "etcd",
    path: "go.etcd.io/etcd/server/v3",
    version: "3.6.16",
    programs: &[(".", "etcd")],
    tags: "",
    version_variables: &[],
    cgo: false,
};

/// What installs the chart.
pub(super) const HELM: Module = Module {
    name: "helm",
    path: "helm.sh/helm/v4",
    version: "4.3.1",
    programs: &[("cmd/helm", "helm")],
    tags: "",
    version_variables: &[],
    cgo: false,
};

/// What a cluster takes besides Kubernetes and etcd.
pub(super) const COMPANIONS: [Module; 4] = [
    Module {
        name: "containerd",
        path: "github.com/containerd/containerd/v2",
        version: "2.3.7",
        programs: &[("cmd/containerd", "containerd"), ("cmd/containerd-shim-runc-v2", "containerd-shim-runc-v2"), ("cmd/ctr", "ctr")],
        tags: "no_aufs,no_zfs,no_btrfs,no_devmapper",
        version_variables: &["github.com/containerd/containerd/v2/version.Version"],
        cgo: false,
    },
    Module {
        name: "runc",
        path: "github.com/opencontainers/runc",
        version: "1.4.3",
        programs: &[(".", "runc")],
        tags: "seccomp",
        version_variables: &["main.version"],
        cgo: true,
    },
    Module {
        name: "crictl",
        path: "sigs.k8s.io/cri-tools",
        version: "1.36.0",
        programs: &[("cmd/crictl", "crictl")],
        tags: "",
        version_variables: &["sigs.k8s.io/cri-tools/pkg/version.Version"],
        cgo: false,
    },
    Module {
        name: "kind",
        path: "sigs.k8s.io/kind",
        version: "0.33.0",
        programs: &[(".", "kind")],
        tags: "",
        version_variables: &[],
        cgo: false,
    },
];

/// Programs of ours, from `e2e/lab`: folder, and the programs in it.
pub(super) const OWN: [(&str, &[(&str, &str)]); 2] = [
    ("programs", &[("cmd/container-runtime", "container-runtime"), ("cmd/network-agent", "network-agent"), ("cmd/pause", "pause")]),
    ("coredns", &[(".", "coredns")]),
];

/// The Kubernetes that an option names: a version, or a minor version of those that are known.
pub(super) fn kubernetes(named: &str) -> Option<&'static str> {
    let known = [KUBERNETES].into_iter().chain(KUBERNETES_OLDER);
    let named = named.trim_start_matches('v');
    known.into_iter().find(|version| *version == named || minor(version) == named)
}

/// The first two numbers of a version.
pub(super) fn minor(version: &str) -> &str {
    version.rsplit_once('.').map_or(version, |(minor, _)| minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_is_named_by_its_version_or_its_minor_version() {
        assert_eq!(kubernetes("1.36"), Some(KUBERNETES));
        assert_eq!(kubernetes("v1.35.4"), Some("1.35.4"));
        assert_eq!(kubernetes("1.3"), None);
    }
}
