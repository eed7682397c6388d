//! Prints the CRDs as YAML; with `--write` writes them to `crds/generated/` instead.

use std::path::Path;
use std::process::ExitCode;

use strobe_crds::render::generated_files;

fn main() -> ExitCode {
    let write = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--write") => true,
        Some(other) => {
            eprintln!("unknown argument {other:?}; the only one is --write");
            return ExitCode::from(2);
        }
    };
    match run(write) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(write: bool) -> Result<(), Box<dyn std::error::Error>> {
    for file in generated_files()? {
        if write {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("generated");
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join(file.name), file.text)?;
        } else {
            print!("---\n{}", file.text);
        }
    }
    Ok(())
}
