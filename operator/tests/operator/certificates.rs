//! The operator's certificate authority, replaced at a real API server with the operator's own rights.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use serde_json::Value;

use super::cluster::{Cluster, until};

const SECRET: &str = "strobe-certificate-authority";

impl Cluster {
    fn rotate(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strobe-operator"));
        command.args(["--namespace", "strobe-system", "rotate-certificates"]).args(arguments);
        command.env("KUBECONFIG", self.kubeconfig_of_operator()).output().unwrap()
    }

    /// What agents are told.
    fn roots(&self) -> String {
        let mut asked = self.server().kubectl();
        asked.args(["--namespace=strobe-system", "get", "configmap", "strobe-roots", "--output=jsonpath={.data}"]);
        String::from_utf8_lossy(&asked.output().unwrap().stdout).into_owned()
    }

    /// The entries of the Secret, and who signs.
    fn authority(&self) -> (BTreeSet<String>, String) {
        let secret = self.run(&["--namespace=strobe-system", "get", "secret", SECRET, "--output=json"]);
        let secret: Value = serde_json::from_str(&secret).unwrap();
        let data = secret["data"].as_object().unwrap();
        (data.keys().cloned().collect(), data["tls.crt"].as_str().unwrap().to_owned())
    }
}

fn entries(entries: &[&str]) -> BTreeSet<String> {
    entries.iter().map(|entry| (*entry).to_owned()).collect()
}

#[tokio::test]
async fn another_authority_takes_the_place_of_the_first_in_three_steps() {
    let Some(cluster) = Cluster::start("another_authority").await else { return };
    let none = cluster.rotate(&[]);
    assert!(!none.status.success() && String::from_utf8_lossy(&none.stderr).contains("holds no certificate authority"), "{none:?}");
    let operator = cluster.operator();
    let found = || cluster.server().kubectl().args(["--namespace=strobe-system", "get", "secret", SECRET]).output().unwrap();
    until("the operator has made its authority", || found().status.success());
    drop(operator);
    let (_, first) = cluster.authority();

    assert!(cluster.rotate(&[]).status.success());
    assert_eq!(cluster.authority(), (entries(&["tls.crt", "tls.key", "next.crt", "next.key"]), first.clone()));
    let unheard = cluster.rotate(&["--now"]);
    assert!(!unheard.status.success() && String::from_utf8_lossy(&unheard.stderr).contains("restart it first"), "{unheard:?}");
    let operator = cluster.operator();
    until("agents are told both roots", || cluster.roots().matches("BEGIN CERTIFICATE").count() == 2);
    drop(operator);
    let announced = cluster.roots();
    let early = cluster.rotate(&[]);
    assert!(!early.status.success() && String::from_utf8_lossy(&early.stderr).contains("every one has enrolled anew by"), "{early:?}");
    assert!(cluster.rotate(&["--now"]).status.success());
    let (held, second) = cluster.authority();
    assert_eq!(held, entries(&["tls.crt", "tls.key", "previous.crt"]));
    assert_ne!(first, second);
    let _operator = cluster.operator();
    until("agents are told that another signs", || {
        let told = cluster.roots();
        told.matches("BEGIN CERTIFICATE").count() == 2 && told != announced
    });
    assert!(cluster.rotate(&["--now"]).status.success());
    assert_eq!(cluster.authority(), (entries(&["tls.crt", "tls.key"]), second));
}
