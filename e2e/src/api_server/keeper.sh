# Runs etcd and a kube-apiserver for one test process, until that process is gone: its end of our standard input is closed then, however
# it ended. What they stored goes with them.
# $1 the folder; $2 etcd; $3 kube-apiserver; $4 and $5 the address and port to listen at; all others are more arguments of kube-apiserver
folder=$1 etcd=$2 server=$3 address=$4 port=$5
shift 5
cd "$folder" || exit 1
exec 2>keeper.log
# A background process of a shell has no input but what is given to it by number.
exec 3<&0
# etcd wants a port in every address; with unix sockets the two together are the name of a file.
"$etcd" --data-dir etcd --unsafe-no-fsync --log-level error --listen-client-urls unix://clients:1 --advertise-client-urls unix://clients:1 \
  --listen-peer-urls unix://peers:1 --initial-advertise-peer-urls unix://peers:1 --initial-cluster default=unix://peers:1 \
  </dev/null >etcd.log 2>&1 &
store=$!
"$server" --etcd-servers "unix://$folder/clients:1" --bind-address "$address" --advertise-address "$address" --secure-port "$port" \
  --endpoint-reconciler-type none --service-cluster-ip-range 10.0.0.0/24 \
  --tls-cert-file server.crt --tls-private-key-file server.key --client-ca-file ca.crt \
  --authorization-mode RBAC --allow-privileged --disable-admission-plugins ServiceAccount \
  --service-account-issuer https://kubernetes.default.svc \
  --service-account-key-file accounts.pub --service-account-signing-key-file accounts.key "$@" </dev/null >kube-apiserver.log 2>&1 &
api=$!
# Whatever ends first ends all; the pipe is read by a process of its own, since a shell waits either for input or for children.
{ read -r _ <&3; kill -KILL "$api" 2>/dev/null; } &
wait "$api"
: >ended
kill -KILL "$store" 2>/dev/null
wait
cd / && rm -rf "$folder"
