//! Probes of kubelet's: the program asks, and the supervisor says whether its ranks run.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    net::TcpListener,
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Stdio},
};

use strobe_node_agent::supervisor_protocol::ToSupervisor;

use crate::{
    fake_agent::{FakeAgent, configure, peers, supervisor},
    finish,
};

/// A supervisor whose one rank sleeps, and what stands for its `cgroup.freeze`.
struct Gang {
    child: Child,
    connection: crate::fake_agent::Connection,
    directory: tempfile::TempDir,
    socket: String,
}

impl Gang {
    fn launched(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("freeze"), "0").unwrap();
        let socket = format!("strobe-probe-{name}-{}", std::process::id());
        let agent = FakeAgent::listen(directory.path());
        let child = supervisor(&agent, &["--probe-socket", &socket], &["sleep", "1000"]);
        let mut connection = agent.accept();
        let freeze = OpenOptions::new().read(true).write(true).open(directory.path().join("freeze")).unwrap();
        connection.bring_up(configure(0, 1, 1), Some(OwnedFd::from(freeze)));
        Self { child, connection, directory, socket }
    }

    fn release(&mut self) {
        self.connection.send(ToSupervisor::Release(peers(1)));
        self.connection.until(|message| *message == strobe_node_agent::supervisor_protocol::ToAgent::Released);
    }

    fn freeze(&self, word: &str) {
        std::fs::write(self.directory.path().join("freeze"), word).unwrap();
    }

    /// Carries a probe out: true for success.
    fn probe(&self, kind: &str, check: &[&str]) -> bool {
        probe(&self.socket, self.directory.path(), kind, check)
    }

    fn end(mut self) {
        self.connection.send(ToSupervisor::Kill);
        self.connection.drain(1);
        finish(self.child);
    }
}

fn probe(socket: &str, memory: &Path, kind: &str, check: &[&str]) -> bool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strobe-init"));
    command.args(["probe", "--kind", kind, "--timeout-seconds=1", "--wait-seconds=2", "--socket", socket, "--memory"]);
    command.arg(memory).args(check).stdin(Stdio::null()).status().unwrap().success()
}

const HANGS: [&str; 4] = ["exec", "--", "sleep", "1000"];

#[test]
fn a_check_without_an_answer_fails_while_the_ranks_run_and_keeps_the_last_result_while_they_do_not() {
    let mut gang = Gang::launched("hangs");
    assert!(gang.probe("liveness", &HANGS), "before the release nothing is amiss");
    assert!(!gang.probe("readiness", &HANGS), "and nothing is ready");
    gang.release();
    assert!(!gang.probe("liveness", &HANGS));
    assert!(gang.probe("readiness", &["exec", "--", "true"]));
    gang.freeze("1");
    assert!(gang.probe("readiness", &HANGS), "it was ready when it ran");
    assert!(gang.probe("liveness", &HANGS), "kubelet counts each answer: one failure is not told again and again");
    gang.freeze("0");
    assert!(!gang.probe("liveness", &HANGS), "now it runs, and does not answer");
    assert!(!gang.probe("readiness", &HANGS));
    gang.end();
}

#[test]
fn ports_and_pages_are_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("--port={}", listener.local_addr().unwrap().port());
    let probe = |check: &[&str]| probe("strobe-probe-of-nobody", directory.path(), "readiness", check);
    assert!(probe(&["tcp", &port, "--host=127.0.0.1"]));
    for (status, expected) in [("200 OK", true), ("503 Busy", false)] {
        let (answers, answer) = (listener.try_clone().unwrap(), format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
        let server = std::thread::spawn(move || serve(&answers, &answer));
        assert_eq!(probe(&["http", &port, "--host=127.0.0.1", "--path=/healthz"]), expected);
        let asked = server.join().unwrap();
        assert!(asked.starts_with("GET /healthz HTTP/1.1\r\n"), "{asked}");
    }
    drop(listener);
    assert!(!probe(&["tcp", &port, "--host=127.0.0.1"]), "nobody listens any more");
    assert_eq!(std::fs::read(directory.path().join(".strobe-probe-readiness")).unwrap(), b"0");
}

/// Answers the first who asks for a page, past those that only look whether the port is open; gives the request.
fn serve(listener: &TcpListener, answer: &str) -> String {
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
            request.push(byte[0]);
        }
        if !request.is_empty() {
            stream.write_all(answer.as_bytes()).unwrap();
            return String::from_utf8(request).unwrap();
        }
    }
}

/// Kept apart from what is only read: a supervisor that is older or newer has no such socket.
#[test]
fn without_a_supervisor_that_answers_the_ranks_are_taken_to_run() {
    let directory = tempfile::tempdir().unwrap();
    assert!(!probe("strobe-probe-of-nobody", directory.path(), "liveness", &HANGS));
    assert!(File::open(directory.path().join(".strobe-probe-liveness")).is_ok());
}
