//! Agents of a cluster's nodes: they enrol, kubelet is played, and gangs run in pods that are cgroups.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
    process::{ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use strobe_core::{
    model::{Desire, EndCause, GangRun, NodeIndex, RankOutcome, Settings},
    primitives::GangPhase,
};
use strobe_node_agent::supervisor::network::own_place;
use tonic::Code;

use crate::{
    RUN,
    authority::{Heard, Nodes, Options, gang},
    kubelet::{Container, can_play_pods},
    metrics::Scrape,
    observe::{Ranks, eventually},
};

async fn nodes_in_cluster(count: u16) -> Nodes {
    Nodes::start_with(count, Options { in_cluster: true, ..Options::default() }).await
}

async fn completes(nodes: &mut Nodes, run: GangRun) {
    assert_eq!(nodes.wait_for("the gang ends", |heard| heard.ended(run)).await, EndCause::Completed);
}

/// The container's end, which comes by itself once the gang is over.
fn exit(container: &mut Container) -> ExitStatus {
    container.process.wait().expect("a container of the test's own can be waited for")
}

fn phase(heard: &Heard) -> Option<GangPhase> {
    heard.phase(RUN)
}

fn ranks(container: &Container) -> Ranks {
    Ranks::of(&format!("{}/gang-{RUN}", container.cgroup))
}

/// Runs until a file is there.
fn until(nodes: &Nodes, file: &str) -> String {
    format!("echo begun; while test ! -e {}; do :; done", nodes.path().join(file).display())
}

fn signal(process: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(process).unwrap()).unwrap(), signal).unwrap();
}

/// A gang of these nodes whose ranks run until the file `finish` is there.
async fn busy_gang(nodes: &mut Nodes, count: u16) -> (Vec<String>, Vec<Container>) {
    nodes.command(1, &[gang(RUN, count, Desire::Run)]).await;
    let pods = nodes.launch_in_pods(RUN, count).await;
    let containers = nodes.start_pods(RUN, &pods, &until(nodes, "finish")).await;
    nodes.wait_for_output(RUN, count).await;
    (pods, containers)
}

/// Lets the gang finish, and sees all of it leave.
async fn finish(mut nodes: Nodes, pods: &[String], containers: &mut [Container]) {
    fs::write(nodes.path().join("finish"), "").unwrap();
    completes(&mut nodes, RUN).await;
    for container in containers {
        assert_eq!(exit(container).code(), Some(0));
    }
    leave(nodes, pods).await;
}

async fn leave(nodes: Nodes, pods: &[String]) {
    for (node, pod) in pods.iter().enumerate() {
        let kubelet = nodes.kubelet(u16::try_from(node).unwrap());
        kubelet.unpublish(pod).await.expect("the volume is removed");
        kubelet.unpublish(pod).await.expect("a volume that is gone is removed");
        assert!(!kubelet.target(pod).exists());
        kubelet.clean_up();
    }
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_in_pods_of_nobody_runs_with_its_pods_addresses_and_completes() {
    if !can_play_pods() {
        return;
    }
    let mut nodes = nodes_in_cluster(2).await;
    nodes.command(1, &[gang(RUN, 2, Desire::Run)]).await;
    let pods = nodes.launch_in_pods(RUN, 2).await;
    let script = "id -u; echo $RANK of $WORLD_SIZE at $MASTER_ADDR";
    let mut containers = nodes.start_pods(RUN, &pods, script).await;
    completes(&mut nodes, RUN).await;
    let address: IpAddr = own_place().expect("it was looked at").0;
    let expected = [format!("0 of 2 at {address}"), format!("1 of 2 at {address}"), "65534".to_owned(), "65534".to_owned()];
    assert_eq!(nodes.output_lines(), expected);
    for container in &mut containers {
        assert_eq!(exit(container).code(), Some(0));
    }
    leave(nodes, &pods).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_container_of_a_failed_rank_exits_as_the_rank_and_that_of_a_killed_one_as_killed() {
    if !can_play_pods() {
        return;
    }
    let mut nodes = nodes_in_cluster(2).await;
    nodes.command(1, &[gang(RUN, 2, Desire::Run)]).await;
    let pods = nodes.launch_in_pods(RUN, 2).await;
    let mut containers = nodes.start_pods(RUN, &pods, "test $RANK = 1 && exit 3; while :; do :; done").await;
    let cause = nodes.wait_for("the gang ends", |heard| heard.ended(RUN)).await;
    assert!(matches!(cause, EndCause::RankFailed { outcome: RankOutcome::Exited(3), .. }), "{cause:?}");
    let codes: Vec<Option<i32>> = containers.iter_mut().map(|container| exit(container).code()).collect();
    assert_eq!(codes, [Some(128 + 9), Some(3)]);
    leave(nodes, &pods).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_policy_of_kubelets_cpu_manager_is_told() {
    if !can_play_pods() {
        return;
    }
    let nodes = nodes_in_cluster(1).await;
    let told = |policy: &str| {
        let series = format!("strobe_kubelet_cpu_manager{{node=\"0\",policy=\"{policy}\"}}");
        Scrape::of(&nodes, 0).value(&series)
    };
    eventually("there is no file of kubelet's", || told("unknown") == Some(1.0)).await;
    let state = r#"{"policyName":"static","defaultCpuSet":"0","checksum":1}"#;
    fs::write(nodes.kubelet(0).folder().join("cpu_manager_state"), state).unwrap();
    eventually("kubelet was started with another policy", || told("static") == Some(1.0) && told("unknown") == Some(0.0)).await;
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_outside_of_its_pod_is_none() {
    if !can_play_pods() {
        return;
    }
    let mut nodes = nodes_in_cluster(1).await;
    nodes.command(1, &[gang(RUN, 1, Desire::Run)]).await;
    let pods = nodes.launch_in_pods(RUN, 1).await;
    let kubelet = nodes.kubelet(0);
    kubelet.publish(&pods[0], true).await.expect("the volume is published");
    let mut stranger = kubelet.start_outside(&pods[0], "job-1", &nodes.output_path(RUN, 0), "echo stranger");
    nodes.wait_for_figures(0, 3).await;
    assert_eq!(nodes.wait_for("the gang is planned", phase).await, GangPhase::Launching);
    let mut containers = nodes.start_pods(RUN, &pods, "echo inside").await;
    completes(&mut nodes, RUN).await;
    assert_eq!(nodes.output_lines(), ["inside"]);
    assert_eq!(exit(&mut containers[0]).code(), Some(0));
    signal(stranger.process.id(), Signal::TERM);
    assert_eq!(exit(&mut stranger).code(), Some(128 + 15));
    leave(nodes, &pods).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_is_read_only_waits_for_the_plan_and_is_refused_where_it_could_be_written() {
    if !can_play_pods() {
        return;
    }
    let mut nodes = nodes_in_cluster(1).await;
    let kubelet = nodes.kubelet(0);
    let refused = kubelet.publish("0-0", false).await.expect_err("it could be written");
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "the pod must declare the volume with readOnly: true"));
    // It is asked for before anybody has launched the gang, and answered when that is done.
    let pod = format!("{:08x}-{RUN}-0", std::process::id());
    let waiting = tokio::spawn({
        let (kubelet, pod) = (kubelet.clone(), pod.clone());
        async move { kubelet.publish(&pod, true).await }
    });
    nodes.wait_for_figures(0, 2).await;
    assert!(!waiting.is_finished(), "a pod that nobody has planned got its volume");
    nodes.command(1, &[gang(RUN, 1, Desire::Run)]).await;
    let pods = nodes.launch_in_pods(RUN, 1).await;
    waiting.await.unwrap().expect("the volume is published");
    let written = fs::write(kubelet.target(&pod).join("strobe-init"), "").unwrap_err();
    assert_eq!(written.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    let mut containers = nodes.start_pods(RUN, &pods, "true").await;
    completes(&mut nodes, RUN).await;
    assert_eq!(exit(&mut containers[0]).code(), Some(0));
    leave(nodes, &pods).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_has_the_cpus_of_its_gang_and_gets_them_again() {
    if !can_play_pods() {
        return;
    }
    let mut nodes = nodes_in_cluster(1).await;
    nodes.command(1, &[gang(RUN, 1, Desire::Run)]).await;
    let pods = nodes.launch_in_pods(RUN, 1).await;
    let Some(set) = nodes.kubelet(0).cpu_set(&pods[0]) else { return };
    let cpus = set.join("cpuset.cpus");
    let all = fs::read_to_string(&cpus).unwrap();
    let mut containers = nodes.start_pods(RUN, &pods, &until(&nodes, "finish")).await;
    nodes.wait_for_output(RUN, 1).await;
    assert_eq!(fs::read_to_string(&cpus).unwrap(), "0\n", "ranks ran before their container had the gang's CPUs");
    fs::write(&cpus, &all).unwrap();
    eventually("the CPUs are the gang's again", || fs::read_to_string(&cpus).is_ok_and(|cpus| cpus == "0\n")).await;
    finish(nodes, &pods, &mut containers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_was_killed_looks_after_the_cpus_of_the_containers_that_it_takes_over() {
    if !can_play_pods() {
        return;
    }
    let mut nodes = nodes_in_cluster(2).await;
    nodes.command(1, &[gang(RUN, 2, Desire::Run)]).await;
    let pods = nodes.launch_in_pods(RUN, 2).await;
    let Some(set) = nodes.kubelet(1).cpu_set(&pods[1]) else { return };
    let cpus = set.join("cpuset.cpus");
    let all = fs::read_to_string(&cpus).unwrap();
    let mut containers = nodes.start_pods(RUN, &pods, &until(&nodes, "finish")).await;
    nodes.wait_for_output(RUN, 2).await;
    let of_gang = fs::read_to_string(&cpus).unwrap();
    assert_ne!(of_gang, all);
    nodes.kill_agent(1);
    fs::write(&cpus, &all).unwrap();
    nodes.restart_agent(1).await;
    eventually("the CPUs are the gang's again", || fs::read_to_string(&cpus).is_ok_and(|cpus| cpus == of_gang)).await;
    finish(nodes, &pods, &mut containers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_in_pods_outlives_a_killed_agent_and_is_adopted() {
    if !can_play_pods() {
        return;
    }
    let mut nodes = nodes_in_cluster(2).await;
    let (pods, mut containers) = busy_gang(&mut nodes, 2).await;
    let before = ranks(&containers[1]).processes();
    nodes.kill_agent(1);
    nodes.restart_agent(1).await;
    nodes.wait_for_figures(1, 2).await;
    assert_eq!(ranks(&containers[1]).processes(), before);
    finish(nodes, &pods, &mut containers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_asked_to_end_leaves_its_gangs_running_and_the_registry() {
    if !can_play_pods() {
        return;
    }
    let mut nodes = nodes_in_cluster(2).await;
    let (pods, mut containers) = busy_gang(&mut nodes, 2).await;
    signal(nodes.agent_process(1), Signal::TERM);
    assert_eq!(nodes.wait_for_agent(1).code(), Some(0));
    assert!(!nodes.kubelet(1).registration().exists());
    let ranks = ranks(&containers[1]);
    assert!(!ranks.is_commanded_frozen());
    let used = ranks.cpu_microseconds();
    eventually("the ranks run on", || ranks.cpu_microseconds() > used).await;
    nodes.restart_agent(1).await;
    finish(nodes, &pods, &mut containers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_whose_supervisor_died_while_its_agent_was_away_has_ended() {
    if !can_play_pods() {
        return;
    }
    let mut nodes = nodes_in_cluster(2).await;
    let (pods, mut containers) = busy_gang(&mut nodes, 2).await;
    nodes.kill_agent(1);
    let ranks = ranks(&containers[1]);
    signal(containers[1].process.id(), Signal::KILL);
    exit(&mut containers[1]);
    nodes.restart_agent(1).await;
    nodes.wait_for("the gang ends", |heard| heard.ended(RUN).filter(|cause| *cause != EndCause::Completed)).await;
    eventually("its rank cgroup is gone", || !ranks.exists()).await;
    assert_eq!(exit(&mut containers[0]).code(), Some(128 + 9));
    leave(nodes, &pods).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_partition_was_changed_enrols_anew_in_the_same_process_and_has_the_new_settings() {
    if !can_play_pods() {
        return;
    }
    let mut nodes = nodes_in_cluster(1).await;
    let (pods, mut containers) = busy_gang(&mut nodes, 1).await;
    let other = Settings { rows: 3, ..nodes.settings().clone() };
    nodes.change_settings(other);
    let status = nodes.refusal(0, nodes.hello()).await.expect("the session is refused");
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    let process = nodes.agent_process(0);
    nodes.next_life(0).await;
    assert_eq!(nodes.agent_process(0), process);
    nodes.command(2, &[gang(RUN, 1, Desire::Run)]).await;
    finish(nodes, &pods, &mut containers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_in_no_partition_is_ready_and_joins_when_it_is_in_one() {
    if !can_play_pods() {
        return;
    }
    let nodes = nodes_in_cluster(0).await;
    nodes.operator().known.send_replace(None);
    let health_port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let mut command = nodes.pod_command(NodeIndex(0), nodes.operator());
    let mut process = command.arg("--health-port").arg(health_port.to_string()).stdout(Stdio::piped()).spawn().unwrap();
    nodes.kubelet(0).take_in_plugin().await;
    let idle = "ready, and idle: the operator refuses: the node is in no partition (FailedPrecondition)\n";
    eventually("it is ready and idle", || get(health_port, "/readyz").is_some_and(|(ready, text)| ready && text == idle)).await;
    assert_eq!(get(health_port, "/healthz"), Some((true, "alive\n".to_owned())));
    nodes.operator().known.send_replace(Some((nodes.partition(), nodes.settings().clone())));
    let in_partition = (true, "ready: in a partition, without a session of its authority\n".to_owned());
    eventually("it is in the partition", || get(health_port, "/readyz").as_ref() == Some(&in_partition)).await;
    assert!(get(health_port, "/metrics").is_some_and(|(_, text)| text.contains("strobe_gangs")));
    signal(process.id(), Signal::TERM);
    assert_eq!(process.wait().unwrap().code(), Some(0));
}

/// Whether an answer is good, and its text; none where nobody answers.
fn get(port: u16, path: &str) -> Option<(bool, String)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, text) = answer.split_once("\r\n\r\n")?;
    Some((head.starts_with("HTTP/1.1 200 "), text.to_owned()))
}
