#!/bin/sh
# Runs in the machine's root while it is built: which units it starts. Under emulation every program that is not run counts.
set -eu

# systemctl wants it. The mount goes with this script's mount namespace.
mount -t proc proc /proc

systemctl --quiet set-default multi-user.target
systemctl --quiet enable strobe-network.service strobe-ready.service

# Nobody logs in at a console, nothing is to be kept or tended, and rdma-core's own units look for hardware.
systemctl --quiet mask \
    getty.target getty@tty1.service serial-getty@ttyS0.service systemd-logind.service systemd-user-sessions.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    systemd-tmpfiles-clean.timer remote-fs.target sshd-keygen.service \
    ldconfig.service systemd-firstboot.service systemd-hwdb-update.service systemd-journal-catalog-update.service \
    systemd-journal-flush.service systemd-machine-id-commit.service systemd-pcrmachine.service systemd-pstore.service \
    systemd-random-seed.service systemd-remount-fs.service systemd-sysusers.service systemd-tpm2-setup.service \
    systemd-tpm2-setup-early.service systemd-update-done.service systemd-update-utmp.service \
    dev-hugepages.mount dev-mqueue.mount sys-fs-fuse-connections.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
    modprobe@configfs.service modprobe@dm_mod.service modprobe@drm.service modprobe@efi_pstore.service modprobe@fuse.service \
    modprobe@loop.service \
    ibacm.service ibacm.socket iwpmd.service rdma-hw.target rdma-load-modules@rdma.service rdma-load-modules@roce.service \
    rdma-load-modules@infiniband.service

# An rxe device keeps the name that it is given.
mkdir -p /etc/udev/rules.d
ln -sf /dev/null /etc/udev/rules.d/60-rdma-persistent-naming.rules
rm -f /etc/rdma/modules/*

# The keys that the package made: the recipe puts this build's own in their place.
rm -f /etc/ssh/ssh_host_*
