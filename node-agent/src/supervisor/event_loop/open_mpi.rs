//! Open MPI's ranks find each other by PMIx alone, which nobody speaks here yet: each of them would believe that it is the only one,
//! and as many programs of one rank would run. Nothing that could be heard tells of it, so the first rank is looked at for a while.
//! What is found is only said: a program may load Open MPI and never use it.

use std::{fs, time::Duration};

use rustix::process::Pid;

use super::Supervisor;
use crate::{
    process_tree::children_of,
    supervisor::{
        life::Moment,
        limits::{OPEN_MPI_LOOK_MAX, OPEN_MPI_LOOK_MIN, OPEN_MPI_LOOKED},
    },
    supervisor_protocol::{LaunchProtocol, Rank},
};

/// What is said in the rank's output.
const REMARK: &str = "this program has loaded Open MPI, whose ranks find each other by PMIx. Strobe does not speak PMIx yet: in \
    MPI every rank believes that it is the only one. Build the program with MPICH, or another MPI that speaks PMI-1.";

/// Looks at a rank, ever more rarely, until it is found to use Open MPI or has been looked at for long enough.
#[derive(Debug)]
pub(super) struct OpenMpiWatch {
    rank: Pid,
    until: Moment,
    next: Moment,
    wait: Duration,
}

// === impl Supervisor ===

impl Supervisor {
    /// The ranks were released: rank 0 is looked at, once for a gang. Who launches without a protocol of ours knows how ranks find each
    /// other.
    pub(super) fn watch_for_open_mpi(&mut self) {
        let protocol = self.configure.as_ref().map(|configure| configure.protocol);
        let asked = matches!(protocol, Some(LaunchProtocol::Pmi1 | LaunchProtocol::Environment));
        let first = self.ranks.first().filter(|process| asked && process.rank == Rank(0));
        self.open_mpi = first.map(|process| OpenMpiWatch::new(process.pid, self.now()));
    }

    /// Says so when rank 0 waits for PMIx.
    pub(super) fn look_for_open_mpi(&mut self) {
        let now = self.now();
        let Some(watch) = &mut self.open_mpi else { return };
        // Its number is its own until it is reaped.
        let Some(process) = self.ranks.first_mut().filter(|process| process.end.is_none()) else { return self.open_mpi = None };
        if watch.look(now) {
            process.remark(REMARK, &mut self.sink);
            self.open_mpi = None;
        }
    }
}

// === impl OpenMpiWatch ===

impl OpenMpiWatch {
    /// Of a rank that was released at `now`.
    pub(super) fn new(rank: Pid, now: Moment) -> Self {
        Self { rank, until: now + OPEN_MPI_LOOKED, next: now + OPEN_MPI_LOOK_MIN, wait: OPEN_MPI_LOOK_MIN }
    }

    /// When it is to be looked at next; none once it was looked at for long enough.
    pub(super) fn next_look(&self) -> Option<Moment> {
        (self.next < self.until).then_some(self.next)
    }

    /// Looks, if that is due: true when the rank, or what it has started, has loaded Open MPI and was not started by its own launcher.
    pub(super) fn look(&mut self, now: Moment) -> bool {
        if self.next_look().is_none_or(|due| now < due) {
            return false;
        }
        self.wait = (self.wait * 5 / 4).min(OPEN_MPI_LOOK_MAX);
        self.next = now + self.wait;
        waits_for_pmix(self.rank)
    }
}

fn waits_for_pmix(process: Pid) -> bool {
    let here = has_loaded_open_mpi(process) && !has_launcher(process);
    here || children_of(process).into_iter().any(waits_for_pmix)
}

/// The library itself beside the one that it is built on, which no other MPI has. Its launchers load the latter alone.
fn has_loaded_open_mpi(process: Pid) -> bool {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap_or_default();
    let files = || maps.lines().filter_map(|line| line.rsplit('/').next());
    files().any(|file| file.starts_with("libmpi.so")) && files().any(|file| file.starts_with("libopen-pal.so"))
}

/// True for what mpirun has started, which serves PMIx itself.
fn has_launcher(process: Pid) -> bool {
    let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(b"PMIX_RANK="))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        path::{Path, PathBuf},
        process::{Child, Command, Stdio},
    };

    use super::*;

    /// An empty library of that name.
    fn library(folder: &Path, name: &str) -> PathBuf {
        let (source, library) = (folder.join("empty.c"), folder.join(name));
        fs::write(&source, "").unwrap();
        let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
        assert!(compiled.expect("a C compiler is needed").success());
        library
    }

    /// A shell that has this in its environment, and so have its children; `script` ends in a `cat` that has begun.
    fn running(script: &str, environment: &[(&str, String)]) -> Child {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script]).envs(environment.iter().map(|(name, value)| (name, value)));
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        shell.stdin.as_mut().unwrap().write_all(b"begun\n").unwrap();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        shell
    }

    fn found(mut shell: Child) -> bool {
        let found = waits_for_pmix(Pid::from_child(&shell));
        drop(shell.stdin.take());
        shell.wait().unwrap();
        found
    }

    #[test]
    fn open_mpi_is_known_by_its_libraries_unless_its_own_launcher_began_it() {
        let folder = tempfile::tempdir().unwrap();
        let [mpi, base] = ["libmpi.so.40", "libopen-pal.so.40"].map(|name| library(folder.path(), name).display().to_string());
        let both = ("LD_PRELOAD", format!("{mpi}:{base}"));
        assert!(found(running("exec cat", std::slice::from_ref(&both))), "the rank itself");
        let child = format!("LD_PRELOAD={mpi}:{base} cat; true");
        assert!(found(running(&child, &[])), "what the rank has started");
        assert!(!found(running("exec cat", &[("LD_PRELOAD", mpi)])), "another MPI");
        assert!(!found(running("exec cat", &[("LD_PRELOAD", base)])), "mpirun");
        assert!(!found(running("exec cat", &[both, ("PMIX_RANK", "0".to_owned())])), "what mpirun has started");
    }

    #[test]
    fn a_rank_is_looked_at_ever_more_rarely_and_not_for_ever() {
        let begun = Moment::from_secs(5);
        let mut watch = OpenMpiWatch::new(rustix::process::getpid(), begun);
        assert!(!watch.look(begun), "not before its time");
        let mut looks = Vec::new();
        while let Some(next) = watch.next_look() {
            looks.push(next - begun);
            assert!(!watch.look(next), "this test uses no MPI");
        }
        assert_eq!(looks[..2], [OPEN_MPI_LOOK_MIN, OPEN_MPI_LOOK_MIN * 9 / 4]);
        assert!(looks.len() < 50 && looks.iter().all(|look| *look < OPEN_MPI_LOOKED), "{looks:?}");
    }
}
