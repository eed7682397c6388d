//! `cargo xtask check-dockerfiles`: builds the Dockerfiles of deploy/ without a registry, and looks into their images. What they begin `FROM`
//! is made of Debian's packages; the container engine lives no longer than the recipe, and neither do its images.

mod base;
mod engine;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;
use sha2::{Digest, Sha256};

use self::engine::Engine;
use crate::artefacts::{self, Profile};
use crate::images::OPERATORS_USER;
use crate::lab::step::step;
use crate::prepare;
use crate::tool::cache_folder;
use crate::workspace::Workspace;

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Fail, with the commands printed, instead of installing what is missing
    #[arg(long)]
    no_install: bool,
}

/// What one of the Dockerfiles has to make.
struct Expected {
    /// Of its file and its image.
    name: &'static str,
    /// Programs: where they were built, from the root of the workspace, and where they are in the image.
    copies: &'static [(&'static str, &'static str)],
    user: &'static str,
    trials: &'static [Trial],
}

/// A program of an image that is started.
struct Trial {
    /// The image's own where it is empty.
    entrypoint: &'static str,
    arguments: &'static [&'static str],
    /// A part of what it prints.
    says: &'static str,
}

const VERSION: &[&str] = &["--version"];

const EXPECTED: [Expected; 3] = [
    Expected {
        name: "agent",
        copies: &[
            ("target/release/strobe-agent", "/usr/local/bin/strobe-agent"),
            ("target/static/release/strobe-init", "/usr/local/bin/strobe-init"),
        ],
        user: "",
        trials: &[
            Trial { entrypoint: "", arguments: VERSION, says: concat!("strobe-agent ", env!("CARGO_PKG_VERSION")) },
            Trial {
                entrypoint: "/usr/local/bin/strobe-init",
                arguments: VERSION,
                says: concat!("strobe-init ", env!("CARGO_PKG_VERSION")),
            },
        ],
    },
    Expected {
        name: "operator",
        copies: &[("target/release/strobe-operator", "/usr/local/bin/strobe-operator")],
        user: OPERATORS_USER,
        trials: &[Trial { entrypoint: "", arguments: VERSION, says: concat!("strobe-operator ", env!("CARGO_PKG_VERSION")) }],
    },
    // Its programs are compiled in it. As the manifests name one, and as a rank alone.
    Expected {
        name: "examples",
        copies: &[],
        user: "",
        trials: &[Trial { entrypoint: "target/examples/sor", arguments: &["--rows", "40", "--columns", "30"], says: "sor: ok ranks=1 " }],
    },
];

/// Builds all of them and checks what they made.
///
/// # Errors
/// Not root, something that is missing and not installed, or a Dockerfile that makes something else.
pub(crate) fn run(workspace: &Workspace, options: Options) -> Result<ExitCode> {
    ensure!(rustix::process::geteuid().is_root(), "only root may start a container engine: run this as root");
    ensure!(
        workspace.target() == workspace.root.join("target"),
        "the Dockerfiles copy from {}: unset CARGO_TARGET_DIR",
        workspace.root.join("target").display()
    );
    prepare::dockerfiles(options.no_install)?;
    artefacts::build_agent(workspace, Profile::Release)?;
    artefacts::build_operator(workspace, Profile::Release)?;
    let mut engine = Engine::start(&cache_folder()?.join("dockerfiles"))?;
    let checked = check_all(workspace, &engine);
    let ended = engine.end();
    checked?;
    ended.map(|()| ExitCode::SUCCESS)
}

fn check_all(workspace: &Workspace, engine: &Engine) -> Result<()> {
    step("make a Debian to build from", |step| base::make(engine, step))?;
    for expected in &EXPECTED {
        let name = expected.name;
        step(&format!("build deploy/{name}.Dockerfile"), |step| {
            let mut build = engine.docker(&["build", "--network=host", "--file", &format!("deploy/{name}.Dockerfile"), "--tag", name, "."]);
            build.current_dir(&workspace.root);
            step.run(build, &engine.log())
        })?;
        step(&format!("look into the image {name}"), |_| expected.check(workspace, engine))?;
    }
    Ok(())
}

// === impl Expected ===

impl Expected {
    fn check(&self, workspace: &Workspace, engine: &Engine) -> Result<()> {
        let user = engine.ask(&["image", "inspect", "--format", "{{.Config.User}}", self.name])?;
        ensure!(user.trim() == self.user, "its user is {:?} and not {:?}", user.trim(), self.user);
        for (built, copied) in self.copies {
            self.check_copy(engine, &workspace.root.join(built), copied)?;
        }
        self.trials.iter().try_for_each(|trial| self.check_trial(engine, trial))
    }

    fn check_copy(&self, engine: &Engine, built: &Path, copied: &str) -> Result<()> {
        let content = fs::read(built).with_context(|| format!("read {}", built.display()))?;
        let sum = engine.run(self.name, "sha256sum", &[copied])?;
        ensure!(sum.starts_with(&format!("{:x} ", Sha256::digest(content))), "{copied} has not the bytes of {}: {sum}", built.display());
        Ok(())
    }

    fn check_trial(&self, engine: &Engine, trial: &Trial) -> Result<()> {
        let said = engine.run(self.name, trial.entrypoint, trial.arguments)?;
        ensure!(said.contains(trial.says), "{} {:?} did not say {:?}:\n{said}", trial.entrypoint, trial.arguments, trial.says);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dockerfile_is_checked_and_begins_from_what_is_made() {
        let folder = Workspace::find().unwrap().root.join("deploy");
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".Dockerfile")) else { continue };
            let text = fs::read_to_string(&path).unwrap();
            let mut begun = text.lines().filter_map(|line| line.strip_prefix("FROM "));
            assert!(begun.all(|image| image.split(' ').next() == Some(base::NAME)), "{name}: it begins from another image");
            found.push(name.to_owned());
        }
        found.sort();
        let mut expected = EXPECTED.map(|expected| expected.name);
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
}
