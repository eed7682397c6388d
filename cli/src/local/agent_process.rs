//! One life of an agent's process: started, told what it must know, heard where it listens, waited for.

use std::{
    fs::OpenOptions,
    io,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    process::Stdio,
};

use rustix::process::getpid;
use strobe_core::model::{AgentIncarnation, CpuIndex, NodeIncarnation, NodeIndex, PartitionUid, Settings};
use strobe_fabric::identity::CertificateBundle;
use strobe_proto::bootstrap::{Bootstrap, Listening};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::mpsc,
    time::timeout,
};

use super::{
    event::Event,
    limits::{AGENT_START, LISTENING_LINE},
};

/// Where the nodes of one machine reach each other.
pub(super) const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The programs that a run starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Programs {
    /// `strobe-agent`.
    pub agent: PathBuf,
    /// `strobe-init`.
    pub supervisor: PathBuf,
}

/// Why the programs cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramsError {
    /// This program's own path is not known.
    #[error("cannot find out where kubectl-strobe is, and so not where its agent is; name it in STROBE_AGENT and STROBE_INIT")]
    Own(#[source] io::Error),
    /// One is missing.
    #[error("{name} is not at {path}; it is looked for beside kubectl-strobe, or where {variable} says (`cargo xtask build` builds both)")]
    Missing {
        /// Its name.
        name: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// The variable that says otherwise.
        variable: &'static str,
    },
}

/// What is the same in every life of a node's agent.
#[derive(Debug, Clone)]
pub(super) struct AgentOptions {
    /// Programs.
    pub programs: Programs,
    /// The partition.
    pub partition: PartitionUid,
    /// Its times and policy.
    pub settings: Settings,
    /// The node.
    pub node: NodeIndex,
    /// Its CPUs.
    pub cpus: Vec<CpuIndex>,
    /// The agent's folder.
    pub directory: PathBuf,
    /// Where it keeps files that it is given.
    pub store: Option<PathBuf>,
    /// Its cgroup, from the root of the v2 tree.
    pub cgroup: Option<String>,
    /// Who it is.
    pub certificate: CertificateBundle,
    /// Where its log goes.
    pub log: PathBuf,
    /// The file that tells its process.
    pub process_file: PathBuf,
}

/// Why an agent did not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentStartError {
    /// It could not be started.
    #[error("{program} cannot be started")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It did not read what it was told.
    #[error("it did not read what it must know")]
    Bootstrap(#[source] io::Error),
    /// It ended before it listened.
    #[error("it ended before it listened")]
    Ended,
    /// It took too long.
    #[error("it did not listen within {AGENT_START:?}")]
    Late,
    /// What it says is not understood.
    #[error("what it says is not understood: {line:?}")]
    Line {
        /// What it says.
        line: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl Programs {
    /// Finds the programs that belong to this one.
    ///
    /// # Errors
    /// See [`ProgramsError`].
    pub(super) fn find() -> Result<Self, ProgramsError> {
        let own = std::env::current_exe().and_then(std::fs::canonicalize).map_err(ProgramsError::Own);
        let find = |name: &'static str, variable: &'static str| {
            let path = match (std::env::var_os(variable), &own) {
                (Some(stated), _) => PathBuf::from(stated),
                (None, Ok(own)) => own.with_file_name(name),
                (None, Err(_)) => return Ok(None),
            };
            // Agents and supervisors are started in other folders than this one, and recognised by their whole path.
            match std::fs::canonicalize(&path).ok().filter(|path| path.is_file()) {
                Some(path) => Ok(Some(path)),
                None => Err(ProgramsError::Missing { name, path, variable }),
            }
        };
        let found = (find("strobe-agent", "STROBE_AGENT")?, find("strobe-init", "STROBE_INIT")?);
        match (found, own) {
            ((Some(agent), Some(supervisor)), _) => Ok(Self { agent, supervisor }),
            (_, Err(error)) => Err(error),
            (_, Ok(_)) => unreachable!("with its own path known each program is found or reported as missing"),
        }
    }
}

/// Starts a life of an agent and follows it to its end; says what happens as events.
///
/// # Errors
/// When the process cannot be started. What goes wrong later is an event.
pub(super) fn start(options: &AgentOptions, incarnation: AgentIncarnation, events: mpsc::Sender<Event>) -> Result<i32, AgentStartError> {
    let program = options.programs.agent.clone();
    let spawn = |source| AgentStartError::Spawn { program: program.clone(), source };
    let log = OpenOptions::new().create(true).append(true).open(&options.log).map_err(spawn)?;
    let mut child = Command::new(&program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        // A group of its own: an interrupt typed at the terminal is this process's to answer.
        .process_group(0)
        .spawn()
        .map_err(spawn)?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else { return Err(AgentStartError::Ended) };
    let document = document(options, incarnation);
    let agent = NodeIncarnation { node: options.node, incarnation };
    tokio::spawn(async move {
        let event = follow(agent, child, (input, output), document, &events).await;
        // The receiver is gone only when the run is over.
        let _run_is_over = events.send(event).await;
    });
    Ok(pid)
}

fn document(options: &AgentOptions, incarnation: AgentIncarnation) -> Vec<u8> {
    let bootstrap = Bootstrap {
        partition: options.partition,
        node: options.node,
        incarnation,
        settings: options.settings.clone(),
        cpus: options.cpus.clone(),
        address: ADDRESS,
        directory: options.directory.clone(),
        store: options.store.clone(),
        cgroup: options.cgroup.clone(),
        supervisor: options.programs.supervisor.clone(),
        owner: Some(getpid().as_raw_nonzero().get()),
        certificate_pem: options.certificate.certificate_pem.clone(),
        key_pem: options.certificate.key_pem.clone(),
        roots_pem: options.certificate.roots_pem.clone(),
    };
    serde_json::to_vec(&bootstrap).expect("numbers, texts and paths that were made from texts are JSON")
}

/// Follows one life; the event that tells its end.
async fn follow(
    agent: NodeIncarnation,
    mut child: Child,
    (input, output): (ChildStdin, ChildStdout),
    document: Vec<u8>,
    events: &mpsc::Sender<Event>,
) -> Event {
    match timeout(AGENT_START, greet(input, output, &document)).await.unwrap_or(Err(AgentStartError::Late)) {
        Ok(listening) => {
            let _run_is_over = events.send(Event::Listening(agent, listening)).await;
            Event::Exited(agent, child.wait().await)
        }
        Err(error) => {
            // It may have ended by itself.
            let _ended = child.kill().await;
            Event::NotStarted(agent, error)
        }
    }
}

async fn greet(mut input: ChildStdin, output: ChildStdout, document: &[u8]) -> Result<Listening, AgentStartError> {
    input.write_all(document).await.map_err(AgentStartError::Bootstrap)?;
    // Its end tells the agent that the document is whole.
    drop(input);
    let mut line = String::new();
    let read = BufReader::new(output.take(LISTENING_LINE)).read_line(&mut line).await;
    if read.is_err() || line.is_empty() {
        return Err(AgentStartError::Ended);
    }
    serde_json::from_str(&line).map_err(|source| AgentStartError::Line { line: line.trim_end().to_owned(), source })
}
