//! The steps of a recipe that takes minutes: each is named when it begins, shows how far it is, and says its time when it ends.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, IsTerminal, Write, stderr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::limits::LOG_LINES_SHOWN;
use crate::process;

/// A terminal is not written to more often than this.
const REDRAW: Duration = Duration::from_millis(100);

/// The line of one step: rewritten in place on a terminal, else written once when it begins and once when it has ended.
pub(crate) struct Step {
    name: String,
    began: Instant,
    drawn: Option<Instant>,
    terminal: bool,
}

/// Does one step, and says its time.
///
/// # Errors
/// The step's own, with its name and its time.
pub(crate) fn step<T>(name: &str, work: impl FnOnce(&mut Step) -> Result<T>) -> Result<T> {
    let mut line = Step { name: name.to_owned(), began: Instant::now(), drawn: None, terminal: stderr().is_terminal() };
    line.begin();
    let result = work(&mut line);
    line.end(result.is_ok());
    result.with_context(|| format!("{name}, after {:.1} s", line.began.elapsed().as_secs_f64()))
}

/// The last lines of a log; none of one that cannot be read.
pub(crate) fn end_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}

// === impl Step ===

impl Step {
    /// Runs a program, whose output goes to a log file and whose lines are counted as the step's progress.
    ///
    /// # Errors
    /// It cannot be started, or fails: then with the last lines of its output and the log's name.
    pub(crate) fn run(&mut self, command: Command, log: &Path) -> Result<()> {
        self.run_with(command, Stdio::null(), log)
    }

    /// [`Self::run`], for a program that reads.
    ///
    /// # Errors
    /// Those of [`Self::run`].
    pub(crate) fn run_with(&mut self, mut command: Command, input: Stdio, log: &Path) -> Result<()> {
        let shown = process::shown(&command);
        let mut log_file = File::options().create(true).append(true).open(log).with_context(|| format!("write {}", log.display()))?;
        writeln!(log_file, "$ {shown}").with_context(|| format!("write {}", log.display()))?;
        let (reader, writer) = std::io::pipe().context("make a pipe")?;
        command.stdin(input).stdout(writer.try_clone().context("copy a pipe")?).stderr(writer);
        let mut child = command.spawn().with_context(|| format!("start {shown}"))?;
        // The command holds the pipe's other end: without this the output would never end.
        drop(command);
        let last = self.follow(BufReader::new(reader), &mut log_file)?;
        let status = child.wait().with_context(|| format!("wait for {shown}"))?;
        if !status.success() {
            bail!("{shown}: {status}; the end of {}:\n{}", log.display(), Vec::from(last).join("\n"));
        }
        Ok(())
    }

    /// Copies output into the log; gives its last lines.
    fn follow(&mut self, output: impl BufRead, log: &mut File) -> Result<VecDeque<String>> {
        let mut last = VecDeque::with_capacity(LOG_LINES_SHOWN);
        for (count, line) in output.split(b'\n').enumerate() {
            let line = String::from_utf8_lossy(&line.context("read a program's output")?).into_owned();
            writeln!(log, "{line}").context("write the log")?;
            if last.len() == LOG_LINES_SHOWN {
                last.pop_front();
            }
            self.draw(&format!("{} lines", count + 1));
            last.push_back(line);
        }
        Ok(last)
    }

    fn begin(&mut self) {
        if self.terminal {
            self.draw("");
        } else {
            eprintln!("{} …", self.name);
        }
    }

    fn draw(&mut self, progress: &str) {
        if self.terminal && self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW) {
            self.drawn = Some(Instant::now());
            eprint!("\r\x1b[K{:<44} {:>7.1} s  {progress}", self.name, self.began.elapsed().as_secs_f64());
        }
    }

    fn end(&self, succeeded: bool) {
        let verdict = if succeeded { "" } else { "  FAILED" };
        let place = if self.terminal { "\r\x1b[K" } else { "" };
        eprintln!("{place}{:<44} {:>7.1} s{verdict}", self.name, self.began.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::tests::shell;

    #[test]
    fn output_of_both_kinds_is_kept_in_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        step("a test's step", |step| step.run(shell("echo one; echo two >&2"), &log)).unwrap();
        assert_eq!(fs::read_to_string(log).unwrap(), "$ sh -c echo one; echo two >&2\none\ntwo\n");
    }

    #[test]
    fn a_failure_shows_the_end_of_the_output_and_names_the_step() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let error = step("a test's step", |step| step.run(shell("seq 100; exit 4"), &log)).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.starts_with("a test's step, after "), "{text}");
        assert!(text.contains("exit status: 4") && text.ends_with("\n99\n100") && !text.contains("\n9\n"), "{text}");
    }
}
