//! Running programs: with the caller's terminal, or watched, in a process group of their own and with a time limit.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::interrupts::Interrupts;
use crate::limits::{DRAIN, GRACE, WAITING_LINES};

/// How a watched program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ended(ExitStatus),
    /// Its time limit passed: its process group was ended.
    TimedOut,
    /// This recipe was asked to end: the program's process group was ended.
    Interrupted,
}

/// What a watched program's two watchers report.
enum Event {
    Line(String),
    EndOfOutput,
    Ended,
    Interrupted,
}

/// Why a program's lines are not waited for any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Ended,
    Late,
    Interrupted,
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
pub(crate) fn watch(command: Command, limit: Duration, line: impl FnMut(&str)) -> Result<Outcome> {
    watch_or(command, limit, None, line)
}

/// [`watch`], ended early when this recipe is asked to end.
///
/// # Errors
/// Those of [`watch`].
pub(crate) fn watch_or_interrupt(command: Command, limit: Duration, interrupts: &Interrupts, line: impl FnMut(&str)) -> Result<Outcome> {
    watch_or(command, limit, Some(interrupts), line)
}

fn watch_or(mut command: Command, limit: Duration, interrupts: Option<&Interrupts>, mut line: impl FnMut(&str)) -> Result<Outcome> {
    let deadline = Instant::now() + limit;
    let interrupts = interrupts.map(Interrupts::descriptor).transpose()?;
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {}", shown(&command)))?;
    let group = Pid::from_child(&child);
    let events = start_watchers(&mut child, interrupts)?;
    let stop = until_ended(&events, deadline, &mut line);
    if stop != Stop::Ended {
        signal_group(group, Signal::TERM);
        until_ended(&events, Instant::now() + GRACE, &mut line);
        signal_group(group, Signal::KILL);
    }
    // The watcher only looked: the child is reaped here, so until now its number could not name another process group.
    let status = child.wait().context("wait for a child")?;
    drain(&events, Instant::now() + DRAIN, &mut line);
    Ok(match stop {
        Stop::Ended => Outcome::Ended(status),
        Stop::Late => Outcome::TimedOut,
        Stop::Interrupted => Outcome::Interrupted,
    })
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

fn start_watchers(child: &mut Child, interrupts: Option<OwnedFd>) -> Result<Receiver<Event>> {
    let output = child.stdout.take().context("the child's output is a pipe")?;
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).context("hold a child")?;
    let (sender, events) = sync_channel(WAITING_LINES);
    let ended = sender.clone();
    std::thread::spawn(move || send_lines(output, &sender));
    std::thread::spawn(move || send_end(&process, interrupts, &ended));
    Ok(events)
}

/// Tells of an interrupt, if one comes, and of the end of the process, which is left to be reaped by its owner.
fn send_end(process: &OwnedFd, mut interrupts: Option<OwnedFd>, events: &SyncSender<Event>) {
    loop {
        let mut waited: Vec<PollFd> =
            [Some(process), interrupts.as_ref()].into_iter().flatten().map(|one| PollFd::new(one, PollFlags::IN)).collect();
        let ended = match poll(&mut waited, None) {
            Ok(_) => !waited[0].revents().is_empty(),
            Err(Errno::INTR) => continue,
            // There is nothing left to wait with.
            Err(_) => true,
        };
        let _owner_gone = events.send(if ended { Event::Ended } else { Event::Interrupted });
        if ended {
            return;
        }
        interrupts = None;
    }
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

/// Passes lines on until the program has ended, the deadline has passed or an interrupt has come.
fn until_ended(events: &Receiver<Event>, deadline: Instant, line: &mut impl FnMut(&str)) -> Stop {
    loop {
        match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Line(text)) => line(&text),
            Ok(Event::EndOfOutput) => {}
            Ok(Event::Ended) => return Stop::Ended,
            Ok(Event::Interrupted) => return Stop::Interrupted,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Stop::Late,
        }
    }
}

/// Passes on what is still in the pipe.
fn drain(events: &Receiver<Event>, deadline: Instant, line: &mut impl FnMut(&str)) {
    while let Ok(event) = events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        match event {
            Event::Line(text) => line(&text),
            Event::EndOfOutput => return,
            Event::Ended | Event::Interrupted => {}
        }
    }
}

fn signal_group(group: Pid, signal: Signal) {
    // A group without processes is what we want: no error.
    let _nobody_left = kill_process_group(group, signal);
}

#[cfg(test)]
pub(crate) mod tests {
    use rustix::event::Timespec;

    use super::*;
    use crate::interrupts::tests::by_hand;

    /// A shell that runs a script.
    pub(crate) fn shell(script: &str) -> Command {
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
    fn an_interrupt_ends_the_program_long_before_its_limit() {
        use std::io::Write;
        let (interrupts, mut teller) = by_hand();
        let interrupt = |line: &str| assert!(line == "begun" && teller.write_all(b"x").is_ok());
        let outcome = watch_or_interrupt(shell("echo begun; exec sleep 600"), Duration::from_secs(600), &interrupts, interrupt).unwrap();
        assert_eq!(outcome, Outcome::Interrupted);
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
