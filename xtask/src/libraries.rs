//! The shared libraries of programs that go into images, found as the dynamic linker of their root finds them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

use crate::oci::Layer;

/// A file system with programs: this machine's own, or one that lies in a folder of it.
pub(crate) struct Root {
    /// None for the machine's own, which needs no rights to look at.
    folder: Option<PathBuf>,
}

// === impl Root ===

impl Root {
    /// The machine's own.
    pub(crate) fn of_machine() -> Self {
        Self { folder: None }
    }

    /// The one that lies in a folder. To look into it takes root's rights.
    pub(crate) fn within(folder: &Path) -> Self {
        Self { folder: Some(folder.to_path_buf()) }
    }

    /// The files that the dynamic linker would load for one of these programs or libraries, as paths in the root.
    ///
    /// # Errors
    /// One is not there, or a library of it is not.
    pub(crate) fn libraries_of<'a>(&self, programs: impl IntoIterator<Item = &'a str>) -> Result<BTreeSet<String>> {
        let mut libraries = BTreeSet::new();
        for program in programs {
            libraries.extend(self.libraries_of_one(program)?);
        }
        Ok(libraries)
    }

    /// Adds files of the root to a layer, under the paths that they have here.
    ///
    /// # Errors
    /// One is not there.
    pub(crate) fn add<'a>(&self, layer: &mut Layer, files: impl IntoIterator<Item = &'a str>) -> Result<()> {
        for file in files {
            layer.file(file, &self.file(file)?, 0o755);
        }
        Ok(())
    }

    fn libraries_of_one(&self, program: &str) -> Result<Vec<String>> {
        let output = self.run("ldd", &[program])?;
        let said = String::from_utf8_lossy(&output.stdout);
        if let Some(line) = said.lines().find(|line| line.contains("not found")) {
            bail!("{program} needs a library that is not there: {}", line.trim());
        }
        if !output.status.success() {
            bail!("ldd {program}: {}{}", String::from_utf8_lossy(&output.stderr).trim(), said.trim());
        }
        Ok(parse_libraries(&said))
    }

    /// The file that a path in the root leads to, whose links are the root's and not this machine's.
    fn file(&self, path: &str) -> Result<PathBuf> {
        let output = self.run("readlink", &["--canonicalize-existing", path])?;
        let found = String::from_utf8_lossy(&output.stdout);
        match (found.trim().strip_prefix('/'), &self.folder) {
            (Some(found), Some(folder)) => Ok(folder.join(found)),
            (Some(found), None) => Ok(Path::new("/").join(found)),
            (None, Some(folder)) => bail!("{path} is not in {}", folder.display()),
            (None, None) => bail!("{path} is not on this machine"),
        }
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        let mut command = match &self.folder {
            None => Command::new(program),
            Some(folder) => {
                let mut command = Command::new("chroot");
                command.arg(folder).arg(program);
                command
            }
        };
        command.args(arguments);
        command.output().with_context(|| format!("run {program}"))
    }
}

fn parse_libraries(said: &str) -> Vec<String> {
    said.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_paths_and_not_names_or_addresses() {
        let said = "\tlinux-vdso.so.1 (0x7ff)\n\tlibmnl.so.0 => /lib/x/libmnl.so.0 (0x7f)\n\t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        assert_eq!(parse_libraries(said), ["/lib/x/libmnl.so.0", "/lib64/ld-linux-x86-64.so.2"]);
    }

    #[test]
    fn a_program_of_this_machine_needs_the_c_library_and_a_loader() {
        let own = std::env::current_exe().unwrap();
        let libraries = Root::of_machine().libraries_of([own.to_str().unwrap()]).unwrap();
        for wanted in ["/libc.so.6", "/ld-linux"] {
            assert!(libraries.iter().any(|library| library.contains(wanted)), "{wanted} is missing in {libraries:?}");
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        let error = Root::of_machine().add(&mut Layer::default(), ["/no/such/library.so"]).unwrap_err();
        assert_eq!(error.to_string(), "/no/such/library.so is not on this machine");
    }
}
