//! What the agent knows of the barriers of its gangs' groups, of which many may be under way at once.
//!
//! Each node puts its block to the gang's root. Of a group whose blocks are all there the root XFERs the whole into one of
//! the gang's regions, with the tickets that it answers. Before a region is used again, COMPARE-AND-WRITE makes sure that
//! every node named in it has taken what was there: what is taken survives the death of any agent, because supervisors
//! acknowledge it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use strobe_core::{
    model::{BarrierFailure, GangRun, Instant, NodeIndex, NodeSet},
    primitives::{AbortReason, Outcome, Payload},
};

use super::book::{Answer, Entered, Job, PAUSES_MAX, Place, Progress, Repetition, Task, all_again, due_again};
use crate::{agent::frames::GroupBlock, pmi::limits::GROUPS, supervisor_protocol::BarrierGroup};

/// Regions of a gang for its groups' barriers, from 1 on. Further barriers wait until a region is free again, which needs
/// agents only and no rank.
const REGIONS: u32 = 4;

/// Bytes of the keys of one group's barrier, of all its nodes. Past it the gang fails. All regions of a gang together hold
/// as much as its world's barrier may.
pub(super) const KEYS_BYTES: usize = strobe_core::limits::PAYLOAD_BYTES_MAX / REGIONS as usize;

/// See the module. Reads no clock and sends nothing.
#[derive(Debug)]
pub(in crate::agent) struct Groups {
    first_pause: Duration,
    /// The barriers in which local ranks wait, by ticket.
    entered: Entered<(GangRun, u64), GroupBlock>,
    /// What the supervisor has taken from each region of its gang: the number there, and the ticket that was answered.
    taken: BTreeMap<(GangRun, u32), (u64, u64)>,
    /// At the root: blocks by group.
    collections: BTreeMap<(GangRun, BarrierGroup), Collection>,
    /// At the root: groups whose blocks are all there and that wait for a region.
    ready: VecDeque<(GangRun, BarrierGroup)>,
    /// At the root: the last ticket of each node's slot that is over.
    over: BTreeMap<(GangRun, NodeIndex, u64), u64>,
    /// At the root: the gangs' regions.
    regions: BTreeMap<(GangRun, u32), Region>,
}

/// What stands in a region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Content {
    /// How often the region was used.
    pub(super) number: u64,
    /// The barriers that it answers: one on each node of the group.
    pub(super) tickets: Vec<(NodeIndex, u64)>,
    /// The keys of all.
    pub(super) keys: Vec<u8>,
}

/// What the regions of a gang hold, as global memory says.
pub(super) type Contents = BTreeMap<u32, Content>;

/// The blocks of one group's barrier, and those of its next that came early.
#[derive(Debug, Default)]
struct Collection {
    blocks: Blocks,
    next: Blocks,
    nodes: NodeSet,
}

type Blocks = BTreeMap<NodeIndex, (u64, Vec<u8>)>;

#[derive(Debug, Default)]
struct Region {
    /// Number of what stands there; 0 while nothing does.
    number: u64,
    /// Who has to take it.
    takers: NodeSet,
    /// What is to stand there next.
    delivery: Option<Delivery>,
}

#[derive(Debug)]
struct Delivery {
    group: BarrierGroup,
    progress: Progress,
}

impl Content {
    /// What the payload of a region says; none when it is damaged.
    pub(super) fn of(payload: &Payload) -> Option<Self> {
        postcard::from_bytes(payload.bytes()).ok()
    }

    /// The payload that says it.
    pub(super) fn payload(&self) -> Payload {
        Payload::new(postcard::to_stdvec(self).expect("numbers and bytes can be written down"))
    }

    fn answers(&self, node: NodeIndex, ticket: u64) -> bool {
        self.tickets.contains(&(node, ticket))
    }
}

impl Collection {
    fn is_complete(&self) -> bool {
        self.blocks.len() == self.nodes.len()
    }

    /// True when the content answers these blocks.
    fn is_of(&self, content: &Content) -> bool {
        content.tickets.iter().copied().eq(self.blocks.iter().map(|(node, (ticket, _))| (*node, *ticket)))
    }
}

impl Region {
    fn of(content: &Content) -> Self {
        Self { number: content.number, takers: content.tickets.iter().map(|(node, _)| *node).collect(), delivery: None }
    }
}

/// The numbers of a gang's regions.
pub(super) fn regions() -> impl Iterator<Item = u32> {
    1..=REGIONS
}

impl Groups {
    pub(super) const fn new(first_pause: Duration) -> Self {
        Self {
            first_pause,
            entered: BTreeMap::new(),
            taken: BTreeMap::new(),
            collections: BTreeMap::new(),
            ready: VecDeque::new(),
            over: BTreeMap::new(),
            regions: BTreeMap::new(),
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let blocks = self.entered.values().map(|(_, repetition)| repetition.due);
        let deliveries = self.regions.values().filter_map(|region| region.delivery.as_ref()?.progress.due());
        blocks.chain(deliveries).min()
    }

    /// Forgets all gangs but these.
    pub(super) fn retain(&mut self, lives: impl Fn(GangRun) -> bool) {
        self.entered.retain(|(run, _), _| lives(*run));
        self.taken.retain(|(run, _), _| lives(*run));
        self.collections.retain(|(run, _), _| lives(*run));
        self.ready.retain(|(run, _)| lives(*run));
        self.over.retain(|(run, ..), _| lives(*run));
        self.regions.retain(|(run, _), _| lives(*run));
    }

    // === on every node ===

    /// The group's local ranks wait in the barrier of this block.
    pub(super) fn enter(&mut self, block: GroupBlock, now: Instant) {
        self.entered.insert((block.run, block.ticket), (block, Repetition::new(now, self.first_pause)));
    }

    /// Answers for `node` that its supervisor has not taken yet: the ticket and the keys of each.
    pub(super) fn answers(&self, run: GangRun, node: NodeIndex, contents: &Contents) -> Vec<(u64, Vec<u8>)> {
        let answer = |(region, content): (&u32, &Content)| {
            let (_, ticket) = content.tickets.iter().find(|(named, _)| *named == node)?;
            let is_taken = self.taken.get(&(run, *region)) == Some(&(content.number, *ticket));
            (!is_taken).then(|| (*ticket, content.keys.clone()))
        };
        contents.iter().filter_map(answer).collect()
    }

    /// The supervisor of `node` has the answer to its ticket: gives the region where it stands, and its number there.
    pub(super) fn take(&mut self, run: GangRun, node: NodeIndex, ticket: u64, contents: &Contents) -> Option<(u32, u64)> {
        self.entered.remove(&(run, ticket));
        let (region, content) = contents.iter().find(|(_, content)| content.answers(node, ticket))?;
        self.taken.insert((run, *region), (content.number, ticket));
        Some((*region, content.number))
    }

    /// Every block that has no answer; what was sent of them before does not count.
    pub(super) fn all_entered(&mut self, now: Instant) -> Vec<GroupBlock> {
        all_again(&mut self.entered, now, self.first_pause)
    }

    /// Blocks that are to be put again now.
    pub(super) fn due_blocks(&mut self, now: Instant) -> Vec<GroupBlock> {
        due_again(&mut self.entered, now, PAUSES_MAX * self.first_pause)
    }

    // === at the root ===

    /// Takes a node's block, perhaps again; `nodes` are those of its group.
    pub(super) fn collect(&mut self, block: GroupBlock, nodes: NodeSet, contents: &Contents, now: Instant) -> Answer {
        let GroupBlock { run, node, ticket, group, block } = block;
        self.look_at(run, contents);
        let slot = ticket % GROUPS as u64;
        let is_over = self.over.get(&(run, node, slot)).is_some_and(|last| *last >= ticket);
        if is_over || !nodes.contains(node) || contents.values().any(|content| content.answers(node, ticket)) {
            return Answer::Nothing;
        }
        let key = (run, group);
        let collection = self.collections.entry(key.clone()).or_insert_with(|| Collection { nodes, ..Collection::default() });
        if collection.is_complete() {
            if collection.blocks.get(&node).is_some_and(|(before, _)| *before < ticket) {
                collection.next.insert(node, (ticket, block));
            }
            return Answer::Nothing;
        }
        collection.blocks.insert(node, (ticket, block));
        if !collection.is_complete() {
            return Answer::Nothing;
        }
        self.ready.push_back(key);
        self.deliver(run, now)
    }

    /// What global memory says of regions that this life of the agent has not used, or that an earlier life used last: an
    /// operation of its may take effect when this one has begun. A delivery that it came before begins anew.
    fn look_at(&mut self, run: GangRun, contents: &Contents) {
        for (number, content) in contents {
            let region = self.regions.entry((run, *number)).or_default();
            let group = region.delivery.as_ref().map(|delivery| (run, delivery.group.clone()));
            let own = group.as_ref().and_then(|group| self.collections.get(group)).is_some_and(|collection| collection.is_of(content));
            if region.number < content.number && !own {
                *region = Region::of(content);
                self.ready.extend(group);
            }
        }
    }

    /// Begins the delivery of the group of that gang that has waited longest, if a region is free.
    fn deliver(&mut self, run: GangRun, now: Instant) -> Answer {
        let Some(position) = self.ready.iter().position(|(waiting, _)| *waiting == run) else { return Answer::Nothing };
        // The one that was used longest ago: its takers have had the most time.
        let number_of = |region: &u32| self.regions.get(&(run, *region)).map_or(0, |region| region.number);
        let is_free = |region: &u32| self.regions.get(&(run, *region)).is_none_or(|region| region.delivery.is_none());
        let Some(number) = regions().filter(is_free).min_by_key(number_of) else { return Answer::Nothing };
        let Some((_, group)) = self.ready.remove(position) else { return Answer::Nothing };
        let keys: usize = self
            .collections
            .get(&(run, group.clone()))
            .map_or(0, |collection| collection.blocks.values().map(|(_, block)| block.len()).sum());
        let region = self.regions.entry((run, number)).or_default();
        let task = if region.takers.is_empty() { Task::Xfer } else { Task::Compare };
        let job = Job { run, place: Place::Region(number), number: region.number + 1, task };
        if keys > KEYS_BYTES {
            return Answer::Failed { job, reason: BarrierFailure::KeysTooLarge };
        }
        region.delivery = Some(Delivery { group, progress: Progress::Refused(task, Repetition::new(now, self.first_pause)) });
        Answer::Submit(job)
    }

    /// Who has to have taken what stands in the region before it is used again.
    pub(super) fn takers(&self, run: GangRun, region: u32) -> NodeSet {
        self.regions.get(&(run, region)).map_or(NodeSet::EMPTY, |region| region.takers)
    }

    /// What the region is to hold next.
    pub(super) fn content(&self, job: Job, region: u32) -> Option<Content> {
        let group = &self.regions.get(&(job.run, region))?.delivery.as_ref()?.group;
        let blocks = &self.collections.get(&(job.run, group.clone()))?.blocks;
        let tickets = blocks.iter().map(|(node, (ticket, _))| (*node, *ticket)).collect();
        Some(Content { number: job.number, tickets, keys: blocks.values().flat_map(|(_, block)| block.iter().copied()).collect() })
    }

    /// Operations that are to be submitted again now.
    pub(super) fn due_tasks(&self, now: Instant) -> Vec<Job> {
        let due = |((run, number), region): (&(GangRun, u32), &Region)| {
            let task = region.delivery.as_ref()?.progress.due_task(now)?;
            Some(Job { run: *run, place: Place::Region(*number), number: region.number + 1, task })
        };
        self.regions.iter().filter_map(due).collect()
    }

    /// The operation is given to the member.
    pub(super) fn submit(&mut self, job: Job, region: u32) {
        if let Some(delivery) = self.delivery(job, region) {
            delivery.progress.submit(job.task);
        }
    }

    fn delivery(&mut self, job: Job, region: u32) -> Option<&mut Delivery> {
        self.regions.get_mut(&(job.run, region)).filter(|region| region.number + 1 == job.number)?.delivery.as_mut()
    }

    /// An operation has its outcome.
    pub(super) fn outcome(&mut self, job: Job, region: u32, outcome: Outcome, now: Instant) -> Answer {
        let (first_pause, longest) = (self.first_pause, PAUSES_MAX * self.first_pause);
        let Some(delivery) = self.delivery(job, region) else { return Answer::Nothing };
        let Progress::UnderWay(_, repetition) = delivery.progress else { return Answer::Nothing };
        match (job.task, outcome) {
            (Task::Compare, Outcome::Committed { truth: true, .. }) => {
                delivery.progress = Progress::Refused(Task::Xfer, Repetition::new(now, first_pause));
                return Answer::Submit(Job { task: Task::Xfer, ..job });
            }
            (Task::Xfer, Outcome::Committed { .. }) => return self.delivered(job, region, now),
            (_, Outcome::Aborted(AbortReason::PayloadTooLarge)) => {
                delivery.progress = Progress::Over;
                return Answer::Failed { job, reason: BarrierFailure::KeysTooLarge };
            }
            (_, Outcome::Aborted(AbortReason::MemoryFull)) => {
                delivery.progress = Progress::Over;
                return Answer::Failed { job, reason: BarrierFailure::MemoryFull };
            }
            // As in the world's barrier: all of this passes.
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
            ) => delivery.progress = Progress::Refused(job.task, repetition.next(now, longest)),
        }
        Answer::Nothing
    }

    /// The barrier is over: its group may have its next, and the region is free for another.
    fn delivered(&mut self, job: Job, region: u32, now: Instant) -> Answer {
        let run = job.run;
        let Some(content) = self.content(job, region) else { return Answer::Nothing };
        let Some(delivery) = self.regions.insert((run, region), Region::of(&content)).and_then(|region| region.delivery) else {
            return Answer::Nothing;
        };
        for (node, ticket) in content.tickets {
            self.over.insert((run, node, ticket % GROUPS as u64), ticket);
        }
        let key = (run, delivery.group);
        if let Some(collection) = self.collections.remove(&key).filter(|collection| !collection.next.is_empty()) {
            let next = Collection { blocks: collection.next, next: Blocks::new(), nodes: collection.nodes };
            let complete = next.is_complete();
            self.collections.insert(key.clone(), next);
            if complete {
                self.ready.push_back(key);
            }
        }
        self.deliver(run, now)
    }
}

#[cfg(test)]
mod tests {
    use strobe_core::model::{GangId, GangIncarnation};

    use super::*;
    use crate::supervisor_protocol::GroupMembers;

    const RUN: GangRun = GangRun { gang: GangId(1), incarnation: GangIncarnation(1) };
    const PAUSE: Duration = Duration::from_millis(50);
    const START: Instant = Instant::ORIGIN;
    const ALL_HOLD: Outcome = Outcome::Committed { truth: true, first_failing: None };
    const NOTHING: Contents = Contents::new();

    fn group(tag: i32) -> BarrierGroup {
        BarrierGroup { members: GroupMembers::Ranks(vec![0, 1]), tag }
    }

    fn block(node: u16, ticket: u64, tag: i32) -> GroupBlock {
        GroupBlock { run: RUN, node: NodeIndex(node), ticket, group: group(tag), block: vec![u8::try_from(node).unwrap()] }
    }

    fn nodes() -> NodeSet {
        [NodeIndex(0), NodeIndex(1)].into_iter().collect()
    }

    fn ticket(slot: u64, uses: u64) -> u64 {
        uses * GROUPS as u64 + slot
    }

    /// A root and what stands in its regions.
    struct Root {
        groups: Groups,
        contents: Contents,
    }

    impl Root {
        fn new() -> Self {
            Self { groups: Groups::new(PAUSE), contents: NOTHING }
        }

        fn collect(&mut self, block: GroupBlock) -> Answer {
            self.groups.collect(block, nodes(), &self.contents, START)
        }

        /// Both nodes' blocks of a group; the answer to the second.
        fn collect_both(&mut self, ticket: u64, tag: i32) -> Answer {
            assert_eq!(self.collect(block(0, ticket, tag)), Answer::Nothing);
            self.collect(block(1, ticket, tag))
        }

        fn outcome(&mut self, job: Job, outcome: Outcome) -> Answer {
            let Place::Region(region) = job.place else { panic!("{job:?} is of the world") };
            self.groups.submit(job, region);
            if (job.task, outcome) == (Task::Xfer, ALL_HOLD) {
                self.contents.insert(region, self.groups.content(job, region).unwrap());
            }
            self.groups.outcome(job, region, outcome, START)
        }
    }

    fn job(region: u32, number: u64, task: Task) -> Job {
        Job { run: RUN, place: Place::Region(region), number, task }
    }

    #[test]
    fn a_group_gets_a_region_and_a_region_that_was_used_is_compared_first() {
        let mut root = Root::new();
        for (use_of_it, region) in (1..).zip(regions()) {
            assert_eq!(root.collect_both(ticket(0, use_of_it), 0), Answer::Submit(job(region, 1, Task::Xfer)));
            assert_eq!(root.groups.due_tasks(START), [], "the caller submits it at once");
            assert_eq!(root.outcome(job(region, 1, Task::Xfer), ALL_HOLD), Answer::Nothing);
            assert_eq!(root.contents[&region].keys, [0, 1]);
        }
        let compare = job(1, 2, Task::Compare);
        assert_eq!(root.collect_both(ticket(0, 9), 0), Answer::Submit(compare));
        assert_eq!(root.groups.takers(RUN, 1), nodes());
        assert_eq!(root.outcome(compare, Outcome::Committed { truth: false, first_failing: Some(NodeIndex(1)) }), Answer::Nothing);
        let due = root.groups.next_deadline().unwrap();
        assert_eq!((due > START, root.groups.due_tasks(due)), (true, vec![compare]), "a node has not taken it: asked again after a pause");
        assert_eq!(root.outcome(compare, ALL_HOLD), Answer::Submit(job(1, 2, Task::Xfer)));
        assert_eq!(root.outcome(job(1, 2, Task::Xfer), ALL_HOLD), Answer::Nothing);
        assert_eq!(root.contents[&1].tickets, [(NodeIndex(0), ticket(0, 9)), (NodeIndex(1), ticket(0, 9))]);
    }

    #[test]
    fn what_is_over_is_not_collected_again() {
        let mut root = Root::new();
        let first = root.collect_both(ticket(3, 1), 0);
        assert_eq!(root.collect(block(0, ticket(3, 1), 0)), Answer::Nothing, "repeated while it is delivered");
        let Answer::Submit(first) = first else { panic!("{first:?}") };
        root.outcome(first, ALL_HOLD);
        assert_eq!(root.collect_both(ticket(3, 1), 0), Answer::Nothing, "repeated when it is over");
        root.contents.clear();
        assert_eq!(root.collect_both(ticket(3, 1), 0), Answer::Nothing, "nor when its region holds another");
        assert!(matches!(root.collect_both(ticket(3, 2), 0), Answer::Submit(_)), "the next is another");
        let stranger = block(2, ticket(0, 1), 0);
        assert_eq!(root.collect(stranger), Answer::Nothing, "a node that is not the group's puts nothing");
    }

    #[test]
    fn a_block_that_comes_before_its_barriers_turn_is_kept() {
        let mut root = Root::new();
        let Answer::Submit(first) = root.collect_both(ticket(0, 1), 0) else { panic!("not complete") };
        assert_eq!(root.collect_both(ticket(0, 2), 0), Answer::Nothing);
        assert_eq!(root.outcome(first, ALL_HOLD), Answer::Submit(job(2, 1, Task::Xfer)));
    }

    #[test]
    fn groups_wait_for_a_region_in_their_order() {
        let mut root = Root::new();
        let begun = i32::try_from(REGIONS).unwrap();
        for tag in 0..begun {
            assert!(matches!(root.collect_both(ticket(tag.unsigned_abs().into(), 1), tag), Answer::Submit(_)));
        }
        for tag in begun..begun + 2 {
            assert_eq!(root.collect_both(ticket(tag.unsigned_abs().into(), 1), tag), Answer::Nothing);
        }
        let next = root.outcome(job(2, 1, Task::Xfer), ALL_HOLD);
        assert_eq!(next, Answer::Submit(job(2, 2, Task::Compare)));
        assert_eq!(root.groups.content(job(2, 2, Task::Xfer), 2).unwrap().tickets[0].1, ticket(begun.unsigned_abs().into(), 1));
    }

    #[test]
    fn the_next_life_of_a_root_goes_on_where_the_regions_stand() {
        let mut root = Root::new();
        for (use_of_it, region) in (1..).zip(regions()) {
            root.collect_both(ticket(0, use_of_it), 0);
            root.outcome(job(region, 1, Task::Xfer), ALL_HOLD);
        }
        root.groups = Groups::new(PAUSE);
        assert_eq!(root.collect_both(ticket(0, 2), 0), Answer::Nothing, "it stands in a region");
        assert_eq!(root.collect_both(ticket(0, 9), 0), Answer::Submit(job(1, 2, Task::Compare)));
        assert_eq!(root.groups.takers(RUN, 1), nodes());
    }

    /// The earlier life's last operation takes effect when the next life has begun one on the same region.
    #[test]
    fn a_delivery_that_an_earlier_life_came_before_begins_anew() {
        let mut root = Root::new();
        let Answer::Submit(overtaken) = root.collect_both(ticket(0, 1), 0) else { panic!("not complete") };
        root.groups.submit(overtaken, 1);
        root.contents.insert(1, Content { number: 1, tickets: vec![(NodeIndex(0), ticket(5, 1))], keys: Vec::new() });
        assert_eq!(root.collect(block(0, ticket(1, 1), 1)), Answer::Nothing);
        assert_eq!(root.collect(block(1, ticket(1, 1), 1)), Answer::Submit(job(2, 1, Task::Xfer)), "the one that waits longer is first");
        assert_eq!(root.groups.content(job(2, 1, Task::Xfer), 2).unwrap().tickets[0].1, ticket(0, 1));
        assert_eq!(root.groups.outcome(overtaken, 1, Outcome::Unknown, START), Answer::Nothing);
    }

    #[test]
    fn answers_are_given_until_they_are_taken() {
        let mut root = Root::new();
        root.groups.enter(block(1, ticket(0, 1), 0), START);
        assert_eq!(root.groups.answers(RUN, NodeIndex(1), &root.contents), []);
        root.collect_both(ticket(0, 1), 0);
        root.outcome(job(1, 1, Task::Xfer), ALL_HOLD);
        for _ in 0..2 {
            assert_eq!(root.groups.answers(RUN, NodeIndex(1), &root.contents), [(ticket(0, 1), vec![0, 1])]);
        }
        assert_eq!(root.groups.answers(RUN, NodeIndex(2), &root.contents), []);
        assert_eq!(root.groups.due_blocks(START + PAUSE), [block(1, ticket(0, 1), 0)]);
        assert_eq!(root.groups.take(RUN, NodeIndex(1), ticket(0, 1), &root.contents), Some((1, 1)));
        assert_eq!(root.groups.answers(RUN, NodeIndex(1), &root.contents), []);
        assert_eq!(root.groups.next_deadline(), None);
        assert_eq!(root.groups.take(RUN, NodeIndex(1), ticket(0, 2), &root.contents), None);
    }

    #[test]
    fn refusals_are_repeated_and_keys_that_never_fit_fail() {
        for refusal in [AbortReason::SetOutsideView, AbortReason::TooManyOperations, AbortReason::TermChanged] {
            let mut root = Root::new();
            let Answer::Submit(xfer) = root.collect_both(ticket(0, 1), 0) else { panic!("not complete") };
            assert_eq!(root.outcome(xfer, Outcome::Aborted(refusal)), Answer::Nothing);
            assert_eq!(root.groups.due_tasks(START), [], "{refusal:?} is not repeated at once");
            assert_eq!(root.groups.due_tasks(root.groups.next_deadline().unwrap()), [xfer], "{refusal:?} is repeated");
        }
        for (abort, reason) in
            [(AbortReason::PayloadTooLarge, BarrierFailure::KeysTooLarge), (AbortReason::MemoryFull, BarrierFailure::MemoryFull)]
        {
            let mut root = Root::new();
            let Answer::Submit(xfer) = root.collect_both(ticket(0, 1), 0) else { panic!("not complete") };
            assert_eq!(root.outcome(xfer, Outcome::Aborted(abort)), Answer::Failed { job: xfer, reason });
            assert_eq!(root.groups.next_deadline(), None);
        }
        let mut root = Root::new();
        root.collect(GroupBlock { block: vec![0; KEYS_BYTES], ..block(0, ticket(0, 1), 0) });
        let failed = root.collect(block(1, ticket(0, 1), 0));
        assert_eq!(failed, Answer::Failed { job: job(1, 1, Task::Xfer), reason: BarrierFailure::KeysTooLarge });
    }

    #[test]
    fn a_gang_that_is_ended_leaves_nothing() {
        let mut root = Root::new();
        root.groups.enter(block(1, ticket(0, 1), 0), START);
        let Answer::Submit(xfer) = root.collect_both(ticket(0, 1), 0) else { panic!("not complete") };
        root.groups.submit(xfer, 1);
        root.groups.retain(|_| false);
        assert_eq!(root.groups.next_deadline(), None);
        assert_eq!(root.groups.outcome(xfer, 1, Outcome::Unknown, START), Answer::Nothing);
    }
}
