//! The local mode: one machine as a partition, and this process as its authority.

mod agent_process;
mod agents;
mod authority_shell;
mod cgroup;
mod clock;
mod event;
mod histogram;
mod jobs;
mod launches;
mod leftovers;
mod limits;
mod machine;
mod manifests;
mod output;
mod processes;
mod record;
mod report;
mod run;
mod run_folder;
mod screen;
mod skew;
mod stage;
mod statistics;
mod trace;
mod view;

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use strobe_proto::files::NAME_BYTES_MAX;

use crate::arguments::{OutputFormat, RunArguments};
use agent_process::{Programs, ProgramsError};
use manifests::{PrepareError, Prepared};
use report::Report;
use run::{Ending, RunError, RunOptions};
use run_folder::{FolderError, Keep, RunFolder};
use screen::Mode;
pub(crate) use stage::stage;

/// What the shell is told: every job has completed.
const COMPLETED: u8 = 0;
/// A job has failed.
const FAILED: u8 = 1;
/// The user ended the run.
const INTERRUPTED: u8 = 130;

/// Why a run did not happen, or did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalError {
    /// The input.
    #[error(transparent)]
    Input(#[from] PrepareError),
    /// The programs.
    #[error(transparent)]
    Programs(#[from] ProgramsError),
    /// The run's folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A file that the user asked for cannot be made: seen before anything starts.
    #[error("{option} is {path}, which cannot be written")]
    Output {
        /// The option that names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The file that is to be given, or the folder it is given to.
    #[error("{path} cannot be used")]
    File {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The file's name in the stores.
    #[error(
        "the stores cannot have a file named {0:?}: --name must be a name without slashes, control characters and a leading dot, of at most {NAME_BYTES_MAX} bytes"
    )]
    FileName(String),
    /// What is told at the end cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The report cannot be written as YAML.
    #[error("the report cannot be written as YAML")]
    Yaml(#[source] serde_saphyr::ser_error::Error),
    /// No runtime.
    #[error("cannot start waiting for events")]
    Runtime(#[source] io::Error),
    /// The run itself.
    #[error("the run was given up")]
    Run(#[source] RunError),
}

impl LocalError {
    /// True when the user has to change what was asked.
    pub(crate) const fn is_input(&self) -> bool {
        matches!(
            self,
            Self::Input(_)
                | Self::Output { .. }
                | Self::File { .. }
                | Self::FileName(_)
                | Self::Folder(FolderError::Make { .. } | FolderError::TooLong { .. })
        )
    }
}

/// Runs the jobs of the manifests to their end. Gives what the shell is told.
///
/// # Errors
/// See [`LocalError`]. Nothing is left behind but logs.
pub(crate) fn run(arguments: &RunArguments) -> Result<u8, LocalError> {
    let prepared = manifests::prepare(arguments)?;
    let programs = Programs::find()?;
    // Told now, not after an hour's run.
    let outputs = [("--report", arguments.report.as_deref()), ("--trace", arguments.trace.as_deref())];
    let made: Vec<MadeFile> =
        outputs.into_iter().filter_map(|(option, path)| try_output(option, path?).transpose()).collect::<Result<_, _>>()?;
    let code = run_prepared(arguments, &prepared, programs)?;
    made.into_iter().for_each(MadeFile::keep);
    Ok(code)
}

fn run_prepared(arguments: &RunArguments, prepared: &Prepared, programs: Programs) -> Result<u8, LocalError> {
    for warning in &prepared.warnings {
        eprintln!("warning: {warning}");
    }
    let (parent, cgroup, logs) = (arguments.run_directory.as_deref(), arguments.cgroup.as_deref(), arguments.logs.as_deref());
    let ending = in_own_folder(parent, cgroup, logs, |folder| {
        let options = RunOptions {
            prepared,
            programs,
            folder,
            trace: arguments.trace.as_deref(),
            cgroup,
            down: arguments.no_restart_node.iter().copied().collect(),
            file: None,
            mode: Mode::suitable(arguments.output.is_some()),
        };
        execute(&options)
    })?;
    tell(arguments, &ending.report)?;
    Ok(match (ending.report.interrupted, ending.failed) {
        (true, _) => INTERRUPTED,
        (false, true) => FAILED,
        (false, false) => COMPLETED,
    })
}

/// Runs in a folder of its own, after what earlier runs have left there is gone. The logs stay when it fails.
fn in_own_folder(
    parent: Option<&Path>,
    cgroup: Option<&str>,
    logs: Option<&Path>,
    run: impl FnOnce(&RunFolder) -> Result<Ending, LocalError>,
) -> Result<Ending, LocalError> {
    let parent = run_folder::parent(parent);
    for line in leftovers::clean(&parent, cgroup) {
        eprintln!("note: {line}");
    }
    let folder = RunFolder::make(&parent, logs)?;
    let ended = run(&folder);
    // Who ends a run has seen its output; the logs are for finding out why something failed.
    let keep = match &ended {
        Ok(ending) if ending.report.interrupted || !ending.failed => Keep::Nothing,
        Ok(_) | Err(_) => Keep::Logs,
    };
    let logs = folder.remove(keep);
    if let Some(logs) = logs.filter(|_| keep == Keep::Logs) {
        eprintln!("note: the logs are in {}", logs.display());
    }
    ended
}

/// Whether the file can be written: it is made where there is none, and what it holds is left until there is something to write.
fn try_output(option: &'static str, path: &Path) -> Result<Option<MadeFile>, LocalError> {
    let refused = |source| LocalError::Output { option, path: path.to_owned(), source };
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(_made) => Ok(Some(MadeFile(Some(path.to_owned())))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().write(true).open(path).map(|_there| None).map_err(refused)
        }
        Err(error) => Err(refused(error)),
    }
}

/// A file that was made to see whether it can be: if the run is given up and nothing was written into it, it goes.
struct MadeFile(Option<PathBuf>);

impl MadeFile {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for MadeFile {
    fn drop(&mut self) {
        if let Some(path) = self.0.as_ref().filter(|path| fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0)) {
            // An empty file that stays is no harm.
            let _stays = fs::remove_file(path);
        }
    }
}

fn execute(options: &RunOptions<'_>) -> Result<Ending, LocalError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(LocalError::Runtime)?;
    runtime.block_on(run::execute(options)).map_err(LocalError::Run)
}

fn tell(arguments: &RunArguments, report: &Report) -> Result<(), LocalError> {
    let json = || serde_json::to_string_pretty(report).expect("a report of texts and numbers is JSON") + "\n";
    if let Some(path) = &arguments.report {
        fs::write(path, json()).map_err(|source| LocalError::Write { path: path.clone(), source })?;
    }
    let text = match arguments.output {
        None => view::summary(report),
        Some(OutputFormat::Json) => json(),
        Some(OutputFormat::Yaml) => serde_saphyr::to_string(report).map_err(LocalError::Yaml)?,
    };
    write_out(Path::new("standard output"), &text)
}

fn write_out(name: &Path, text: &str) -> Result<(), LocalError> {
    let write = |source| LocalError::Write { path: name.to_owned(), source };
    io::stdout().lock().write_all(text.as_bytes()).map_err(write)
}
