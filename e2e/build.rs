//! Compiles what kubelet and a volume plugin say to each other, for the plugin of the laboratory's tests.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../node-agent/proto");
    #[cfg(feature = "laboratory")]
    tonic_prost_build::configure()
        .build_client(false)
        .compile_fds(protox::compile(["csi.proto", "registration.proto"], ["../node-agent/proto"])?)?;
    Ok(())
}
