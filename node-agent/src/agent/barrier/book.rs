//! What the agent knows of its gangs' barriers, and what is to be repeated when.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use strobe_core::{
    model::{BarrierFailure, GangRun, Instant, NodeIndex, NodeSet},
    primitives::{AbortReason, OperationId, Outcome},
};

use super::groups::Groups;
use crate::agent::frames::BarrierBlock;

/// The longest pause between two repetitions, in first pauses: a node that comes back waits no longer than this, and one
/// that waits long for a slow rank costs no more than a block in this time.
pub(super) const PAUSES_MAX: u32 = 4;

/// See the module. Reads no clock and sends nothing.
#[derive(Debug)]
pub(in crate::agent) struct Barriers {
    first_pause: Duration,
    /// The barrier in which each gang's local ranks wait, until it is complete.
    entered: Entered<GangRun, BarrierBlock>,
    /// At the root: each gang's newest barrier.
    collections: BTreeMap<GangRun, Collection>,
    /// The barriers of groups.
    pub(super) groups: Groups,
    /// Requests given to the member that have no name yet, in order.
    unnamed: VecDeque<Job>,
    /// Operations of the root that have no outcome yet.
    operations: BTreeMap<OperationId, Job>,
}

/// One operation of a gang's root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) run: GangRun,
    /// Where the keys go.
    pub(super) place: Place,
    /// Number of the barrier there.
    pub(super) number: u64,
    pub(super) task: Task,
}

/// Where the keys of a barrier go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The barriers of all ranks have one, each after the other.
    World,
    /// The barriers of groups share these.
    Region(u32),
}

/// Which of the root's two operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// Have all nodes put their block? Of a region: have all taken what is there?
    Compare,
    /// The whole to all nodes.
    Xfer,
}

/// What follows from an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing now; perhaps something later.
    Nothing,
    /// The next operation.
    Submit(Job),
    /// The barrier can never be complete.
    Failed { job: Job, reason: BarrierFailure },
}

/// The blocks of one barrier.
#[derive(Debug)]
struct Collection {
    number: u64,
    blocks: BTreeMap<NodeIndex, Vec<u8>>,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Blocks are missing.
    Collecting,
    /// It is submitted and has no outcome.
    UnderWay(Task, Repetition),
    /// It was refused: submitted again when it is due.
    Refused(Task, Repetition),
    /// The keys are in global memory, or never will be.
    Over,
}

/// When something is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repetition {
    pub(super) due: Instant,
    pause: Duration,
}

/// Blocks of barriers in which local ranks wait, and when each is put again.
pub(super) type Entered<Key, Block> = BTreeMap<Key, (Block, Repetition)>;

/// Every block, each as if it was put for the first time now.
pub(super) fn all_again<Key, Block: Clone>(entered: &mut Entered<Key, Block>, now: Instant, first_pause: Duration) -> Vec<Block> {
    let again = |(block, repetition): &mut (Block, Repetition)| {
        *repetition = Repetition::new(now, first_pause);
        block.clone()
    };
    entered.values_mut().map(again).collect()
}

/// The blocks that are to be put again now, each then after a longer pause.
pub(super) fn due_again<Key, Block: Clone>(entered: &mut Entered<Key, Block>, now: Instant, longest: Duration) -> Vec<Block> {
    let again = |(block, repetition): &mut (Block, Repetition)| {
        *repetition = repetition.next(now, longest);
        block.clone()
    };
    entered.values_mut().filter(|(_, repetition)| repetition.due <= now).map(again).collect()
}

impl Barriers {
    /// No barrier. What is lost or refused is repeated first after this pause.
    pub(in crate::agent) const fn new(first_pause: Duration) -> Self {
        Self {
            first_pause,
            entered: BTreeMap::new(),
            collections: BTreeMap::new(),
            groups: Groups::new(first_pause),
            unnamed: VecDeque::new(),
            operations: BTreeMap::new(),
        }
    }

    /// When [`Barriers::due_blocks`] or [`Barriers::due_tasks`] has something next.
    pub(in crate::agent) fn next_deadline(&self) -> Option<Instant> {
        let blocks = self.entered.values().map(|(_, repetition)| repetition.due);
        let tasks = self.collections.values().filter_map(|collection| collection.progress.due());
        blocks.chain(tasks).chain(self.groups.next_deadline()).min()
    }

    /// The member has named the oldest unnamed request.
    pub(in crate::agent) fn submitted(&mut self, operation: OperationId) {
        if let Some(job) = self.unnamed.pop_front() {
            self.operations.insert(operation, job);
        }
    }

    pub(in crate::agent) fn forget(&mut self, run: GangRun) {
        self.entered.remove(&run);
        self.collections.remove(&run);
        self.groups.retain(|other| other != run);
    }

    /// Forgets all gangs but these.
    pub(super) fn retain(&mut self, lives: impl Fn(GangRun) -> bool) {
        self.entered.retain(|run, _| lives(*run));
        self.collections.retain(|run, _| lives(*run));
        self.groups.retain(lives);
    }

    /// The local ranks wait in the barrier of this block.
    pub(super) fn enter(&mut self, block: BarrierBlock, now: Instant) {
        self.entered.insert(block.run, (block, Repetition::new(now, self.first_pause)));
    }

    /// True when the local ranks waited in that barrier: they wait no more.
    pub(super) fn leave(&mut self, run: GangRun, number: u64) -> bool {
        let waited = self.entered.get(&run).is_some_and(|(block, _)| block.number == number);
        if waited {
            self.entered.remove(&run);
        }
        waited
    }

    /// Every block whose barrier is not complete; what was sent of them before does not count.
    pub(super) fn all_entered(&mut self, now: Instant) -> Vec<BarrierBlock> {
        all_again(&mut self.entered, now, self.first_pause)
    }

    /// Blocks that are to be put again now.
    pub(super) fn due_blocks(&mut self, now: Instant) -> Vec<BarrierBlock> {
        due_again(&mut self.entered, now, PAUSES_MAX * self.first_pause)
    }

    /// At the root: operations that are to be submitted again now.
    pub(super) fn due_tasks(&self, now: Instant) -> Vec<Job> {
        let due = |(run, collection): (&GangRun, &Collection)| {
            let task = collection.progress.due_task(now)?;
            Some(Job { run: *run, place: Place::World, number: collection.number, task })
        };
        self.collections.iter().filter_map(due).chain(self.groups.due_tasks(now)).collect()
    }

    /// At the root: takes a block, perhaps again. True when it was the last of its barrier that was missing.
    pub(super) fn collect(&mut self, block: BarrierBlock, nodes: NodeSet, now: Instant) -> bool {
        let collection = self.collections.entry(block.run).or_insert_with(|| Collection::new(0));
        if block.number < collection.number || !nodes.contains(block.node) {
            return false;
        }
        if block.number > collection.number {
            *collection = Collection::new(block.number);
        }
        if collection.progress != Progress::Collecting {
            return false;
        }
        collection.blocks.insert(block.node, block.block);
        let complete = collection.blocks.len() == nodes.len();
        if complete {
            collection.progress = Progress::Refused(Task::Compare, Repetition::new(now, self.first_pause));
        }
        complete
    }

    /// All keys of a gang's newest barrier.
    pub(super) fn keys(&self, run: GangRun) -> impl Iterator<Item = u8> {
        self.collections.get(&run).into_iter().flat_map(|collection| collection.blocks.values().flatten().copied())
    }

    /// The operation is given to the member.
    pub(super) fn submit(&mut self, job: Job) {
        self.unnamed.push_back(job);
        match job.place {
            Place::World => {
                if let Some(collection) = self.collections.get_mut(&job.run).filter(|collection| collection.number == job.number) {
                    collection.progress.submit(job.task);
                }
            }
            Place::Region(region) => self.groups.submit(job, region),
        }
    }

    /// An operation has its outcome.
    pub(super) fn outcome(&mut self, operation: OperationId, outcome: Outcome, now: Instant) -> Answer {
        let Some(job) = self.operations.remove(&operation) else { return Answer::Nothing };
        match job.place {
            Place::World => self.world_outcome(job, outcome, now),
            Place::Region(region) => self.groups.outcome(job, region, outcome, now),
        }
    }

    fn world_outcome(&mut self, job: Job, outcome: Outcome, now: Instant) -> Answer {
        let longest = PAUSES_MAX * self.first_pause;
        let collection = self.collections.get_mut(&job.run).filter(|collection| collection.number == job.number);
        let Some(Collection { progress, blocks, .. }) = collection else { return Answer::Nothing };
        let Progress::UnderWay(_, repetition) = *progress else { return Answer::Nothing };
        match (job.task, outcome) {
            (Task::Compare, Outcome::Committed { truth: true, .. }) => {
                *progress = Progress::Refused(Task::Xfer, Repetition::new(now, self.first_pause));
                return Answer::Submit(Job { task: Task::Xfer, ..job });
            }
            (Task::Xfer, Outcome::Committed { .. }) => {
                *progress = Progress::Over;
                blocks.clear();
            }
            (_, Outcome::Aborted(AbortReason::PayloadTooLarge)) => {
                *progress = Progress::Over;
                return Answer::Failed { job, reason: BarrierFailure::KeysTooLarge };
            }
            (_, Outcome::Aborted(AbortReason::MemoryFull)) => {
                *progress = Progress::Over;
                return Answer::Failed { job, reason: BarrierFailure::MemoryFull };
            }
            // A node is outside the view or its store has not come to its cell yet, the term changed, or others of this
            // node's operations come first: all of this passes.
            (Task::Compare, Outcome::Committed { truth: false, .. })
            | (
                _,
                Outcome::Unknown
                | Outcome::Aborted(
                    AbortReason::SetOutsideView
                    | AbortReason::TooManyOperations
                    | AbortReason::TermChanged
                    | AbortReason::Stalled
                    | AbortReason::OutOfOrder,
                ),
            ) => *progress = Progress::Refused(job.task, repetition.next(now, longest)),
        }
        Answer::Nothing
    }
}

impl Collection {
    const fn new(number: u64) -> Self {
        Self { number, blocks: BTreeMap::new(), progress: Progress::Collecting }
    }
}

impl Progress {
    /// When its operation is submitted again.
    pub(super) const fn due(self) -> Option<Instant> {
        match self {
            Self::Refused(_, repetition) => Some(repetition.due),
            Self::Collecting | Self::UnderWay(..) | Self::Over => None,
        }
    }

    /// The operation that is to be submitted now.
    pub(super) fn due_task(self, now: Instant) -> Option<Task> {
        match self {
            Self::Refused(task, repetition) => (repetition.due <= now).then_some(task),
            Self::Collecting | Self::UnderWay(..) | Self::Over => None,
        }
    }

    /// Its operation is given to the member.
    pub(super) const fn submit(&mut self, task: Task) {
        if let Self::Refused(_, repetition) = *self {
            *self = Self::UnderWay(task, repetition);
        }
    }
}

impl Repetition {
    pub(super) fn new(now: Instant, pause: Duration) -> Self {
        Self { due: now + pause, pause }
    }

    pub(super) fn next(self, now: Instant, longest: Duration) -> Self {
        let pause = (2 * self.pause).min(longest);
        Self { due: now + pause, pause }
    }
}

#[cfg(test)]
mod tests {
    use strobe_core::model::{AgentIncarnation, GangId, GangIncarnation, NodeIncarnation};

    use super::*;

    const RUN: GangRun = GangRun { gang: GangId(1), incarnation: GangIncarnation(1) };
    const PAUSE: Duration = Duration::from_millis(50);
    const START: Instant = Instant::ORIGIN;
    const ALL_HOLD: Outcome = Outcome::Committed { truth: true, first_failing: None };

    fn block(number: u64, node: u16) -> BarrierBlock {
        BarrierBlock { run: RUN, number, node: NodeIndex(node), block: vec![u8::try_from(node).unwrap()] }
    }

    fn job(task: Task) -> Job {
        Job { run: RUN, place: Place::World, number: 1, task }
    }

    fn nodes() -> NodeSet {
        [NodeIndex(0), NodeIndex(1)].into_iter().collect()
    }

    /// A root that has all blocks of the first barrier and has submitted the first operation.
    fn asking() -> Root {
        let mut barriers = Barriers::new(PAUSE);
        assert!(!barriers.collect(block(1, 1), nodes(), START));
        assert!(barriers.collect(block(1, 0), nodes(), START));
        let mut root = Root { barriers, named: 0 };
        root.submit(Task::Compare);
        root
    }

    struct Root {
        barriers: Barriers,
        named: u64,
    }

    impl Root {
        fn name(&self) -> OperationId {
            let caller = NodeIncarnation { node: NodeIndex(0), incarnation: AgentIncarnation(1) };
            OperationId { caller, sequence: self.named }
        }

        fn submit(&mut self, task: Task) {
            self.named += 1;
            self.barriers.submit(job(task));
            self.barriers.submitted(self.name());
        }

        /// The outcome of the newest operation.
        fn outcome(&mut self, outcome: Outcome, now: Instant) -> Answer {
            self.barriers.outcome(self.name(), outcome, now)
        }
    }

    #[test]
    fn a_block_is_repeated_until_its_barrier_is_complete() {
        let mut barriers = Barriers::new(PAUSE);
        barriers.enter(block(1, 1), START);
        let mut now = START;
        let mut pauses = Vec::new();
        for _ in 0..5 {
            let due = barriers.next_deadline().unwrap();
            assert!(barriers.due_blocks(now).is_empty(), "nothing is due before its time");
            pauses.push(due.since(now));
            now = due;
            assert_eq!(barriers.due_blocks(now), [block(1, 1)]);
        }
        assert_eq!(pauses, [PAUSE, 2 * PAUSE, 4 * PAUSE, 4 * PAUSE, 4 * PAUSE], "pauses grow to their limit");
        assert!(!barriers.leave(RUN, 2) && barriers.leave(RUN, 1));
        assert_eq!(barriers.next_deadline(), None);
    }

    #[test]
    fn a_link_that_comes_up_gets_the_block_and_a_short_pause() {
        let mut barriers = Barriers::new(PAUSE);
        barriers.enter(block(1, 1), START);
        let later = START + 10 * PAUSE;
        barriers.due_blocks(later);
        assert_eq!(barriers.all_entered(later), [block(1, 1)]);
        assert_eq!(barriers.next_deadline(), Some(later + PAUSE));
    }

    #[test]
    fn a_root_asks_once_however_often_blocks_are_put() {
        let mut root = asking();
        for node in [0, 1] {
            assert!(!root.barriers.collect(block(1, node), nodes(), START));
        }
        assert_eq!(root.barriers.keys(RUN).collect::<Vec<_>>(), [0, 1]);
        assert!(!root.barriers.collect(block(2, 2), nodes(), START), "a node that is not the gang's puts nothing");
        assert_eq!(root.barriers.next_deadline(), None, "the member repeats an operation that has no outcome");
    }

    #[test]
    fn what_is_refused_is_submitted_again_after_a_pause_and_never_at_once() {
        let refusals = [
            Outcome::Aborted(AbortReason::SetOutsideView),
            Outcome::Aborted(AbortReason::TooManyOperations),
            Outcome::Aborted(AbortReason::TermChanged),
            Outcome::Unknown,
        ];
        for task in [Task::Compare, Task::Xfer] {
            let mut root = asking();
            if task == Task::Xfer {
                assert_eq!(root.outcome(ALL_HOLD, START), Answer::Submit(job(task)));
                root.submit(task);
            }
            let mut now = START;
            for refusal in refusals {
                assert_eq!(root.outcome(refusal, now), Answer::Nothing, "{refusal:?}");
                assert_eq!(root.barriers.due_tasks(now), [], "{refusal:?} is not repeated at once");
                now = root.barriers.next_deadline().unwrap();
                assert_eq!(root.barriers.due_tasks(now), [job(task)], "{refusal:?} is repeated");
                root.submit(task);
                assert_eq!(root.barriers.due_tasks(now), [], "once");
            }
        }
    }

    #[test]
    fn a_compare_that_does_not_hold_is_asked_again_after_a_pause() {
        let mut root = asking();
        let unmet = Outcome::Committed { truth: false, first_failing: Some(NodeIndex(1)) };
        assert_eq!(root.outcome(unmet, START), Answer::Nothing);
        assert_eq!(root.barriers.due_tasks(START), []);
        let due = root.barriers.next_deadline().unwrap();
        assert_eq!(root.barriers.due_tasks(due), [job(Task::Compare)]);
    }

    #[test]
    fn keys_that_never_fit_fail_the_barrier_once() {
        let failures =
            [(AbortReason::PayloadTooLarge, BarrierFailure::KeysTooLarge), (AbortReason::MemoryFull, BarrierFailure::MemoryFull)];
        for (abort, reason) in failures {
            let mut root = asking();
            root.outcome(ALL_HOLD, START);
            root.submit(Task::Xfer);
            assert_eq!(root.outcome(Outcome::Aborted(abort), START), Answer::Failed { job: job(Task::Xfer), reason });
            assert_eq!(root.barriers.next_deadline(), None);
        }
    }

    #[test]
    fn a_complete_barrier_makes_room_for_the_next_and_takes_no_late_block() {
        let mut root = asking();
        root.outcome(ALL_HOLD, START);
        root.submit(Task::Xfer);
        assert_eq!(root.outcome(ALL_HOLD, START), Answer::Nothing);
        for node in [0, 1] {
            assert!(!root.barriers.collect(block(1, node), nodes(), START));
        }
        assert_eq!(root.barriers.keys(RUN).count(), 0);
        assert!(!root.barriers.collect(block(2, 0), nodes(), START));
        assert!(root.barriers.collect(block(2, 1), nodes(), START));
    }

    #[test]
    fn a_gang_that_is_ended_has_nothing_repeated() {
        let mut root = asking();
        root.barriers.enter(block(1, 0), START);
        root.outcome(Outcome::Unknown, START);
        root.barriers.retain(|_| false);
        assert_eq!(root.barriers.next_deadline(), None);
        root.submit(Task::Compare);
        assert_eq!(root.outcome(Outcome::Unknown, START), Answer::Nothing);
        assert_eq!(root.barriers.next_deadline(), None);
    }
}
