//! How the emulator is started. It lives in a network namespace of its own, in which its one port is, and the end of a wire to its second
//! card: nothing of the machine can be reached from outside of this one, no port here can be in its way, and it reaches nothing but its own
//! addresses.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::files::{Files, Shape};
use crate::limits::{EMULATOR_START, RDMA_VM_TRANSLATION_MIB};
use crate::process::shown;

/// The name of the one snapshot on the disk.
pub(super) const SNAPSHOT: &str = "ready";

/// The namespace's end of a wire to the machine, whose end is its second card. Neither has an address until something needs the wire.
pub(super) const LINK: &str = "machine";

/// Told to the kernel. `net.ifnames` keeps the card's name short and known; without `mitigations` and `damon_stat` emulation has less to
/// do; where the kernel panics the emulator ends. TERM is systemd's: the console is a file.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 TERM=dumb quiet mitigations=off net.ifnames=0 panic=-1 nokaslr tsc=reliable \
    systemd.show_status=false damon_stat.enabled=N";

/// Starts the emulator in the background. Its output is in the log, the machine's in the console's.
///
/// # Errors
/// It cannot be started, or ends at once: then with what it said.
pub(super) fn start(files: &Files, shape: &Shape, restore: bool) -> Result<()> {
    let log = File::create(files.log()).with_context(|| format!("write {}", files.log().display()))?;
    let mut command = Command::new("timeout");
    command.arg(EMULATOR_START.as_secs().to_string()).args(["unshare", "--net", "--"]);
    // The namespace's loopback interface is down at first.
    command.args(["sh", "-c", r#"ip link set lo up && exec "$@""#, "sh", "qemu-system-x86_64"]);
    command.args(arguments(files, shape, restore)).stdin(Stdio::null());
    command.stdout(log.try_clone().context("copy a descriptor")?).stderr(log);
    let status = command.status().with_context(|| format!("start {}", shown(&command)))?;
    if !status.success() {
        let said = std::fs::read_to_string(files.log()).unwrap_or_default();
        bail!("the emulator did not start ({status}):\n{}", said.trim_end());
    }
    Ok(())
}

fn arguments(files: &Files, shape: &Shape, restore: bool) -> Vec<OsString> {
    let image = &shape.image;
    let mut list = Arguments::default();
    list.add("-daemonize").pair("-name", "strobe-rdma-vm");
    list.pair("-accel", &format!("tcg,thread=multi,tb-size={RDMA_VM_TRANSLATION_MIB}"));
    list.pair("-machine", "q35,hpet=off,usb=off,vmport=off").pair("-cpu", "Westmere");
    list.pair("-smp", &shape.cpus.to_string()).pair("-m", &shape.memory_mib.to_string());
    list.add("-nodefaults").add("-no-user-config").pair("-display", "none").add("-no-reboot");
    list.add("-kernel").add(image.kernel()).add("-initrd").add(image.first_programs()).pair("-append", KERNEL_ARGUMENTS);
    list.with_path("-drive", "if=none,id=disk,format=qcow2,cache=unsafe,aio=threads,discard=unmap,file=", &files.disk());
    list.pair("-device", "virtio-blk-pci,drive=disk").pair("-device", "virtio-rng-pci");
    list.pair("-nic", "user,model=virtio-net-pci,restrict=on,hostfwd=tcp:127.0.0.1:22-:22");
    list.pair("-nic", &format!("tap,ifname={LINK},script=no,downscript=no,model=virtio-net-pci"));
    list.with_path("-chardev", "file,id=console,path=", &files.console()).pair("-serial", "chardev:console");
    list.with_path("-chardev", "socket,id=ready,path=", &files.ready()).pair("-serial", "chardev:ready");
    list.with_path("-chardev", "socket,id=monitor,server=on,wait=off,path=", &files.monitor());
    list.pair("-mon", "chardev=monitor,mode=control");
    if restore {
        list.pair("-loadvm", SNAPSHOT);
    }
    list.0
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

// === impl Arguments ===

impl Arguments {
    fn add(&mut self, argument: impl Into<OsString>) -> &mut Self {
        self.0.push(argument.into());
        self
    }

    fn pair(&mut self, option: &str, value: &str) -> &mut Self {
        self.add(option).add(value)
    }

    /// A comma in a path is written twice, for one separates the emulator's settings.
    fn with_path(&mut self, option: &str, settings: &str, path: &Path) -> &mut Self {
        let path = path.to_string_lossy().replace(',', ",,");
        self.add(option).add(format!("{settings}{path}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdma_vm::image::Image;

    fn joined(restore: bool) -> String {
        let parent = tempfile::tempdir().unwrap();
        let files = Files::at(parent.path().join("a,b")).unwrap();
        let shape = Shape { image: Image::for_test("/image"), memory_mib: 512, cpus: 3 };
        let words = arguments(&files, &shape, restore);
        words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn shape_and_image_are_in_the_arguments() {
        let arguments = joined(false);
        assert!(arguments.contains("-smp 3 -m 512 "), "{arguments}");
        assert!(arguments.contains("-kernel /image/kernel -initrd /image/initrd "), "{arguments}");
        assert!(!arguments.contains("-loadvm"));
    }

    #[test]
    fn commas_in_paths_are_doubled() {
        assert!(joined(false).contains("/a,,b/disk.qcow2 "));
    }

    #[test]
    fn a_snapshot_is_restored_where_there_is_one() {
        assert!(joined(true).ends_with("-loadvm ready"));
    }

    #[test]
    fn every_port_is_of_loopback() {
        let arguments = joined(false);
        let forwarded: Vec<_> = arguments.match_indices("hostfwd=").map(|(start, _)| &arguments[start..]).collect();
        assert_eq!(forwarded.len(), 1);
        assert!(forwarded[0].starts_with("hostfwd=tcp:127.0.0.1:"), "{arguments}");
    }
}
