//! `strobe-init probe`: what kubelet runs in place of a probe of the ranks' container.
//!
//! Kubelet knows nothing of rows. A rank that is switched out or held answers nobody, and kubelet would kill it for that. So a check may
//! take as long as its ranks have run for the probe's own time, and time in which they did not run does not count. When they have not run
//! for that long within what kubelet waits, as while the gang is paused, the last result stands.
//!
//! Before any result a liveness probe says that all is well, and the others that it is not: so it is for kubelet itself.

mod check;

use std::{
    fs,
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use super::{
    arguments::{ProbeArguments, ProbeKind},
    error::SupervisorError,
    limits::PROBE_LOOKS,
    probe_service::runs,
};

/// How long a check may take.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// While the ranks run.
    running: Duration,
    /// In all.
    whole: Duration,
}

/// Carries a probe out; the exit code is what kubelet wants, 0 for success.
///
/// # Errors
/// [`SupervisorError`] where it cannot begin; kubelet takes that for a failure.
pub fn probe(arguments: &ProbeArguments) -> Result<u8, SupervisorError> {
    let (outcome, check) = check::start(arguments)?;
    let patience = Patience { running: Duration::from_secs(arguments.timeout_seconds), whole: Duration::from_secs(arguments.wait_seconds) };
    let found = wait(&outcome, patience, || runs(&arguments.socket));
    if found != Some(true) {
        check.abandon();
    }
    let result = found.or_else(|| recall(arguments)).unwrap_or(arguments.kind == ProbeKind::Liveness);
    if let Some(found) = found {
        remember(arguments, found);
    }
    Ok(u8::from(!result))
}

/// The result of a check; none when the ranks had not run for long enough.
fn wait(outcome: &Receiver<bool>, patience: Patience, runs: impl Fn() -> bool) -> Option<bool> {
    let begun = Instant::now();
    let (mut ran, mut looked) = (Duration::ZERO, begun);
    loop {
        match outcome.recv_timeout(PROBE_LOOKS) {
            Ok(result) => return Some(result),
            Err(RecvTimeoutError::Disconnected) => return Some(false),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = Instant::now();
        if runs() {
            ran += now - looked;
        }
        looked = now;
        if ran >= patience.running {
            return Some(false);
        }
        if now - begun >= patience.whole {
            return None;
        }
    }
}

fn recall(arguments: &ProbeArguments) -> Option<bool> {
    match fs::read(memory(arguments)).ok()?.as_slice() {
        b"1" => Some(true),
        b"0" => Some(false),
        _ => None,
    }
}

/// Where nothing can be kept nothing is recalled, and the first result stands.
fn remember(arguments: &ProbeArguments, result: bool) {
    let _not_kept = fs::write(memory(arguments), if result { "1" } else { "0" });
}

fn memory(arguments: &ProbeArguments) -> PathBuf {
    let kind = match arguments.kind {
        ProbeKind::Liveness => "liveness",
        ProbeKind::Readiness => "readiness",
        ProbeKind::Startup => "startup",
    };
    arguments.memory.join(format!(".strobe-probe-{kind}"))
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, sync::mpsc};

    use super::*;

    const SHORT: Patience = Patience { running: Duration::from_millis(40), whole: Duration::from_secs(60) };

    #[test]
    fn a_check_that_is_not_answered_fails_once_the_ranks_have_run_for_its_time() {
        let (_open, outcome) = mpsc::channel();
        assert_eq!(wait(&outcome, SHORT, || true), Some(false));
        let looks = Cell::new(0_u32);
        let every_other = || {
            looks.set(looks.get() + 1);
            looks.get().is_multiple_of(2)
        };
        let begun = Instant::now();
        assert_eq!(wait(&outcome, SHORT, every_other), Some(false));
        assert!(begun.elapsed() >= 2 * SHORT.running - PROBE_LOOKS, "the time in which they did not run does not count");
    }

    #[test]
    fn while_the_ranks_do_not_run_there_is_no_result() {
        let (_open, outcome) = mpsc::channel();
        assert_eq!(wait(&outcome, Patience { whole: SHORT.running, ..SHORT }, || false), None);
    }

    #[test]
    fn an_answer_counts_also_while_the_ranks_do_not_run() {
        for result in [true, false] {
            let (answer, outcome) = mpsc::channel();
            answer.send(result).unwrap();
            assert_eq!(wait(&outcome, SHORT, || false), Some(result));
        }
    }
}
