//! `cargo xtask rdma-vm check`: RDMA between three nodes, proved by programs that are not ours.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use super::nodes::{self, Node};
use super::perftest::{MEASUREMENTS, Measurement, Values};
use super::shell::Shell;

const NODES: usize = 3;

/// Makes the nodes and runs every measurement, each node in turn being server and client. What fails is in the exit code, and does not
/// keep the others from being run.
///
/// # Errors
/// The machine is not up, or the nodes are not as they should be.
pub(super) fn run() -> Result<ExitCode> {
    let shell = Shell::of_this_user()?;
    let nodes = nodes::make(&shell, NODES)?;
    println!("{:<7} {:<12} {:<7} {:>9}  GID", "node", "address", "device", "GID index");
    for node in &nodes {
        println!("{:<7} {:<12} {:<7} {:>9}  {}", node.name, node.address.to_string(), node.device, node.gid_index, node.gid);
    }
    println!("\n{:<14} {:<3} {:>6} {:>6}  {:<14} {:>6}", "program", "", "bytes", "times", "nodes", "took");
    let mut failed = 0;
    for measurement in &MEASUREMENTS {
        for (index, server) in nodes.iter().enumerate() {
            let client = &nodes[(index + 1) % nodes.len()];
            failed += usize::from(!report(measurement, server, client, &shell));
        }
    }
    println!("{} measurements, {failed} failed", MEASUREMENTS.len() * nodes.len());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one measurement and prints its line; whether it passed.
fn report(measurement: &Measurement, server: &Node, client: &Node, shell: &Shell) -> bool {
    let began = Instant::now();
    let command = measurement.command(server, client);
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let result = shell.output(&words).and_then(|output| measurement.parse(&output));
    let seconds = began.elapsed().as_secs_f64();
    let pair = format!("{} → {}", client.name, server.name);
    match &result {
        Ok(found) => {
            let (program, transport) = (measurement.program, measurement.transport);
            let values = shown(found.values);
            println!("{program:<14} {transport:<3} {:>6} {:>6}  {pair:<14} {seconds:>4.1} s  {values}", found.bytes, found.iterations);
        }
        Err(error) => println!("{:<14} {:<3} {pair} FAILED after {seconds:.1} s: {error:#}", measurement.program, measurement.transport),
    }
    result.is_ok()
}

fn shown(values: Values) -> String {
    match values {
        Values::Latency { least_us, typical_us, most_us } => {
            format!("typical {typical_us:>8.1} µs, least {least_us:>8.1} µs, most {most_us:>8.1} µs")
        }
        Values::Bandwidth { average_mib_s } => format!("average {average_mib_s:>8.1} MiB/s"),
    }
}
