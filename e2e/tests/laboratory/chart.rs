//! The chart's life: its test, an upgrade below running gangs, and its end.

use strobe_e2e::laboratory::system;

use crate::jobs::{Jobs, QUICKSORT, SOR, job};

#[test]
fn the_chart_is_tested_upgraded_below_gangs_uninstalled_and_installed_again() {
    let jobs = Jobs::make_alone("chart");
    system::test().unwrap();

    jobs.apply(&job("sor", &SOR));
    jobs.wait("jsonpath={.status.state}=Running", "sor");
    system::upgrade(&["operator.log=debug", "agent.log=debug"]).unwrap();
    jobs.complete(&["sor"]);
    assert_eq!(jobs.field("sor", ".status.restarts"), "0", "an upgrade costs no rank");
    assert_eq!(jobs.field("sor", ".status.incarnation"), "1");

    jobs.apply(&job("quicksort", &QUICKSORT));
    jobs.wait("jsonpath={.status.state}=Running", "quicksort");
    system::uninstall().unwrap();
    assert_eq!(jobs.namespace.run(&["get", "pods", "--selector=strobe.dev/job-uid", "--output=name"]).unwrap(), "", "gangs ended first");
    assert_eq!(left(), "", "nothing is left but the custom resources");
    assert_eq!(jobs.field("quicksort", ".status.state"), "Queued", "the job is still there, and says what it waits for");
    assert!(jobs.field("quicksort", ".status.message").starts_with("Strobe was uninstalled"));

    system::install().unwrap();
    jobs.complete(&["quicksort"]);
}

/// What of the release is there still.
fn left() -> String {
    let kinds = "clusterroles,clusterrolebindings,csidrivers,priorityclasses,validatingadmissionpolicies,validatingadmissionpolicybindings";
    let names = system::kubectl(&["get", kinds, "--output=name"]).unwrap();
    names.lines().filter(|name| name.contains("strobe")).collect::<Vec<_>>().join(" ")
}
