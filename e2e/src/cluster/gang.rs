//! A pod of a gang as the operator will make it: nothing but what Pod Security `restricted` allows, save for the directory of the
//! node with the agent's socket, which will come by a volume of its own. Its container runs the real supervisor.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::node::SOCKETS;
use super::{Namespace, NodePod, SHELL_IMAGE};

/// How many ranks a gang's pod runs.
pub const RANKS: u32 = 2;

/// Names the folder of the static programs that go into pods.
const PROGRAMS: &str = "STROBE_LABORATORY_PROGRAMS";

/// A program of the project that starts in every image.
#[derive(Clone, Copy, Debug)]
pub enum Program {
    /// The supervisor.
    StrobeInit,
    /// Single steps of an agent.
    LaboratoryAgent,
}

/// A running gang on one node: an agent, a pod, and ranks that were released.
pub struct GangPod<'a> {
    namespace: &'a Namespace,
    agent: &'a NodePod<'a>,
    facts: BTreeMap<String, String>,
}

/// Where a program that goes into pods is.
///
/// # Errors
/// The folder is not named, or has it not.
pub fn program(program: Program) -> Result<PathBuf> {
    let folder = env::var_os(PROGRAMS).with_context(|| format!("{PROGRAMS} names no folder: run `cargo xtask lab test`"))?;
    let name = match program {
        Program::StrobeInit => "strobe-init",
        Program::LaboratoryAgent => "laboratory-agent",
    };
    let path = PathBuf::from(folder).join(name);
    ensure!(path.is_file(), "no {}: run `cargo xtask lab test`", path.display());
    Ok(path)
}

// === impl GangPod ===

impl<'a> GangPod<'a> {
    /// The pod's name.
    pub const NAME: &'static str = "gang";

    /// Starts the pod on the agent's node; nobody serves its supervisor yet.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start(namespace: &'a Namespace, agent: &'a NodePod<'a>, node: &str) -> Result<Self> {
        namespace.apply(&pod(namespace.name(), node))?;
        namespace.wait("condition=Ready", &format!("pod/{}", Self::NAME))?;
        // The container waits at the same pipe; whoever comes first makes it.
        let install =
            "cat >/scratch/strobe-init && chmod +x /scratch/strobe-init && { mkfifo /scratch/go 2>/dev/null; echo >/scratch/go; }";
        namespace.feed(Self::NAME, &program(Program::StrobeInit)?, &["sh", "-c", install])?;
        Ok(Self { namespace, agent, facts: BTreeMap::new() })
    }

    /// The UID that the API server gave it.
    ///
    /// # Errors
    /// It does not exist.
    pub fn uid(&self) -> Result<String> {
        self.namespace.run(&["get", "pod", Self::NAME, "--output=jsonpath={.metadata.uid}"])
    }

    /// Starts an agent for a pod with this UID; comes back when the ranks run.
    ///
    /// # Errors
    /// The agent takes the ranks for another's; with its words.
    pub fn release(&mut self, uid: &str) -> Result<()> {
        let hold = format!("/programs/laboratory-agent hold --socket {SOCKETS}/{} --pod {uid} --ranks {RANKS}", self.namespace.name());
        // The agent stays; the shell leaves with the last line that it prints.
        let listen = "while read -r line; do echo \"$line\"; if [ \"$line\" = released ]; then exit; fi; done";
        let script = format!("{{ setsid {hold} </dev/null 2>/tmp/complaints & }} | {{ {listen}; cat /tmp/complaints; }}");
        let said = self.agent.sh(&script)?;
        ensure!(said.ends_with("released"), "the agent says: {said}");
        self.facts = said.lines().filter_map(|line| line.rsplit_once(' ')).map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Ok(())
    }

    /// What the agent said of the gang: `agent`, `rank 0`: process numbers; `container`, `cgroup`: cgroups as `/proc/PID/cgroup`
    /// names them; `directory`: the rank cgroup on disk.
    ///
    /// # Panics
    /// Where it said no such thing.
    #[must_use]
    pub fn fact(&self, name: &str) -> &str {
        self.facts.get(name).unwrap_or_else(|| panic!("the agent did not say {name}: {:?}", self.facts))
    }

    /// Runs a script of the shell in the ranks' container.
    ///
    /// # Errors
    /// It fails.
    pub fn sh(&self, script: &str) -> Result<String> {
        self.namespace.exec(Self::NAME, &["sh", "-ec", script]).map(|text| text.trim_end().to_owned())
    }

    /// Whether each rank went on while the other process of the container took so many steps that a rank which may run would have.
    ///
    /// # Errors
    /// The other process does not go on.
    pub fn ranks_run(&self) -> Result<[bool; RANKS as usize]> {
        let script = "
            size() { wc -c <$1; }
            zero=$(size /scratch/rank-0); one=$(size /scratch/rank-1); enough=$(($(size /scratch/other) + 20))
            until [ $(size /scratch/other) -ge $enough ]; do :; done
            echo $(($(size /scratch/rank-0) - zero)) $(($(size /scratch/rank-1) - one))";
        let steps = self.sh(script)?;
        let steps: Vec<u64> = steps.split(' ').filter_map(|number| number.parse().ok()).collect();
        let steps: [u64; RANKS as usize] = steps.try_into().ok().context("not a number a rank")?;
        Ok(steps.map(|steps| steps > 0))
    }

    /// The agent's pod.
    #[must_use]
    pub const fn agent(&self) -> &NodePod<'a> {
        self.agent
    }
}

/// A process beside the supervisor writes a byte every 10 ms; ranks write as fast as they can, as long as they may run.
fn pod(socket: &str, node: &str) -> Value {
    let rank = "while :; do echo; done >>/scratch/rank-$RANK";
    let main = format!(
        "mkfifo /scratch/go 2>/dev/null
         while :; do echo; usleep 10000; done >>/scratch/other &
         read line </scratch/go
         exec /scratch/strobe-init run --gang laboratory --incarnation 1 --socket {SOCKETS}/{socket} -- sh -c '{rank}'"
    );
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": GangPod::NAME },
        "spec": {
            "nodeSelector": { "kubernetes.io/hostname": node },
            "terminationGracePeriodSeconds": 0,
            "activeDeadlineSeconds": 1800,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [{
                "name": "rank", "image": SHELL_IMAGE, "imagePullPolicy": "Never", "command": ["sh", "-c", main],
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
                },
                "volumeMounts": [{ "name": "scratch", "mountPath": "/scratch" }, { "name": "sockets", "mountPath": SOCKETS, "readOnly": true }],
            }],
            "volumes": [
                { "name": "scratch", "emptyDir": {} },
                { "name": "sockets", "hostPath": { "path": SOCKETS, "type": "DirectoryOrCreate" } },
            ],
        },
    })
}
