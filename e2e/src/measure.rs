//! What `cargo xtask bench cluster` asks of a cluster: cells, each measured by itself and answered with raw figures. Nothing is judged
//! here.
//!
//! All of it is for the laboratory: its nodes are on one machine, so that their clocks are one clock.

mod cell;
mod figures;
mod gangs;
mod load;
mod metrics;
mod plain;
mod setting;
mod start;
mod time;

use anyhow::Result;
use serde_json::{Value, json};

pub use cell::{Cell, Job, Order, Work};
pub use setting::{Place, Setting, restore};

/// Measures a cell.
///
/// # Errors
/// Something of it fails: no figure is better than one of half a cell.
pub fn measure(setting: &Setting, order: &Order) -> Result<Value> {
    if let Some(quantum_ms) = order.cell.quantum_ms() {
        setting.configure(&setting::PAIR, cell::ROWS, quantum_ms)?;
    }
    let measured = match order.cell {
        Cell::Calibrate => json!({ "loopsPerUs": gangs::calibrate(setting)? }),
        Cell::Start { .. } => start::measure(setting)?,
        Cell::Alone { grain_us, job } => gangs::run(setting, grain_us, &[job], &order.work)?,
        Cell::Together { grain_us, .. } => gangs::run(setting, grain_us, &Job::BOTH, &order.work)?,
        Cell::PlainAlone { grain_us, job } => plain::run(setting, grain_us, &[job], &order.work)?,
        Cell::PlainTogether { grain_us } => plain::run(setting, grain_us, &Job::BOTH, &order.work)?,
        Cell::Life { .. } => load::life(setting)?,
        Cell::Rest { seconds } => load::rest(setting, seconds)?,
        Cell::Load { gangs, seconds } => load::gangs(setting, gangs, seconds)?,
        Cell::Pending { jobs, seconds } => load::pending(setting, jobs, seconds)?,
    };
    setting.clear()?;
    Ok(measured)
}
