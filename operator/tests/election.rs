//! The election of a leading replica, at a real API server.

#![expect(clippy::unwrap_used, reason = "a helper that fails ends the test")]

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use strobe_e2e::api_server::ApiServer;
use strobe_operator::election::{Election, LEASE, LeadershipLost, Times};

/// Short ones, so that a lapse is seen soon; a lease is whole seconds.
const TIMES: Times = Times { lease: Duration::from_secs(4), deadline: Duration::from_secs(2), renewal: Duration::from_millis(200) };

/// A namespace of its own; none where the API server's programs are not named.
async fn namespace(name: &str) -> Option<Client> {
    let client = ApiServer::shared(name).await.unwrap()?.client().await.unwrap();
    let namespace = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    Some(client)
}

fn replica(client: &Client, namespace: &str, name: &str) -> Election {
    Election::new(client.clone(), namespace, name.to_owned(), TIMES)
}

async fn holder(client: &Client, namespace: &str) -> Option<String> {
    let lease = Api::<Lease>::namespaced(client.clone(), namespace).get(LEASE).await.unwrap();
    lease.spec.unwrap().holder_identity
}

#[tokio::test]
async fn who_resigns_is_followed_without_a_lapse() {
    let name = "election-resigns";
    let Some(client) = namespace(name).await else { return };
    let (mut first, mut second) = (replica(&client, name, "first"), replica(&client, name, "second"));
    first.elected().await;
    tokio::select! {
        lost = first.hold() => panic!("{lost}"),
        () = second.elected() => panic!("two lead"),
        () = tokio::time::sleep(TIMES.lease * 2) => {}
    }
    first.resign().await;
    let resigned = Instant::now();
    second.elected().await;
    assert!(resigned.elapsed() < TIMES.lease, "it did not wait for a lapse");
    assert_eq!(holder(&client, name).await.as_deref(), Some("second"));
}

#[tokio::test]
async fn who_dies_is_followed_after_a_lease() {
    let name = "election-lapses";
    let Some(client) = namespace(name).await else { return };
    replica(&client, name, "first").elected().await;
    let begun = Instant::now();
    replica(&client, name, "second").elected().await;
    assert!(begun.elapsed() >= TIMES.lease - TIMES.deadline, "nobody takes what may still be held");
    assert_eq!(holder(&client, name).await.as_deref(), Some("second"));
}

#[tokio::test]
async fn of_many_one_is_elected() {
    let name = "election-many";
    let Some(client) = namespace(name).await else { return };
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..5 {
        let mut replica = replica(&client, name, &format!("replica-{number}"));
        waiting.spawn(async move {
            replica.elected().await;
            replica
        });
    }
    let mut leader = waiting.join_next().await.unwrap().unwrap();
    tokio::select! {
        lost = leader.hold() => panic!("{lost}"),
        second = waiting.join_next() => panic!("two lead: {}", second.is_some()),
        () = tokio::time::sleep(TIMES.lease * 2) => {}
    }
}

#[tokio::test]
async fn a_leader_whose_lease_was_taken_leads_no_more() {
    let name = "election-taken";
    let Some(client) = namespace(name).await else { return };
    let mut leader = replica(&client, name, "leader");
    leader.elected().await;
    let stolen = json!({ "spec": { "holderIdentity": "thief" } });
    Api::<Lease>::namespaced(client, name).patch(LEASE, &PatchParams::default(), &Patch::Merge(stolen)).await.unwrap();
    let lost = leader.hold().await;
    assert!(matches!(&lost, LeadershipLost::Taken(by) if by == "thief"), "{lost}");
}

#[tokio::test]
async fn a_leader_that_cannot_renew_stops_before_others_may_begin() {
    let Some(server) = ApiServer::start().await.unwrap() else { return };
    let client = server.client().await.unwrap();
    let mut leader = replica(&client, "default", "leader");
    leader.elected().await;
    drop(server);
    let begun = Instant::now();
    let lost = leader.hold().await;
    assert!(matches!(lost, LeadershipLost::NotRenewed(..)), "{lost}");
    assert!(begun.elapsed() < TIMES.lease, "{:?}", begun.elapsed());
}
