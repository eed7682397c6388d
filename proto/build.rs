//! Compiles the contract in pure Rust: no protoc has to be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "proto";
    println!("cargo:rerun-if-changed={root}");
    tonic_prost_build::configure().compile_fds(protox::compile(["strobe/identity/v1/identity.proto"], [root])?)?;
    Ok(())
}
