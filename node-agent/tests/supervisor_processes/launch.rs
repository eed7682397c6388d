//! How ranks begin, and why they do not.

use std::{
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use rustix::fs::Mode;
use strobe_node_agent::supervisor_protocol::{LaunchError, LaunchProtocol, Rank, ToAgent, ToSupervisor};

use crate::{
    fake_agent::{FakeAgent, configure, supervisor},
    finish,
};

#[test]
fn a_rank_knows_who_and_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let agent = FakeAgent::listen(directory.path());
    let script = "echo $RANK $WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE $MASTER_ADDR $MASTER_PORT $JOB_COMPLETION_INDEX \
                  $FI_TCP_IFACE $GLOO_SOCKET_IFNAME $I_MPI_PIN pmi=$PMI_FD cpus=$(grep Cpus_allowed_list /proc/self/status | cut -f2)";
    let child = supervisor(&agent, &[], &["sh", "-c", script]);
    let mut connection = agent.accept();
    let mut configure = configure(1, 3, 2);
    configure.protocol = LaunchProtocol::Environment;
    configure.cpus = vec![vec![0], Vec::new()];
    connection.bring_up_and_release(configure, None);
    connection.drain(2);
    let (code, output) = finish(child);
    assert_eq!(code, 0);
    assert!(output.contains("[2] 2 6 0 2 127.0.0.1 29500 1 lo lo off pmi= cpus=0\n"), "{output}");
    assert!(output.contains("[3] 3 6 1 2 127.0.0.1 29500 1 lo lo off pmi= cpus="), "{output}");
}

#[test]
fn a_missing_program_is_told_before_anything_is_forked() {
    let (failure, code) = launch_failure(&["/no/such/program"], false);
    assert_eq!((failure, code), ((None, LaunchError::NotFound), 127));
}

#[test]
fn a_file_that_may_not_be_executed_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    std::fs::write(&path, "no program").unwrap();
    let (failure, code) = launch_failure(&[path.to_str().unwrap()], false);
    assert_eq!((failure, code), ((None, LaunchError::PermissionDenied), 126));
}

#[test]
fn a_program_that_fails_only_at_exec_is_told_by_its_stub() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("script");
    std::fs::write(&path, "#!/no/such/interpreter\n").unwrap();
    rustix::fs::chmod(&path, Mode::RWXU).unwrap();
    let (failure, code) = launch_failure(&[path.to_str().unwrap()], true);
    assert_eq!((failure, code), ((Some(Rank(0)), LaunchError::NotFound), 127));
}

/// As in a pod: any user, no capability, standard output owned by somebody else. (A test run without
/// privilege is such a user already.)
#[test]
fn a_supervisor_needs_no_privilege() {
    const NOBODY: u32 = 65534;
    let directory = tempfile::tempdir().unwrap();
    let agent = FakeAgent::listen(directory.path());
    let program = std::fs::read(env!("CARGO_BIN_EXE_strobe-init")).unwrap();
    let copy = directory.path().join("strobe-init");
    std::fs::write(&copy, program).unwrap();
    for path in [directory.path(), &agent.socket, &copy] {
        rustix::fs::chmod(path, Mode::from(0o777)).unwrap();
    }
    let script = "u=$(id -u); i=0; while [ $i -lt 3000 ]; do echo line $i of user $u; i=$((i+1)); done | uniq";
    let mut command = Command::new(&copy);
    command.args(["run", "--gang", "test", "--incarnation", "7", "--socket"]).arg(&agent.socket);
    command.args(["--", "sh", "-c", script]).stdout(Stdio::piped());
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let child = command.spawn().unwrap();
    let mut connection = agent.accept();
    connection.bring_up_and_release(configure(0, 1, 1), None);
    connection.drain(1);
    let (code, output) = finish(child);
    assert_eq!((code, output.lines().count()), (0, 3000));
}

fn launch_failure(command: &[&str], released: bool) -> ((Option<Rank>, LaunchError), i32) {
    let directory = tempfile::tempdir().unwrap();
    let agent = FakeAgent::listen(directory.path());
    let child = supervisor(&agent, &[], command);
    let mut connection = agent.accept();
    if released {
        connection.bring_up_and_release(configure(0, 1, 1), None);
    } else {
        connection.send(ToSupervisor::Configure(configure(0, 1, 1)));
    }
    let ToAgent::LaunchFailed(failure) = connection.until(|message| matches!(message, ToAgent::LaunchFailed(_))) else { unreachable!() };
    assert_eq!(failure.program, command[0]);
    if released {
        connection.drain(1);
    } else {
        connection.send(ToSupervisor::Kill);
    }
    ((failure.rank, failure.error), finish(child).0)
}
