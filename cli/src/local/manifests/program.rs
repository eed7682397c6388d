//! The program of a job as it is started on this machine.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use strobe_crds::{
    manifest::{Document, Object},
    rules::Violation,
    validate::ValidJob,
};

/// Where programs are looked for when nothing says so.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// How a job's ranks are started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::local) struct Launch {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// This process's own variables, replaced and followed by those of the manifest.
    pub environment: Vec<(String, String)>,
    /// Absolute.
    pub working_directory: PathBuf,
}

/// Makes sure that the program and its folder are there, as far as can be seen before anything starts.
///
/// # Errors
/// What is missing, and what would be right.
pub(super) fn find(document: &Document, job: &ValidJob, here: &Path, inherited: &[(String, String)]) -> Result<Launch, Box<Violation>> {
    let container = container_path(document);
    let working_directory = match &job.program.working_directory {
        Some(stated) => here.join(stated),
        None => here.to_owned(),
    };
    if !working_directory.is_dir() {
        let what = format!("is {:?}, which is no folder of this machine", job.program.working_directory.clone().unwrap_or_default());
        let right = "name one: local mode starts the ranks in it".to_owned();
        return Err(Box::new(Violation { rule: "working-directory-here", path: format!("{container}.workingDir"), what, right }));
    }
    let environment = merged(inherited, &job.program.environment);
    let program = &job.program.command[0];
    if let Err(why) = look_for(program, &working_directory, &environment) {
        let what = format!("is {program:?}, {why}");
        let right = "name a program of this machine: local mode runs no image".to_owned();
        return Err(Box::new(Violation { rule: "program-here", path: format!("{container}.command[0]"), what, right }));
    }
    Ok(Launch { command: job.program.command.clone(), environment, working_directory })
}

fn container_path(document: &Document) -> String {
    let index = match &document.object {
        Object::ParallelJob(job) => job.spec.find_rank_container().map_or(0, |(index, _)| index),
        Object::Partition(_) => 0,
    };
    format!("spec.template.spec.containers[{index}]")
}

/// The first variables, replaced by the second where they have the same name.
fn merged(inherited: &[(String, String)], stated: &[(String, String)]) -> Vec<(String, String)> {
    let kept = inherited.iter().filter(|(name, _)| stated.iter().all(|(replaced, _)| replaced != name));
    kept.chain(stated).cloned().collect()
}

/// Looks for a program as execvp(3) does: by path when it has a slash, else in the folders of PATH.
fn look_for(program: &str, working_directory: &Path, environment: &[(String, String)]) -> Result<(), String> {
    if program.contains('/') {
        return is_program(&working_directory.join(program)).map_err(|why| format!("which {why} (from {})", working_directory.display()));
    }
    let folders = environment.iter().rev().find(|(name, _)| name == "PATH").map_or(DEFAULT_PATH, |(_, value)| value);
    let found = std::env::split_paths(folders).any(|folder| is_program(&working_directory.join(folder).join(program)).is_ok());
    if found { Ok(()) } else { Err("which is in no folder of PATH".to_owned()) }
}

fn is_program(path: &Path) -> Result<(), &'static str> {
    let metadata = std::fs::metadata(path).map_err(|_| "is not there")?;
    if metadata.is_dir() {
        return Err("is a folder");
    }
    access(path, Access::EXEC_OK).map_err(|_| "may not be executed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn the_manifests_variables_replace_inherited_ones() {
        let merged = merged(&[variable("A", "1"), variable("B", "2")], &[variable("A", "3"), variable("C", "4")]);
        assert_eq!(merged, [variable("B", "2"), variable("A", "3"), variable("C", "4")]);
    }

    #[test]
    fn programs_are_looked_for_as_the_kernel_would() {
        let root = Path::new("/");
        let path = [variable("PATH", "/nowhere:/bin")];
        assert_eq!(look_for("/bin/sh", root, &[]), Ok(()));
        assert_eq!(look_for("bin/sh", root, &[]), Ok(()));
        assert_eq!(look_for("sh", root, &path), Ok(()));
        assert_eq!(look_for("sh", root, &[variable("PATH", "/nowhere")]), Err("which is in no folder of PATH".to_owned()));
        assert_eq!(look_for("/bin", root, &[]), Err("which is a folder (from /)".to_owned()));
        assert_eq!(look_for("/etc/passwd", root, &[]), Err("which may not be executed (from /)".to_owned()));
        assert_eq!(look_for("./no-such", root, &[]), Err("which is not there (from /)".to_owned()));
    }
}
