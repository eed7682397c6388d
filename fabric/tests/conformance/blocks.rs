//! One case a clause of what is promised of blocks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use strobe_core::{
    limits::{BLOCK_BYTES_MAX, PIECE_BYTES_MAX, PIECE_BYTES_MIN},
    message::Staging,
    model::{AgentIncarnation, GangId, GangIncarnation, GangRun, NodeIncarnation, NodeIndex, NodeSet, Term},
    primitives::{Block, OperationId, RegionName},
};
use strobe_fabric::{
    blocks::{BlockBytes, BlockStaged, Blocks, carry},
    counters::Refusal,
    limits::BLOCKS_BYTES_MAX,
    transport::{BulkInbox, Class, Delivery, Endpoint, Fault, FaultHook, FaultPoint, Transport},
};
use tokio::{sync::mpsc::Receiver, task::JoinHandle};

use super::harness::{Cluster, Fabric, link, soon};

const TERM: Term = Term(1);

/// How long a node waits for a piece where that is not what is tried: longer than a machine that is busy with other things stands still.
const LONG: Duration = Duration::from_secs(60);

/// A node whose blocks are carried.
struct Node<T> {
    transport: Arc<T>,
    blocks: Blocks,
    staged: Receiver<BlockStaged>,
    hears: JoinHandle<()>,
}

impl<T> Drop for Node<T> {
    fn drop(&mut self) {
        self.hears.abort();
    }
}

impl<T: Transport> Node<T> {
    fn new(Endpoint { transport, mut control, bulk }: Endpoint<T>, stall: Duration) -> Self {
        let transport = Arc::new(transport);
        let (blocks, staged) = carry(Arc::clone(&transport), bulk, stall);
        let carried = blocks.clone();
        let hears = tokio::spawn(async move {
            while let Some(delivery) = control.next().await {
                if let Delivery::Up(up) = delivery {
                    carried.link_up(up.link).await.unwrap();
                }
            }
        });
        Self { transport, blocks, staged, hears }
    }

    async fn offers(&self, staging: &Staging, bytes: BlockBytes) {
        self.blocks.offer(staging.operation, bytes).await.unwrap();
    }

    async fn stages(&self, staging: &Staging) {
        self.blocks.stage(TERM, *staging).await.unwrap();
    }

    async fn says(&mut self) -> BlockStaged {
        soon(self.staged.recv()).await.expect("blocks are carried")
    }

    async fn holds(&mut self, staging: &Staging) {
        assert_eq!(self.says().await, BlockStaged { operation: staging.operation, held: true });
    }

    /// What readers would get, were it put.
    async fn reads(&self, staging: &Staging) -> Vec<u8> {
        self.blocks.put(region(0), staging.operation).await.unwrap();
        let bytes = self.blocks.read(region(0)).await.unwrap().expect("it was put");
        bytes.chunks().flatten().copied().collect()
    }
}

/// Nodes that are linked, with their blocks.
async fn nodes<F: Fabric>(count: u16, faults: Option<Arc<dyn FaultHook>>, stall: Duration) -> Vec<Node<F::Transport>> {
    let mut cluster = Cluster::<F>::with_faults(count, faults).await;
    cluster.open_everywhere(TERM.0).await;
    cluster.ends.iter_mut().map(|end| Node::new(end.take().unwrap(), stall)).collect()
}

fn bytes(length: u64, salt: u64) -> Vec<u8> {
    let mut state = salt | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..length).map(next).collect()
}

fn staging(caller: u16, sequence: u64, set: NodeSet, block: Block) -> Staging {
    let caller = NodeIncarnation { node: NodeIndex(caller), incarnation: AgentIncarnation(1) };
    Staging { operation: OperationId { caller, sequence }, set, block }
}

fn set(nodes: impl IntoIterator<Item = u16>) -> NodeSet {
    nodes.into_iter().map(NodeIndex).collect()
}

fn region(number: u32) -> RegionName {
    RegionName::of_gang(GangRun { gang: GangId(1), incarnation: GangIncarnation(1) }, number)
}

/// A block of the first node for the set is asked for everywhere.
async fn given<T: Transport>(nodes: &[Node<T>], sequence: u64, set: NodeSet, content: &[u8]) -> Staging {
    let content = BlockBytes::from(content.to_vec());
    let staging = staging(0, sequence, set, content.block());
    nodes[0].offers(&staging, content).await;
    for node in nodes.iter().rev() {
        node.stages(&staging).await;
    }
    staging
}

async fn comes_whole<T: Transport>(nodes: &mut [Node<T>], sequence: u64, length: u64) {
    let content = bytes(length, sequence);
    let staging = given(nodes, sequence, set(0..nodes.len() as u16), &content).await;
    // As by the order: it is put when all hold it, and wanted no more when all have put it.
    for node in &mut *nodes {
        node.holds(&staging).await;
    }
    for node in &*nodes {
        assert!(node.reads(&staging).await == content, "{length} bytes came differently");
    }
    for node in nodes {
        node.blocks.discard(staging.operation).await.unwrap();
    }
}

pub(crate) async fn blocks_of_every_size_come_whole_to_sets_of_every_size<F: Fabric>() {
    let piece = PIECE_BYTES_MIN;
    for count in [1, 2, 3, 5, 8, 16] {
        let mut nodes = nodes::<F>(count, None, LONG).await;
        for (sequence, length) in (1..).zip([0, 1, 8, piece - 1, piece, piece + 1, PIECE_BYTES_MAX + 1]) {
            comes_whole(&mut nodes, sequence, length).await;
        }
    }
}

pub(crate) async fn a_block_of_64_mib_comes_whole<F: Fabric>() {
    let mut nodes = nodes::<F>(3, None, LONG).await;
    comes_whole(&mut nodes, 1, 64 << 20).await;
}

pub(crate) async fn who_calls_for_others_gives_and_is_not_asked<F: Fabric>() {
    let mut nodes = nodes::<F>(3, None, LONG).await;
    let first = given(&nodes, 1, set([1, 2]), &bytes(PIECE_BYTES_MAX + 7, 1)).await;
    nodes[1].holds(&first).await;
    nodes[2].holds(&first).await;
    let second = given(&nodes, 2, set([0]), &[5]).await;
    nodes[0].holds(&second).await;
}

pub(crate) async fn all_nodes_give_to_each_other_at_the_same_time<F: Fabric>() {
    const EACH: u64 = 3;
    let mut nodes = nodes::<F>(5, None, LONG).await;
    let all = set(0..5);
    let content = |caller: u16, sequence: u64| bytes(200_000 + u64::from(caller) * 1000 + sequence, sequence);
    let mut stagings = Vec::new();
    for (caller, node) in (0..).zip(&nodes) {
        for sequence in 1..=EACH {
            let content = BlockBytes::from(content(caller, sequence));
            let staging = staging(caller, sequence, all, content.block());
            node.offers(&staging, content).await;
            stagings.push(staging);
        }
    }
    for staging in &stagings {
        for node in &nodes {
            node.stages(staging).await;
        }
    }
    for node in &mut nodes {
        let mut held: Vec<OperationId> = Vec::new();
        for _ in &stagings {
            let said = node.says().await;
            assert!(said.held, "{said:?}");
            held.push(said.operation);
        }
        held.sort_unstable();
        assert_eq!(held, stagings.iter().map(|staging| staging.operation).collect::<Vec<_>>());
        for staging in &stagings {
            let OperationId { caller, sequence } = staging.operation;
            assert!(node.reads(staging).await == content(caller.node.0, sequence));
        }
    }
}

pub(crate) async fn a_node_that_gets_nothing_says_so<F: Fabric>() {
    // Nothing comes to node 2, nor through it; the other places have all pieces from the first.
    let hook = |point: &FaultPoint| if point.class == Class::Bulk && point.to.node == NodeIndex(2) { Fault::Drop } else { Fault::None };
    let mut nodes = nodes::<F>(3, Some(Arc::new(hook)), Duration::from_millis(300)).await;
    let staging = given(&nodes, 1, set([1, 2]), &bytes(2 * PIECE_BYTES_MAX, 1)).await;
    assert_eq!(nodes[2].says().await, BlockStaged { operation: staging.operation, held: false });
    let unknown = staging_of_nobody();
    nodes[1].stages(&unknown).await;
    loop {
        let said = nodes[1].says().await;
        if said.operation == unknown.operation {
            assert!(!said.held, "its caller never gives it");
            break;
        }
    }
}

fn staging_of_nobody() -> Staging {
    staging(0, 99, set([1]), BlockBytes::from(vec![1]).block())
}

pub(crate) async fn a_link_that_breaks_on_the_way_is_given_again_what_went_over_it<F: Fabric>() {
    const BREAKS: usize = 3;
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let hook = move |point: &FaultPoint| {
        let is_bulk = point.class == Class::Bulk;
        // Every seventh bulk frame cuts its link, a few times.
        let frames = if is_bulk { counted.fetch_add(1, Ordering::SeqCst) + 1 } else { 0 };
        if is_bulk && frames.is_multiple_of(7) && frames <= 7 * BREAKS { Fault::Cut } else { Fault::None }
    };
    let mut nodes = nodes::<F>(4, Some(Arc::new(hook)), LONG).await;
    comes_whole(&mut nodes, 1, 16 * PIECE_BYTES_MAX).await;
    assert!(count.load(Ordering::SeqCst) > 7 * BREAKS, "all breaks were on the way");
}

pub(crate) async fn bytes_that_are_not_what_was_announced_are_not_held<F: Fabric>() {
    let mut nodes = nodes::<F>(2, None, LONG).await;
    let content = BlockBytes::from(bytes(PIECE_BYTES_MAX + 1, 1));
    let Block { digest, length } = content.block();
    let announced = staging(0, 1, set([0, 1]), Block { digest: digest ^ 1, length });
    nodes[0].offers(&announced, content.clone()).await;
    for node in &nodes {
        node.stages(&announced).await;
    }
    assert_eq!(nodes[1].says().await, BlockStaged { operation: announced.operation, held: false });
    assert_eq!(nodes[1].transport.counters().refused(Refusal::WrongDigest), 1);
    let longer = staging(0, 2, set([0, 1]), Block { digest, length: length + 1 });
    nodes[0].offers(&longer, content).await;
    nodes[0].holds(&announced).await;
    nodes[0].stages(&longer).await;
    assert_eq!(nodes[0].says().await, BlockStaged { operation: longer.operation, held: false }, "its caller does not have it");
}

pub(crate) async fn what_there_is_no_room_for_is_refused_at_once<F: Fabric>() {
    let mut nodes = nodes::<F>(2, None, Duration::MAX / 4).await;
    let largest = Block { digest: 0, length: BLOCK_BYTES_MAX };
    let fits = BLOCKS_BYTES_MAX / BLOCK_BYTES_MAX;
    for sequence in 1..=fits + 1 {
        nodes[1].stages(&staging(0, sequence, set([1]), largest)).await;
    }
    let refused = BlockStaged { operation: staging(0, fits + 1, set([1]), largest).operation, held: false };
    assert_eq!(nodes[1].says().await, refused);
    nodes[1].blocks.discard(staging(0, 1, set([1]), largest).operation).await.unwrap();
    let beyond = staging(0, 77, set([1]), Block { length: BLOCK_BYTES_MAX + 1, ..largest });
    nodes[1].stages(&beyond).await;
    assert_eq!(nodes[1].says().await.operation, beyond.operation);
    let small = given(&nodes, 78, set([1]), &[1]).await;
    nodes[1].holds(&small).await;
}

pub(crate) async fn what_is_no_piece_is_refused_and_counted<F: Fabric>() {
    let mut nodes = nodes::<F>(3, None, LONG).await;
    // A block that goes on while others talk nonsense.
    let staging = given(&nodes, 1, set([1]), &bytes(PIECE_BYTES_MAX + 1, 1)).await;
    nodes[1].holds(&staging).await;
    let header = |caller: u16, set: NodeSet, length: u64, piece: u32| {
        let words = [1, 7 + length, set.bits(), length, 0];
        let words: Vec<u8> = words.iter().flat_map(|word: &u64| word.to_le_bytes()).collect();
        [&[1, 0][..], &caller.to_le_bytes(), &piece.to_le_bytes(), &words].concat()
    };
    let nonsense = [
        vec![],
        vec![1; 47],
        [&[3][..], &header(0, set([1]), 1, 0)[1..]].concat(),
        [&[2][..], &header(0, set([1]), 1, 0)[1..], &[0]].concat(),
        // Of a set that this node is none of; one that comes from nobody who takes part; pieces that there are not; of its own.
        [&header(0, set([0]), 1, 0)[..], &[0]].concat(),
        [&header(0, set([1]), 1, 0)[..], &[0]].concat(),
        [&header(2, set([1]), 1, 1)[..], &[0]].concat(),
        [&header(2, set([1]), 2, 0)[..], &[0]].concat(),
        [&header(2, set([1]), 0, 0)[..]].concat(),
        [&header(1, set([1, 2]), 1, 0)[..], &[0]].concat(),
    ];
    for frame in &nonsense {
        nodes[2].transport.send(link(TERM.0, 1), Class::Bulk, frame.clone().into()).await.unwrap();
    }
    let beyond = [&header(2, set([1]), BLOCK_BYTES_MAX + 1, 0)[..], &[0]].concat();
    nodes[2].transport.send(link(TERM.0, 1), Class::Bulk, beyond.into()).await.unwrap();
    // What comes after it on the same lane is heard of after it.
    let content = BlockBytes::from(vec![3]);
    let last = self::staging(2, 1, set([1]), content.block());
    nodes[2].offers(&last, content).await;
    nodes[2].stages(&last).await;
    nodes[1].stages(&last).await;
    nodes[1].holds(&last).await;
    assert_eq!(nodes[1].blocks.counters().held_bytes.load(Ordering::Relaxed), staging.block.length + 1, "nonsense takes no room");
    let refused = |refusal| nodes[1].transport.counters().refused(refusal);
    assert_eq!((refused(Refusal::BadPiece), refused(Refusal::NoRoom)), (nonsense.len() as u64, 1));
}

/// What is put under the first name, once it is there.
async fn comes<T: Transport>(node: &Node<T>) -> Vec<u8> {
    soon(async {
        loop {
            if let Some(bytes) = node.blocks.read(region(0)).await.unwrap() {
                return bytes.chunks().flatten().copied().collect();
            }
        }
    })
    .await
}

pub(crate) async fn who_never_held_a_block_gets_it_from_one_that_does<F: Fabric>() {
    for length in [0, 1, 3 * PIECE_BYTES_MAX + 1] {
        // Node 3 is asked first by node 2, and has dropped it: node 0 is asked then.
        let mut nodes = nodes::<F>(4, None, Duration::from_millis(200)).await;
        let content = bytes(length, 1);
        let block = BlockBytes::from(content.clone());
        let everybody = staging(0, 1, set(0..4), block.block());
        nodes[0].offers(&everybody, block).await;
        for node in [0, 1, 2, 3] {
            nodes[node].stages(&everybody).await;
        }
        for node in &mut nodes {
            node.holds(&everybody).await;
        }
        for node in &nodes {
            node.blocks.put(region(0), everybody.operation).await.unwrap();
        }
        for node in [2, 3] {
            nodes[node].blocks.discard(everybody.operation).await.unwrap();
        }
        assert!(nodes[2].blocks.read(region(0)).await.unwrap().is_none());
        nodes[2].blocks.get(TERM, region(0), everybody).await.unwrap();
        assert!(comes(&nodes[2]).await == content);
        // The caller's own node, in a new life that has nothing.
        nodes[0].blocks.discard(everybody.operation).await.unwrap();
        nodes[0].blocks.get(TERM, region(0), everybody).await.unwrap();
        assert!(comes(&nodes[0]).await == content);
    }
}

pub(crate) async fn a_block_that_nobody_gives_is_given_up<F: Fabric>() {
    let nodes = nodes::<F>(3, None, Duration::from_millis(50)).await;
    let nowhere = staging(0, 1, set(0..3), Block { digest: 1, length: 9 });
    nodes[1].blocks.get(TERM, region(0), nowhere).await.unwrap();
    let given_up = || nodes[1].blocks.counters().given_up.load(Ordering::Relaxed);
    soon(async {
        while given_up() == 0 {
            assert!(nodes[1].blocks.read(region(0)).await.unwrap().is_none());
            tokio::task::yield_now().await;
        }
    })
    .await;
    // Only who is of its set may wish for it.
    let stranger = staging(0, 2, set([1]), Block { digest: 1, length: 9 });
    nodes[2].blocks.get(TERM, region(1), stranger).await.unwrap();
    soon(async {
        while nodes[1].transport.counters().refused(Refusal::BadPiece) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

pub(crate) async fn readers_keep_what_they_got_and_get_what_was_put_last<F: Fabric>() {
    let mut nodes = nodes::<F>(2, None, LONG).await;
    let (old, new) = (bytes(100_000, 1), bytes(70_000, 2));
    let first = given(&nodes, 1, set([1]), &old).await;
    let second = given(&nodes, 2, set([1]), &new).await;
    let mut held = [nodes[1].says().await, nodes[1].says().await].map(|said| (said.operation, said.held));
    held.sort_unstable();
    assert_eq!(held, [(first.operation, true), (second.operation, true)]);
    let blocks = nodes[1].blocks.clone();
    assert!(blocks.read(region(3)).await.unwrap().is_none(), "nothing was put yet");
    blocks.put(region(3), first.operation).await.unwrap();
    let read = blocks.read(region(3)).await.unwrap().unwrap();
    blocks.put(region(3), second.operation).await.unwrap();
    assert!(blocks.read_put(region(3), first.operation).await.unwrap().is_none(), "another was put since");
    assert!(blocks.read_put(region(3), second.operation).await.unwrap().is_some());
    blocks.discard(first.operation).await.unwrap();
    assert!(read.chunks().flatten().eq(&old), "what a reader was given stays");
    assert!(blocks.read(region(3)).await.unwrap().unwrap().chunks().flatten().eq(&new));
    blocks.discard(second.operation).await.unwrap();
    assert!(blocks.read(region(3)).await.unwrap().is_none());
}

pub(crate) async fn control_frames_pass_a_block_that_nobody_takes<F: Fabric>() {
    // Node 1 reads no bulk frame: the lane to it is full from end to end.
    let mut cluster = Cluster::<F>::new(2).await;
    cluster.open_everywhere(TERM.0).await;
    let mut ends = cluster.ends.iter_mut().map(|end| end.take().unwrap());
    let giver = Node::new(ends.next().unwrap(), LONG);
    let Endpoint { transport, mut control, bulk } = ends.next().unwrap();
    let _unread: BulkInbox = bulk;
    let content = BlockBytes::from(vec![0; 64 << 20]);
    let block = staging(0, 1, set([1]), content.block());
    giver.offers(&block, content).await;
    giver.stages(&block).await;
    soon(async {
        while giver.transport.try_send(link(TERM.0, 1), Class::Bulk, vec![0; 1 << 20].into()).is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for number in 0..100_u8 {
        giver.transport.send(link(TERM.0, 1), Class::Control, vec![number].into()).await.unwrap();
        let Some(Delivery::Frame(frame)) = soon(control.next()).await else { panic!("a frame was sent") };
        assert_eq!(frame.payload[..], [number]);
    }
    drop(transport);
}
