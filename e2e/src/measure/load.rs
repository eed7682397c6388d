//! What Strobe costs the cluster: writes to the API server in a gang's life, CPU time and memory of operator and agents at rest, beside
//! gangs that take turns, and while jobs wait.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use super::cell::ROWS;
use super::metrics::{self, Requests, Usage, requests, since, usage};
use super::setting::{PAIR, QUANTUM_MS, Setting, in_system};
use super::{figures, gangs, start, time};
use crate::cluster::WORKERS;

/// Words of requests that change something.
const WRITES: [&str; 6] = ["POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"];

/// What comes after a gang is gone still belongs to its life: events, and figures that are written every 5 s.
const TRAIL: Duration = Duration::from_secs(6);

/// Rows while many gangs take turns: the most that there are.
const MANY_ROWS: u8 = 16;

/// What was there at one instant.
struct Reading {
    requests: Requests,
    usage: Usage,
}

/// The life of one gang, from its submission until its job and pods are deleted, and as much time without a gang.
///
/// # Errors
/// The gang fails.
pub(super) fn life(setting: &Setting<'_>) -> Result<Value> {
    let (begun, before) = (Instant::now(), requests(setting)?);
    setting.submit(&[start::gang()], gangs::is_complete)?;
    setting.clear()?;
    sleep(TRAIL);
    let (took, middle) = (begun.elapsed(), requests(setting)?);
    sleep(took);
    let after = requests(setting)?;
    Ok(json!({ "seconds": took.as_secs_f64(), "life": writes(&since(&before, &middle)), "rest": writes(&since(&middle, &after)) }))
}

/// A while without any gang.
///
/// # Errors
/// The cluster does not tell its figures.
pub(super) fn rest(setting: &Setting<'_>, seconds: u32) -> Result<Value> {
    let before = Reading::take(setting)?;
    sleep(Duration::from_secs(u64::from(seconds)));
    Reading::take(setting)?.after(&before, seconds.into())
}

/// A while in which so many gangs take turns on all workers. Every second one is of one node: where pairs have taken the first two workers of
/// a row, what is left of it is on the third alone.
///
/// # Errors
/// Not all of them come to run.
pub(super) fn gangs(setting: &Setting<'_>, count: u32, seconds: u32) -> Result<Value> {
    setting.configure(&WORKERS, MANY_ROWS, QUANTUM_MS)?;
    let mut gangs = sleepers("gang", count);
    gangs.iter_mut().skip(1).step_by(2).for_each(|gang| gang["spec"]["nodes"] = json!(1));
    setting.submit(&gangs, |status| status["state"] == "Running")?;
    let mut watched = rest(setting, seconds)?;
    watched["nodes"] = json!(figures::read(setting, time::now())?);
    setting.clear()?;
    setting.configure(&PAIR, ROWS, QUANTUM_MS)?;
    Ok(watched)
}

/// All rows are taken; then so many jobs wait for a while.
///
/// # Errors
/// A job is not where it should be.
pub(super) fn pending(setting: &Setting<'_>, count: u32, seconds: u32) -> Result<Value> {
    let window = Duration::from_secs(u64::from(seconds));
    setting.configure(&PAIR, ROWS, QUANTUM_MS)?;
    setting.submit(&sleepers("row", ROWS.into()), |status| status["state"] == "Running")?;
    let first = Reading::take(setting)?;
    sleep(window);
    let full = Reading::take(setting)?;
    let begun = Instant::now();
    setting.submit(&sleepers("waiting", count), |status| status["position"].is_u64())?;
    let (took, queued) = (begun.elapsed(), Reading::take(setting)?);
    sleep(window);
    let last = Reading::take(setting)?;
    Ok(json!({
        "full": full.after(&first, seconds.into())?,
        "queueing": queued.after(&full, took.as_secs_f64())?,
        "waiting": last.after(&queued, seconds.into())?,
    }))
}

fn sleepers(name: &str, count: u32) -> Vec<Value> {
    (0..count).map(|number| gangs::sleeper(&format!("{name}-{number}"))).collect()
}

/// Those that change something.
fn writes(requests: &Requests) -> Requests {
    let is_write = |name: &str| name.split_once(' ').is_some_and(|(verb, _)| WRITES.contains(&verb));
    requests.iter().filter(|(name, _)| is_write(name)).map(|(name, count)| (name.clone(), *count)).collect()
}

// === impl Reading ===

impl Reading {
    fn take(setting: &Setting<'_>) -> Result<Self> {
        Ok(Self { requests: requests(setting)?, usage: usage(setting)? })
    }

    /// What has come since another one.
    fn after(&self, before: &Self, seconds: f64) -> Result<Value> {
        let holder = "--output=jsonpath={.spec.holderIdentity}";
        let leader = in_system(&["get", "lease/strobe-operator", holder])?;
        let used = metrics::used(&before.usage, &self.usage, &leader);
        Ok(json!({ "seconds": seconds, "requests": since(&before.requests, &self.requests), "usage": used }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_and_watching_are_no_writes() {
        let names = ["GET pods", "LIST pods", "WATCH pods", "POST pods", "POST pods (dry run)", "DELETECOLLECTION pods", "POSTPONE pods"];
        let requests: Requests = names.map(|name| (name.to_owned(), 1.0)).into();
        let found: Vec<String> = writes(&requests).into_keys().collect();
        assert_eq!(found, ["DELETECOLLECTION pods", "POST pods", "POST pods (dry run)"]);
    }

    #[test]
    fn sleepers_have_names_of_their_own() {
        let names: Vec<Value> = sleepers("row", 3).iter().map(|job| job["metadata"]["name"].clone()).collect();
        assert_eq!(names, ["row-0", "row-1", "row-2"]);
    }
}
