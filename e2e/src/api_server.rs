//! A real API server with its etcd and nothing else: no controllers, no scheduler, no nodes. It starts in seconds, and what it accepts,
//! defaults and refuses is what a cluster does.

mod certificates;

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::sync::OnceCell;

use crate::client;
use crate::programs::{self, KUBERNETES};

/// How long a server may take until it answers; beside a build on two cores it takes ten seconds.
const READY: Duration = Duration::from_secs(120);

/// How often it is asked whether it does.
const ASKED: Duration = Duration::from_millis(50);

/// Of the first server of a process.
const FIRST_PORT: u16 = 6443;

/// The last bytes of a log that are shown with an error.
const LOG_BYTES_SHOWN: usize = 4000;

/// The version of Kubernetes that serves groups of pods as they were tried, and the options by which its API server does: it does not know
/// another's and would not start.
const POD_GROUPS_VERSION: &str = "1.36";
const POD_GROUPS: [&str; 2] =
    ["--feature-gates=GenericWorkload=true,GangScheduling=true", "--runtime-config=scheduling.k8s.io/v1alpha2=true"];

/// Runs the programs while its standard input is open.
const KEEPER: &str = include_str!("api_server/keeper.sh");

/// A running API server. It ends, with all that was stored, when this value or its process does.
pub struct ApiServer {
    folder: PathBuf,
    kubectl: PathBuf,
    keeper: Child,
    /// The keeper ends when this is closed.
    lifeline: Option<ChildStdin>,
}

/// A server that all tests of a process share. A static is not dropped, but the keeper sees the end of this process.
type Shared = OnceCell<Result<Option<ApiServer>>>;

/// The programs of which it consists, and the one that asks it.
struct Programs {
    etcd: PathBuf,
    server: PathBuf,
    kubectl: PathBuf,
}

// === impl Programs ===

impl Programs {
    fn find() -> Option<Self> {
        let [etcd, server, kubectl] = ["etcd", "kube-apiserver", "kubectl"].map(programs::find);
        Some(Self { etcd: etcd?, server: server?, kubectl: kubectl? })
    }

    fn know_pod_groups(&self) -> Result<bool> {
        let said = Command::new(&self.server).arg("--version").output().context("ask kube-apiserver for its version")?;
        Ok(String::from_utf8_lossy(&said.stdout).contains(&format!(" v{POD_GROUPS_VERSION}.")))
    }
}

// === impl ApiServer ===

impl ApiServer {
    /// Starts a server and waits until it is ready; none where its programs are not named.
    ///
    /// # Errors
    /// It does not start, or is not ready in time; with the ends of its logs.
    pub async fn start() -> Result<Option<Self>> {
        match Programs::find() {
            Some(programs) => Self::run(&programs, &[]).await.map(Some),
            None => Ok(None),
        }
    }

    /// The same, and it serves groups of pods; none, too, where it is of a version that cannot.
    ///
    /// # Errors
    /// See [`Self::start`].
    pub async fn start_with_pod_groups() -> Result<Option<Self>> {
        match Programs::find() {
            Some(programs) if programs.know_pod_groups()? => Self::run(&programs, &POD_GROUPS).await.map(Some),
            _ => Ok(None),
        }
    }

    async fn run(Programs { etcd, server, kubectl }: &Programs, options: &[&str]) -> Result<Self> {
        let address = own_address();
        let folder = tempfile::Builder::new().prefix("strobe-api-server-").tempdir().context("make a folder")?;
        certificates::write(folder.path(), address)?;
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(folder.path())
            .args([etcd, server])
            .args([address.ip().to_string(), address.port().to_string()])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("start a shell")?;
        let lifeline = keeper.stdin.take();
        // From here on the keeper removes it.
        let started = Self { folder: folder.keep(), kubectl: kubectl.clone(), keeper, lifeline };
        started.ready().await?;
        Ok(started)
    }

    /// The server that all tests of this process share; none where its programs are not named, which is said for each test.
    ///
    /// # Errors
    /// See [`Self::start`].
    pub async fn shared(test: &str) -> Result<Option<&'static Self>> {
        static SHARED: Shared = Shared::const_new();
        found(SHARED.get_or_init(Self::start).await, test, "")
    }

    /// The same that serves groups of pods; none, too, where it is of a version that cannot.
    ///
    /// # Errors
    /// See [`Self::start`].
    pub async fn shared_with_pod_groups(test: &str) -> Result<Option<&'static Self>> {
        static SHARED: Shared = Shared::const_new();
        found(SHARED.get_or_init(Self::start_with_pod_groups).await, test, &format!(", of Kubernetes {POD_GROUPS_VERSION}"))
    }

    /// A client with all rights.
    ///
    /// # Errors
    /// The file for clients is gone.
    pub async fn client(&self) -> Result<kube::Client> {
        client::of(&self.kubeconfig()).await
    }

    /// `kubectl` with all rights.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(&self.kubectl);
        // Its caches belong to this server.
        command.env("KUBECONFIG", self.kubeconfig()).env("KUBECACHEDIR", self.folder.join("kubectl-cache"));
        command
    }

    /// The file for clients.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    async fn ready(&self) -> Result<()> {
        let client = self.client().await?;
        let until = Instant::now() + READY;
        loop {
            match client.request_text(readyz()?).await {
                Ok(_) => return Ok(()),
                Err(_) if self.ends_early() => bail!("the API server ended:\n{}", self.logs()),
                Err(error) if Instant::now() > until => {
                    return Err(error).with_context(|| format!("not ready after {} s:\n{}", READY.as_secs(), self.logs()));
                }
                Err(_) => tokio::time::sleep(ASKED).await,
            }
        }
    }

    /// The keeper says in a file that the server has ended.
    fn ends_early(&self) -> bool {
        self.folder.join("ended").exists()
    }

    fn logs(&self) -> String {
        let end_of = |name: &str| {
            let text = fs::read(self.folder.join(name)).unwrap_or_default();
            let shown = &text[text.len().saturating_sub(LOG_BYTES_SHOWN)..];
            format!("{name}:\n{}", String::from_utf8_lossy(shown))
        };
        format!("{}\n{}", end_of("etcd.log"), end_of("kube-apiserver.log"))
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // It has nothing to answer: when it cannot be waited for, it is gone.
        let _ended = self.keeper.wait();
    }
}

/// The shared server, if it has started; where it is not there because its programs are not, that is said.
fn found(shared: &'static Result<Option<ApiServer>>, test: &str, of: &str) -> Result<Option<&'static ApiServer>> {
    match shared {
        Ok(Some(server)) => Ok(Some(server)),
        Ok(None) => {
            programs::left_out(test, &format!("{KUBERNETES} names no programs{of}; `cargo xtask test` builds them"));
            Ok(None)
        }
        // It would not start for another test either.
        Err(error) => bail!("{error:#}"),
    }
}

fn readyz() -> Result<http::Request<Vec<u8>>> {
    http::Request::get("/readyz").body(Vec::new()).context("make a request")
}

/// Where one server of one process listens: no other process has that address of the loopback network, and no other server of this
/// process that port, so that neither needs to be searched for.
fn own_address() -> SocketAddrV4 {
    static STARTED: AtomicU16 = AtomicU16::new(0);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    // Process numbers have 22 bits.
    let address = Ipv4Addr::new(127, 0x40 | high, middle, low);
    SocketAddrV4::new(address, FIRST_PORT + STARTED.fetch_add(1, Ordering::Relaxed))
}
