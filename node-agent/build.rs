//! Compiles what kubelet and the volume plugin say to each other.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    // The clients are the tests'.
    tonic_prost_build::configure().compile_fds(protox::compile(["csi.proto", "registration.proto"], ["proto"])?)?;
    Ok(())
}
