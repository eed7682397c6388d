//! `cargo xtask lab`: a real Kubernetes on this machine, from packages alone. What it is made of and why is in
//! docs/adr/0011-laboratory.md; how it is used, in CONTRIBUTING.

mod build;
mod check;
mod cluster;
pub(crate) mod drive;
pub(crate) mod engine;
mod files;
mod go;
mod images;
mod loaded;
mod made;
mod network;
mod node_image;
mod outside;
pub(crate) mod processor;
mod programs;
mod snapshot;
mod state;
pub(crate) mod step;
pub(crate) mod store;

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand};

use self::build::Programs;
use self::cluster::Cluster;
use self::engine::Engine;
use self::loaded::Loaded;
use self::made::{Docker, Made, Wanted};
use self::snapshot::Snapshot;
use self::state::State;
use self::step::{Step, step};
use self::store::Store;
use crate::artefacts;
use crate::limits::{LABORATORY_CPUS, LABORATORY_TESTS};
use crate::prepare;
use crate::process;
use crate::workspace::Workspace;
pub(crate) use build::api_server_folders;

/// Tells the tests of a cluster its file for kubectl.
pub(crate) const CLUSTER: &str = "STROBE_CLUSTER";

/// Tells the tests where the programs of Kubernetes are.
pub(crate) const KUBERNETES: &str = "STROBE_KUBERNETES";

/// Tells them where the programs are that go into pods.
const PROGRAMS: &str = "STROBE_LABORATORY_PROGRAMS";

/// Tells the scenarios who reaches the nodes.
pub(crate) const DRIVER: &str = "STROBE_CLUSTER_DRIVER";

#[derive(Args, Debug)]
pub(crate) struct Options {
    #[command(subcommand)]
    recipe: Recipe,
}

#[derive(Subcommand, Debug)]
enum Recipe {
    /// Make a cluster of one control plane and three workers, or find it as it is
    Up(UpOptions),
    /// Remove the cluster and leave the machine as it was; what was built is kept
    Down,
    /// Make the cluster, run the tests of itself and of what the design rests on, and remove it unless it was there before
    Test(TestOptions),
    /// Give images to every node that has not got them, from archives as `cargo xtask images` makes them, and start anew what runs them
    Load(LoadOptions),
    /// Say what of it runs
    Status,
    /// Print the file for kubectl: `export KUBECONFIG=$(cargo xtask lab kubeconfig)`
    Kubeconfig,
    /// Do to a node what a test of the cluster needs
    #[command(hide = true, subcommand)]
    Drive(drive::Deed),
    /// Format, vet and tests of the laboratory's own programs
    Check,
    /// Build what the laboratory is made of, and keep it in the cache
    Build(build::Options),
}

#[derive(Args, Debug)]
struct UpOptions {
    #[command(flatten)]
    build: build::ClusterOptions,
    /// CPUs of a worker (0-1,4), once for each worker from the first on [default: CPU 0, then CPU 1]
    #[arg(long)]
    worker_cpus: Vec<String>,
    /// Take a node's image from a registry, and the machine's own Docker: kindest/node:VERSION
    #[arg(long)]
    image: Option<String>,
}

#[derive(Args, Debug)]
struct TestOptions {
    #[command(flatten)]
    up: UpOptions,
    /// More arguments for `cargo test`
    #[arg(last = true)]
    arguments: Vec<String>,
}

#[derive(Args, Debug)]
struct LoadOptions {
    /// Archives of images
    #[arg(required = true)]
    archives: Vec<PathBuf>,
}

/// Runs one of the laboratory's recipes.
///
/// # Errors
/// Those of the recipe.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    match &options.recipe {
        Recipe::Up(options) => up(workspace, options)?,
        Recipe::Down => down(workspace)?,
        Recipe::Test(options) => return test(workspace, options),
        Recipe::Load(options) => load(workspace, &options.archives)?,
        Recipe::Status => return status(workspace),
        Recipe::Kubeconfig => println!("{}", kubeconfig()?.display()),
        Recipe::Drive(deed) => drive(workspace, deed)?,
        Recipe::Check => check::run(workspace)?,
        Recipe::Build(options) => build::run(workspace, options)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Finds the cluster, whatever it is made of, or makes one as it is without options.
///
/// # Errors
/// Those of `lab up`.
pub(crate) fn ensure_up(workspace: &Workspace) -> Result<()> {
    up(workspace, &UpOptions::as_found(State::open(&Store::open()?)?.made().as_ref())?)
}

/// What a program is told that uses the cluster; `programs` is the folder of those that go into pods.
///
/// # Errors
/// The cluster is down.
pub(crate) fn environment(programs: PathBuf) -> Result<[(&'static str, OsString); 3]> {
    Ok([(CLUSTER, kubeconfig()?.into()), (KUBERNETES, folders_of_cluster()?), (PROGRAMS, programs.into())])
}

/// Where the programs of the cluster's version are.
fn folders_of_cluster() -> Result<OsString> {
    let store = Store::open()?;
    build::api_server_folders_of(&store, State::open(&store)?.kubernetes()?)
}

/// What a cluster of kind is made of, wherever that runs.
pub(crate) struct Ingredients {
    /// The nodes' image, as a compressed archive, and its name at a container engine.
    pub(crate) image: PathBuf,
    pub(crate) name: String,
    programs: Programs,
}

// === impl UpOptions ===

impl UpOptions {
    /// Those by which `lab up` finds this cluster, or makes one where none is.
    fn as_found(made: Option<&Made>) -> Result<Self> {
        let kubernetes = made.map_or(Ok(programs::KUBERNETES), Made::version)?;
        let build = build::ClusterOptions { kubernetes, no_install: false };
        Ok(Self { build, worker_cpus: Vec::new(), image: made.and_then(Made::ordinary_image).map(str::to_owned) })
    }
}

// === impl Ingredients ===

impl Ingredients {
    /// The path of a program.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.path(name)
    }
}

/// Builds, or finds, what a cluster is made of elsewhere than in the laboratory's own engine.
///
/// # Errors
/// Those of `lab build`.
pub(crate) fn ingredients(workspace: &Workspace) -> Result<Ingredients> {
    prepare::laboratory(false)?;
    let store = Store::open()?;
    let lock = store.lock()?;
    let programs = build::all(workspace, &store, &lock, programs::KUBERNETES)?;
    let image = node_image::make(&store, &lock, &programs, &workspace.root.join("e2e/lab/node"))?;
    store.clear_making(&lock)?;
    Ok(Ingredients { name: node_image::name(&image)?, image, programs })
}

/// `kubectl` as it was built.
///
/// # Errors
/// It was not built.
pub(crate) fn kubectl(workspace: &Workspace) -> Result<PathBuf> {
    Ok(Programs::kept(workspace, &Store::open()?, programs::KUBERNETES, &["kubectl"])?.path("kubectl"))
}

fn up(workspace: &Workspace, options: &UpOptions) -> Result<()> {
    if let Some(image) = &options.image {
        return up_ordinary(workspace, options, image);
    }
    engine::check_root()?;
    prepare::laboratory(options.build.no_install)?;
    let store = Store::open()?;
    let lock = store.lock()?;
    let state = State::open(&store)?;
    let engine = Engine::new(&store, &state);
    engine.check_alone()?;
    check_gives_way(&state, Wanted { docker: Docker::Laboratory, kubernetes: options.build.kubernetes, image: None })?;
    let programs = build::all(workspace, &store, &lock, options.build.kubernetes)?;
    let image = node_image::make(&store, &lock, &programs, &workspace.root.join("e2e/lab/node"))?;
    store.clear_making(&lock)?;
    step("start the container engine", |_| engine.start(&programs))?;
    let name = node_image::name(&image)?;
    step("load the nodes' image", |step| import(step, &engine, &image, &name, &state))?;
    let cluster = Cluster { programs: &programs, state: &state, engine: Some(&engine) };
    cluster.make(&name, &worker_cpus(&options.worker_cpus))?;
    show(&cluster)
}

/// Where images come from a registry, the machine has a Docker that can be used as it is.
fn up_ordinary(workspace: &Workspace, options: &UpOptions, image: &str) -> Result<()> {
    ensure!(cluster::ordinary_docker(), "--image takes the machine's own Docker, and `docker info` does not answer");
    let store = Store::open()?;
    let lock = store.lock()?;
    let state = State::open(&store)?;
    check_gives_way(&state, Wanted { docker: Docker::Machine, kubernetes: options.build.kubernetes, image: Some(image) })?;
    let programs = build::all(workspace, &store, &lock, options.build.kubernetes)?;
    store.clear_making(&lock)?;
    let cluster = Cluster { programs: &programs, state: &state, engine: None };
    cluster.make(image, &worker_cpus(&options.worker_cpus))?;
    show(&cluster)
}

/// Before anything is built or started: two clusters cannot be there at once, in one Docker or in two.
fn check_gives_way(state: &State, wanted: Wanted<'_>) -> Result<()> {
    match state.made() {
        Some(made) => made.check_gives_way(wanted),
        // Something has begun an engine, and no cluster.
        None if state.docker().is_some_and(|docker| docker != wanted.docker) => {
            bail!("a container engine of the laboratory's own runs: `cargo xtask lab down` ends it")
        }
        None => Ok(()),
    }
}

/// One CPU for each of the first workers, where none were named: a machine with two shall have two workers that do not share one.
fn worker_cpus(named: &[String]) -> Vec<String> {
    if named.is_empty() { LABORATORY_CPUS.map(str::to_owned).into() } else { named.to_vec() }
}

/// What scenarios can have done to it. Nothing in it enforces NetworkPolicy objects.
const CAPABILITIES: [&str; 4] = ["node-shell", "node-power", drive::CONTROL_PLANE, "installation"];

/// Docker's verb for the archive of a node's root, and what a node runs first. An archive and the image's name follow.
pub(crate) const IMPORT: [&str; 5] =
    ["import", "--change", "ENV container=docker", "--change", r#"ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]"#];

/// Gives the image to the engine, if it has not kept it from another time.
fn import(step: &mut Step, engine: &Engine<'_>, image: &Path, name: &str, state: &State) -> Result<()> {
    let mut ask = engine.docker();
    ask.args(["image", "inspect", name]).stdout(Stdio::null()).stderr(Stdio::null());
    if ask.status().context("run docker")?.success() {
        return Ok(());
    }
    remove_images(engine)?;
    let mut import = engine.docker();
    import.args(IMPORT).args(["-", name]);
    let mut decompress = Command::new("zstd");
    decompress.args(["--quiet", "--decompress", "--stdout"]).arg(image).stdout(Stdio::piped());
    let mut decompress = decompress.spawn().context("start zstd")?;
    let archive = decompress.stdout.take().context("zstd's output is a pipe")?;
    step.run_with(import, Stdio::from(archive), &state.file("load.log"))?;
    ensure!(decompress.wait().context("wait for zstd")?.success(), "zstd could not read {}", image.display());
    Ok(())
}

/// Removes the images of earlier recipes; one that a container uses stays.
fn remove_images(engine: &Engine<'_>) -> Result<()> {
    let mut prune = engine.docker();
    prune.args(["image", "prune", "--all", "--force"]).stdout(Stdio::null());
    ensure!(prune.status().context("run docker")?.success(), "docker image prune failed");
    Ok(())
}

fn show(cluster: &Cluster<'_>) -> Result<()> {
    process::run({
        let mut command = cluster.kubectl();
        command.args(["get", "nodes", "--output=wide"]);
        command
    })?;
    println!("export KUBECONFIG={}", cluster.kubeconfig().display());
    println!("export PATH={}:$PATH", cluster.programs.path("kubectl").parent().unwrap_or(Path::new("/")).display());
    Ok(())
}

fn down(workspace: &Workspace) -> Result<()> {
    let store = Store::open()?;
    let _lock = store.lock()?;
    let state = State::open(&store)?;
    let engine = Engine::new(&store, &state);
    match state.docker() {
        // Its nodes do not end by themselves, and without the note nobody would find them again.
        Some(Docker::Machine) => delete(workspace, &store, &state, None)?,
        docker => {
            engine.check_alone()?;
            // The engine's data shall not grow by a cluster that is gone.
            let deleted = docker.map_or(Ok(()), |_| delete(workspace, &store, &state, Some(&engine)));
            if let Err(error) = deleted {
                eprintln!("the next `lab up` removes the cluster: {error:#}");
            }
            step("end the container engine", |_| engine.stop())?;
        }
    }
    state.forget()
}

/// Removes the cluster from its Docker. That takes kind alone, which is the same for every Kubernetes.
fn delete(workspace: &Workspace, store: &Store, state: &State, engine: Option<&Engine<'_>>) -> Result<()> {
    let programs = Programs::kept(workspace, store, programs::KUBERNETES, &["kind"])?;
    Cluster { programs: &programs, state, engine }.delete()
}

fn test(workspace: &Workspace, options: &TestOptions) -> Result<ExitCode> {
    with_cluster(workspace, &options.up, || {
        check_outside(workspace)?;
        crate::images::load_for_tests(workspace)?;
        let programs = artefacts::build_for_pods(workspace)?;
        let mut command = workspace.cargo();
        // With the features that the whole workspace has together: what the other tests have built is used again.
        command.args(["test", "--locked", "--workspace", "--features", "strobe-e2e/laboratory", "--test", "laboratory"]);
        command.args(&options.arguments).envs(environment(programs)?);
        // They mostly wait for kubelets.
        command.env("RUST_TEST_THREADS", LABORATORY_TESTS.to_string());
        process::pass_through(command)
    })
}

/// Runs a command on the laboratory's cluster with the images that are built now, told who reaches its nodes. The cluster is made for that,
/// and removed, unless it was there before.
///
/// # Errors
/// The cluster or an image cannot be made.
pub(crate) fn drive_tests(workspace: &Workspace, mut command: Command) -> Result<ExitCode> {
    // First: a build may replace the file, and then it has no path.
    let xtask = std::env::current_exe().context("the path of this program")?;
    let found = UpOptions::as_found(State::open(&Store::open()?)?.made().as_ref())?;
    with_cluster(workspace, &found, || {
        crate::images::load_for_tests(workspace)?;
        command.env(CLUSTER, kubeconfig()?).env(KUBERNETES, folders_of_cluster()?);
        command.env(DRIVER, format!("{} lab drive", xtask.display()));
        process::pass_through(command)
    })
}

/// Does something with the cluster. Unless it was there before it is made for that and removed after it, and then the machine has to be as
/// it was; where the cluster was in the machine's own Docker, that keeps what is its own.
fn with_cluster(workspace: &Workspace, options: &UpOptions, work: impl FnOnce() -> Result<ExitCode>) -> Result<ExitCode> {
    if is_up()? {
        up(workspace, options)?;
        return work();
    }
    let mut before = None;
    if options.image.is_none() {
        // What an earlier one has left is not the machine's, and what is installed now stays.
        down(workspace)?;
        prepare::laboratory(options.build.no_install)?;
        before = Some(Snapshot::take());
    }
    up(workspace, options)?;
    let code = work();
    let left = down(workspace).and_then(|()| before.map_or(Ok(()), |before| before.check()));
    // What went wrong first is said first.
    let code = code?;
    left.map(|()| code)
}

/// Tries to reach the API server and a node from outside of the machine. The machine's own Docker is not ours to judge.
fn check_outside(workspace: &Workspace) -> Result<()> {
    let store = Store::open()?;
    let state = State::open(&store)?;
    if state.docker() != Some(Docker::Laboratory) {
        return Ok(());
    }
    let programs = Programs::kept(workspace, &store, state.kubernetes()?, &["kubectl"])?;
    let targets = Cluster { programs: &programs, state: &state, engine: None }.targets()?;
    step("try to reach it from outside", |_| outside::check(&engine::network(), &targets))
}

/// Whether the laboratory is up.
///
/// # Errors
/// No cache folder.
pub(crate) fn is_up() -> Result<bool> {
    Ok(State::open(&Store::open()?)?.docker().is_some())
}

/// Whether a file for clients is the laboratory's.
pub(crate) fn is_kubeconfig(file: &Path) -> bool {
    let own = Store::open().and_then(|store| State::open(&store)).map(|state| state.file("kubeconfig"));
    own.is_ok_and(|own| own.canonicalize().is_ok_and(|own| file.canonicalize().is_ok_and(|file| file == own)))
}

fn drive(workspace: &Workspace, deed: &drive::Deed) -> Result<()> {
    let store = Store::open()?;
    let state = State::open(&store)?;
    let engine = Engine::new(&store, &state);
    if !matches!(deed, drive::Deed::Capabilities) {
        kubeconfig()?;
    }
    let programs = Programs::kept(workspace, &store, state.kubernetes()?, &["kubectl"])?;
    let ours = state.docker() == Some(Docker::Laboratory);
    let docker = |arguments: &[&str]| {
        let mut docker = if ours { engine.docker() } else { Command::new("docker") };
        docker.args(arguments);
        docker
    };
    let kubectl = || Cluster { programs: &programs, state: &state, engine: None }.kubectl();
    let begun = || if ours { engine.give_real_time() } else { Ok(()) };
    deed.run(&drive::Hands { capabilities: &CAPABILITIES, docker: &docker, kubectl: &kubectl, begun: &begun })
}

/// Gives images to every node of the cluster that has not got them, and starts anew what runs earlier ones.
///
/// # Errors
/// The cluster is down, or kind fails.
pub(crate) fn load(workspace: &Workspace, archives: &[PathBuf]) -> Result<()> {
    kubeconfig()?;
    let store = Store::open()?;
    let _lock = store.lock()?;
    let state = State::open(&store)?;
    let engine = Engine::new(&store, &state);
    let engine = (state.docker() == Some(Docker::Laboratory)).then_some(&engine);
    let programs = Programs::kept(workspace, &store, state.kubernetes()?, &["kind", "kubectl"])?;
    let cluster = Cluster { programs: &programs, state: &state, engine };
    let mut loaded = Loaded::read(&state);
    for archive in archives {
        if loaded.note(archive)? {
            cluster.load(archive)?;
            loaded::restart(archive, || cluster.kubectl())?;
            loaded.keep(&state)?;
        }
    }
    Ok(())
}

fn status(workspace: &Workspace) -> Result<ExitCode> {
    let store = Store::open()?;
    let state = State::open(&store)?;
    if state.docker().is_none() {
        println!("the laboratory is down");
        return Ok(ExitCode::FAILURE);
    }
    if let Some(process) = state.process() {
        println!("the container engine runs as process {}", process.number);
    }
    let Some(made) = state.made() else {
        println!("no cluster is made in it: `cargo xtask lab up` makes one");
        return Ok(ExitCode::FAILURE);
    };
    println!("{made}");
    let programs = Programs::kept(workspace, &store, made.version()?, &["kubectl"])?;
    let mut kubectl = Cluster { programs: &programs, state: &state, engine: None }.kubectl();
    kubectl.args(["get", "nodes,pods", "--all-namespaces", "--output=wide"]);
    process::pass_through(kubectl)
}

fn kubeconfig() -> Result<PathBuf> {
    let file = State::open(&Store::open()?)?.file("kubeconfig");
    ensure!(File::open(&file).is_ok(), "the laboratory is down: `cargo xtask lab up` makes it");
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::made::tests::made;
    use super::programs::{KUBERNETES, KUBERNETES_OLDER};
    use super::*;

    #[test]
    fn what_is_up_is_found_with_the_options_that_it_was_made_with() {
        let found = |made: Option<Made>| {
            let options = UpOptions::as_found(made.as_ref()).unwrap();
            (options.build.kubernetes, options.image)
        };
        assert_eq!(found(None), (KUBERNETES, None));
        assert_eq!(found(Some(made(Docker::Laboratory, KUBERNETES_OLDER[0]))), (KUBERNETES_OLDER[0], None));
        assert_eq!(found(Some(made(Docker::Machine, KUBERNETES))), (KUBERNETES, Some("node:1".to_owned())));
    }
}
