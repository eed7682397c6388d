//! People and kubelet look into gangs that take turns.

use std::panic::resume_unwind;
use std::thread;

use serde_json::{Value, json};
use strobe_e2e::cluster::system;

use crate::Scenario;
use crate::jobs::{Afterwards, Jobs, rank, script, sleeper, until};
use crate::trace::Trace;

pub(crate) const SCENARIOS: [Scenario; 3] = [
    Scenario::new("exec-logs-and-names", exec_logs_and_names),
    Scenario::new("an-image-that-does-not-come", an_image_that_does_not_come),
    Scenario::new("probes-exec-and-logs-at-every-quantum", looked_into_at_every_quantum).alone(),
];

fn exec_logs_and_names(jobs: &Jobs) {
    jobs.apply(&sleeper("first"));
    let say = "number=0; while [ $number -lt 300 ]; do number=$((number+1)); echo line $number; sleep 0.1; done";
    jobs.apply(&script("second", say));
    jobs.are("Running", &["first", "second"]);
    let first = jobs.pod("first", 0);
    let seen = jobs.namespace.run(&["exec", &first, "--", "sh", "-c", "echo seen from inside $(hostname)"]).unwrap();
    assert_eq!(seen, "seen from inside first-0\n");
    let address = jobs.namespace.run(&["get", "pod", &jobs.pod("first", 1), "--output=jsonpath={.status.podIP}"]).unwrap();
    let name = format!("first-1.first.{}.svc.cluster.local", jobs.namespace.name());
    until("the other rank's pod has its name", || {
        jobs.namespace.run(&["exec", &first, "--", "nslookup", &name]).is_ok_and(|found| found.contains(&address))
    });
    let followed = jobs.namespace.run(&["logs", "--follow", &jobs.pod("second", 1)]).unwrap();
    let lines: Vec<&str> = followed.lines().filter(|line| line.contains("line ")).collect();
    assert_eq!(lines.len(), 300, "{followed}");
    assert!(lines[299].ends_with("line 300"), "{}", lines[299]);
    jobs.wait("condition=Complete", "second");
}

fn an_image_that_does_not_come(jobs: &Jobs) {
    let mut missing = sleeper("missing");
    rank(&mut missing)["image"] = json!("localhost/strobe-e2e/no-such-image:1");
    jobs.apply(&missing);
    jobs.wait("jsonpath={.status.reason}=ImagePullFailed", "missing");
    let message = jobs.field("missing", ".status.message");
    assert!(message.contains("no-such-image"), "kubelet's words: {message}");
    assert_eq!(jobs.field("missing", ".status.restarts"), "0");
    jobs.delete("missing");
}

/// Ten numbered lines in each second in which the gang runs, beside a server.
const SERVE: &str =
    "(number=0; while true; do number=$((number+1)); echo line $number; sleep 0.1; done) & exec busybox httpd -f -p 8080 -h /etc";

/// Lines that are followed: more than a turn of two seconds has.
const FOLLOWED: usize = 50;

/// Probes that would fail soon in a gang that stands still for a whole turn, if they were asked as they are written.
fn probed(name: &str) -> Value {
    let mut job = script(name, SERVE);
    let period = json!({ "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 2 });
    let with = |mut probe: Value| {
        probe.as_object_mut().unwrap().extend(period.as_object().unwrap().clone());
        probe
    };
    let container = rank(&mut job);
    container["livenessProbe"] = with(json!({ "httpGet": { "path": "/hostname", "port": 8080 } }));
    container["readinessProbe"] =
        with(json!({ "exec": { "command": ["sh", "-c", "busybox wget -q -O - http://127.0.0.1:8080/hostname"] } }));
    job
}

fn looked_into_at_every_quantum(jobs: &Jobs) {
    let _as_before = Afterwards(|| system::change_partition(&json!({ "quantum": "50ms" })));
    for quantum in ["50ms", "2s"] {
        system::change_partition(&json!({ "quantum": quantum })).unwrap();
        let names = ["first", "second"];
        for name in names {
            jobs.apply(&probed(name));
        }
        jobs.are("Running", &names);
        for name in names {
            jobs.wait(&format!("jsonpath={{.status.quantum}}={quantum}"), name);
        }
        let node = jobs.nodes("first").swap_remove(0);
        let from = Trace::of(&node).last();
        thread::scope(|scope| {
            let all: Vec<_> = names.iter().map(|name| scope.spawn(|| looked_into(jobs, name))).collect();
            // What one of them has met is the scenario's own failure, in its own words.
            all.into_iter().for_each(|one| one.join().unwrap_or_else(|panic| resume_unwind(panic)));
        });
        // At 2 s ten turns are twenty seconds, and the lines at 50 ms are ten: more than either probe may fail in.
        until("the gangs have taken turns", || Trace::of(&node).turns_since(from, "first", "second").count >= 10);
        for name in names {
            let pods = format!("--selector=strobe.dev/job={name}");
            jobs.namespace.run(&["wait", "--for=condition=Ready", "--timeout=60s", "pod", &pods]).unwrap();
            let restarts = "--output=jsonpath={.items[*].status.containerStatuses[*].restartCount}";
            assert_eq!(jobs.namespace.run(&["get", "pods", &pods, restarts]).unwrap(), "0 0", "{quantum}");
            assert_eq!(jobs.field(name, ".status.restarts"), "0", "{quantum}");
        }
        for name in names {
            jobs.delete(name);
        }
    }
}

/// A program begins in each of a gang's pods, and its log comes line by line, whether the gang has its turn or not.
fn looked_into(jobs: &Jobs, name: &str) {
    for index in 0..2 {
        let said = jobs.namespace.exec(&jobs.pod(name, index), &["sh", "-c", "echo seen from inside $(hostname)"]).unwrap();
        assert_eq!(said, format!("seen from inside {name}-{index}\n"));
    }
    let followed = jobs.namespace.follow(&jobs.pod(name, 0), FOLLOWED).unwrap();
    let numbers: Vec<usize> = followed.iter().map(|line| line.strip_prefix("line ").unwrap().parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "no line is lost: {numbers:?}");
}
