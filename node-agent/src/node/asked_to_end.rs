//! The signals by which the process is asked to end. tokio hands them on in whichever of its runtimes runs: they outlive a life's own.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::NodeError;

/// See the module.
#[derive(Debug)]
pub(super) struct AskedToEnd {
    terminate: Signal,
    interrupt: Signal,
}

// === impl AskedToEnd ===

impl AskedToEnd {
    /// Begins to listen: from now on these signals end nothing by themselves.
    ///
    /// # Errors
    /// [`NodeError::Signal`].
    pub(super) fn listen() -> Result<Self, NodeError> {
        let listen = |kind| signal(kind).map_err(NodeError::Signal);
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Resolves when the process is asked to end, also if that was since the last wait.
    pub(super) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[test]
    fn a_signal_that_comes_between_two_runtimes_is_heard_in_the_next() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let first = runtime();
        let mut asked = first.block_on(async { AskedToEnd::listen() }).unwrap();
        drop(first);
        kill_process(getpid(), Signal::TERM).unwrap();
        runtime().block_on(asked.wait());
    }
}
