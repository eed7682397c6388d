//! The program that measures: one process for all cells, which holds the cluster for itself meanwhile. A cell goes in, its figures come out.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::cell::Cell;
use super::record::Measured;
use crate::bench::processor_time;
use crate::lab;

/// How the measuring begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning {
    /// The nodes have been given other images.
    pub(super) renew: bool,
    /// Agents that do not switch in real time are measured too.
    pub(super) any_scheduler: bool,
}

/// How much a cell computes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    pub(super) seconds: f64,
    pub(super) loops_per_us: f64,
}

/// See the module.
pub(super) struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

// === impl Program ===

impl Program {
    /// Starts it; `for_pods` is the folder of the programs that go into pods.
    ///
    /// # Errors
    /// The laboratory is down, or the program does not start.
    pub(super) fn start(program: &Path, for_pods: PathBuf, beginning: Beginning) -> Result<Self> {
        let mut command = Command::new(program);
        command.envs(lab::environment(for_pods)?).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("start {}", program.display()))?;
        let input = child.stdin.take().context("its input is a pipe")?;
        let output = BufReader::new(child.stdout.take().context("its output is a pipe")?);
        let mut started = Self { child, input, output };
        started.say(&json!({ "renew": beginning.renew, "anyScheduler": beginning.any_scheduler }))?;
        Ok(started)
    }

    /// Has a cell measured. The program ends every wait of its own with an error.
    ///
    /// # Errors
    /// It cannot measure it; its words are on standard error already.
    pub(super) fn measure(&mut self, cell: Cell, work: Work) -> Result<Measured> {
        self.say(&json!({ "cell": cell, "work": { "seconds": work.seconds, "loopsPerUs": work.loops_per_us } }))?;
        let mut line = String::new();
        let bytes = self.output.read_line(&mut line).context("read from the measuring program")?;
        ensure!(bytes > 0, "the measuring program has ended in {cell}");
        serde_json::from_str(&line).with_context(|| format!("understand what it says of {cell}: {line}"))
    }

    fn say(&mut self, line: &Value) -> Result<()> {
        writeln!(self.input, "{line}").and_then(|()| self.input.flush()).context("write to the measuring program")
    }

    /// CPU time of all that belongs to the measurement, in clock ticks: this process, the program and the laboratory.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub(super) fn ticks(&self) -> Result<u64> {
        Ok(processor_time::own_ticks()? + processor_time::ticks_of(self.child.id())? + lab::processor::ticks()?)
    }

    /// Lets it leave the cluster as it was.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn end(self) -> Result<()> {
        let Self { mut child, input, output: _output } = self;
        drop(input);
        let status = child.wait().context("wait for the measuring program")?;
        ensure!(status.success(), "the measuring program did not leave the cluster as it was: {status}");
        Ok(())
    }
}
