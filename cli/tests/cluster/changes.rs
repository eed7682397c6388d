//! `pause`, `resume` and `suspend`.

use serde_json::{Value, json};
use strobe_e2e::ask::{Ask, Change};

use super::{LOOK_AT_JOBS, Scene};

async fn wishes(scene: &Scene) -> (Value, Value) {
    let job = Ask::read(&format!("{}/sor", scene.jobs())).accepted(&scene.client).await.unwrap();
    (job["spec"]["paused"].clone(), job["spec"]["suspend"].clone())
}

#[tokio::test]
async fn a_job_is_paused_suspended_and_resumed_from_both() {
    let Some(scene) = Scene::make("cli-changes").await else { return };
    scene.add_job("sor", &json!({ "state": "Running" }), 0).await;
    assert_eq!(
        scene.run(&["pause", "sor"]).lines(),
        ["sor: paused; its ranks keep their memory and their row until `kubectl strobe resume`"]
    );
    assert_eq!(wishes(&scene).await, (json!(true), json!(false)));
    assert_eq!(scene.run(&["pause", "sor"]).lines(), ["sor: it is paused already"]);
    assert!(scene.run(&["suspend", "sor"]).lines()[0].starts_with("sor: suspended; its pods end"));
    assert_eq!(wishes(&scene).await, (json!(true), json!(true)));
    let resumed = scene.run(&["resume", "sor"]);
    assert!(resumed.lines()[0].contains("it was paused and suspended, both have ended"), "{resumed:?}");
    assert_eq!(wishes(&scene).await, (json!(false), json!(false)));
    assert_eq!(scene.run(&["resume", "sor"]).lines(), ["sor: it is neither paused nor suspended"]);
}

#[tokio::test]
async fn what_is_over_or_not_allowed_stays_as_it_is() {
    let Some(scene) = Scene::make("cli-unchanged").await else { return };
    scene.add_job("sor", &json!({ "state": "Running" }), 0).await;
    let user = scene.user("looks", LOOK_AT_JOBS).await;
    let refused = scene.run_as(&user, &["pause", "sor"]);
    assert!(
        refused.error().starts_with("error: ParallelJob \"sor\" in namespace \"cli-unchanged\": you are not allowed to"),
        "{refused:?}"
    );
    let status = format!("{}/sor/status", scene.jobs());
    Ask::change(&status, Change::Merge, &json!({ "status": { "state": "Complete" } })).accepted(&scene.client).await.unwrap();
    assert_eq!(scene.run(&["suspend", "sor"]).error(), "error: ParallelJob \"sor\" is Complete: it cannot be suspended any more");
    assert_eq!(wishes(&scene).await, (json!(false), json!(false)));
}
