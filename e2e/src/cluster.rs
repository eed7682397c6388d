//! A cluster, as tests use it: that of `cargo xtask lab`, or somebody's own. Each test has a namespace of its own, which goes with it.

mod driver;
mod gang;
mod lock;
mod node;
pub mod system;

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::programs;
pub use driver::{Driver, Need};
pub use gang::{GangPod, Program, RANKS, program};
use lock::Lock;
pub use node::NodePod;

/// Names the cluster's file for clients.
const CLUSTER: &str = "STROBE_CLUSTER";

/// The image with nothing but a shell, which every node of the laboratory has.
pub const SHELL_IMAGE: &str = "localhost/strobe-lab/shell:1";

/// The workers, of which the first two have a CPU each for their own services.
pub const WORKERS: [&str; 3] = ["strobe-worker", "strobe-worker2", "strobe-worker3"];

/// The node of the control plane.
pub const CONTROL_PLANE: &str = "strobe-control-plane";

/// Seconds that take the place of [`PATIENCE_DEFAULT`].
const PATIENCE: &str = "STROBE_PATIENCE";

/// How long a test waits for what it expects; a loaded machine of two cores takes seconds. What was killed several times comes back only
/// after the longest pause that kubelet makes, five minutes.
const PATIENCE_DEFAULT: Duration = Duration::from_secs(420);

/// A namespace of the cluster. It is deleted when this value goes.
pub struct Namespace {
    name: String,
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    /// None where another namespace of the same test holds it.
    _lock: Option<Lock>,
}

/// How long a test waits for what it expects of the cluster.
#[must_use]
pub fn patience() -> Duration {
    let told = env::var(PATIENCE).ok().and_then(|seconds| seconds.parse().ok());
    told.map_or(PATIENCE_DEFAULT, Duration::from_secs)
}

/// [`patience`] as kubectl and helm are told.
#[must_use]
pub fn wait() -> String {
    format!("--timeout={}s", patience().as_secs())
}

fn kubeconfig() -> Result<PathBuf> {
    let file =
        env::var_os(CLUSTER).with_context(|| format!("{CLUSTER} names no cluster: run `cargo xtask lab test` or `cargo xtask e2e`"))?;
    Ok(file.into())
}

/// What a program prints when it succeeds.
fn printed(mut program: Command, arguments: &[&str]) -> Result<String> {
    let output = program.args(arguments).output().with_context(|| format!("run {}", program.get_program().display()))?;
    if !output.status.success() {
        let name = Path::new(program.get_program()).file_name().unwrap_or_default();
        bail!("{} {}: {}", name.display(), arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Gives an object to `kubectl apply`.
fn applied(mut kubectl: Command, object: &Value) -> Result<()> {
    use std::io::Write as _;
    kubectl.args(["apply", "--filename=-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = kubectl.spawn().context("start kubectl")?;
    let mut input = child.stdin.take().context("kubectl's input is a pipe")?;
    input.write_all(object.to_string().as_bytes()).context("give kubectl an object")?;
    drop(input);
    let output = child.wait_with_output().context("wait for kubectl")?;
    ensure!(output.status.success(), "kubectl apply: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

// === impl Namespace ===

impl Namespace {
    /// Makes a namespace with this name.
    ///
    /// # Errors
    /// No cluster is named, or it does not answer.
    pub fn make(name: &str) -> Result<Self> {
        Self::make_under(name, Lock::shared)
    }

    /// As [`Namespace::make`], for a test that restarts a node's services: it waits for the other tests, and they for it.
    ///
    /// # Errors
    /// As there.
    pub fn make_alone(name: &str) -> Result<Self> {
        Self::make_under(name, Lock::exclusive)
    }

    fn make_under(name: &str, lock: impl FnOnce(&Path) -> Result<Lock>) -> Result<Self> {
        let kubeconfig = kubeconfig()?;
        let kubectl = programs::find_or_installed("kubectl").context("no kubectl: run `cargo xtask lab test` or `cargo xtask e2e`")?;
        let lock = lock(&kubeconfig)?;
        let namespace = Self { name: name.to_owned(), kubectl, kubeconfig, _lock: Some(lock) };
        namespace.begin_empty()?;
        Ok(namespace)
    }

    /// Another one for the same test, which must go before this one.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub fn beside(&self, name: &str) -> Result<Self> {
        let namespace = Self { name: name.to_owned(), kubectl: self.kubectl.clone(), kubeconfig: self.kubeconfig.clone(), _lock: None };
        namespace.begin_empty()?;
        Ok(namespace)
    }

    fn begin_empty(&self) -> Result<()> {
        // What an interrupted run has left.
        self.run(&["delete", "namespace", &self.name, "--ignore-not-found", &wait()])?;
        self.run(&["create", "namespace", &self.name]).map(drop)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A client with all rights.
    ///
    /// # Errors
    /// The file for clients cannot be read.
    pub async fn client(&self) -> Result<kube::Client> {
        crate::client::of(&self.kubeconfig).await
    }

    /// `kubectl` with all rights, in this namespace.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.env("KUBECONFIG", &self.kubeconfig).args(["--namespace", &self.name]).stdin(Stdio::null());
        command
    }

    /// What kubectl prints when it succeeds.
    ///
    /// # Errors
    /// It fails; with what it complains of.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        printed(self.kubectl(), arguments)
    }

    /// Applies objects; those without a namespace come into this one.
    ///
    /// # Errors
    /// The API server refuses one; with its message.
    pub fn apply(&self, object: &Value) -> Result<()> {
        applied(self.kubectl(), object)
    }

    /// Waits for a condition, as `kubectl wait --for` has it, of something.
    ///
    /// # Errors
    /// It is not met in time; with what kubectl describes.
    pub fn wait(&self, condition: &str, what: &str) -> Result<()> {
        let condition = format!("--for={condition}");
        if let Err(error) = self.run(&["wait", &condition, &wait(), what]) {
            let described = self.run(&["describe", what]).unwrap_or_default();
            return Err(error.context(described));
        }
        Ok(())
    }

    /// The message of the first event that a field selector names, whether it has come already or comes now.
    ///
    /// # Errors
    /// None comes in time.
    pub fn first_event(&self, selector: &str) -> Result<String> {
        use std::io::BufRead as _;
        let selector = format!("--field-selector={selector}");
        let message = r#"--output=jsonpath={.message}{"\n"}"#;
        let mut command = self.kubectl();
        command.args(["get", "events", "--watch", &selector, message, "--request-timeout=420s"]).stdout(Stdio::piped());
        let mut child = command.spawn().context("run kubectl")?;
        let mut line = String::new();
        let read = child.stdout.take().context("kubectl's output is a pipe")?;
        let read = std::io::BufReader::new(read).read_line(&mut line).context("read what kubectl prints");
        child.kill().context("end kubectl")?;
        child.wait().context("wait for kubectl")?;
        ensure!(read? > 0, "no event with {selector} came");
        Ok(line)
    }

    /// The first lines that a pod says from now on, so many.
    ///
    /// # Errors
    /// It does not say as many in time.
    pub fn follow(&self, pod: &str, lines: usize) -> Result<Vec<String>> {
        use std::io::BufRead as _;
        let mut command = self.kubectl();
        command.args(["logs", "--follow", "--tail=0", pod, "--request-timeout=420s"]).stdout(Stdio::piped());
        let mut child = command.spawn().context("run kubectl")?;
        let output = child.stdout.take().context("kubectl's output is a pipe")?;
        let said: Result<Vec<String>, _> = std::io::BufReader::new(output).lines().take(lines).collect();
        child.kill().context("end kubectl")?;
        child.wait().context("wait for kubectl")?;
        let said = said.context("read what kubectl prints")?;
        ensure!(said.len() == lines, "{pod} said {} lines of {lines}", said.len());
        Ok(said)
    }

    /// Deletes something and waits until it does not exist.
    ///
    /// # Errors
    /// It still does after a while.
    pub fn delete(&self, what: &str) -> Result<()> {
        self.run(&["delete", what, "--wait=true", &wait()]).map(drop)
    }

    /// Gives a file to a command in a pod as its standard input.
    ///
    /// # Errors
    /// It fails.
    pub fn feed(&self, pod: &str, file: &Path, command: &[&str]) -> Result<()> {
        let input = File::open(file).with_context(|| format!("open {}", file.display()))?;
        let mut kubectl = self.kubectl();
        let output = kubectl.args([&["exec", "--stdin", pod, "--"], command].concat()).stdin(input).output().context("run kubectl")?;
        ensure!(output.status.success(), "feed {}: {}", file.display(), String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    /// Runs a command in a pod; gives what it prints.
    ///
    /// # Errors
    /// It fails.
    pub fn exec(&self, pod: &str, command: &[&str]) -> Result<String> {
        self.run(&[&["exec", pod, "--"], command].concat())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = self.run(&["delete", "namespace", &self.name, "--wait=false"]) {
            eprintln!("namespace {} is left: {error:#}", self.name);
        }
    }
}
