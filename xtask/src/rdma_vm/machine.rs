//! The machine's life: up, its snapshot, down.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::emulator::{self, SNAPSHOT};
use super::files::{Files, Shape};
use super::image::{self, Image};
use super::monitor::{Monitor, is_late};
use super::room::check_room;
use super::shell::Shell;
use crate::lab::step::{end_of, step};
use crate::limits::{
    EMULATOR_END, RDMA_VM_BOOT, RDMA_VM_CPUS, RDMA_VM_CPUS_RANGE, RDMA_VM_MEMORY_MIB, RDMA_VM_MEMORY_RANGE_MIB, RDMA_VM_POWER_OFF,
    SNAPSHOT_BYTES_BESIDE_MEMORY, SNAPSHOT_LIMIT,
};
use crate::room::check_space;
use crate::workspace::Workspace;

#[derive(Args, Clone, Debug)]
pub(super) struct UpOptions {
    #[command(flatten)]
    image: image::Options,
    /// MiB of memory [default: 2048]
    #[arg(long, value_parser = clap::value_parser!(u32).range(RDMA_VM_MEMORY_RANGE_MIB))]
    memory: Option<u32>,
    /// CPUs [default: 2]
    #[arg(long, value_parser = clap::value_parser!(u32).range(RDMA_VM_CPUS_RANGE))]
    cpus: Option<u32>,
}

// === impl UpOptions ===

impl UpOptions {
    /// What is asked for, and where nothing is, what was before.
    fn shape(&self, image: Image, before: &Shape) -> Shape {
        Shape { image, memory_mib: self.memory.unwrap_or(before.memory_mib), cpus: self.cpus.unwrap_or(before.cpus) }
    }
}

/// Starts the machine, built first if need be. *Guarantees*: when it returns, commands can be run in it, and its clock is right. One that
/// another life of this recipe had left half started is ended first.
///
/// # Errors
/// Not root, no space or memory, a machine or a snapshot of another shape, or the machine does not come up.
pub(super) fn up(workspace: &Workspace, options: &UpOptions) -> Result<()> {
    let image = image::build(workspace, &options.image)?;
    let files = Files::of_this_user()?;
    let _lock = files.lock()?;
    if let Some(monitor) = Monitor::connect(&files.monitor())? {
        if let Some(running) = files.running()? {
            let wanted = options.shape(image, &running);
            ensure!(running == wanted, "the machine is up with {running}: `cargo xtask rdma-vm down` first, or ask for the same");
            return stay_up(&files, &running, &monitor);
        }
        step("end a machine that was left half started", |_| end(monitor))?;
    }
    files.clear()?;
    let saved = files.snapshot()?;
    let default = Shape { image: image.clone(), memory_mib: RDMA_VM_MEMORY_MIB, cpus: RDMA_VM_CPUS };
    let shape = options.shape(image, saved.as_ref().unwrap_or(&default));
    if let Some(saved) = saved.as_ref().filter(|saved| **saved != shape) {
        bail!("the snapshot is of a machine with {saved}: forget it with `cargo xtask rdma-vm snapshot delete`, or ask for the same");
    }
    check_room(&files, &shape)?;
    start(&files, &shape, saved.is_some())
}

/// Ends the machine, and removes what it leaves but its snapshot.
///
/// # Errors
/// It does not end, or something cannot be removed.
pub(super) fn down() -> Result<()> {
    let files = Files::of_this_user()?;
    let _lock = files.lock()?;
    match Monitor::connect(&files.monitor())? {
        Some(monitor) => step("power off", |_| power_off(&files, monitor))?,
        None => println!("the machine is not up"),
    }
    files.clear()
}

/// Saves the running machine's state in the place of an earlier one.
///
/// # Errors
/// The machine is not up, no space, or the emulator cannot save.
pub(super) fn save() -> Result<()> {
    let files = Files::of_this_user()?;
    let _lock = files.lock()?;
    let mut monitor = Monitor::connect(&files.monitor())?.context("the machine is not up: `cargo xtask rdma-vm up`")?;
    let shape = files.running()?.context("the machine is only half started: `cargo xtask rdma-vm up`")?;
    let needed = (u64::from(shape.memory_mib) << 20) + SNAPSHOT_BYTES_BESIDE_MEMORY;
    check_space(files.folder(), needed, "a snapshot with the machine's memory")?;
    // Until it is whole, what is on the disk cannot be relied on.
    files.forget_snapshot()?;
    step("save the snapshot", |_| monitor.command(&format!("savevm {SNAPSHOT}"), SNAPSHOT_LIMIT))?;
    files.note_snapshot(&shape)
}

/// Forgets the snapshot. A running machine runs on.
///
/// # Errors
/// The emulator or the file system refuses.
pub(super) fn delete_snapshot() -> Result<()> {
    let files = Files::of_this_user()?;
    let _lock = files.lock()?;
    let there = files.snapshot()?.is_some();
    files.forget_snapshot()?;
    if !there {
        println!("no snapshot is saved");
    }
    match Monitor::connect(&files.monitor())? {
        Some(mut monitor) if there => step("delete the snapshot", |_| monitor.command(&format!("delvm {SNAPSHOT}"), SNAPSHOT_LIMIT)),
        Some(_) => Ok(()),
        None => files.clear(),
    }
}

fn stay_up(files: &Files, shape: &Shape, monitor: &Monitor) -> Result<()> {
    let shell = Shell::new(files, &shape.image);
    if !shell.is_open() {
        step("open the connection again", |_| shell.open(monitor.pid()))?;
    }
    println!("the machine is up: {shape}");
    Ok(())
}

fn start(files: &Files, shape: &Shape, restore: bool) -> Result<()> {
    let ready = UnixListener::bind(files.ready()).with_context(|| format!("listen at {}", files.ready().display()))?;
    if restore {
        let restored = step("restore the snapshot", |_| emulator::start(files, shape, restore));
        restored.context("the snapshot is not restored: `cargo xtask rdma-vm snapshot delete` forgets it")?;
    } else {
        make_disk(files, shape)?;
        step("start the emulator", |_| emulator::start(files, shape, restore))?;
    }
    let monitor = Monitor::connect(&files.monitor())?.context("the emulator ended as soon as it had started")?;
    reach(files, shape, restore, &ready, &monitor).or_else(|error| {
        let console = end_of(&files.console());
        end(monitor).context("end a machine that did not come up")?;
        bail!("the machine did not come up: {error:#}; the end of its console, {}:\n{console}", files.console().display())
    })?;
    files.note_running(shape)?;
    println!("the machine is up: {shape}\n`cargo xtask rdma-vm run COMMAND…` runs a command in it");
    Ok(())
}

/// Waits until the machine can be reached, and sets its clock where that is of the snapshot's day.
fn reach(files: &Files, shape: &Shape, restore: bool, ready: &UnixListener, monitor: &Monitor) -> Result<()> {
    let shell = Shell::new(files, &shape.image);
    if !restore {
        step("boot", |_| wait_until_ready(ready, RDMA_VM_BOOT))?;
    }
    step("open the connection", |_| shell.open(monitor.pid()))?;
    if restore {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("a clock past 1970")?;
        shell.output(&["date", "--utc", "--set", &format!("@{}.{:03}", now.as_secs(), now.subsec_millis())])?;
    }
    Ok(())
}

/// The emulator connects when it starts; the machine says one line when it can be reached; the end of the stream is the emulator's.
fn wait_until_ready(ready: &UnixListener, limit: Duration) -> Result<()> {
    let wait = Timespec::try_from(EMULATOR_END).context("a time that the kernel takes")?;
    let waiting = poll(&mut [PollFd::new(ready, PollFlags::IN)], Some(&wait)).context("wait for the emulator")?;
    ensure!(waiting > 0, "the emulator has not connected");
    let (stream, _) = ready.accept().context("accept the emulator")?;
    stream.set_read_timeout(Some(limit)).context("limit a wait")?;
    let mut line = String::new();
    match BufReader::new(stream).read_line(&mut line) {
        Ok(0) => bail!("it ended while it booted"),
        Ok(_) => Ok(()),
        Err(error) if is_late(&error) => bail!("not ready after {} s", limit.as_secs()),
        Err(error) => Err(error).context("listen to the machine"),
    }
}

/// A new disk for each life: it holds what differs from the image.
fn make_disk(files: &Files, shape: &Shape) -> Result<()> {
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"]).arg(shape.image.disk()).arg(files.disk());
    crate::process::run(command)
}

/// Asks the machine to power off; ends the emulator where it does not.
fn power_off(files: &Files, monitor: Monitor) -> Result<()> {
    let Some(shape) = files.running()? else { return end(monitor) };
    let shell = Shell::new(files, &shape.image);
    // The answer may be lost with the connection: what counts is the emulator's end.
    let asked = shell.is_open() && shell.output(&["systemctl", "poweroff"]).is_ok();
    if !(asked && monitor.has_ended(RDMA_VM_POWER_OFF)?) {
        end(monitor)?;
    }
    shell.close();
    Ok(())
}

/// Ends the emulator, if need be without its consent.
fn end(mut monitor: Monitor) -> Result<()> {
    // One that does not answer is killed below.
    let _answer = monitor.quit();
    if !monitor.has_ended(EMULATOR_END)? {
        monitor.kill()?;
        ensure!(monitor.has_ended(EMULATOR_END)?, "the emulator (process {}) cannot be killed", monitor.pid().as_raw_nonzero());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_not_asked_for_is_as_before() {
        let image = || Image::for_test("/image");
        let options = image::Options { containers: false, mirror: None, no_install: false };
        let options = UpOptions { image: options, memory: None, cpus: Some(4) };
        let before = Shape { image: Image::for_test("/older"), memory_mib: 1024, cpus: 1 };
        assert_eq!(options.shape(image(), &before), Shape { image: image(), memory_mib: 1024, cpus: 4 });
    }

    #[test]
    fn a_machine_that_ends_or_is_silent_is_not_ready() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("ready");
        let listener = UnixListener::bind(&socket).unwrap();
        let ready = |limit| wait_until_ready(&listener, limit).map_err(|error| error.to_string());
        UnixStream::connect(&socket).unwrap().write_all(b"ready\n").unwrap();
        assert_eq!(ready(Duration::from_secs(30)), Ok(()));
        drop(UnixStream::connect(&socket).unwrap());
        assert_eq!(ready(Duration::from_secs(30)), Err("it ended while it booted".to_owned()));
        let _silent = UnixStream::connect(&socket).unwrap();
        assert!(ready(Duration::from_millis(1)).unwrap_err().starts_with("not ready"));
    }
}
