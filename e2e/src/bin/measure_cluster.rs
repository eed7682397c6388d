//! Measures cells on a cluster for `cargo xtask bench cluster`.
//!
//! Reads lines of JSON: first how to begin, `{"renew":false,"anyScheduler":false}`, then a cell each; writes one line of raw figures for
//! each, in the same order. At the end of its input, and when it is asked to end, it leaves the cluster as it was.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use strobe_e2e::measure::{Order, Place, Setting, measure, restore};
use tokio::signal::unix::{SignalKind, signal};

/// How to begin.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Beginning {
    /// Operator and agents begin anew: the nodes have other images.
    renew: bool,
    /// Agents that switch without the real-time class are measured too.
    any_scheduler: bool,
}

fn main() -> ExitCode {
    if let Err(error) = run() {
        eprintln!("measure-cluster: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn run() -> Result<()> {
    let mut lines = io::stdin().lines();
    let Some(first) = lines.next() else { return Ok(()) };
    let beginning: Beginning = serde_json::from_str(&first.context("read how to begin")?).context("understand how to begin")?;
    let place = Place::make()?;
    restore_when_asked_to_end()?;
    let worked = measure_all(&place, &beginning, lines);
    if worked.is_err() {
        restore()?;
    }
    worked
}

fn measure_all(place: &Place, beginning: &Beginning, lines: impl Iterator<Item = io::Result<String>>) -> Result<()> {
    let setting = Setting::begin(place, beginning.renew, beginning.any_scheduler)?;
    for line in lines {
        let line = line.context("read a cell")?;
        let order: Order = serde_json::from_str(&line).with_context(|| format!("understand {line}"))?;
        say(&measure(&setting, &order).with_context(|| format!("measure {line}"))?)?;
    }
    setting.end()
}

fn say(measured: &Value) -> Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{measured}").and_then(|()| output.flush()).context("say what was measured")
}

/// A cell that is cut off leaves its partition, and namespaces that go with the next run.
fn restore_when_asked_to_end() -> Result<()> {
    const CUT_OFF: i32 = 130;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().context("wait for signals")?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else { return };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if let Err(error) = restore() {
                eprintln!("measure-cluster: the cluster is not as it was: {error:#}");
            }
            std::process::exit(CUT_OFF);
        });
    });
    Ok(())
}
