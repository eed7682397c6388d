//! The connection into the machine: one that `up` opens and that lasts, and sessions over it, each without a new exchange of keys, for
//! that takes long under emulation.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Pid;

use super::files::Files;
use super::image::{HOST, Image};
use crate::limits::{RDMA_VM_COMMAND, SSH_OPEN};
use crate::process;

/// Sessions in the machine.
pub(super) struct Shell {
    files: Files,
    image: Image,
}

// === impl Shell ===

impl Shell {
    /// Of the machine with this image.
    pub(super) fn new(files: &Files, image: &Image) -> Self {
        Self { files: files.clone(), image: image.clone() }
    }

    /// Of this user's machine, which must be up.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn of_this_user() -> Result<Self> {
        let files = Files::of_this_user()?;
        let shape = files.running()?.context("the machine is not up: `cargo xtask rdma-vm up`")?;
        let shell = Self::new(&files, &shape.image);
        ensure!(shell.is_open(), "the machine is not up, or the connection to it is lost: `cargo xtask rdma-vm up` mends both");
        Ok(shell)
    }

    /// Whether the connection is open.
    pub(super) fn is_open(&self) -> bool {
        UnixStream::connect(self.files.control()).is_ok()
    }

    /// Opens the connection, through the network namespace of the emulator.
    ///
    /// # Errors
    /// The machine does not answer in time, or is another than was built.
    pub(super) fn open(&self, emulator: Pid) -> Result<()> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", emulator.as_raw_nonzero())).arg("ssh").args(self.options());
        command.args(["-o", "ControlMaster=yes", "root@127.0.0.1"]);
        self.in_background(command)
    }

    /// Ends the connection, if it is open.
    pub(super) fn close(&self) {
        // It ends with the emulator in any case.
        let _result = self.ssh().args(["-O", "exit", HOST]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }

    /// Runs a command with the caller's terminal, and gives its exit status; a shell where there is none.
    ///
    /// # Errors
    /// ssh cannot be started.
    pub(super) fn pass_through(&self, words: &[String]) -> Result<ExitCode> {
        let mut command = self.ssh();
        if words.is_empty() {
            command.args(["-t", HOST]);
        } else {
            command.arg(HOST).arg(line(words));
        }
        process::pass_through(command)
    }

    /// A command that ends in the machine when it takes longer than this; run by the caller.
    pub(super) fn limited(&self, limit: Duration, words: &[&str]) -> Command {
        let limit = limit.as_secs().to_string();
        let mut command = self.ssh();
        command.arg(HOST).arg(line(&[&["timeout", limit.as_str()], words].concat())).stdin(Stdio::null());
        command
    }

    /// Runs ssh until it is connected, and leaves it there.
    fn in_background(&self, mut ssh: Command) -> Result<()> {
        let path = self.files.log();
        let log = File::options().append(true).create(true).open(&path).with_context(|| format!("write {}", path.display()))?;
        let limit = SSH_OPEN.as_secs();
        ssh.args(["-o", &format!("ConnectTimeout={limit}"), "-o", "ServerAliveInterval=60", "-N", "-f"]);
        let mut command = Command::new("timeout");
        command.arg(limit.to_string()).arg(ssh.get_program()).args(ssh.get_args());
        // Not pipes: what goes on in the background would hold them open.
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).status().context("start ssh")?;
        if !status.success() {
            let said = fs::read_to_string(&path).unwrap_or_default();
            bail!("no connection to the machine within {limit} s ({status}):\n{}", said.trim_end());
        }
        Ok(())
    }

    /// Runs a command of a recipe's own; gives its output.
    ///
    /// # Errors
    /// It fails, or takes too long: then with what it said.
    pub(super) fn output(&self, words: &[&str]) -> Result<String> {
        let output = self.limited(RDMA_VM_COMMAND, words).output().context("start ssh")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{} in the machine: {}\n{}{}", words.join(" "), output.status, text, said.trim_end());
        }
        Ok(text)
    }

    /// Copies files and folders into the machine.
    ///
    /// # Errors
    /// One of them is not there, or scp cannot be started.
    pub(super) fn put(&self, sources: &[PathBuf], destination: &str) -> Result<ExitCode> {
        process::pass_through(self.copying(sources, destination)?)
    }

    /// The program that does [`Shell::put`].
    ///
    /// # Errors
    /// A source is not there.
    pub(super) fn copying(&self, sources: &[PathBuf], destination: &str) -> Result<Command> {
        let mut command = Command::new("scp");
        command.args(self.options()).args(["-q", "-r", "--"]);
        for source in sources {
            // A whole path: a colon in a relative one would be taken for a host's name.
            command.arg(fs::canonicalize(source).with_context(|| format!("find {}", source.display()))?);
        }
        command.arg(format!("{HOST}:{destination}"));
        Ok(command)
    }

    /// Over the open connection only: there is no other way to the machine.
    fn ssh(&self) -> Command {
        let mut command = Command::new("ssh");
        command.args(self.options()).args(["-o", "ProxyCommand=false"]);
        command
    }

    fn options(&self) -> Vec<String> {
        let mut options: Vec<String> = ["-F", "none"].map(str::to_owned).into();
        let fixed = ["BatchMode=yes", "IdentitiesOnly=yes", "LogLevel=ERROR", "StrictHostKeyChecking=yes", "User=root"].map(str::to_owned);
        let own = [
            format!("HostKeyAlias={HOST}"),
            format!("IdentityFile={}", quoted(&self.image.key())),
            format!("UserKnownHostsFile={}", quoted(&self.image.known_hosts())),
            format!("ControlPath={}", quoted(&self.files.control())),
        ];
        options.extend(fixed.into_iter().chain(own).flat_map(|option| ["-o".to_owned(), option]));
        options
    }
}

/// A path in ssh's settings, where a space would end it and a percent sign stands for something else.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.to_string_lossy().replace('%', "%%"))
}

/// Words as a shell reads them, each as it is.
pub(super) fn spelled<Word: AsRef<str>>(words: &[Word]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("'{}'", word.as_ref().replace('\'', r"'\''"))).collect();
    words.join(" ")
}

/// What the machine's shell is told so that the program gets these arguments; a signal that ends it counts as 128 + signal.
fn line<Word: AsRef<str>>(words: &[Word]) -> String {
    format!("{}; exit $?", spelled(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_arrive_as_they_are() {
        let words = ["printf", "[%s]", "a b", "it's", "$HOME", "", "*"];
        let output = Command::new("sh").args(["-c", &line(&words)]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "[a b][it's][$HOME][][*]");
    }

    #[test]
    fn the_exit_status_is_the_programs() {
        let status = |words: &[&str]| Command::new("sh").args(["-c", &line(words)]).output().unwrap().status.code();
        assert_eq!(status(&["sh", "-c", "exit 7"]), Some(7));
        assert_eq!(status(&["sh", "-c", "kill -KILL $$"]), Some(137));
    }

    #[test]
    fn paths_in_settings_are_quoted() {
        assert_eq!(quoted(Path::new("/a b/50%")), r#""/a b/50%%""#);
    }
}
