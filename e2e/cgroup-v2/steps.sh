# Steps of a trial, for a shell in the emulated machine: `. steps.sh`, then `hold UID`, then `find_ranks UID`, then the others.

# container NAME POD: its ID.
container() {
    crictl ps --quiet --label "io.kubernetes.container.name=$1" --label "io.kubernetes.pod.name=$2-$(hostname)"
}

# hold UID: an agent in the agent's pod takes the ranks of the pod with this UID, or refuses them. Its words.
hold() {
    crictl exec "$(container agent agent)" sh -ec "
        rm -f /tmp/said /tmp/complaints
        setsid /programs/laboratory-agent hold --socket /run/strobe-laboratory/gang --pod $1 --ranks 2 \
            </dev/null >/tmp/said 2>/tmp/complaints &
        until grep -qs released /tmp/said || [ -s /tmp/complaints ]; do usleep 100000; done
        cat /tmp/said /tmp/complaints"
}

# find_ranks UID: where the other steps look.
find_ranks() {
    scratch=/var/lib/kubelet/pods/$1/volumes/kubernetes.io~empty-dir/scratch
    pod=$(echo "$1" | tr - _)
    ranks=$(find /sys/fs/cgroup/kubepods.slice -path "*-pod$pod.slice/*/strobe-ranks")
    [ -d "$ranks" ] || { echo "no rank cgroup of pod $1: has hold released it?" >&2; return 1; }
    scope=$(dirname "$ranks")
}

size() {
    stat -c %s "$scratch/$1"
}

# How far each rank came while the other process of the container took twenty steps.
progress() {
    zero=$(size rank-0) one=$(size rank-1) enough=$(($(size other) + 20))
    until [ "$(size other)" -ge $enough ]; do :; done
    echo "rank 0: $(($(size rank-0) - zero)), rank 1: $(($(size rank-1) - one)), of the other 20"
}

freeze() {
    echo 1 >"$ranks/cgroup.freeze"
    until grep -q 'frozen 1' "$ranks/cgroup.events"; do :; done
}

thaw() {
    echo 0 >"$ranks/cgroup.freeze"
}

# What the freezer says, and the ranks.
frozen() {
    echo "cgroup.freeze $(cat "$ranks/cgroup.freeze"), $(grep frozen "$ranks/cgroup.events"), $(tr '\n' ' ' <"$ranks/cgroup.procs")"
}

allowed() {
    sed -n 's/Cpus_allowed_list:\t//p' "/proc/$1/status"
}

# cpus WORDS: the container's CPUs, after what the words say.
cpus() {
    echo "$*: cpuset.cpus [$(cat "$scope/cpuset.cpus")], rank $(allowed "$(head -n 1 "$ranks/cgroup.procs")")," \
        "supervisor $(allowed "$(head -n 1 "$scope/cgroup.procs")"), cpu.weight $(cat "$scope/cpu.weight")," \
        "AllowedCPUs [$(systemctl show --property=AllowedCPUs --value "$(basename "$scope")")]"
}
