//! `cargo xtask images`: Strobe's programs and the examples as images, one archive each in `target/images`, without a registry and without
//! a container engine. The same programs give the same digest. The Dockerfiles in `deploy/` make the same for whoever has a registry.

mod agent;
mod examples;
mod measured;
mod mpi_trial;
mod mpich;
mod operator;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::artefacts::{self, Profile};
use crate::files;
use crate::lab;
use crate::oci::{Archive, Image, Layer, PATH};
use crate::prepare;
use crate::workspace::Workspace;
pub(crate) use operator::USER as OPERATORS_USER;

/// The part of a reference that all of them share. Kubernetes asks no registry for a name of this host.
const PREFIX: &str = "localhost/strobe";

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Which images [default: agent, operator and examples]
    #[arg(value_enum)]
    images: Vec<Name>,
    /// Of unoptimised programs: sooner built, and many times larger
    #[arg(long)]
    debug: bool,
    /// Give them to every node of the laboratory that is up
    #[arg(long)]
    load: bool,
}

/// The images that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// strobe-agent and strobe-init
    Agent,
    /// strobe-operator
    Operator,
    /// The MPI programs of examples/, with PyPI's MPICH
    Examples,
    /// What a test of the laboratory runs over several MPIs
    MpiTrial,
    /// What the benchmark of a cluster runs
    Measured,
}

/// Those that users need.
const FOR_USERS: [Name; 3] = [Name::Agent, Name::Operator, Name::Examples];

/// What the images of tests and measurements are made of is installed for them.
const WITH_THIRD_PARTY: prepare::Options = prepare::Options { no_install: false, with_third_party: true };

/// What an image is made of besides the layer that all share.
struct Content {
    layer: Layer,
    entrypoint: Vec<String>,
    /// See [`Image::user`].
    user: Option<&'static str>,
}

/// Makes images, and loads them where that is asked for.
///
/// # Errors
/// Something does not compile or is not installed, or the laboratory is not up.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let profile = if options.debug { Profile::Debug } else { Profile::Release };
    let names = if options.images.is_empty() { &FOR_USERS[..] } else { &options.images };
    let archives = names.iter().map(|name| make(workspace, *name, profile)).collect::<Result<Vec<_>>>()?;
    if options.load {
        lab::load(workspace, &archives)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the images that users need, optimised; gives their archives.
///
/// # Errors
/// Those of [`run`].
pub(crate) fn for_users(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    prepare::run(WITH_THIRD_PARTY)?;
    FOR_USERS.map(|name| make(workspace, name, Profile::Release)).into_iter().collect()
}

/// Gives the laboratory the images that its tests need.
///
/// # Errors
/// Those of [`run`].
pub(crate) fn load_for_tests(workspace: &Workspace) -> Result<()> {
    prepare::run(WITH_THIRD_PARTY)?;
    let names = [Name::MpiTrial, Name::Operator, Name::Agent, Name::Examples];
    let archives = names.map(|name| make(workspace, name, Profile::Debug)).into_iter().collect::<Result<Vec<_>>>()?;
    lab::load(workspace, &archives)
}

/// Gives the laboratory optimised images of what is measured there; gives their archives.
///
/// # Errors
/// Those of [`run`].
pub(crate) fn load_for_measurement(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    prepare::run(WITH_THIRD_PARTY)?;
    let names = [Name::Measured, Name::Operator, Name::Agent];
    let archives = names.map(|name| make(workspace, name, Profile::Release)).into_iter().collect::<Result<Vec<_>>>()?;
    lab::load(workspace, &archives)?;
    Ok(archives)
}

/// Builds the programs of one image and writes its archive; says its reference and digest.
fn make(workspace: &Workspace, name: Name, profile: Profile) -> Result<PathBuf> {
    let content = match name {
        Name::Agent => agent::content(&artefacts::build_agent(workspace, profile)?)?,
        Name::Operator => operator::content(&artefacts::build_operator(workspace, profile)?)?,
        Name::Examples => examples::content(workspace)?,
        Name::MpiTrial => mpi_trial::content(workspace, profile)?,
        Name::Measured => measured::content(workspace, profile)?,
    };
    let archive = folder(workspace)?.join(format!("{}.tar", name.text()));
    let digest = write(&name.reference(), content, &archive)?;
    println!("{} {digest} {}", name.reference(), archive.display());
    Ok(archive)
}

fn folder(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target().join("images");
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}

/// Writes an archive of one image; gives the digest of its manifest.
fn write(reference: &str, content: Content, path: &Path) -> Result<String> {
    let mut archive = Archive::default();
    archive.layer("base", base());
    archive.layer("programs", content.layer);
    archive.image(Image {
        reference: reference.to_owned(),
        layers: vec!["base".to_owned(), "programs".to_owned()],
        entrypoint: content.entrypoint,
        user: content.user,
        environment: vec![PATH.to_owned()],
    });
    let mut digests = files::replace(path, |fresh| archive.write(fresh))?;
    digests.pop().context("an archive of one image has one digest")
}

/// What programs expect of any system: a folder for files that pass, and names for the two users that have one.
fn base() -> Layer {
    let mut layer = Layer::default();
    layer.directory("tmp", 0o1777);
    layer.text("etc/passwd", "root:x:0:0:root:/:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n", 0o644);
    layer.text("etc/group", "root:x:0:\nnogroup:x:65534:\n", 0o644);
    layer
}

// === impl Name ===

impl Name {
    fn text(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Operator => "operator",
            Self::Examples => "examples",
            Self::MpiTrial => "mpi-trial",
            Self::Measured => "measured",
        }
    }

    /// With the version as its tag: a tag other than `latest` is not asked for again where a node has it.
    fn reference(self) -> String {
        format!("{PREFIX}/{}:{}", self.text(), env!("CARGO_PKG_VERSION"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image of this test's own program with the libraries that it needs.
    fn image_of(program: &Path) -> Content {
        agent::content(&(program.to_path_buf(), program.to_path_buf())).unwrap()
    }

    #[test]
    fn the_same_programs_give_the_same_archive_and_others_another() {
        let folder = tempfile::tempdir().unwrap();
        let [own, copy, other] = ["own", "copy", "other"].map(|name| folder.path().join(name));
        for path in [&own, &copy, &other] {
            fs::copy(std::env::current_exe().unwrap(), path).unwrap();
        }
        // The loader does not read what follows the last section.
        let longer = [fs::read(&other).unwrap(), b"another".to_vec()].concat();
        fs::write(&other, longer).unwrap();
        let write = |program: &Path| {
            let path = program.with_extension("tar");
            (write("localhost/test:1", image_of(program), &path).unwrap(), fs::read(path).unwrap())
        };
        let (first, second, third) = (write(&own), write(&copy), write(&other));
        assert!(first == second, "one input, two archives: {} and {}", first.0, second.0);
        assert_ne!(first.0, third.0, "two inputs, one digest");
    }

    #[test]
    fn a_reference_has_a_tag_that_is_never_asked_for_again() {
        assert_eq!(Name::Agent.reference(), format!("localhost/strobe/agent:{}", env!("CARGO_PKG_VERSION")));
    }
}
