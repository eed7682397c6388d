//! `cargo xtask chart`: writes the plain manifests of `deploy/` from the chart, so that there is one text of each object. What the chart does
//! beside them, its hooks and tests, is Helm's alone; the custom resources are in `crds/generated` already.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::lab::api_server_folders;
use crate::workspace::Workspace;

/// The chart, from the top of the checkout.
const CHART: &str = "helm/strobe";

/// What is written.
const WRITTEN: &str = "deploy/strobe.yaml";

/// Its first lines.
const HEADER: &str = "# Written by `cargo xtask chart` from helm/strobe with its default values; change that instead.\n";

/// Templates that become plain manifests, in the order in which they are applied.
const TEMPLATES: [&str; 7] = ["namespace", "priority-class", "operator-rights", "operator", "agent", "admission", "user-roles"];

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Write nothing: fail where the chart has faults, or the file is not what would be written
    #[arg(long)]
    check: bool,
}

/// Checks the chart, and writes or compares the manifests.
///
/// # Errors
/// Helm is not built, or finds a fault; with `--check`, the file is another.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let helm = find_helm()?;
    said_by(workspace, &helm, &["lint", "--strict", "--quiet", CHART])?;
    let templates: Vec<String> = TEMPLATES.iter().map(|name| format!("--show-only=templates/{name}.yaml")).collect();
    let mut arguments = vec!["template", "strobe", CHART];
    arguments.extend(templates.iter().map(String::as_str));
    let rendered = HEADER.to_owned() + &said_by(workspace, &helm, &arguments)?;
    let path = workspace.root.join(WRITTEN);
    if options.check {
        let written = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        ensure!(written == rendered, "{WRITTEN} is not what the chart makes: run `cargo xtask chart`");
        println!("chart: no faults, and {WRITTEN} is current");
    } else {
        fs::write(&path, rendered).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn find_helm() -> Result<PathBuf> {
    let folders = api_server_folders()?;
    let found = std::env::split_paths(&folders).map(|folder| folder.join("helm")).find(|path| path.is_file());
    found.context("Helm is not built: run `cargo xtask lab build --api-server`")
}

fn said_by(workspace: &Workspace, helm: &PathBuf, arguments: &[&str]) -> Result<String> {
    let output = Command::new(helm).current_dir(&workspace.root).args(arguments).output().context("run Helm")?;
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "helm {}:\n{said}{complaint}", arguments.join(" "));
    Ok(said.into_owned())
}
