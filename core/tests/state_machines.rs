//! The tables of the core's state machines: complete, without dead ends, and as checked in.
//!
//! Snapshots are in `core/snapshots`, graphs in `docs/state-machines`. After a wanted change, write them anew with
//! `STROBE_WRITE_SNAPSHOTS=1 cargo test -p strobe-core --test state_machines` and look at the difference.

use std::{collections::BTreeSet, fmt::Debug, fmt::Write, path::PathBuf};

use strobe_core::{
    authority::{NodeEvent, NodeState, TermEvent, TermPhase},
    manager::{ManagerPhase, ManagerPhaseEvent},
    message::AgentState,
    model::{GangEvent, GangState},
    node::{AgentEvent, MemberPhase, MemberPhaseEvent},
};

/// One state machine as data.
struct Table {
    name: &'static str,
    title: &'static str,
    states: Vec<String>,
    events: Vec<String>,
    first: String,
    terminal: Vec<String>,
    transitions: Vec<(String, String, String)>,
}

fn table<State: Debug + Copy, Event: Debug + Copy>(
    (name, title): (&'static str, &'static str),
    (states, events): (&[State], &[Event]),
    terminal: impl Fn(State) -> bool,
    after: impl Fn(State, Event) -> Option<State>,
) -> Table {
    let name_of = |value: &dyn Debug| format!("{value:?}");
    let pairs = states.iter().flat_map(|state| events.iter().map(move |event| (*state, *event)));
    Table {
        name,
        title,
        states: states.iter().map(|state| name_of(state)).collect(),
        events: events.iter().map(|event| name_of(event)).collect(),
        first: name_of(&states[0]),
        terminal: states.iter().filter(|state| terminal(**state)).map(|state| name_of(state)).collect(),
        transitions: pairs
            .filter_map(|(state, event)| after(state, event).map(|next| (name_of(&state), name_of(&event), name_of(&next))))
            .collect(),
    }
}

fn tables() -> Vec<Table> {
    vec![
        table(("gang", "The life of a gang"), (&GangState::ALL, &GangEvent::ALL), GangState::is_terminal, |state, event| {
            state.after(event).ok()
        }),
        table(
            ("term-phase", "How far the newest term has come, at the authority"),
            (&TermPhase::ALL, &TermEvent::ALL),
            |_| false,
            |phase, event| phase.after(event).ok(),
        ),
        table(
            ("node-state", "What the authority knows of a node"),
            (&NodeState::ALL, &NodeEvent::ALL),
            |_| false,
            |state, event| state.after(event).ok(),
        ),
        table(
            ("manager-phase", "How far a manager has come in its term"),
            (&ManagerPhase::ALL, &ManagerPhaseEvent::ALL),
            |_| false,
            |phase, event| phase.after(event).ok(),
        ),
        table(
            ("member-phase", "How far a member has come in the term that it sealed last"),
            (&MemberPhase::ALL, &MemberPhaseEvent::ALL),
            |_| false,
            |phase, event| phase.after(event).ok(),
        ),
        table(
            ("agent-state", "Whether an agent follows a strobe"),
            (&AgentState::ALL, &AgentEvent::ALL),
            |_| false,
            |state, event| state.after(event).ok(),
        ),
    ]
}

impl Table {
    /// Every pair of state and event, one a line, the refused ones too.
    fn snapshot(&self) -> String {
        let mut text = format!("{}: state, event -> next state; - where the event does not belong\n", self.title);
        for state in &self.states {
            for event in &self.events {
                let found = self.transitions.iter().find(|(from, by, _)| from == state && by == event);
                let next = found.map_or("-", |(_, _, next)| next);
                writeln!(text, "{state}, {event} -> {next}").expect("a string takes every text");
            }
        }
        text
    }

    fn graph(&self) -> String {
        let mut text = format!("# {}\n\n```mermaid\nstateDiagram-v2\n    [*] --> {}\n", self.title, self.first);
        for (from, event, next) in &self.transitions {
            writeln!(text, "    {from} --> {next}: {event}").expect("a string takes every text");
        }
        for state in &self.terminal {
            writeln!(text, "    {state} --> [*]").expect("a string takes every text");
        }
        text.push_str("```\n");
        text
    }

    /// The states that can be reached from `start`, itself included.
    fn reachable_from(&self, start: &str) -> BTreeSet<String> {
        let mut reached: BTreeSet<String> = [start.to_owned()].into();
        loop {
            let next = self.transitions.iter().filter(|(from, _, next)| reached.contains(from) && !reached.contains(next));
            let found: Vec<_> = next.map(|(_, _, next)| next.clone()).collect();
            if found.is_empty() {
                return reached;
            }
            reached.extend(found);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this test compares files of the repository; core itself reads none")]
fn check_file(path: &str, wanted: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("STROBE_WRITE_SNAPSHOTS").is_some() {
        std::fs::write(&path, wanted).expect("the repository can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, wanted, "{} is not current: see the head of this test", path.display());
}

#[test]
fn snapshots_and_graphs_are_current() {
    for table in tables() {
        check_file(&format!("snapshots/{}.txt", table.name), &table.snapshot());
        check_file(&format!("../docs/state-machines/{}.md", table.name), &table.graph());
    }
}

#[test]
fn every_state_can_be_reached_and_none_is_a_dead_end() {
    for table in tables() {
        assert_eq!(table.reachable_from(&table.first).len(), table.states.len(), "{}: some state cannot be reached", table.name);
        for state in &table.states {
            let out = table.transitions.iter().filter(|(from, _, next)| from == state && next != state).count();
            assert_eq!(out == 0, table.terminal.contains(state), "{}: {state}", table.name);
            let reached = table.reachable_from(state);
            assert!(
                table.terminal.is_empty() || table.terminal.iter().any(|end| reached.contains(end)),
                "{}: {state} never ends",
                table.name
            );
        }
    }
}

#[test]
fn every_event_belongs_to_some_state() {
    for table in tables() {
        for event in &table.events {
            assert!(table.transitions.iter().any(|(_, by, _)| by == event), "{}: {event}", table.name);
        }
    }
}
