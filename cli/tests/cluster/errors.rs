//! What is said where nothing can be shown.

use serde_json::json;
use strobe_e2e::api_server::ApiServer;

use super::Scene;

#[tokio::test]
async fn what_is_missing_is_named_with_what_would_be_right() {
    let Some(scene) = Scene::make("cli-errors").await else { return };
    let nothing = scene.run(&["list"]);
    assert_eq!(
        (nothing.lines(), nothing.stderr.trim_end()),
        (Vec::new(), "note: there are no ParallelJobs in namespace \"cli-errors\"; -A lists those of all",)
    );
    for command in [&["explain", "sor"][..], &["pause", "sor"], &["logs", "sor"]] {
        let missing = "error: there is no ParallelJob \"sor\" in namespace \"cli-errors\"; `kubectl strobe list -A` shows the jobs, \
                       `kubectl get partitions` the partitions";
        assert_eq!(scene.run(command).error(), missing, "{command:?}");
    }
    assert!(scene.run(&["matrix", "nowhere"]).error().starts_with("error: there is no Partition \"nowhere\""));
    let nobody = scene.kubeconfig("nobody", |file| file["users"][0]["user"] = json!({ "token": "none" }));
    assert!(scene.run_as(&nobody, &["list"]).error().ends_with("does not know you (Unauthorized); renew your credentials"));
    let user = scene.user("nothing", &[]).await;
    let forbidden = scene.run_as(&user, &["list"]);
    assert!(forbidden.error().starts_with("error: paralleljobs of namespace \"cli-errors\": you are not allowed to ("), "{forbidden:?}");
}

#[tokio::test]
async fn a_cluster_that_is_not_there_or_not_known_is_said() {
    let Some(scene) = Scene::make("cli-nowhere").await else { return };
    let gone = scene.kubeconfig("gone", |file| file["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:1"));
    let unreached = scene.run_as(&gone, &["list"]);
    assert!(unreached.error().starts_with("error: the cluster at https://127.0.0.1:1 is not reached; check that it runs"), "{unreached:?}");
    let no_file = scene.run_as(&scene.folder.path().join("none"), &["list"]);
    assert!(no_file.error().contains("which cannot be read; it must be a file as kubectl reads it"), "{no_file:?}");
    let context = scene.run(&["list", "--context", "other"]);
    assert!(
        context.error().starts_with("error: the context names no cluster that is configured; `kubectl config get-contexts`"),
        "{context:?}"
    );
}

#[tokio::test]
async fn a_cluster_without_our_resources_is_told_how_it_gets_them() {
    let Some(server) = ApiServer::start().await.unwrap() else { return };
    for command in ["list", "nodes"] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_kubectl-strobe"))
            .arg(command)
            .arg("--kubeconfig")
            .arg(server.kubeconfig())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains("does not have Strobe's resources") && said.contains("helm install"), "{said}");
    }
}
