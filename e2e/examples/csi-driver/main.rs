//! A small volume plugin: what the tests of inline volumes run on a node. Each pod gets a directory, mounted read-only, with a program
//! and a socket of its own. The same program, called from inside a pod, asks that socket.
//!
//! Its folder on the node is kubelet's `plugins/NAME`, mounted at `/plugin`: the path of a socket has at most 107 bytes, and the paths
//! beneath kubelet's own folders come near to that.

mod calls;
mod node;
mod plugin;
mod protocol;
mod volumes;

use std::env;
use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", name] => plugin::serve(name),
        ["ask", socket] => ask(socket),
        _ => bail!("wants `serve NAME` on a node or `ask SOCKET` in a pod"),
    }
}

/// Prints what the plugin says at a socket.
fn ask(socket: &str) -> Result<()> {
    let mut stream = UnixStream::connect(socket).with_context(|| format!("connect to {socket}"))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("read the plugin's answer")?;
    io::Write::write_all(&mut io::stdout(), answer.as_bytes()).context("print it")
}
