//! `local stage`: a file in the stores of all nodes of a machine, on the path on which programs and checkpoints go to a cluster's nodes.

use std::{fs, io, path::Path};

use serde::Serialize;
use strobe_proto::files;

use super::{
    COMPLETED, FAILED, INTERRUPTED, LocalError,
    agent_process::Programs,
    in_own_folder, manifests,
    run::{FileEnding, FileOptions, RunOptions, rate},
    screen::Mode,
    write_out,
};
use crate::arguments::{OutputFormat, StageArguments};

/// What is told at the end, for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StageReport {
    name: String,
    bytes: u64,
    nodes: u16,
    seconds: f64,
    /// As `sha256sum` writes it; none when it was not given.
    sha256: Option<String>,
    /// The file in each store; none where it was not given.
    files: Vec<String>,
    /// Why it was not given.
    error: Option<String>,
}

/// Copies a file to every node's store. Gives what the shell is told.
///
/// # Errors
/// See [`LocalError`].
pub(crate) fn stage(arguments: &StageArguments) -> Result<u8, LocalError> {
    let file = file_options(arguments)?;
    let prepared = manifests::nodes_alone(arguments.nodes).map_err(LocalError::Input)?;
    let programs = Programs::find()?;
    let ending = in_own_folder(arguments.run_directory.as_deref(), None, None, |folder| {
        let options = RunOptions {
            prepared: &prepared,
            programs,
            folder,
            trace: None,
            cgroup: None,
            down: std::collections::BTreeSet::new(),
            file: Some(&file),
            mode: Mode::suitable(arguments.output.is_some()),
        };
        super::execute(&options)
    })?;
    let given = ending.file.expect("the run was of a file");
    tell(arguments, &file, &given)?;
    Ok(match (ending.report.interrupted, given.given.is_ok()) {
        (true, _) => INTERRUPTED,
        (false, true) => COMPLETED,
        (false, false) => FAILED,
    })
}

fn file_options(arguments: &StageArguments) -> Result<FileOptions, LocalError> {
    let refused = |source| LocalError::File { path: arguments.file.clone(), source };
    let path = fs::canonicalize(&arguments.file).map_err(refused)?;
    if !path.is_file() {
        return Err(refused(io::Error::new(io::ErrorKind::InvalidInput, "it must be a regular file")));
    }
    let own_name = || path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = arguments.name.clone().or_else(own_name).unwrap_or_default();
    if !files::is_name(&name) {
        return Err(LocalError::FileName(name));
    }
    let not_text = || refused(io::Error::new(io::ErrorKind::InvalidInput, "its path must be text in UTF-8"));
    let path = path.to_str().ok_or_else(not_text)?.to_owned();
    let stores = std::path::absolute(&arguments.to).map_err(|source| LocalError::File { path: arguments.to.clone(), source })?;
    Ok(FileOptions { path, name, stores })
}

fn tell(arguments: &StageArguments, file: &FileOptions, ending: &FileEnding) -> Result<(), LocalError> {
    let FileEnding { length, seconds, given } = ending;
    let sha256 = given.as_ref().ok().map(|checksum| checksum.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let path = |node: u16| file.store(strobe_core::model::NodeIndex(node)).join(&file.name).display().to_string();
    let files: Vec<String> = if sha256.is_some() { (0..arguments.nodes).map(path).collect() } else { Vec::new() };
    let report = StageReport {
        name: file.name.clone(),
        bytes: *length,
        nodes: arguments.nodes,
        seconds: *seconds,
        sha256,
        files,
        error: given.as_ref().err().cloned(),
    };
    let text = match arguments.output {
        Some(OutputFormat::Json) => serde_json::to_string_pretty(&report).expect("texts and numbers are JSON") + "\n",
        Some(OutputFormat::Yaml) => serde_saphyr::to_string(&report).map_err(LocalError::Yaml)?,
        None => for_people(&report),
    };
    write_out(Path::new("standard output"), &text)
}

fn for_people(report: &StageReport) -> String {
    let StageReport { name, bytes, nodes, seconds, sha256, files, error } = report;
    let to = if *nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") };
    match (sha256, error) {
        (Some(sha256), _) => {
            let first = format!("{name}: {bytes} bytes to {to} in {seconds:.3} s, {}\n", rate(*bytes, *seconds));
            files.iter().fold(first, |text, file| text + &format!("{sha256}  {file}\n"))
        }
        (None, error) => format!("{name}: not given to {to}: {}\n", error.as_deref().unwrap_or_default()),
    }
}
