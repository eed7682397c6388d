//! A run as a sequence diagram: a lane for the operator and one for each node, downward in time; an SVG file.
//!
//! Drawn are the frames between members and managers, what callers ask for and hear, terms, and the ends and beginnings of agents. What is
//! said again is drawn once; the distances are those of events, not of time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write as _,
};

use strobe_core::{
    manager::ManagerInput,
    message::{ToManager, ToMember},
    model::{Fence, NodeIndex},
    node::MemberInput,
    primitives::{OperationId, Outcome, Record, Request},
};

use crate::{clock::Moment, limits::DIAGRAM_MARKS_MAX, node::AgentInput};

const LANE_WIDTH: usize = 230;
const MARGIN: usize = 120;
const HEAD: usize = 40;
const ROW_HEIGHT: usize = 15;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Diagram {
    /// None: nothing is drawn, which is what makes many seeds quick.
    marks: Option<VecDeque<Mark>>,
    /// Frames that were drawn.
    drawn: BTreeSet<(usize, usize, String)>,
    nodes: usize,
}

#[derive(Debug, Clone)]
enum Mark {
    Frame { sent: Moment, arrived: Moment, from: usize, to: usize, label: String, lost: bool },
    Note { at: Moment, lane: usize, label: String },
}

/// A frame on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) sent: Moment,
    pub(crate) arrived: Moment,
    pub(crate) from: NodeIndex,
    pub(crate) to: NodeIndex,
}

impl Diagram {
    pub(crate) fn new(is_drawn: bool, nodes: usize) -> Self {
        Self { marks: is_drawn.then(VecDeque::new), drawn: BTreeSet::new(), nodes }
    }

    fn mark(&mut self, mark: Mark) {
        let Some(marks) = &mut self.marks else { return };
        if marks.len() == DIAGRAM_MARKS_MAX {
            marks.pop_front();
        }
        marks.push_back(mark);
    }

    /// A frame has arrived, or was lost.
    pub(crate) fn frame(&mut self, way: Way, input: &AgentInput, lost: bool) {
        if self.marks.is_none() {
            return;
        }
        let Some(label) = label_of(input) else { return };
        let (from, to) = (lane(way.from), lane(way.to));
        if lost || self.drawn.insert((from, to, label.clone())) {
            self.mark(Mark::Frame { sent: way.sent, arrived: way.arrived, from, to, label, lost });
        }
    }

    /// Something happens on a node; `None` is the operator.
    pub(crate) fn note(&mut self, at: Moment, node: Option<NodeIndex>, words: impl FnOnce() -> String) {
        if self.marks.is_some() {
            let label = words();
            self.mark(Mark::Note { at, lane: node.map_or(0, lane), label });
        }
    }

    /// The drawing, if there is one; `title` stands above.
    pub(crate) fn into_svg(self, title: &str) -> Option<String> {
        let marks = self.marks?;
        let moments: BTreeSet<Moment> = marks.iter().flat_map(Mark::moments).collect();
        let rows: BTreeMap<Moment, usize> = moments.into_iter().zip(1..).collect();
        let (width, height) = (2 * MARGIN + self.nodes * LANE_WIDTH, HEAD + (rows.len() + 2) * ROW_HEIGHT);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" font-family=\"sans-serif\" font-size=\"10\">\n\
             <defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
             <path d=\"M0,0L8,4L0,8z\"/></marker></defs>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
        );
        text(&mut svg, (8, 14), "font-size=\"12\" font-weight=\"bold\"", title);
        for lane in 0..=self.nodes {
            let name = if lane == 0 { "operator".to_owned() } else { format!("node {}", lane - 1) };
            text(&mut svg, (x_of(lane), HEAD - 6), "text-anchor=\"middle\" font-weight=\"bold\"", &name);
            line(&mut svg, [(x_of(lane), HEAD), (x_of(lane), height)], "stroke=\"#bbbbbb\"");
        }
        let mut shown = None;
        for (moment, row) in &rows {
            // The time, where another millisecond begins.
            let milliseconds = moment.0 / 1_000_000;
            if shown != Some(milliseconds) {
                shown = Some(milliseconds);
                text(&mut svg, (4, y_of(*row) + 3), "fill=\"#777777\"", &format!("{milliseconds} ms"));
            }
        }
        for mark in &marks {
            mark.draw(&mut svg, |moment| y_of(rows[&moment]));
        }
        svg.push_str("</svg>\n");
        Some(svg)
    }
}

impl Mark {
    fn moments(&self) -> impl Iterator<Item = Moment> + use<> {
        let (first, second) = match self {
            Self::Frame { sent, arrived, .. } => (*sent, *arrived),
            Self::Note { at, .. } => (*at, *at),
        };
        [first, second].into_iter()
    }

    fn draw(&self, svg: &mut String, y: impl Fn(Moment) -> usize) {
        match self {
            Self::Note { at, lane, label } => text(svg, (x_of(*lane) + 4, y(*at) + 3), "fill=\"#0b5394\" font-weight=\"bold\"", label),
            Self::Frame { sent, arrived, from, to, label, lost } => {
                let (colour, dash) = if *lost { ("#cc0000", "stroke-dasharray=\"3,3\"") } else { ("#333333", "") };
                let style = format!("stroke=\"{colour}\" {dash} marker-end=\"url(#head)\"");
                let ends = [(x_of(*from), y(*sent)), (x_of(*to), y(*arrived))];
                line(svg, ends, &style);
                let said = if *lost { format!("{label} (lost)") } else { label.clone() };
                let (place, anchor) = if to > from { (x_of(*to) - 10, "end") } else { (x_of(*to) + 10, "start") };
                text(svg, (place, y(*arrived) - 2), &format!("text-anchor=\"{anchor}\" fill=\"{colour}\""), &said);
            }
        }
    }
}

/// What a caller hears, in a word.
pub(crate) fn outcome_in_words(outcome: Outcome) -> String {
    match outcome {
        Outcome::Committed { truth: true, .. } => "committed".to_owned(),
        Outcome::Committed { truth: false, first_failing } => format!("committed: false on {first_failing:?}"),
        Outcome::Aborted(reason) => format!("aborted: {reason:?}"),
        Outcome::Unknown => "unknown".to_owned(),
    }
}

/// What a caller asks for, in a word.
pub(crate) fn request_in_words(request: &Request) -> String {
    match request {
        Request::Xfer(xfer) => format!("XFER to {:?}", xfer.set),
        Request::CompareAndWrite(compare) => format!("COMPARE {:?} on {:?}", compare.comparison, compare.set),
    }
}

/// Node, life and number of a call.
pub(crate) fn name_of(operation: OperationId) -> String {
    format!("{}.{}#{}", operation.caller.node.0, operation.caller.incarnation.0, operation.sequence)
}

fn label_of(input: &AgentInput) -> Option<String> {
    match input {
        AgentInput::Member(MemberInput::FromManager { message, .. }) => Some(to_member(message)),
        AgentInput::Manager(ManagerInput::FromMember { message, .. }) => to_manager(message),
        _ => None,
    }
}

fn to_member(message: &ToMember) -> String {
    let view = |fence: &Fence| format!("term {} view {}", fence.term, fence.view.0);
    match message {
        ToMember::Seal(record) => format!("Seal term {}", record.term),
        ToMember::Install { fence, memory } => format!("Install up to {} of term {}", memory.applied, fence.term),
        ToMember::Admitted { fence, .. } => format!("Admitted {}", view(fence)),
        ToMember::Append { fence, number, record } => format!("Append {number} {} term {}", record_in_words(record), fence.term),
        ToMember::Stable { fence, number } => format!("Stable {number} term {}", fence.term),
        ToMember::Stagings { open, .. } => {
            format!("Stagings {}", open.iter().map(|staging| name_of(staging.operation)).collect::<Vec<_>>().join(" "))
        }
        ToMember::Refused { operation, outcome, .. } => format!("Refused {} {}", name_of(*operation), outcome_in_words(*outcome)),
    }
}

fn to_manager(message: &ToManager) -> Option<String> {
    Some(match message {
        ToManager::Sealed(answer) => {
            let last = answer.holding.as_ref().map(|holding| format!(", holds up to {} of term {}", holding.last(), holding.term));
            format!("Sealed term {}{}", answer.term, last.unwrap_or_default())
        }
        ToManager::SealRefused { sealed } => format!("refused: sealed term {sealed}"),
        ToManager::Installed { number, .. } => format!("Installed up to {number}"),
        ToManager::Held { fence, number } => format!("Held {number} term {}", fence.term),
        ToManager::Compared { number, truth, .. } => format!("Compared {number} {truth}"),
        ToManager::Staged { operation, held, .. } => format!("Staged {} {held}", name_of(*operation)),
        ToManager::Submit { operation, .. } => format!("Submit {}", name_of(*operation)),
        ToManager::Signal(_) => return None,
    })
}

fn record_in_words(record: &Record) -> String {
    match record {
        Record::Plan(_) => "plan".to_owned(),
        Record::Gang(command) => format!("gang {}", command.run.gang.0),
        Record::Xfer { operation, .. } => format!("XFER {}", name_of(*operation)),
        Record::Compare { operation, .. } => format!("COMPARE {}", operation.map_or_else(|| "of the manager".to_owned(), name_of)),
        Record::CompareResult(result) => format!("result {}", result.truth),
    }
}

const fn lane(node: NodeIndex) -> usize {
    node.0 as usize + 1
}

const fn x_of(lane: usize) -> usize {
    MARGIN + lane * LANE_WIDTH
}

const fn y_of(row: usize) -> usize {
    HEAD + row * ROW_HEIGHT
}

fn line(svg: &mut String, [(x1, y1), (x2, y2)]: [(usize, usize); 2], style: &str) {
    writeln!(svg, "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" {style}/>").expect("a string takes all");
}

fn text(svg: &mut String, (x, y): (usize, usize), style: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    // A rim in the colour of the ground keeps words readable on lines.
    let rim = "paint-order=\"stroke\" stroke=\"#ffffff\" stroke-width=\"3\"";
    writeln!(svg, "<text x=\"{x}\" y=\"{y}\" {rim} {style}>{words}</text>").expect("a string takes all");
}

#[cfg(test)]
mod tests {
    use strobe_core::model::RecordNumber;

    use super::*;
    use crate::node::PARTITION;

    fn held(number: u64) -> AgentInput {
        let fence = Fence { partition: PARTITION, term: strobe_core::model::Term(2), view: strobe_core::model::View(1) };
        let message = ToManager::Held { fence, number: RecordNumber(number) };
        AgentInput::Manager(ManagerInput::FromMember { from: NodeIndex(1), message })
    }

    fn way(sent: u64, arrived: u64) -> Way {
        Way { sent: Moment(sent), arrived: Moment(arrived), from: NodeIndex(1), to: NodeIndex(0) }
    }

    #[test]
    fn a_frame_is_drawn_once_and_each_that_is_lost() {
        let mut diagram = Diagram::new(true, 2);
        diagram.frame(way(0, 3_000_000), &held(7), true);
        diagram.frame(way(4_000_000, 5_000_000), &held(7), false);
        diagram.frame(way(6_000_000, 7_000_000), &held(7), false);
        diagram.note(Moment(7_000_000), Some(NodeIndex(0)), || "1 < 2 & 3".to_owned());
        let svg = diagram.into_svg("a run").unwrap();
        assert_eq!((svg.matches("Held 7 term 2 (lost)").count(), svg.matches(">Held 7 term 2<").count()), (1, 1));
        assert!(svg.contains("1 &lt; 2 &amp; 3") && svg.contains(">5 ms<"), "{svg}");
        assert!(!svg.contains(">6 ms<"), "what is said again has no row");
    }

    #[test]
    fn nothing_is_drawn_where_nobody_asked() {
        let mut diagram = Diagram::new(false, 2);
        diagram.frame(way(0, 1), &held(7), false);
        assert_eq!(diagram.into_svg("a run"), None);
    }
}
