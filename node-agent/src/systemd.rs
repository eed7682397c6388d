//! The node's systemd, by its D-Bus interface (org.freedesktop.systemd1(5)). On cgroup v2 it owns the containers' cgroups where their runtime
//! takes its driver, and writes their CPU sets whenever it applies what it knows of them: so it has to know (docs/adr/0015).

use std::time::Duration;

use strobe_core::model::CpuIndex;
use tokio::{sync::mpsc, time::timeout};
use zbus::{Connection, connection, zvariant::Value};

/// Where every node with systemd has its bus.
const BUS: &str = "unix:path=/run/dbus/system_bus_socket";

/// systemd answers in milliseconds. Past it the connection is given up; the next look at the container asks again.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// Containers that wait to be told of. What finds no place is told at the next look.
const ORDERS_MAX: usize = 64;

/// The way to it. What is told is done in order, beside the teller.
#[derive(Clone, Debug)]
pub struct Systemd(mpsc::Sender<Order>);

#[derive(Debug)]
struct Order {
    unit: String,
    cpus: Vec<CpuIndex>,
}

/// Why systemd does not know what it was told.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// No bus, or an answer that says no.
    #[error("systemd does not take the CPUs of {unit}")]
    Refused {
        /// Whose CPUs.
        unit: String,
        /// What was said.
        #[source]
        source: zbus::Error,
    },
    /// No answer in the time that it may take.
    #[error("systemd says nothing of the CPUs of {unit} for {ANSWER_TIME_MAX:?}")]
    Silent {
        /// Whose CPUs.
        unit: String,
    },
}

// === impl Systemd ===

impl Systemd {
    /// Connects when the first order comes.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn start() -> Self {
        let (sender, orders) = mpsc::channel(ORDERS_MAX);
        tokio::spawn(serve(orders));
        Self(sender)
    }

    /// Confines a unit to these CPUs until it is gone: over updates of it and reloads of systemd, not in a next life of the container.
    pub fn confine(&self, unit: &str, cpus: &[CpuIndex]) {
        // Whoever looks again sees whether it was done.
        let _told = self.0.try_send(Order { unit: unit.to_owned(), cpus: cpus.to_owned() });
    }
}

async fn serve(mut orders: mpsc::Receiver<Order>) {
    let mut bus = None;
    while let Some(order) = orders.recv().await {
        match confine(&mut bus, &order.unit, &order.cpus).await {
            Ok(()) => tracing::debug!(unit = order.unit, "systemd was told a container's CPUs"),
            // Whoever looks asks again, after growing pauses.
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "systemd was not told a container's CPUs"),
        }
    }
}

/// Confines a unit once, over this connection or a new one.
///
/// # Errors
/// [`SystemdError`]; then the connection is given up.
async fn confine(bus: &mut Option<Connection>, unit: &str, cpus: &[CpuIndex]) -> Result<(), SystemdError> {
    let call = async {
        let connection = match bus.take() {
            Some(connection) => connection,
            None => connection::Builder::address(BUS)?.build().await?,
        };
        let properties = [("AllowedCPUs", Value::from(bitmap(cpus)))];
        let manager = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager");
        let runtime = true;
        connection.call_method(Some(manager.0), manager.1, Some(manager.2), "SetUnitProperties", &(unit, runtime, &properties[..])).await?;
        Ok(connection)
    };
    let done = timeout(ANSWER_TIME_MAX, call).await.map_err(|_| SystemdError::Silent { unit: unit.to_owned() })?;
    *bus = Some(done.map_err(|source| SystemdError::Refused { unit: unit.to_owned(), source })?);
    Ok(())
}

/// Confines a unit, over a connection of its own.
///
/// # Errors
/// [`SystemdError`].
#[cfg(feature = "laboratory")]
pub async fn confine_once(unit: &str, cpus: &[CpuIndex]) -> Result<(), SystemdError> {
    confine(&mut None, unit, cpus).await
}

/// CPUs as systemd takes them: bit n of byte m is CPU 8m + n.
fn bitmap(cpus: &[CpuIndex]) -> Vec<u8> {
    let mut bytes = vec![0; cpus.iter().map(|cpu| usize::from(cpu.0) / 8 + 1).max().unwrap_or_default()];
    for CpuIndex(cpu) in cpus {
        bytes[usize::from(cpu / 8)] |= 1 << (cpu % 8);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_bits() {
        assert_eq!(bitmap(&[CpuIndex(0), CpuIndex(9), CpuIndex(15)]), [0b1, 0b1000_0010]);
        assert_eq!(bitmap(&[]), [0u8; 0]);
    }
}
