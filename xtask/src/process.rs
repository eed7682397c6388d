//! Running programs: with the caller's terminal, or watched, in a process group of their own and with a time limit.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::limits::{DRAIN, GRACE, WAITING_LINES};

/// How a watched program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ended(ExitStatus),
    /// Its time limit passed: its process group was ended.
    TimedOut,
}

/// What a watched program's two watchers report.
enum Event {
    Line(String),
    EndOfOutput,
    Ended,
}

/// Runs a program with the caller's terminal.
///
/// # Errors
/// It cannot be started, or does not end with status 0.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let shown = shown(&command);
    let status = command.status().with_context(|| format!("start {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// Runs a program with the caller's terminal and gives its exit status to our caller; one that a signal ended counts as 128 + signal,
/// as a shell has it.
///
/// # Errors
/// It cannot be started.
pub(crate) fn pass_through(mut command: Command) -> Result<ExitCode> {
    let status = command.status().with_context(|| format!("start {}", shown(&command)))?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// Runs a program in a process group of its own, without input; each line of its standard output goes to `line`.
///
/// # Guarantees
/// Returns within `limit` + [`GRACE`] + [`DRAIN`], also when the program left others behind that hold its output open.
///
/// # Errors
/// It cannot be started or waited for.
pub(crate) fn watch(mut command: Command, limit: Duration, mut line: impl FnMut(&str)) -> Result<Outcome> {
    let deadline = Instant::now() + limit;
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {}", shown(&command)))?;
    let group = Pid::from_child(&child);
    let events = start_watchers(&mut child, group)?;
    let in_time = until_ended(&events, deadline, &mut line);
    if !in_time {
        signal_group(group, Signal::TERM);
        until_ended(&events, Instant::now() + GRACE, &mut line);
        signal_group(group, Signal::KILL);
    }
    // The watcher only looked: the child is reaped here, so until now its number could not name another process group.
    let status = child.wait().context("wait for a child")?;
    drain(&events, Instant::now() + DRAIN, &mut line);
    Ok(if in_time { Outcome::Ended(status) } else { Outcome::TimedOut })
}

/// A command as it would be typed, without its environment.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Whether `program` is on PATH.
pub(crate) fn on_path(program: &str) -> bool {
    let Some(path) = std::env::var_os("PATH") else { return false };
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// The standard output of a program, or nothing where it is missing or fails.
pub(crate) fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn start_watchers(child: &mut Child, pid: Pid) -> Result<Receiver<Event>> {
    let output = child.stdout.take().context("the child's output is a pipe")?;
    let (sender, events) = sync_channel(WAITING_LINES);
    let ended = sender.clone();
    std::thread::spawn(move || send_lines(output, &sender));
    std::thread::spawn(move || {
        // NOWAIT leaves the child to be reaped by its owner. An error means that there is nothing left to wait for.
        let _looked = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let _owner_gone = ended.send(Event::Ended);
    });
    Ok(events)
}

fn send_lines(output: impl Read, sender: &SyncSender<Event>) {
    let mut reader = BufReader::new(output);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
        let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
        if sender.send(Event::Line(text)).is_err() {
            return;
        }
        bytes.clear();
    }
    let _owner_gone = sender.send(Event::EndOfOutput);
}

/// Passes lines on until the program has ended (true) or the deadline has passed (false).
fn until_ended(events: &Receiver<Event>, deadline: Instant, line: &mut impl FnMut(&str)) -> bool {
    loop {
        match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Line(text)) => line(&text),
            Ok(Event::EndOfOutput) => {}
            Ok(Event::Ended) => return true,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
        }
    }
}

/// Passes on what is still in the pipe.
fn drain(events: &Receiver<Event>, deadline: Instant, line: &mut impl FnMut(&str)) {
    while let Ok(event) = events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        match event {
            Event::Line(text) => line(&text),
            Event::EndOfOutput => return,
            Event::Ended => {}
        }
    }
}

fn signal_group(group: Pid, signal: Signal) {
    // A group without processes is what we want: no error.
    let _nobody_left = kill_process_group(group, signal);
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{PidfdFlags, pidfd_open};

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn every_line_arrives_and_the_status_is_kept() {
        let mut lines = Vec::new();
        let outcome = watch(shell("echo one; printf two; exit 3"), Duration::from_secs(30), |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines, ["one", "two"]);
        assert!(matches!(outcome, Outcome::Ended(status) if status.code() == Some(3)));
    }

    #[test]
    fn a_time_limit_ends_the_whole_group() {
        let mut lines = Vec::new();
        let outcome = watch(shell("sleep 600 & echo $!; wait"), Duration::from_millis(200), |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(outcome, Outcome::TimedOut);
        let grandchild = Pid::from_raw(lines[0].parse().unwrap()).unwrap();
        // It has been signalled; its end may take a moment more.
        if let Ok(descriptor) = pidfd_open(grandchild, PidfdFlags::empty()) {
            let half_minute = Timespec { tv_sec: 30, tv_nsec: 0 };
            assert_eq!(poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&half_minute)), Ok(1), "the grandchild lives");
        }
    }

    #[test]
    fn output_before_the_limit_is_kept() {
        let mut lines = Vec::new();
        watch(shell("echo before; exec sleep 600"), Duration::from_millis(300), |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines, ["before"]);
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(Command::new("no-such-program-of-strobe")).unwrap_err();
        assert!(format!("{error:#}").contains("no-such-program-of-strobe"));
    }
}
