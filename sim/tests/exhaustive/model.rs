//! The model: what may happen in each state.

use std::{sync::Arc, time::Duration};

use stateright::{Model, Property};
use strobe_core::{
    machine::Outbox,
    manager::{Manager, ManagerInput, ManagerPhase},
    message::AnnouncerReport,
    model::{
        AgentIncarnation, Appointment, EstablishedTerm, Fence, NodeIncarnation, NodeSet, PartitionUid, Plan, Settings, Term, TermRecord,
        View,
    },
    node::{Member, MemberConfiguration, MemberInput, MemberPhase},
};

use crate::{
    bugs::Bug,
    digested::Digested,
    observed::Observed,
    program::Program,
    properties,
    state::{FIRST_LIFE, NODES, Node, State, index_of},
    step::{Input, Step, received},
};

const PARTITION: PartitionUid = PartitionUid(7);
/// The terms, and the node of each one's manager.
pub(crate) const FIRST: (Term, usize) = (Term(1), 0);
pub(crate) const SECOND: (Term, usize) = (Term(2), 1);

/// How often what goes wrong does so. There is no bound on the length of a run: all that can follow is explored.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bounds {
    /// 1 with a second term, 0 without.
    pub(crate) changes_of_term: u8,
    /// Agents that crash, each at any moment. The next life begins at once with the seal file, and is silent until the authority introduces
    /// the newest term to it: never, if that is how it goes.
    pub(crate) crashes: u8,
    /// Frames that are lost, each at any place of the order on its link.
    pub(crate) losses: u8,
    /// Members that their manager suspects, each at any moment.
    pub(crate) suspicions: u8,
}

/// What is explored.
#[derive(Debug, Clone)]
pub(crate) struct Explored {
    pub(crate) program: Program,
    pub(crate) bounds: Bounds,
    pub(crate) bug: Option<Bug>,
}

/// What can happen next. Nodes are named by their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// The caller of an operation of the program asks for it.
    Call(usize),
    /// The next frame arrives.
    Deliver { from: usize, to: usize },
    /// The next frame is lost.
    Lose { from: usize, to: usize },
    /// The agent crashes and begins anew.
    Crash(usize),
    /// The authority tells a new life of the newest term.
    Introduce(usize),
    /// The authority appoints the second term's manager.
    Appoint,
    /// The second term's manager waits no longer for those who have not answered.
    Patience,
    /// The manager of that node has heard nothing of a member for too long.
    Suspect { manager: usize, member: usize },
    /// The link between two nodes is up again, and both say what the other may not have heard, as each heartbeat does.
    LinkUp(usize, usize),
}

impl Explored {
    /// Times are zero where their end is an action of its own, and the heartbeat is never due: its repetition is [`Action::LinkUp`].
    fn settings() -> Settings {
        Settings { suspicion: Duration::ZERO, heartbeat: Duration::from_secs(1_000_000), ..Settings::default() }
    }

    fn new_life(node: usize, life: AgentIncarnation, promised: Option<Term>) -> Node {
        let configuration = MemberConfiguration {
            partition: PARTITION,
            node: index_of(node),
            incarnation: life,
            sealed: promised,
            settings: Self::settings(),
        };
        let member = Member::new(configuration, &mut Outbox::default());
        Node { life, member: Digested::new(member), manager: Digested::new(Manager::default()), promised, links: None }
    }

    /// The record of a term, as the authority writes it when the earlier one's report has reached it.
    fn record(state: &State, (term, manager): (Term, usize)) -> TermRecord {
        let agent = |node: usize| NodeIncarnation { node: index_of(node), incarnation: state.nodes[node].life };
        let members: Vec<_> = (0..NODES).map(agent).collect();
        let nodes = members.iter().map(|member| member.node).collect();
        let established = (term != FIRST.0).then_some(EstablishedTerm { term: FIRST.0, members: nodes });
        TermRecord { partition: PARTITION, term, manager: agent(manager), members, established, since: Vec::new() }
    }

    fn step<'a>(&self, state: &'a mut State, node: usize) -> Step<'a> {
        Step::new(state, node, self.bug)
    }

    fn appoint(&self, state: &mut State, term: (Term, usize)) {
        let record = Self::record(state, term);
        let appointment = Appointment { record, dead: NodeSet::EMPTY, lost: NodeSet::EMPTY, plan: Arc::new(Plan::default()) };
        let input = ManagerInput::Appointed { appointment, settings: Self::settings() };
        self.step(state, term.1).take([Input::Manager(input)]);
    }

    fn deliver(&self, state: &mut State, from: usize, to: usize) {
        let frame = state.frames[from][to].remove(0);
        self.step(state, to).take([received(from, frame.message.clone())]);
    }

    /// All agents begin, and the first term's manager is established with all of them: the state in which the exploration begins.
    fn established(&self) -> State {
        let mut state = State {
            nodes: std::array::from_fn(|node| Self::new_life(node, FIRST_LIFE, None)),
            frames: Default::default(),
            appointed: false,
            crashes: self.bounds.crashes,
            losses: self.bounds.losses,
            suspicions: self.bounds.suspicions,
            observed: Digested::new(Observed::new(Program { members_leave: self.bounds.suspicions > 0, ..self.program.clone() })),
        };
        self.appoint(&mut state, FIRST);
        while let Some((from, to)) = pairs().find(|(from, to)| !state.frames[*from][*to].is_empty()) {
            self.deliver(&mut state, from, to);
        }
        let admitted = |node: &Node| node.member.admitted().is_some();
        assert!(state.nodes.iter().all(admitted) && state.nodes[0].manager.phase() == ManagerPhase::Established);
        state
    }

    fn call(&self, state: &mut State, place: usize) {
        let call = &self.program.calls[place];
        self.step(state, call.node).take([Input::Member(MemberInput::Submit(call.request.clone()))]);
    }

    /// An operation is asked for once, after those before it of the same caller; a caller's next life does not go on with its program.
    fn can_call(&self, state: &State, place: usize) -> bool {
        let operations = &state.observed.operations;
        let call = &self.program.calls[place];
        let goes_on = |earlier: usize| {
            self.program.calls[earlier].node != call.node
                || operations[earlier].is_some_and(|operation| operation.caller.incarnation == state.nodes[call.node].life)
        };
        operations[place].is_none() && (0..place).all(goes_on)
    }

    fn crash(state: &mut State, node: usize) {
        state.crashes -= 1;
        state.cut(node, |_| true);
        let Node { life, promised, .. } = state.nodes[node];
        state.nodes[node] = Self::new_life(node, AgentIncarnation(life.0 + 1), promised);
    }

    fn introduce(&self, state: &mut State, node: usize) {
        let record = Self::record(state, if state.appointed { SECOND } else { FIRST });
        self.step(state, node).take([Input::Member(MemberInput::Introduced(record))]);
    }

    fn suspect(&self, state: &mut State, manager: usize, member: usize) {
        state.suspicions -= 1;
        let (term, _) = if manager == FIRST.1 { FIRST } else { SECOND };
        let fence = Fence { partition: PARTITION, term, view: View(1) };
        let report = AnnouncerReport::Suspect { fence, node: index_of(member), incarnation: state.nodes[member].life };
        self.step(state, manager).take([Input::Manager(ManagerInput::Announcer(report))]);
    }

    fn link_up(&self, state: &mut State, one: usize, other: usize) {
        for (node, peer) in [(one, other), (other, one)] {
            let peer = index_of(peer);
            let inputs = [Input::Member(MemberInput::LinkUp(peer)), Input::Manager(ManagerInput::LinkUp(peer))];
            self.step(state, node).take(inputs);
        }
    }

    fn faults(state: &State, actions: &mut Vec<Action>) {
        if state.losses > 0 {
            actions.extend(pairs().filter(|(from, to)| !state.frames[*from][*to].is_empty()).map(|(from, to)| Action::Lose { from, to }));
        }
        if state.crashes > 0 {
            actions.extend((0..NODES).map(Action::Crash));
        }
        if state.suspicions > 0 {
            let established = (0..NODES).filter(|node| state.nodes[*node].manager.phase() == ManagerPhase::Established);
            let suspects = established.flat_map(|manager| (0..NODES).map(move |member| Action::Suspect { manager, member }));
            actions.extend(suspects.filter(|action| !matches!(action, Action::Suspect { manager, member } if manager == member)));
        }
    }
}

impl Model for Explored {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.established()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend((0..self.program.calls.len()).filter(|place| self.can_call(state, *place)).map(Action::Call));
        actions.extend(pairs().filter(|(from, to)| !state.frames[*from][*to].is_empty()).map(|(from, to)| Action::Deliver { from, to }));
        if !state.appointed && self.bounds.changes_of_term > 0 {
            actions.push(Action::Appoint);
        }
        actions.extend((0..NODES).filter(|node| state.nodes[*node].member.phase() == MemberPhase::Unsealed).map(Action::Introduce));
        if matches!(state.nodes[SECOND.1].manager.phase(), ManagerPhase::Sealing | ManagerPhase::Installing) {
            actions.push(Action::Patience);
        }
        if state.is_quiet() {
            actions.extend([Action::LinkUp(0, 1), Action::LinkUp(0, 2), Action::LinkUp(1, 2)]);
        }
        Self::faults(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Call(place) => self.call(&mut state, place),
            Action::Deliver { from, to } => self.deliver(&mut state, from, to),
            Action::Lose { from, to } => {
                state.losses -= 1;
                state.frames[from][to].remove(0);
            }
            Action::Crash(node) => Self::crash(&mut state, node),
            Action::Introduce(node) => self.introduce(&mut state, node),
            Action::Appoint => {
                state.appointed = true;
                self.appoint(&mut state, SECOND);
            }
            Action::Patience => self.step(&mut state, SECOND.1).take([Input::Manager(ManagerInput::Timer)]),
            Action::Suspect { manager, member } => self.suspect(&mut state, manager, member),
            Action::LinkUp(one, other) => self.link_up(&mut state, one, other),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::of(self)
    }
}

/// Every two nodes between which there is a link, in both directions.
fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..NODES).flat_map(|from| (0..NODES).map(move |to| (from, to))).filter(|(from, to)| from != to)
}
