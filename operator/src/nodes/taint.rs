//! Our taint on a node, as it is written.

use k8s_openapi::api::core::v1::{Node, Taint};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use super::{TAINT_EFFECT, is_ours};
use crate::names::TAINT;

/// What is to become of the taint of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// It is to be there.
    Set,
    /// It is to go.
    Take,
}

/// Reads a node and writes its taints, on the condition that nobody wrote it meanwhile. One that is gone needs none.
///
/// # Errors
/// The API server's.
pub(crate) async fn write(client: &Client, node: &str, partition: &str, wish: Wish) -> Result<(), kube::Error> {
    let api: Api<Node> = Api::all(client.clone());
    let Some(found) = api.get_opt(node).await? else { return Ok(()) };
    let before = found.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let after = tainted(before.clone(), partition, wish);
    if after == before {
        return Ok(());
    }
    let patch = json!({ "metadata": { "resourceVersion": found.resource_version() }, "spec": { "taints": after } });
    api.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await.map(|_| ())
}

/// The taints of a node once ours is set or taken; those of others stay as they are.
fn tainted(taints: Vec<Taint>, partition: &str, wish: Wish) -> Vec<Taint> {
    let is_of_it = |taint: &Taint| is_ours(taint) && (wish == Wish::Set || taint.value.as_deref() == Some(partition));
    let others = taints.into_iter().filter(|taint| !is_of_it(taint));
    let ours = Taint { key: TAINT.to_owned(), value: Some(partition.to_owned()), effect: TAINT_EFFECT.to_owned(), ..Taint::default() };
    others.chain((wish == Wish::Set).then_some(ours)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str, value: &str) -> Taint {
        Taint { key: key.to_owned(), value: Some(value.to_owned()), effect: TAINT_EFFECT.to_owned(), ..Taint::default() }
    }

    #[test]
    fn the_taints_of_others_stay() {
        let gpu = of("nvidia.com/gpu", "present");
        let set = tainted(vec![gpu.clone(), of(TAINT, "old")], "fast", Wish::Set);
        assert_eq!(set, [gpu.clone(), of(TAINT, "fast")]);
        assert_eq!(tainted(set.clone(), "slow", Wish::Take), set);
        assert_eq!(tainted(set, "fast", Wish::Take), [gpu]);
    }
}
