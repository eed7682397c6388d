//! `logs`: what the ranks of a job's newest life write, each line with its rank.

mod lines;

use std::io::{self, Write as _};

use futures_util::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, LogParams};
use strobe_crds::ParallelJob;
use strobe_crds::names::LABEL_JOB_UID;
use strobe_crds::parallel_job::GangState;
use tokio::sync::mpsc;

use super::access::Cluster;
use super::error::ClusterError;
use super::gangs;
use super::limits::{LINE_BYTES, LOOK_AGAIN, WAITING_LINES};
use super::words::state_word;
use crate::arguments::LogsArguments;
use lines::{Writer, shown};

/// One pod that is read.
#[derive(Debug, Clone)]
struct Source {
    pod: String,
    container: String,
    writer: Writer,
}

/// Prints the lines, and goes on with them where that is wished.
///
/// # Errors
/// See [`ClusterError`].
pub(super) async fn run(arguments: &LogsArguments) -> Result<(), ClusterError> {
    let cluster = Cluster::connect(&arguments.cluster).await?;
    let mut job = cluster.job(&arguments.job).await?;
    check_rank(&job, arguments.rank)?;
    let mut read_life = None;
    loop {
        let pods = pods(&cluster, &job).await?;
        let newest = gangs::newest(&job, &pods);
        let life = newest.first().and_then(|pod| gangs::incarnation(pod));
        if life.is_some() && life != read_life {
            let sources = sources(&job, &newest, arguments.rank);
            read(&cluster, &sources, arguments).await?;
            read_life = life;
        }
        let over = job.status.as_ref().and_then(|status| status.state).is_none_or(GangState::is_over);
        if over || !arguments.follow {
            let why = state_word(&job).unwrap_or_else(|| "it has no state yet".to_owned());
            return read_life.map(drop).ok_or(ClusterError::NoPods { name: arguments.job.clone(), why });
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        job = match cluster.job(&arguments.job).await {
            // Deleted while it was followed: nothing more will come.
            Err(ClusterError::NotFound { .. }) if read_life.is_some() => return Ok(()),
            other => other?,
        };
    }
}

fn check_rank(job: &ParallelJob, rank: Option<u32>) -> Result<(), ClusterError> {
    let last = job.spec.nodes.saturating_mul(job.spec.ranks_per_node).saturating_sub(1);
    match rank {
        Some(rank) if rank > last => Err(ClusterError::NoRank { rank, name: job.name_any(), last }),
        _ => Ok(()),
    }
}

async fn pods(cluster: &Cluster, job: &ParallelJob) -> Result<Vec<Pod>, ClusterError> {
    let of_job = ListParams::default().labels(&format!("{LABEL_JOB_UID}={}", job.uid().unwrap_or_default()));
    Ok(cluster.here::<Pod>(&of_job).await?.items)
}

/// The pods to be read: all, or the one of a rank.
fn sources(job: &ParallelJob, pods: &[&Pod], rank: Option<u32>) -> Vec<Source> {
    let ranks_per_node = job.spec.ranks_per_node.max(1);
    let container = job.spec.find_rank_container().map(|(_, container)| container.name.clone()).unwrap_or_default();
    let of_rank = |pod: &&&Pod| rank.is_none_or(|rank| gangs::index(pod) == Some(rank / ranks_per_node));
    let source = |pod: &&Pod| {
        let alone = gangs::index(pod).filter(|_| ranks_per_node == 1);
        let writer = Writer { gang: job.name_any(), pod: pod.name_any(), only_rank: alone };
        Source { pod: pod.name_any(), container: container.clone(), writer }
    };
    pods.iter().filter(of_rank).map(source).collect()
}

/// One pod after the other, or all at once where they are followed. A pod that cannot be read is said, and the others are.
async fn read(cluster: &Cluster, sources: &[Source], arguments: &LogsArguments) -> Result<(), ClusterError> {
    let (lines, mut queue) = mpsc::channel(WAITING_LINES);
    let mut readers = tokio::task::JoinSet::new();
    let (follow, rank) = (arguments.follow, arguments.rank);
    let api: Api<Pod> = Api::namespaced(cluster.client(), &cluster.namespace);
    let sources = sources.to_vec();
    if follow {
        for source in sources {
            let (api, lines) = (api.clone(), lines.clone());
            readers.spawn(async move { copy(&api, &source, follow, rank, &lines).await });
        }
    } else {
        let lines = lines.clone();
        readers.spawn(async move {
            for source in sources {
                copy(&api, &source, follow, rank, &lines).await;
            }
        });
    }
    drop(lines);
    let mut output = io::stdout().lock();
    while let Some(line) = queue.recv().await {
        output.write_all(&line).map_err(ClusterError::Write)?;
        if queue.is_empty() {
            output.flush().map_err(ClusterError::Write)?;
        }
    }
    while readers.join_next().await.is_some() {}
    Ok(())
}

/// Passes on the lines of a pod. One that is followed is waited for until its container has begun.
async fn copy(api: &Api<Pod>, source: &Source, follow: bool, rank: Option<u32>, lines: &mpsc::Sender<Vec<u8>>) {
    let parameters = LogParams { container: Some(source.container.clone()), follow, ..LogParams::default() };
    loop {
        match api.log_stream(&source.pod, &parameters).await {
            Ok(stream) => return pass_on(stream, &source.writer, rank, lines).await,
            // It waits for its image, or for its place.
            Err(kube::Error::Api(status)) if follow && status.code == 400 => tokio::time::sleep(LOOK_AGAIN).await,
            Err(kube::Error::Api(status)) => return eprintln!("note: pod {} cannot be read: {}", source.pod, status.message),
            Err(error) => return eprintln!("note: pod {} cannot be read: {error}", source.pod),
        }
    }
}

async fn pass_on(stream: impl AsyncBufRead, writer: &Writer, rank: Option<u32>, lines: &mpsc::Sender<Vec<u8>>) {
    let mut stream = std::pin::pin!(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        // What is longer than a piece comes in several.
        let read = stream.as_mut().take(LINE_BYTES).read_until(b'\n', &mut line).await;
        match read {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => return eprintln!("note: pod {} cannot be read any further: {error}", writer.pod),
        }
        let whole = line.strip_suffix(b"\n").unwrap_or(&line);
        let Some(shown) = shown(whole, writer, rank) else { continue };
        // The printer is gone only when nothing can be printed any more.
        if lines.send(shown).await.is_err() {
            return;
        }
    }
}
