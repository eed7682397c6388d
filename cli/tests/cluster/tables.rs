//! `list`, `matrix`, `top` and `nodes`.

use std::fs::File;
use std::io::Read as _;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::{Value, json};
use strobe_e2e::ask::{Ask, Change};

use super::{LOOK_AT_JOBS, Scene};

fn running(row: u8) -> Value {
    json!({ "state": "Running", "ready": "2/2", "row": format!("{row}/2"), "rows": [row], "share": "50%", "cpuEfficiency": "48%",
        "startTime": "2026-01-01T00:00:00Z" })
}

fn measured(used: [u32; 2]) -> Value {
    let times = json!({ "p50": "18us", "p99": "83us", "max": "2ms" });
    let rows = used.map(|used| json!({ "gangs": 1, "usedSlots": used }));
    json!({ "state": "Reachable", "member": true, "cpuCount": 4, "rows": rows,
        "figures": { "cpuEfficiency": "97%", "skew": times, "switchCost": times, "stragglers": 2 } })
}

async fn two_gangs(namespace: &'static str) -> Option<Scene> {
    let scene = Scene::make(namespace).await?;
    scene.add_partition().await;
    scene.add_node("a", &measured([2, 4])).await;
    scene.add_node("b", &measured([2, 2])).await;
    scene.add_job("sor", &running(0), 2).await;
    scene.add_job("tsp", &running(1), 2).await;
    scene.add_job("waits", &json!({ "state": "Queued", "ready": "0/2", "position": 1 }), 0).await;
    Some(scene)
}

#[tokio::test]
async fn list_shows_the_jobs_of_a_namespace_or_of_all() {
    let Some(scene) = two_gangs("cli-list").await else { return };
    let listed = scene.run(&["list"]);
    let lines = listed.lines();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(lines[0]), ["NAME", "STATE", "READY", "ROW", "SHARE", "POSITION", "CPU-EFF", "RESTARTS", "AGE"]);
    assert_eq!(words(lines[1])[..8], ["sor", "Running", "2/2", "0/2", "50%", "-", "48%", "0"]);
    assert_eq!(words(lines[3])[..6], ["waits", "Queued", "0/2", "-", "-", "1"]);
    assert!(!listed.stdout.contains('\u{1b}'), "piped, it is plain: {}", listed.stdout);
    let all = scene.run(&["list", "-A"]);
    assert!(all.lines()[0].starts_with("NAMESPACE") && all.stdout.contains("cli-list"), "{}", all.stdout);
    let json: Value = serde_json::from_str(&scene.run(&["list", "-o", "json"]).stdout).unwrap();
    assert_eq!((&json[2]["name"], &json[2]["position"], &json[0]["cpuEfficiency"]), (&json!("waits"), &json!(1), &json!("48%")));
    assert!(scene.run(&["list", "-o", "yaml"]).stdout.contains("cpuEfficiency: 48%"));
}

#[tokio::test]
async fn matrix_shows_which_gang_holds_which_row_on_which_node() {
    let Some(scene) = two_gangs("cli-matrix").await else { return };
    let shown = scene.run(&["matrix", "cli-matrix"]);
    assert_eq!(
        shown.lines(),
        [
            "cli-matrix · gang policy, quantum 50ms · term 3, managed by cli-matrix-a",
            "NODE          CPUS  ROW 0  ROW 1",
            "cli-matrix-a  4     A 2    B 2 ? 2",
            "cli-matrix-b  4     A 2    B 2",
            "",
            "   JOB             STATE    ROWS  ON EACH NODE  NODES",
            "A  cli-matrix/sor  Running  0     2 slots       2",
            "B  cli-matrix/tsp  Running  1     2 slots       2",
            "?  slots of gangs that you may not read",
        ]
    );
    let json: Value = serde_json::from_str(&scene.run(&["matrix", "cli-matrix", "-o", "json"]).stdout).unwrap();
    assert_eq!(json["nodes"][0]["rows"][1], json!({ "gangs": [{ "mark": "B", "slots": 2 }], "unknownSlots": 2 }));
}

#[tokio::test]
async fn matrix_shows_what_its_user_may_read_and_says_what_not() {
    let Some(scene) = two_gangs("cli-rights").await else { return };
    let user = scene.user("looks", LOOK_AT_JOBS).await;
    let shown = scene.run_as(&user, &["matrix"]);
    let lines = shown.lines();
    assert_eq!(lines[0], "cli-rights", "of the partition its jobs' name alone is known");
    assert!(lines.contains(&"no node is known") && lines.contains(&"A  cli-rights/sor  Running  0     2 slots       ? of 2"), "{lines:#?}");
    for what in ["partitions", "partitionnodes", "pods of namespace \"cli-rights\""] {
        let is_said = |line: &&str| line.starts_with(&format!("note: {what}: you are not allowed to"));
        assert!(lines.iter().any(is_said), "{what}: {lines:#?}");
    }
    let of_others = "note: you may list paralleljobs of namespace \"cli-rights\" alone; others are not shown";
    assert!(lines.contains(&of_others), "{lines:#?}");
}

#[tokio::test]
async fn matrix_is_shown_again_when_it_has_changed() {
    let Some(scene) = two_gangs("cli-watch").await else { return };
    let mut watched = scene.start(&["matrix", "cli-watch", "--watch"]);
    while !watched.line().starts_with("B  cli-watch/tsp  Running") {}
    let status = format!("{}/tsp/status", scene.jobs());
    Ask::change(&status, Change::Merge, &json!({ "status": { "state": "Paused" } })).accepted(&scene.client).await.unwrap();
    while !watched.line().starts_with("B  cli-watch/tsp  Paused") {}
}

#[tokio::test]
async fn top_shows_jobs_and_nodes_once_where_it_is_piped() {
    let Some(scene) = two_gangs("cli-top").await else { return };
    let slow = format!("{}/tsp/status", scene.jobs());
    Ask::change(&slow, Change::Merge, &json!({ "status": { "cpuEfficiency": "20%" } })).accepted(&scene.client).await.unwrap();
    let shown = scene.run(&["top"]);
    let lines = shown.lines();
    assert_eq!(lines[0], "JOB          STATE    SHARE  CPU-EFF  SKEW P99  SWITCH P99  RESTARTS");
    assert_eq!(lines[1], "cli-top/tsp  Running  50%    20%      83us      83us        0", "the worst comes first");
    assert_eq!(lines[2], "cli-top/sor  Running  50%    48%      83us      83us        0");
    assert!(lines.iter().any(|line| line.starts_with("cli-top-a") && line.contains("97%")), "{lines:#?}");
    let once: Value = serde_json::from_str(&scene.run(&["top", "--once", "-o", "json"]).stdout).unwrap();
    assert_eq!((&once["jobs"][0]["name"], &once["jobs"][0]["cpuEfficiency"]), (&json!("tsp"), &json!("20%")));
}

#[tokio::test]
async fn top_goes_on_where_it_is_seen_on_a_terminal() {
    let Some(scene) = two_gangs("cli-terminal").await else { return };
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let size = Winsize { ws_row: 24, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&controller, size).unwrap();
    let path = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
    let terminal = File::options().read(true).write(true).open(path).unwrap();
    let mut command = scene.command(&scene.server.kubeconfig(), &["top"]);
    let mut child = command.env("TERM", "xterm").env_remove("NO_COLOR").stdout(terminal).spawn().unwrap();
    let mut seen = Vec::new();
    let mut reader = File::from(controller);
    let pictures = |seen: &[u8]| String::from_utf8_lossy(seen).matches("cli-terminal/sor").count();
    while pictures(&seen) < 2 {
        let mut bytes = [0; 4096];
        let read = reader.read(&mut bytes).unwrap();
        seen.extend_from_slice(&bytes[..read]);
    }
    assert!(String::from_utf8_lossy(&seen).contains("\u{1b}[?2026h"), "it is drawn over, not below");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn nodes_shows_those_of_partitions_and_why_others_are_in_none() {
    let Some(scene) = two_gangs("cli-nodes").await else { return };
    for (name, labels) in [("cli-nodes-late", json!({ "partition": "cli-nodes" })), ("cli-nodes-free", json!({}))] {
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels } });
        scene.add("/api/v1/nodes", &node, &Value::Null).await;
    }
    let shown = scene.run(&["nodes"]);
    let line = |name: &str| {
        let line =
            shown.lines().into_iter().find(|line| line.split_whitespace().next() == Some(name)).unwrap_or_else(|| panic!("{shown:?}"));
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(line("cli-nodes-a")[..8], ["cli-nodes-a", "cli-nodes", "Reachable", "member", "4", "97%", "83us", "83us"]);
    assert_eq!(line("cli-nodes-late")[1..].join(" "), "Partition cli-nodes selects it, and its agent has not enrolled");
    assert_eq!(line("cli-nodes-free")[1..].join(" "), "no Partition selects it");
}
