//! A real cluster: what its user may see and wish there, by Kubernetes' objects and with the user's own rights alone.

mod access;
mod change;
mod error;
mod explain;
#[cfg(test)]
mod fixture;
mod following;
mod gangs;
mod limits;
mod list;
mod logs;
mod matrix;
mod nodes;
mod output;
mod top;
mod watching;
mod words;

use crate::arguments::ClusterCommand;
use change::Wish;
pub(crate) use error::ClusterError;

/// Carries out a command.
///
/// # Errors
/// See [`ClusterError`].
pub(crate) fn run(command: &ClusterCommand) -> Result<(), ClusterError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ClusterError::Runtime)?;
    let done = runtime.block_on(async {
        match command {
            ClusterCommand::List(arguments) => list::run(arguments).await,
            ClusterCommand::Matrix(arguments) => matrix::run(arguments).await,
            ClusterCommand::Explain(arguments) => explain::run(arguments).await,
            ClusterCommand::Top(arguments) => top::run(arguments).await,
            ClusterCommand::Logs(arguments) => logs::run(arguments).await,
            ClusterCommand::Pause(arguments) => change::run(Wish::Pause, arguments).await,
            ClusterCommand::Resume(arguments) => change::run(Wish::Resume, arguments).await,
            ClusterCommand::Suspend(arguments) => change::run(Wish::Suspend, arguments).await,
            ClusterCommand::Nodes(arguments) => nodes::run(arguments).await,
        }
    });
    match done {
        // Whoever read it has seen enough.
        Err(ClusterError::Write(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}
