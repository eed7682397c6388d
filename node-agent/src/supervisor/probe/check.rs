//! What a probe asks: a program, a page, or a port. As kubelet asks, but that a redirection is a success and is not followed.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _},
    os::unix::process::CommandExt as _,
    process::Command,
    sync::mpsc::{Receiver, channel},
    thread,
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::supervisor::{
    arguments::{Check, HttpArguments, ProbeArguments, TcpArguments},
    error::SupervisorError,
    limits::STATUS_LINE_BYTES,
    network::own_place,
};

/// A check under way.
pub(super) struct Running {
    /// The process group of its program.
    program: Option<Pid>,
}

/// Begins the check; its result comes by the receiver.
pub(super) fn start(arguments: &ProbeArguments) -> Result<(Receiver<bool>, Running), SupervisorError> {
    let (answer, outcome) = channel();
    let mut running = Running { program: None };
    match &arguments.check {
        Check::Exec { command } => {
            let [program, rest @ ..] = command.as_slice() else { unreachable!("the command line demands one") };
            let mut child =
                Command::new(program).args(rest).process_group(0).spawn().map_err(SupervisorError::io("start the probe's program"))?;
            running.program = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            thread::spawn(move || answer.send(child.wait().is_ok_and(|status| status.success())));
        }
        Check::Http(http) => {
            let http = http.clone();
            thread::spawn(move || answer.send(is_served(&http).unwrap_or(false)));
        }
        Check::Tcp(tcp) => {
            let tcp = tcp.clone();
            thread::spawn(move || answer.send(connect(&tcp).is_ok()));
        }
    }
    Ok((outcome, running))
}

impl Running {
    /// Nobody waits for it any more. A connection ends with this process.
    pub(super) fn abandon(self) {
        if let Some(group) = self.program {
            // It has ended, and so has what it started.
            let _ended = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The pod's own address, by which kubelet asks; with none the loopback's.
fn connect(arguments: &TcpArguments) -> std::io::Result<TcpStream> {
    let own = || own_place().map_or(IpAddr::from([127, 0, 0, 1]), |(address, _)| address);
    match &arguments.host {
        None => TcpStream::connect(SocketAddr::new(own(), arguments.port)),
        Some(host) => TcpStream::connect((host.as_str(), arguments.port).to_socket_addrs()?.collect::<Vec<_>>().as_slice()),
    }
}

/// Whether a page answers with a status from 200 to 399.
fn is_served(arguments: &HttpArguments) -> std::io::Result<bool> {
    let mut stream = connect(&arguments.place)?;
    stream.write_all(request(arguments, &stream.peer_addr()?.to_string()).as_bytes())?;
    let mut line = Vec::new();
    BufReader::new(stream.take(STATUS_LINE_BYTES)).read_until(b'\n', &mut line)?;
    Ok(status(&line).is_some_and(|status| (200..400).contains(&status)))
}

fn request(arguments: &HttpArguments, address: &str) -> String {
    let stated =
        |name: &str| arguments.headers.iter().any(|header| header.split(':').next().is_some_and(|own| own.eq_ignore_ascii_case(name)));
    let mut lines = vec![format!("GET {} HTTP/1.1", arguments.path)];
    let usual = [("Host", address), ("User-Agent", "kube-probe/strobe"), ("Accept", "*/*"), ("Connection", "close")];
    lines.extend(usual.iter().filter(|(name, _)| !stated(name)).map(|(name, value)| format!("{name}: {value}")));
    lines.extend(arguments.headers.iter().cloned());
    lines.join("\r\n") + "\r\n\r\n"
}

/// The status of a line such as `HTTP/1.1 200 OK`.
fn status(line: &[u8]) -> Option<u16> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/"))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(headers: &[&str]) -> HttpArguments {
        let place = TcpArguments { port: 80, host: None };
        HttpArguments { place, path: "/healthz?deep=1".to_owned(), headers: headers.iter().map(|header| (*header).to_owned()).collect() }
    }

    #[test]
    fn a_page_is_asked_for_as_kubelet_does_and_the_users_headers_go_before_the_usual_ones() {
        let usual = "GET /healthz?deep=1 HTTP/1.1\r\nHost: 10.0.0.1:80\r\nUser-Agent: kube-probe/strobe\r\nAccept: */*\r\nConnection: close\r\n\r\n";
        assert_eq!(request(&page(&[]), "10.0.0.1:80"), usual);
        let own = request(&page(&["host: solver.example", "X-Deep: yes"]), "10.0.0.1:80");
        assert!(own.contains("\r\nhost: solver.example\r\nX-Deep: yes\r\n\r\n") && !own.contains("10.0.0.1"), "{own}");
    }

    #[test]
    fn a_status_is_read_from_its_line_alone() {
        assert_eq!(
            [&b"HTTP/1.1 204 No Content\r\n"[..], b"HTTP/1.0 500\n", b"SSH-2.0 200", b"HTTP/1.1", b"\xff"].map(status),
            [Some(204), Some(500), None, None, None]
        );
    }
}
