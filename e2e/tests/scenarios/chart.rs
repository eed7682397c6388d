//! The chart's life: its test, an upgrade below running gangs, and its end.

use strobe_e2e::cluster::{Need, system};

use crate::Scenario;
use crate::jobs::{Jobs, job, sleeper};

pub(crate) const SCENARIOS: [Scenario; 1] =
    [Scenario::new("chart-tested-upgraded-uninstalled-reinstalled", tested_upgraded_uninstalled_reinstalled)
        .needs(&[Need::Installation, Need::NodeShell])
        .alone()];

/// Longer than an upgrade, on a fast machine and a slow one: so much of a CPU's time.
const LONG: [&str; 5] = ["grain", "--grain-us", "5000", "--seconds", "45"];

fn tested_upgraded_uninstalled_reinstalled(jobs: &Jobs) {
    system::test().unwrap();

    jobs.apply(&job("long", &LONG));
    jobs.are("Running", &["long"]);
    system::upgrade(&["operator.log=debug", "agent.log=debug"]).unwrap();
    jobs.complete(&["long"]);
    assert_eq!(jobs.field("long", ".status.restarts"), "0", "an upgrade costs no rank");
    assert_eq!(jobs.field("long", ".status.incarnation"), "1");

    jobs.apply(&sleeper("kept"));
    jobs.are("Running", &["kept"]);
    let nodes = jobs.is_on_nodes("kept");
    system::uninstall().unwrap();
    assert_eq!(jobs.namespace.run(&["get", "pods", "--selector=strobe.dev/job-uid", "--output=name"]).unwrap(), "", "gangs ended first");
    jobs.no_gang_is_on(&nodes);
    assert_eq!(left(), "", "nothing is left but the custom resources");
    assert_eq!(jobs.field("kept", ".status.state"), "Queued", "the job is still there, and says what it waits for");
    assert!(jobs.field("kept", ".status.message").starts_with("Strobe was uninstalled"));

    system::install().unwrap();
    jobs.are("Running", &["kept"]);
    jobs.delete("kept");
}

/// What of the release is there still.
fn left() -> String {
    let kinds = "clusterroles,clusterrolebindings,csidrivers,priorityclasses,validatingadmissionpolicies,validatingadmissionpolicybindings";
    let names = system::kubectl(&["get", kinds, "--output=name"]).unwrap();
    names.lines().filter(|name| name.contains("strobe")).collect::<Vec<_>>().join(" ")
}
