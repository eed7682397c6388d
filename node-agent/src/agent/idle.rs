//! Idle CPUs stay awake while gangs take turns on this node.
//!
//! Between the freeze of one gang and the thaw of the next a CPU has nothing to run. One that goes to sleep then comes back
//! late: by microseconds to a hundred on hardware, by milliseconds where a hypervisor has given the time to others.
//! `/dev/cpu_dma_latency` (the kernel's admin-guide/pm/cpuidle) takes a bound in microseconds and holds it as long as the
//! file is open, so that no end of the agent leaves it behind.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
};

/// The kernel's file for the bound.
const DEVICE: &str = "/dev/cpu_dma_latency";

/// The latency that is asked for, in microseconds: idle CPUs poll.
const NONE: i32 = 0;

/// Gangs with a slot on this node from which on there are turns.
const GANGS_IN_TURNS: usize = 2;

/// The request, standing or not.
#[derive(Debug, Default)]
pub(super) struct IdleRequest {
    device: Option<File>,
    refused: bool,
}

// === impl IdleRequest ===

impl IdleRequest {
    /// Stands while so many gangs take turns. Where it is refused, it is said once and not tried again.
    pub(super) fn for_gangs(&mut self, gangs: usize) {
        if gangs < GANGS_IN_TURNS {
            self.device = None;
        } else if self.device.is_none() && !self.refused {
            match request() {
                Ok(device) => self.device = Some(device),
                Err(error) => {
                    self.refused = true;
                    tracing::info!(%error, "idle CPUs may sleep while gangs take turns: {DEVICE} cannot be used");
                }
            }
        }
    }
}

fn request() -> io::Result<File> {
    let mut device = OpenOptions::new().write(true).open(DEVICE)?;
    device.write_all(&NONE.to_ne_bytes())?;
    Ok(device)
}
