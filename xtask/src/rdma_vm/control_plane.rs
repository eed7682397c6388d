//! The control plane of the machine's cluster, beside the machine. Emulated it takes more than one of the machine's two CPUs, and with what
//! is left no operator renews its Lease in time. So kind makes it in its node, as always; then its four programs go on here, in the
//! emulator's network namespace, with the same arguments, certificates and store, and the node leads what is sent to it here.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::Pid;
use serde_json::Value;

use super::cluster::{CONTROL_PLANE, PORT, kubectl};
use super::emulator::LINK;
use super::files::Files;
use super::shell::{Shell, spelled};
use crate::files::write_private;
use crate::lab::Ingredients;
use crate::lab::drive::wait_for_api_server;
use crate::lab::step::Step;
use crate::limits::RDMA_VM_CLUSTER;
use crate::lock::LOCK;

/// What it consists of, in the order in which it is started. Each is a pod of kubelet's own in kind's node.
pub(super) const PROGRAMS: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// What of its node they read and write, and where the node keeps kubelet from starting them again.
const PLACES: [&str; 2] = ["/etc/kubernetes", "/var/lib/etcd"];

/// The ends of the wire between the emulator's namespace and the machine: of a network that is set aside for tests, as the next.
const HERE: Ipv4Addr = Ipv4Addr::new(198, 18, 79, 1);
const MACHINE: Ipv4Addr = Ipv4Addr::new(198, 18, 79, 2);
/// The ends of the wire between this machine and the namespace: here clients are, there the API server listens.
const CLIENTS: Ipv4Addr = Ipv4Addr::new(198, 18, 79, 5);
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 79, 6);
/// Of both wires.
const PREFIX: u8 = 30;

/// The names of the second wire's ends, and of the machine's end of the first.
const CLIENTS_CARD: &str = "strobe-vm";
const SERVER_CARD: &str = "clients";
const MACHINE_CARD: &str = "eth1";

/// The end of the shell that has started the programs: it waits for the emulator's end, and is of the group that it kills. Nothing of the
/// cluster is worth keeping then.
const END: &str = "tail --pid=$emulator -f /dev/null\nkill -9 0";

/// A name that is in the API server's certificate, for clients that reach it by an address which is not.
const CERTIFIED: &str = "localhost";

/// The control plane of a cluster that kind has made.
pub(super) struct ControlPlane<'a> {
    pub(super) shell: &'a Shell,
    pub(super) files: &'a Files,
    /// Its network namespace is where the programs run, and they end with it.
    pub(super) emulator: Pid,
    pub(super) ingredients: &'a Ingredients,
    /// The file for clients that kind has made.
    pub(super) kubeconfig: &'a str,
}

// === impl ControlPlane ===

impl ControlPlane<'_> {
    /// Takes it out of its node, which stays as what leads to it and is none of the cluster's any more.
    ///
    /// # Errors
    /// The machine or one of the programs does not do as it should.
    pub(super) fn take_out(&self, step: &mut Step) -> Result<()> {
        let commands = self.commands()?;
        let address = self.node_address()?;
        let log = self.files.cluster_log();
        self.reach_machine()?;
        step.run(self.wires(address), &log)?;
        step.run(self.stopping(), &log)?;
        self.fetch()?;
        self.lead()?;
        step.run(self.starting(&commands), &log)?;
        let server = format!("server: https://{SERVER}:{PORT}\n    tls-server-name: {CERTIFIED}");
        let kubeconfig = with_server(&self.shell.output(&["cat", self.kubeconfig])?, &server);
        write_private(&self.files.kubeconfig(), kubeconfig.as_bytes())?;
        self.wait()?;
        let mut delete = self.kubectl();
        delete.args(["delete", "node", CONTROL_PLANE]);
        step.run(delete, &log)
    }

    /// How each program was started, told by the pods that kubelet shows of them.
    fn commands(&self) -> Result<BTreeMap<&'static str, Vec<String>>> {
        PROGRAMS.into_iter().map(|name| Ok((name, self.command_of(name)?))).collect()
    }

    fn command_of(&self, name: &str) -> Result<Vec<String>> {
        let pod = format!("{name}-{CONTROL_PLANE}");
        let kubectl = ["docker", "exec", CONTROL_PLANE, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "--namespace=kube-system"];
        let text = self.shell.output(&[&kubectl[..], &["get", "pod", &pod, "--output=json"]].concat())?;
        let pod: Value = serde_json::from_str(&text).with_context(|| format!("read the pod of {name}"))?;
        command_in(&pod).with_context(|| format!("the pod of {name} says no command"))
    }

    fn node_address(&self) -> Result<Ipv4Addr> {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let text = self.shell.output(&["docker", "inspect", "--format", format, CONTROL_PLANE])?;
        text.trim().parse().with_context(|| format!("{text:?} is no address of the control plane's node"))
    }

    /// Lets what comes over the wire reach the nodes: Docker lets nobody reach its containers who does not come from their own bridge.
    fn reach_machine(&self) -> Result<()> {
        let accept =
            |table, chain, direction| format!("iptables --table {table} --insert {chain} {direction} {MACHINE_CARD} --jump ACCEPT");
        let rules = [
            ("raw", "PREROUTING", "--in-interface"),
            ("filter", "DOCKER-USER", "--in-interface"),
            ("filter", "DOCKER-USER", "--out-interface"),
        ];
        let rules = rules.map(|(table, chain, direction)| accept(table, chain, direction)).join("; ");
        let card = format!("ip address replace {MACHINE}/{PREFIX} dev {MACHINE_CARD}; ip link set {MACHINE_CARD} up");
        self.shell.output(&["sh", "-ec", &format!("{card}; {rules}")]).map(drop)
    }

    /// Gives both wires their addresses, and the namespace the one of the node: its programs listen there. All of it goes with the emulator.
    fn wires(&self, node: Ipv4Addr) -> Command {
        let nodes = format!("{}.{}.0.0/16", node.octets()[0], node.octets()[1]);
        let emulator = self.emulator.as_raw_nonzero();
        let script = format!(
            "enter() {{ nsenter --net=/proc/{emulator}/ns/net \"$@\"; }}
             ! enter ip link show {SERVER_CARD} > /dev/null 2>&1 || enter ip link delete {SERVER_CARD}
             enter ip address flush dev lo scope global
             ip link add {CLIENTS_CARD} type veth peer name {SERVER_CARD} netns {emulator}
             ip address add {CLIENTS}/{PREFIX} dev {CLIENTS_CARD}
             ip link set {CLIENTS_CARD} up
             enter ip address add {SERVER}/{PREFIX} dev {SERVER_CARD}
             enter ip link set {SERVER_CARD} up
             enter ip address replace {HERE}/{PREFIX} dev {LINK}
             enter ip link set {LINK} up
             enter ip address replace {node}/32 dev lo
             enter ip route replace {nodes} via {MACHINE}"
        );
        let mut command = Command::new("sh");
        command.args(["-ec", &script]);
        command
    }

    /// Ends it in its node, with all else that runs there.
    fn stopping(&self) -> Command {
        let [configuration, _] = PLACES;
        let script = format!(
            "mv {configuration}/manifests {configuration}/manifests.aside
             systemctl stop kubelet
             crictl rmp --force --all
             for name in {}; do [ -z \"$(pgrep --exact \"$name\")\" ]; done",
            PROGRAMS.map(kernel_name).join(" ")
        );
        self.shell.limited(RDMA_VM_CLUSTER, &["docker", "exec", CONTROL_PLANE, "bash", "-ec", &script])
    }

    /// Copies what its programs read and write.
    fn fetch(&self) -> Result<()> {
        let below = PLACES.map(|place| place.trim_start_matches('/'));
        let words = [&["docker", "exec", CONTROL_PLANE, "tar", "--directory=/", "--create"][..], &below].concat();
        let mut tar = self.shell.limited(RDMA_VM_CLUSTER, &words);
        let mut child = tar.stdout(Stdio::piped()).spawn().context("start ssh")?;
        let output = child.stdout.take().context("a child with a pipe")?;
        let folder = self.files.control_plane();
        let unpacked = tar::Archive::new(output).unpack(&folder).with_context(|| format!("unpack into {}", folder.display()));
        let status = child.wait().context("wait for ssh")?;
        // ssh fails, too, where nobody reads what it writes.
        unpacked?;
        ensure!(status.success(), "the files of the control plane cannot be read: {status}");
        Ok(())
    }

    /// Leads what its node gets here.
    fn lead(&self) -> Result<()> {
        let to_here = format!("iptables --table nat --append PREROUTING --protocol tcp --dport {PORT} --jump DNAT --to {HERE}:{PORT}");
        let and_back = format!("iptables --table nat --append POSTROUTING --destination {HERE} --jump MASQUERADE");
        self.shell.output(&["docker", "exec", CONTROL_PLANE, "bash", "-ec", &format!("{to_here}; {and_back}")]).map(drop)
    }

    /// Starts the programs, and a shell that ends them when the emulator has ended, whatever ends it. All of them hold the folder's lock.
    fn starting(&self, commands: &BTreeMap<&str, Vec<String>>) -> Command {
        let folder = self.files.control_plane();
        let lines = PROGRAMS.map(|name| {
            let log = folder.join(format!("{name}.log")).to_string_lossy().into_owned();
            let program = self.ingredients.program(name).to_string_lossy().into_owned();
            let words = moved(&program, &commands[name], &folder);
            format!("{} > {} 2>&1 &\n", spelled(&words), spelled(&[log]))
        });
        let emulator = self.emulator.as_raw_nonzero();
        let lock = folder.join(LOCK).to_string_lossy().into_owned();
        let script = format!("emulator={emulator}\nexec 9> {}\nflock 9\n{}{END}", spelled(&[lock]), lines.concat());
        let mut command = Command::new("setsid");
        // Not with this recipe's output, which would never end.
        let in_background = r#"exec "$@" > /dev/null 2>&1"#;
        command.args([
            "--fork",
            "sh",
            "-c",
            in_background,
            "sh",
            "nsenter",
            &format!("--net=/proc/{emulator}/ns/net"),
            "sh",
            "-c",
            &script,
        ]);
        command
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn wait(&self) -> Result<()> {
        let logs = || format!("{}/*.log say what its programs say", self.files.control_plane().display());
        wait_for_api_server(&|| self.kubectl(), true).with_context(logs)
    }

    fn kubectl(&self) -> Command {
        kubectl(&self.ingredients.program("kubectl"), self.files)
    }
}

/// What a pod's one container runs.
fn command_in(pod: &Value) -> Option<Vec<String>> {
    let words = pod.pointer("/spec/containers/0/command")?.as_array()?;
    words.iter().map(|word| word.as_str().map(str::to_owned)).collect()
}

/// A command of the node as it is here, where the node's files lie in this folder.
fn moved(program: &str, command: &[String], folder: &Path) -> Vec<String> {
    let place =
        |word: &String| PLACES.iter().fold(word.clone(), |word, place| word.replace(place, &format!("{}{place}", folder.display())));
    [program.to_owned()].into_iter().chain(command.iter().skip(1).map(place)).collect()
}

/// The kernel keeps fifteen bytes of a program's name.
fn kernel_name(program: &str) -> &str {
    &program[..program.len().min(15)]
}

/// A file for clients with other settings for its one server.
fn with_server(kubeconfig: &str, settings: &str) -> String {
    let line = |line: &str| match line.trim_start().starts_with("server:") {
        true => format!("    {settings}\n"),
        false => format!("{line}\n"),
    };
    kubeconfig.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_command_is_read_from_its_pod() {
        let pod = json!({"spec": {"containers": [{"command": ["etcd", "--name=a"]}]}});
        assert_eq!(command_in(&pod), Some(words(&["etcd", "--name=a"])));
        assert_eq!(command_in(&json!({"spec": {"containers": [{}]}})), None);
    }

    #[test]
    fn a_command_is_of_the_program_and_the_files_here() {
        let command = words(&["etcd", "--data-dir=/var/lib/etcd", "--cert-file=/etc/kubernetes/pki/etcd/server.crt", "--name=a"]);
        let here = moved("/kept/etcd", &command, Path::new("/f"));
        assert_eq!(here, ["/kept/etcd", "--data-dir=/f/var/lib/etcd", "--cert-file=/f/etc/kubernetes/pki/etcd/server.crt", "--name=a"]);
    }

    #[test]
    fn programs_are_found_by_the_name_that_the_kernel_keeps() {
        assert_eq!(PROGRAMS.map(kernel_name), ["etcd", "kube-apiserver", "kube-controller", "kube-scheduler"]);
    }

    #[test]
    fn clients_get_another_server() {
        let text = "clusters:\n- cluster:\n    server: https://127.0.0.1:6443\n  name: strobe\n";
        let changed = with_server(text, "server: https://a:1\n    tls-server-name: b");
        assert_eq!(changed, "clusters:\n- cluster:\n    server: https://a:1\n    tls-server-name: b\n  name: strobe\n");
    }
}
