//! Files that one agent gives to the stores of all.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use strobe_proto::agent::{FileStaging, file_staging::State};

use crate::{
    authority::{Nodes, Options},
    metrics::Scrape,
    observe::eventually,
};

/// Two parts and a bit: the third one begins while the first one is still in memory.
const LENGTH: usize = (32 << 20) + 12_345;

struct Given {
    nodes: Nodes,
    file: PathBuf,
    content: Vec<u8>,
}

impl Given {
    async fn begin(count: u16, length: usize) -> Self {
        let mut nodes = Nodes::start_with(count, Options::default()).await;
        nodes.command(1, &[]).await;
        let file = nodes.path().join("given");
        let mut state = 1_u64;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as u8
        };
        let content: Vec<u8> = (0..length).map(next).collect();
        fs::write(&file, &content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o750)).unwrap();
        Self { nodes, file, content }
    }

    /// Node `from` gives the file under a name; what it says at the end.
    async fn give(&mut self, from: u16, name: &str) -> FileStaging {
        self.nodes.stage(from, &self.file, name).await;
        self.nodes.wait_for("the file is given, or not", |heard| heard.staged(name).cloned()).await
    }

    fn kept(&self, node: u16, name: &str) -> Option<Vec<u8>> {
        fs::read(self.nodes.store(node).join(name)).ok()
    }

    /// Names in the store of a node, those of unfinished files included.
    fn names(&self, node: u16) -> Vec<String> {
        let entries = fs::read_dir(self.nodes.store(node)).map(|entries| entries.flatten().collect()).unwrap_or_default();
        let mut names: Vec<String> = Vec::into_iter(entries).map(|entry: fs::DirEntry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Bytes of blocks in the memory of a node's agent.
fn held_bytes(nodes: &Nodes, node: u16) -> Option<f64> {
    Scrape::of(nodes, node).value(&format!("strobe_blocks_held_bytes{{node=\"{node}\"}}"))
}

fn is_done(staging: &FileStaging) -> bool {
    matches!(staging.state, Some(State::Done(_)))
}

fn why(staging: FileStaging) -> String {
    let Some(State::Failed(why)) = staging.state else { panic!("{staging:?} is no failure") };
    why
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_in_the_stores_of_all_nodes_whoever_gives_it() {
    let mut given = Given::begin(3, LENGTH).await;
    for from in [0, 2] {
        let name = format!("from-{from}");
        let told = given.give(from, &name).await;
        assert!(is_done(&told) && told.length == LENGTH as u64, "{told:?}");
        for node in 0..3 {
            assert!(given.kept(node, &name).as_ref() == Some(&given.content), "node {node} has another file");
            let mode = fs::metadata(given.nodes.store(node).join(&name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o750);
        }
    }
    assert_eq!(given.names(1), ["from-0", "from-2"]);
    let received = || Scrape::of(&given.nodes, 1).value("strobe_blocks_received_bytes_total{node=\"1\"}");
    eventually("both files have come to node 1", || received() > Some(2.0 * LENGTH as f64)).await;
    eventually("nothing of them is in memory any more", || (0..3).all(|node| held_bytes(&given.nodes, node) == Some(0.0))).await;
    given.nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_file_is_one_and_one_of_that_name_is_replaced() {
    let mut given = Given::begin(2, 0).await;
    assert!(is_done(&given.give(1, "file").await));
    assert_eq!(given.kept(0, "file"), Some(Vec::new()));
    given.content = b"and now it has bytes".to_vec();
    fs::write(&given.file, &given.content).unwrap();
    assert!(is_done(&given.give(0, "file").await));
    for node in 0..2 {
        assert_eq!(given.kept(node, "file").as_ref(), Some(&given.content));
    }
    given.nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_given_is_not_given_again_when_it_is_asked_for_again() {
    let mut given = Given::begin(2, 10).await;
    assert!(is_done(&given.give(0, "file").await));
    fs::remove_file(given.nodes.store(1).join("file")).unwrap();
    let file = given.file.clone();
    given.nodes.stage_again(0, &file, "file").await;
    assert!(is_done(&given.give(0, "next").await));
    assert_eq!(given.names(1), ["next"]);
    given.nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_keep_a_file_is_named_and_the_others_go_on() {
    let mut given = Given::begin(3, 100_000).await;
    fs::write(given.nodes.store(2), "no folder").unwrap();
    let why = why(given.give(0, "file").await);
    assert_eq!(why, "node 2 has not kept it; its agent's log says why");
    fs::remove_file(given.nodes.store(2)).unwrap();
    assert!(is_done(&given.give(0, "file").await), "the next file is not taken for the last");
    assert_eq!(given.kept(2, "file").as_ref(), Some(&given.content));
    given.nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_given_is_told() {
    let mut given = Given::begin(2, 10).await;
    let (file, folder) = (given.file.clone(), given.nodes.path().to_owned());
    given.file = folder.join("nowhere");
    assert!(why(given.give(0, "file").await).ends_with("nowhere: No such file or directory (os error 2)"));
    given.file = folder;
    assert!(why(given.give(0, "folder").await).ends_with("it is no regular file"));
    given.file = file;
    assert_eq!(why(given.give(0, "../file").await), "\"../file\" is no name of a file");
    assert_eq!((given.names(0), given.names(1)), (Vec::new(), Vec::new()));
    given.nodes.stop().await;
}

/// A manager dies while blocks are on their way: the giver asks again under the next one. What the dead node had is lost with it, so the
/// file as a whole is not there, and that is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_on_its_way_when_a_node_dies_ends_as_given_to_all_or_as_not_given() {
    let mut given = Given::begin(3, 4 * LENGTH).await;
    given.nodes.stage(1, &given.file, "file").await;
    given.nodes.wait_for("a part is everywhere", |heard| heard.stored("file").filter(|stored| *stored > 0)).await;
    given.nodes.kill_agent(0);
    given.nodes.restart_agent(0).await;
    given.nodes.command(2, &[]).await;
    let told = given.nodes.wait_for("the file is given, or not", |heard| heard.staged("file").cloned()).await;
    let kept: Vec<bool> = (0..3).map(|node| given.kept(node, "file").as_ref() == Some(&given.content)).collect();
    if is_done(&told) {
        assert_eq!(kept, [true; 3]);
    } else {
        // Which of the pauses is over first depends on the machine.
        let (told, of_node) = (why(told), "node 0 has ");
        assert!(told.starts_with(of_node) || told.starts_with("nothing could be put") || told.starts_with("an operation"), "{told}");
    }
    let is_free = |node: u16| held_bytes(&given.nodes, node) == Some(0.0);
    eventually("nothing of it is in memory any more", || is_free(1) && is_free(2)).await;
    given.nodes.stop().await;
}
