//! `strobe-init probe`: what kubelet runs in place of a probe of the ranks' container.
//!
//! Kubelet knows nothing of rows. A rank that is switched out or held answers nobody, and kubelet would kill it for that. So a check may
//! take as long as its ranks have run for the probe's own time, and time in which they did not run does not count. When they have not run
//! for that long within what kubelet waits, as while the gang is paused, the last result stands; that of a liveness probe is success then.
//!
//! A check that fails at once, such as a connection that is refused, says nothing of ranks that do not run: they may not have had the time to
//! listen, and before their release they have had none. The same holds then. What succeeds, succeeds.
//!
//! Before any result a readiness or startup probe says that all is not well: so it is for kubelet itself.

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
    let result = found.unwrap_or_else(|| unknown(arguments));
    if let Some(found) = found {
        remember(arguments, found);
    }
    Ok(u8::from(!result))
}

/// The result of a check; none when the ranks did not run, or not for long enough.
fn wait(outcome: &Receiver<bool>, patience: Patience, runs: impl Fn() -> bool) -> Option<bool> {
    let begun = Instant::now();
    let (mut ran, mut looked) = (Duration::ZERO, begun);
    loop {
        match outcome.recv_timeout(PROBE_LOOKS) {
            Ok(true) => return Some(true),
            Ok(false) | Err(RecvTimeoutError::Disconnected) => return runs().then_some(false),
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

/// What is said of ranks that did not run. They are alive, whatever was found before: kubelet counts each answer, and would kill a paused gang
/// for one failure that is told again and again.
fn unknown(arguments: &ProbeArguments) -> bool {
    arguments.kind == ProbeKind::Liveness || recall(arguments).unwrap_or(false)
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
    fn while_the_ranks_do_not_run_success_counts_and_failure_does_not() {
        for (result, ran, counts) in [(true, true, Some(true)), (true, false, Some(true)), (false, true, Some(false)), (false, false, None)]
        {
            let (answer, outcome) = mpsc::channel();
            answer.send(result).unwrap();
            assert_eq!(wait(&outcome, SHORT, || ran), counts, "{result} while they ran: {ran}");
        }
    }
}
