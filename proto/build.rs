//! Compiles the contract in pure Rust: no protoc has to be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "proto";
    let files = protox::compile(["strobe/agent/v1/agent.proto"], [root])?;
    println!("cargo:rerun-if-changed={root}");
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
