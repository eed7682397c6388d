//! Every limit of the recipes, with what happens at it.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Installing packages. Past it the stage fails; a mirror that hangs must not hold a machine.
pub(crate) const PREPARE: Duration = Duration::from_secs(10 * 60);
/// A build from nothing on two cores, with a wide margin. Past it the stage fails and what needs the build is not run.
pub(crate) const BUILD: Duration = Duration::from_secs(25 * 60);
/// The programs of Kubernetes that tests take, from nothing on two cores, with a wide margin. Past it the stage fails.
pub(crate) const KUBERNETES: Duration = Duration::from_secs(25 * 60);
/// The laboratory with its tests, all of its programs built from nothing on two cores. Past it the stage fails; what was built is kept.
pub(crate) const LABORATORY: Duration = Duration::from_secs(40 * 60);
/// All of the workspace's tests, their build included. Past it the tests count as failed and are ended with all that they started.
pub(crate) const TESTS: Duration = Duration::from_secs(30 * 60);
/// One batch of simulations. Past it the batch counts as failed.
pub(crate) const SIMULATION: Duration = Duration::from_secs(15 * 60);
/// Tidy, format and the examples' own check: seconds, unless the crates generator has to be built first.
pub(crate) const CHECK: Duration = Duration::from_secs(10 * 60);
/// Clippy or documentation of the whole workspace.
pub(crate) const LINT: Duration = Duration::from_secs(20 * 60);
/// One of the fault tests' programs, all of its tests. Past it the round has failed.
pub(crate) const FAULT_TESTS: Duration = Duration::from_secs(10 * 60);
/// Seconds that the core's integration tests, which take one, may take of one mutant. Past it the mutant counts as caught: it hangs.
pub(crate) const MUTANT_SECONDS_CORE: u32 = 20;
/// Likewise of all tests of core and simulation together, which take some ten on two idle cores.
pub(crate) const MUTANT_SECONDS_ALL: u32 = 120;
/// Licences, with cargo-deny's own build on a new machine (under a minute on two idle cores).
pub(crate) const LICENCES: Duration = Duration::from_secs(15 * 60);

/// From asking a stage's processes to end until they are killed: time for kubectl-strobe to end its gangs and remove their cgroups.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
/// How long a stage's output is still read after its own process has ended: something that it left behind may hold the pipe open.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);
/// How long agents and supervisors may take to notice that their run is over before they count as left behind.
pub(crate) const SETTLE: Duration = Duration::from_secs(3);

/// How long killed processes may take to be gone. Past it their cgroup is left, and the next recipe tries again.
pub(crate) const KILLED: Duration = Duration::from_secs(10);

/// Lines of a stage's output that may wait to be printed; past it the stage itself waits, so that nothing is lost.
pub(crate) const WAITING_LINES: usize = 256;

/// Bytes that must be free where the laboratory is built: its outputs take one GB, what only their making needs up to eight.
pub(crate) const BUILD_BYTES_FREE: u64 = 10 << 30;
/// Bytes of memory that must be available for a cluster: it takes one and a half GB before the first pod of a test.
pub(crate) const CLUSTER_BYTES_FREE: u64 = 3 << 30;
/// How long nodes and system pods may take to be ready; they take twenty seconds on two idle cores. Past it `lab up` fails.
pub(crate) const CLUSTER_READY_SECONDS: u32 = 300;
/// How long the container engine may take until it answers. Past it `lab up` fails.
pub(crate) const ENGINE_READY: Duration = Duration::from_secs(60);
/// How long the processes of a killed engine may take to be gone. Past it `lab down` fails, and can be tried again.
pub(crate) const ENGINE_STOPPED: Duration = Duration::from_secs(30);
/// One program of the Dockerfiles' check: a Debian from packages, or the build of an image. Past it the check fails; a mirror that hangs must
/// not hold a machine.
pub(crate) const DOCKERFILES_STEP: Duration = Duration::from_secs(15 * 60);
/// Bytes that must be free for the images of the Dockerfiles' check.
pub(crate) const DOCKERFILES_BYTES_FREE: u64 = 3 << 30;
/// Microseconds of each second that the real-time threads of all nodes may use together, and those of one node: a switch of 250 µs every
/// 10 ms is a fortieth. Past it the kernel keeps them waiting.
pub(crate) const REAL_TIME_MICROSECONDS: u32 = 400_000;
pub(crate) const REAL_TIME_NODE_MICROSECONDS: u32 = 80_000;
/// How long the laboratory may take to answer whom it must not answer: two attempts of TCP, a second apart. One that answers
/// does so in a millisecond. Past it nobody has answered.
pub(crate) const STRANGER_ANSWERED: Duration = Duration::from_secs(2);
/// The CPUs of the first workers where none are named. A machine with fewer has to name them.
pub(crate) const LABORATORY_CPUS: [&str; 2] = ["0", "1"];
/// How long the API server may take to go or to come back. Past it the scenario fails.
pub(crate) const API_SERVER_ANSWERS: Duration = Duration::from_secs(180);
/// Scenarios of a cluster at a time: they mostly wait for kubelets.
pub(crate) const SCENARIOS: u32 = 6;
/// The scenarios, their build included. Past it they count as failed.
pub(crate) const E2E: Duration = Duration::from_secs(40 * 60);
/// Tests of a cluster at a time.
pub(crate) const LABORATORY_TESTS: u32 = 6;
/// Hexadecimal digits of a recipe's digest in an output's name: enough that no two recipes of one program meet.
pub(crate) const KEY_DIGITS: usize = 12;
/// Lines of a failed program's output that are shown; the rest is in its log.
pub(crate) const LOG_LINES_SHOWN: usize = 20;

/// Lines of a function, signature and closing brace included. Past it tidy refuses the function.
pub(crate) const FUNCTION_LINES: usize = 70;
/// Lines of a file without its tests. Past it tidy refuses the file.
pub(crate) const FILE_LINES: usize = 500;

/// Seeds of the simulation that CI runs: some minutes on two cores.
pub(crate) const CAMPAIGN_SEEDS: u32 = 100_000;
/// Seeds of the simulation that a whole test runs.
pub(crate) const SIMULATION_SEEDS: u32 = 1000;
/// Seeds of the simulation in daily work.
pub(crate) const QUICK_SEEDS: u32 = 50;

/// One program of the emulated machine's build, from nothing on two busy cores, with a wide margin. Past it the build fails: a mirror that
/// hangs must not hold a machine.
pub(crate) const RDMA_VM_BUILD_STEP: Duration = Duration::from_secs(15 * 60);
/// Size of the machine's disk. What is not written takes no space; past it the machine's programs are told that the disk is full.
pub(crate) const RDMA_VM_DISK_GIB: u32 = 16;
/// Bytes that must be free before the machine starts: what it writes lies there.
pub(crate) const RDMA_VM_DISK_BYTES_FREE: u64 = 2 << 30;
/// Memory of the machine unless told otherwise: three nodes and perftest take a tenth of it.
pub(crate) const RDMA_VM_MEMORY_MIB: u32 = 2048;
/// CPUs of the machine unless told otherwise: each takes one of ours.
pub(crate) const RDMA_VM_CPUS: u32 = 2;
/// Least and most memory that may be asked for. With less the machine does not boot; more is a slip of the pen.
pub(crate) const RDMA_VM_MEMORY_RANGE_MIB: RangeInclusive<i64> = 512..=1 << 20;
/// CPUs that may be asked for.
pub(crate) const RDMA_VM_CPUS_RANGE: RangeInclusive<i64> = 1..=64;
/// Memory that the emulator may fill with translated code. Past it the oldest is translated again.
pub(crate) const RDMA_VM_TRANSLATION_MIB: u32 = 512;
/// Memory that must be there beside the machine's own: translated code and the emulator itself.
pub(crate) const RDMA_VM_OVERHEAD_MIB: u32 = RDMA_VM_TRANSLATION_MIB + 256;
/// From the emulator's start until the machine can be reached: half a minute to one and a half on two busy cores. Past it the machine is
/// ended.
pub(crate) const RDMA_VM_BOOT: Duration = Duration::from_secs(10 * 60);
/// Start of the emulator, the restoring of a snapshot with it. Past it there is no machine.
pub(crate) const EMULATOR_START: Duration = Duration::from_secs(5 * 60);
/// From telling the emulator to end until it is killed, and from then until it counts as unkillable.
pub(crate) const EMULATOR_END: Duration = Duration::from_secs(10);
/// An answer of the emulator to what takes no time. Past it the emulator counts as stuck.
pub(crate) const MONITOR_ANSWER: Duration = Duration::from_secs(30);
/// First exchange of keys with the machine: one to three seconds on busy cores. Past it the machine counts as not reachable.
pub(crate) const SSH_OPEN: Duration = Duration::from_secs(3 * 60);
/// From asking the machine to power off until the emulator is ended.
pub(crate) const RDMA_VM_POWER_OFF: Duration = Duration::from_secs(2 * 60);
/// Saving or deleting a snapshot. Past it the snapshot counts as not saved.
pub(crate) const SNAPSHOT_LIMIT: Duration = Duration::from_secs(10 * 60);
/// Bytes that must be free for a snapshot beside the machine's memory: the devices' state, and tables of the disk.
pub(crate) const SNAPSHOT_BYTES_BESIDE_MEMORY: u64 = 512 << 20;
/// One command that a recipe runs in the machine for itself: seconds. Past it the recipe fails.
pub(crate) const RDMA_VM_COMMAND: Duration = Duration::from_secs(5 * 60);
/// Memory that the machine needs for a cluster of three nodes with a gang: what kind takes, twice.
pub(crate) const RDMA_VM_CLUSTER_MEMORY_MIB: u32 = 6 * 1024;
/// One step of that cluster's making: kind takes five minutes under emulation where nothing else runs. Past it the recipe fails.
pub(crate) const RDMA_VM_CLUSTER: Duration = Duration::from_secs(40 * 60);
/// One program of perftest between two nodes: half a minute was the most seen on busy cores. Past it the measurement has failed.
pub(crate) const PERFTEST: Duration = Duration::from_secs(120);
/// The trial of verbs between two nodes: twenty seconds on two busy cores. Past it the trial has failed.
pub(crate) const VERBS_TRIAL: Duration = Duration::from_secs(4 * 60);
/// Bytes of a unix socket's name, the closing zero not among them; the kernel takes no more.
pub(crate) const SOCKET_NAME_BYTES: usize = 107;
/// Bytes that ssh appends to the name of its socket while it makes it.
pub(crate) const SSH_SOCKET_SUFFIX_BYTES: usize = 17;

/// Nodes of the laboratory: the control plane and its workers.
const LABORATORY_NODES: u32 = 4;
const _: () = assert!(LABORATORY_NODES * REAL_TIME_NODE_MICROSECONDS <= REAL_TIME_MICROSECONDS, "the kernel refuses more than there is");
const _: () = assert!(2 * PERFTEST.as_secs() < RDMA_VM_COMMAND.as_secs(), "perftest's server and client end by their own limit");
