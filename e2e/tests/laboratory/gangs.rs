//! Gangs of pods, as users meet them: `kubectl apply`, and two parallel jobs share the same nodes in turns.

use strobe_e2e::laboratory::{WORKERS, system};

use crate::jobs::{Jobs, QUICKSORT, SOR, job};

#[test]
fn two_mpi_jobs_share_two_nodes_and_both_are_right() {
    let jobs = Jobs::make("gangs-share");
    jobs.apply(&job("sor", &SOR));
    jobs.apply(&job("quicksort", &QUICKSORT));
    for name in ["sor", "quicksort"] {
        jobs.wait("jsonpath={.status.state}=Running", name);
    }
    let rows = jobs.namespace.run(&["get", "paralleljobs", "--output=jsonpath={.items[*].status.rows}"]).unwrap();
    let rows: Vec<&str> = rows.split(' ').collect();
    assert!(rows.len() == 2 && rows[0] != rows[1], "two gangs on the same CPUs stand in different rows: {rows:?}");
    jobs.complete(&["sor", "quicksort"]);
}

#[test]
fn jobs_outlive_their_operator_their_manager_and_another_agent() {
    let jobs = Jobs::make("gangs-outlive");
    jobs.apply(&job("sor", &SOR));
    jobs.apply(&job("quicksort", &QUICKSORT));
    for name in ["sor", "quicksort"] {
        jobs.wait("jsonpath={.status.state}=Running", name);
    }
    let first = jobs.manager();
    system::kill_operator().unwrap();
    for node in [first.clone(), WORKERS.into_iter().find(|node| *node != first).unwrap().to_owned()] {
        system::kill_agent(&node).unwrap();
    }
    jobs.complete(&["sor", "quicksort"]);
    for name in ["sor", "quicksort"] {
        let restarts = jobs.namespace.run(&["get", &format!("paralleljob/{name}"), "--output=jsonpath={.status.restarts}"]).unwrap();
        assert_eq!(restarts, "0", "no rank was lost");
    }
}
