//! Python with mpi4py, as it is installed here: the interpreter of mpi4py's own environment, its modules and what they load.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::files;
use crate::libraries::Root;
use crate::oci::Layer;
use crate::process::output_of;

/// Where it is in the image. `PYTHONHOME` names it, unless the interpreter finds its modules by where it lies itself.
const FOLDER: &str = "opt/python";

/// What the interpreter says of itself: its file, the folder of its own modules, and that of mpi4py's.
const ABOUT: &str = "import os, sys, sysconfig, mpi4py
print(os.path.realpath(sys.executable))
print(sysconfig.get_path('stdlib'))
print(os.path.dirname(os.path.dirname(mpi4py.__file__)))";

/// Parts of the standard library that no program of ours needs, and packages beside it.
const LEFT_OUT: [&str; 7] = ["site-packages", "dist-packages", "test", "idlelib", "ensurepip", "lib2to3", "__pycache__"];

/// Adds the interpreter that an environment of Python was made with, and mpi4py from that environment.
///
/// # Errors
/// The environment's interpreter does not begin, or a file of it is missing.
pub(super) fn add(layer: &mut Layer, environment: &Path) -> Result<()> {
    let python = environment.join("bin/python");
    let about = output_of(&python.display().to_string(), &["-c", ABOUT]).context("mpi4py's Python does not begin")?;
    let paths: Vec<PathBuf> = about.lines().map(PathBuf::from).collect();
    ensure!(paths.len() == 3, "Python says of itself: {about}");
    let (interpreter, modules, packages) = (&paths[0], &paths[1], &paths[2]);
    let version = modules.file_name().and_then(|name| name.to_str()).context("a folder of modules with Python's version")?;
    layer.file(&format!("{FOLDER}/bin/python3"), interpreter, 0o755);
    layer.link("usr/local/bin/python3", &format!("/{FOLDER}/bin/python3"));
    let mut loaded = vec![interpreter.clone()];
    for file in files::beneath(modules)?.into_iter().filter(|file| is_wanted(file)) {
        layer.file(&format!("{FOLDER}/lib/{version}/{}", file.display()), &modules.join(&file), 0o644);
        loaded.extend(file.extension().is_some_and(|end| end == "so").then(|| modules.join(&file)));
    }
    let package = packages.join("mpi4py");
    for file in files::beneath(&package)? {
        layer.file(&format!("{FOLDER}/lib/{version}/site-packages/mpi4py/{}", file.display()), &package.join(&file), 0o644);
    }
    let loaded: Vec<String> = loaded.iter().map(|path| path.display().to_string()).collect();
    let machine = Root::of_machine();
    let libraries = machine.libraries_of(loaded.iter().map(String::as_str))?;
    machine.add(layer, libraries.iter().map(String::as_str))
}

fn is_wanted(file: &Path) -> bool {
    file.components().all(|part| LEFT_OUT.iter().all(|left_out| part.as_os_str() != *left_out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_packages_tests_and_caches_stay_behind() {
        for (file, wanted) in [("json/decoder.py", true), ("site-packages/numpy/core.py", false), ("json/__pycache__/x.pyc", false)] {
            assert_eq!(is_wanted(Path::new(file)), wanted, "{file}");
        }
    }
}
