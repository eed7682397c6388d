//! A policy of admission lets only the operator make pods with a volume of the agent's CSI driver.

use kube::core::Status;
use serde_json::{Value, json};
use strobe_e2e::ask::{Ask, Change};

use super::{Namespace, add_policy, let_make_pods, pod};

const OPERATOR: &str = "system:serviceaccount:strobe-system:strobe-operator";

fn with_volume(driver: &str) -> Value {
    let mut pod = pod("sor-0");
    pod["spec"]["volumes"] = json!([{ "name": "other", "emptyDir": {} }, { "name": "strobe", "csi": { "driver": driver } }]);
    pod
}

async fn guarded(name: &'static str) -> Option<Namespace> {
    let namespace = Namespace::make(name, json!({})).await?;
    let spec = json!({
        "matchConditions": [{ "name": "not-the-operator", "expression": format!("request.userInfo.username != '{OPERATOR}'") }],
        "validations": [{
            "expression": "object.spec.?volumes.orValue([]).all(volume, !has(volume.csi) || volume.csi.driver != 'csi.strobe.dev')",
            "messageExpression": "'only the operator makes pods with a volume of csi.strobe.dev, not ' + request.userInfo.username",
            "reason": "Forbidden",
        }],
    });
    add_policy(&namespace, "ValidatingAdmissionPolicy", "validatingadmission", spec).await;
    for user in ["somebody", OPERATOR] {
        let_make_pods(&namespace, user).await;
    }
    // It is in force when it refuses for the first time.
    let ours = namespace.dry_pod(&with_volume("csi.strobe.dev"));
    ours.until(&namespace.client, Result::is_err).await.unwrap().unwrap_err();
    Some(namespace)
}

async fn refused(namespace: &Namespace, user: &str) -> Box<Status> {
    namespace.dry_pod(&with_volume("csi.strobe.dev")).by(user, &[]).refused(&namespace.client).await.unwrap()
}

#[tokio::test]
async fn only_the_operator_makes_pods_with_the_volume() {
    let Some(namespace) = guarded("volumes-operator").await else { return };
    let client = &namespace.client;
    namespace.dry_pod(&with_volume("csi.strobe.dev")).by(OPERATOR, &[]).accepted(client).await.unwrap();
    Ask::create(&namespace.path("pods"), &with_volume("csi.strobe.dev")).by(OPERATOR, &[]).accepted(client).await.unwrap();
    let status = refused(&namespace, "somebody").await;
    assert_eq!((status.code, status.reason.as_str()), (403, "Forbidden"));
    assert_eq!(
        status.message,
        "pods \"sor-0\" is forbidden: ValidatingAdmissionPolicy 'volumes-operator' with binding 'volumes-operator' denied request: \
         only the operator makes pods with a volume of csi.strobe.dev, not somebody"
    );
}

#[tokio::test]
async fn not_even_administrators_and_controllers_are_excepted() {
    let Some(namespace) = guarded("volumes-all").await else { return };
    let administrator = namespace.dry_pod(&with_volume("csi.strobe.dev")).refused(&namespace.client).await.unwrap();
    assert!(administrator.message.ends_with(", not test"), "{}", administrator.message);
    // Its rights are granted by the API server itself.
    let controller = "system:serviceaccount:kube-system:job-controller";
    let status = refused(&namespace, controller).await;
    assert!(status.message.ends_with(&format!(", not {controller}")), "{}", status.message);
}

#[tokio::test]
async fn other_volumes_are_everybodys() {
    let Some(namespace) = guarded("volumes-other").await else { return };
    for pod in [pod("sor-0"), with_volume("csi.example.com")] {
        namespace.dry_pod(&pod).by("somebody", &[]).accepted(&namespace.client).await.unwrap();
    }
}

#[tokio::test]
async fn a_pod_gets_no_volume_later() {
    let Some(namespace) = Namespace::make("volumes-later", json!({})).await else { return };
    namespace.add("pods", &pod("sor-0")).await;
    let change = json!({ "spec": { "volumes": [{ "name": "strobe", "csi": { "driver": "csi.strobe.dev" } }] } });
    let ask = Ask::change(&namespace.path("pods/sor-0"), Change::Strategic, &change);
    let status = ask.refused(&namespace.client).await.unwrap();
    assert_eq!((status.code, status.reason.as_str()), (422, "Invalid"), "so a policy for CREATE is enough");
}
