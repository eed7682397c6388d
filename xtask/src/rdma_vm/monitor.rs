//! The emulator's monitor: a socket at which it takes commands, and by which it is known to live.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::{Value, json};

use crate::limits::MONITOR_ANSWER;

/// A connection to a live emulator.
pub(super) struct Monitor {
    stream: BufReader<UnixStream>,
    pid: Pid,
    process: OwnedFd,
}

impl Monitor {
    /// A connection, or none where nothing lives behind the socket: never started, ended, or of before a reboot.
    ///
    /// # Errors
    /// Something lives there and does not answer.
    pub(super) fn connect(socket: &Path) -> Result<Option<Self>> {
        let stream = match UnixStream::connect(socket) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
            stream => stream.with_context(|| format!("connect to {}", socket.display()))?,
        };
        let pid = socket_peercred(&stream).context("ask who listens")?.pid;
        let process = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Ok(None),
            process => process.context("hold the emulator")?,
        };
        let mut monitor = Self { stream: BufReader::new(stream), pid, process };
        match monitor.greet() {
            Err(error) if monitor.has_ended(Duration::ZERO)? => {
                drop(error);
                Ok(None)
            }
            greeted => greeted
                .with_context(|| format!("the emulator (process {}) at {}", pid.as_raw_nonzero(), socket.display()))
                .map(|()| Some(monitor)),
        }
    }

    /// The emulator's process.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Gives a command as a person would type it, and waits until it has been carried out.
    ///
    /// # Errors
    /// The emulator refuses it, says what went wrong, or does not answer in time.
    pub(super) fn command(&mut self, line: &str, limit: Duration) -> Result<()> {
        let said = self.call("human-monitor-command", Some(json!({ "command-line": line })), limit)?;
        match said.as_str().map(str::trim) {
            Some("") => Ok(()),
            Some(problem) => bail!("{line}: {problem}"),
            None => bail!("{line}: {said}"),
        }
    }

    /// Tells the emulator to end.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) fn quit(&mut self) -> Result<()> {
        self.call("quit", None, MONITOR_ANSWER).map(|_| ())
    }

    /// Ends the emulator as it is.
    ///
    /// # Errors
    /// This process may not.
    pub(super) fn kill(&self) -> Result<()> {
        match pidfd_send_signal(&self.process, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error).context("end the emulator"),
        }
    }

    /// Whether the emulator's process has ended, or does so within a time.
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub(super) fn has_ended(&self, within: Duration) -> Result<bool> {
        let deadline = Instant::now() + within;
        loop {
            let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).context("a time that the kernel takes")?;
            match poll(&mut [PollFd::new(&self.process, PollFlags::IN)], Some(&left)) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("wait for the emulator"),
            }
        }
    }

    fn greet(&mut self) -> Result<()> {
        let greeting = self.read(Instant::now() + MONITOR_ANSWER)?;
        ensure!(greeting.get("QMP").is_some(), "greets with {greeting}");
        self.call("qmp_capabilities", None, MONITOR_ANSWER).map(|_| ())
    }

    fn call(&mut self, command: &str, arguments: Option<Value>, limit: Duration) -> Result<Value> {
        let deadline = Instant::now() + limit;
        let mut line = json!({ "execute": command });
        if let Some(arguments) = arguments {
            line["arguments"] = arguments;
        }
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes()).with_context(|| format!("say {command} to the emulator"))?;
        loop {
            let mut answer = self.read(deadline).with_context(|| format!("the answer to {command}"))?;
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
            if let Some(error) = answer.get("error") {
                bail!("{command}: {}", error["desc"].as_str().unwrap_or("refused"));
            }
            // Anything else is the news of an event.
        }
    }

    fn read(&mut self, deadline: Instant) -> Result<Value> {
        let left = deadline.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "did not come in time");
        self.stream.get_ref().set_read_timeout(Some(left)).context("limit a wait")?;
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => bail!("the emulator has ended"),
            Ok(_) => serde_json::from_str(&line).with_context(|| format!("understand {line}")),
            Err(error) if is_late(&error) => bail!("did not come in time"),
            Err(error) => Err(error).context("listen to the emulator"),
        }
    }
}

/// Whether a stream had nothing to read until its time was over.
pub(super) fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;
    use std::thread::JoinHandle;

    use super::*;

    const GREETING: &str = r#"{"QMP": {"version": {}}}"#;
    const DONE: &str = r#"{"return": {}}"#;

    /// Something that says these lines, each as an answer to one but the first, then hangs up; gives what it was told.
    fn emulator(folder: &tempfile::TempDir, lines: &'static [&'static str]) -> (PathBuf, JoinHandle<Vec<String>>) {
        let socket = folder.path().join("monitor");
        let listener = UnixListener::bind(&socket).unwrap();
        let told = std::thread::spawn(move || {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            let mut told = Vec::new();
            for (index, line) in lines.iter().enumerate() {
                if index > 0 {
                    let mut command = String::new();
                    stream.read_line(&mut command).unwrap();
                    told.push(command);
                }
                stream.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
            }
            told
        });
        (socket, told)
    }

    #[test]
    fn a_socket_that_nobody_listens_at_is_no_machine() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("monitor");
        assert!(Monitor::connect(&socket).unwrap().is_none());
        drop(UnixListener::bind(&socket).unwrap());
        assert!(socket.exists() && Monitor::connect(&socket).unwrap().is_none());
    }

    #[test]
    fn events_before_an_answer_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, told) = emulator(&folder, &[GREETING, DONE, "{\"event\": \"STOP\"}\n{\"return\": \"\"}"]);
        let mut monitor = Monitor::connect(&socket).unwrap().unwrap();
        monitor.command("savevm ready", Duration::from_secs(30)).unwrap();
        assert!(told.join().unwrap()[1].contains(r#""command-line":"savevm ready""#));
    }

    #[test]
    fn what_a_command_says_is_its_error() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, _told) = emulator(&folder, &[GREETING, DONE, r#"{"return": "Error: no room\r\n"}"#]);
        let mut monitor = Monitor::connect(&socket).unwrap().unwrap();
        let error = monitor.command("savevm ready", Duration::from_secs(30)).unwrap_err();
        assert_eq!(error.to_string(), "savevm ready: Error: no room");
    }

    #[test]
    fn one_who_lives_and_does_not_greet_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, _told) = emulator(&folder, &[r#"{"hello": 1}"#]);
        let error = format!("{:#}", Monitor::connect(&socket).err().unwrap());
        assert!(error.contains("greets with"), "{error}");
    }
}
