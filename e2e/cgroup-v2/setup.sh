#!/bin/sh
# Runs in the emulated machine: makes it a node with containerd, runc and a kubelet, and starts the two pods. Beside it stand `bin`, with
# the laboratory's containerd, containerd-shim-runc-v2, ctr, crictl, runc and kubelet and the static strobe-init and laboratory-agent, and
# `images.tar`, an archive with the images localhost/strobe-lab/shell:1 and localhost/strobe-lab/pause:1.
set -eu
here=$(dirname "$0")

# Debian's own services for containers are in the way.
systemctl disable --now docker.service docker.socket 2>/dev/null || true
systemctl stop containerd.service

for program in containerd containerd-shim-runc-v2 ctr crictl runc kubelet; do
    install -D -t /usr/local/bin "$here/bin/$program"
done
install -D -t /opt/strobe "$here/bin/strobe-init" "$here/bin/laboratory-agent"
install -D -m 644 "$here/containerd.toml" /etc/containerd/config.toml
install -D -m 644 "$here/kubelet.yaml" /etc/kubernetes/kubelet.yaml
install -m 644 "$here/containerd.service" "$here/kubelet.service" /etc/systemd/system
printf 'runtime-endpoint: unix:///run/containerd/containerd.sock\ntimeout: 300\n' >/etc/crictl.yaml

systemctl daemon-reload
systemctl start containerd.service
ctr --namespace k8s.io images import "$here/images.tar"
install -D -m 644 -t /etc/kubernetes/manifests "$here"/manifests/*
systemctl start kubelet.service
