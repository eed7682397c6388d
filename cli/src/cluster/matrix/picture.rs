//! The matrix as lines: a table of the nodes, one of the gangs, and what could not be read.

use crossterm::style::Color;
use strobe_crds::partition_node::NodeState;

use super::{Matrix, MatrixCell, MatrixGang, MatrixNode};
use crate::cluster::words::{cell, count, header};
use crate::terminal::{Line, Picture, Piece, table};

/// Colours of gangs, in turn.
const COLOURS: [Color; 6] = [Color::Cyan, Color::Yellow, Color::Magenta, Color::Green, Color::Blue, Color::Red];

/// What stands for slots of gangs that cannot be read.
const UNKNOWN: &str = "?";

impl Picture for Matrix {
    fn lines(&self, _width: usize, height: usize) -> Vec<Line> {
        let mut lines = vec![vec![Piece::strong(title(self))]];
        lines.extend(nodes(self));
        if !self.gangs.is_empty() {
            lines.push(Vec::new());
            lines.extend(gangs(self));
        }
        if self.nodes.iter().flat_map(|node| &node.rows).any(|cell| cell.unknown_slots > 0) {
            lines.push(vec![Piece::plain(format!("{UNKNOWN}  slots of gangs that you may not read"))]);
        }
        lines.extend(self.notes.iter().map(|note| vec![Piece::plain(format!("note: {note}"))]));
        counted(lines, height)
    }
}

/// As many lines as there is room for, the last of which counts the others.
fn counted(mut lines: Vec<Line>, height: usize) -> Vec<Line> {
    if lines.len() > height {
        let shown = height.saturating_sub(1);
        let left_out = lines.len() - shown;
        lines.truncate(shown);
        lines.push(vec![Piece::plain(format!("and {left_out} more lines"))]);
    }
    lines
}

fn title(matrix: &Matrix) -> String {
    let mut parts = vec![matrix.partition.clone()];
    if let (Some(policy), Some(quantum)) = (&matrix.policy, &matrix.quantum) {
        parts.push(if policy == "kernel" {
            "kernel policy: no switches".to_owned()
        } else {
            format!("{policy} policy, quantum {quantum}")
        });
        parts.push(match (&matrix.manager, matrix.term) {
            (Some(manager), Some(term)) => format!("term {term}, managed by {manager}"),
            _ => "no machine manager".to_owned(),
        });
    }
    parts.join(" · ")
}

fn nodes(matrix: &Matrix) -> Vec<Line> {
    if matrix.nodes.is_empty() {
        return vec![vec![Piece::plain("no node is known")]];
    }
    let mut names = header(&["NODE", "CPUS"]);
    names.extend((0..matrix.rows).map(|row| Piece::strong(format!("ROW {row}"))));
    let mut rows = vec![names];
    rows.extend(matrix.nodes.iter().map(|node| node_line(node, &matrix.gangs)));
    table(rows)
}

fn node_line(node: &MatrixNode, gangs: &[MatrixGang]) -> Line {
    let name = match node.state {
        None | Some(NodeState::Reachable) => node.name.clone(),
        Some(state) => format!("{} ({state:?})", node.name),
    };
    let slots = node.slots.map(|slots| slots.to_string());
    let mut line = vec![Piece::plain(name), slots.map_or_else(|| Piece::plain(UNKNOWN), Piece::plain)];
    line.extend(node.rows.iter().map(|cell| row_cell(cell, gangs)));
    line
}

/// Gangs with their slots; in the colour of the one that is there alone.
fn row_cell(held: &MatrixCell, gangs: &[MatrixGang]) -> Piece {
    let known = held.gangs.iter().map(|gang| format!("{} {}", gang.mark, gang.slots));
    let unknown = (held.unknown_slots > 0).then(|| format!("{UNKNOWN} {}", held.unknown_slots));
    let text = known.chain(unknown).collect::<Vec<_>>().join(" ");
    match held.gangs.as_slice() {
        [] if text.is_empty() => Piece::plain("·"),
        [one] if held.unknown_slots == 0 => {
            let place = gangs.iter().position(|gang| gang.mark == one.mark).unwrap_or(0);
            Piece::coloured(text, COLOURS[place % COLOURS.len()])
        }
        _ => Piece::plain(text),
    }
}

fn gangs(matrix: &Matrix) -> Vec<Line> {
    let mut rows = vec![header(&["", "JOB", "STATE", "ROWS", "ON EACH NODE", "NODES"])];
    rows.extend(matrix.gangs.iter().enumerate().map(|(place, gang)| {
        let held: Vec<String> = gang.rows.iter().map(u8::to_string).collect();
        vec![
            Piece::coloured(&gang.mark, COLOURS[place % COLOURS.len()]),
            Piece::plain(format!("{}/{}", gang.namespace, gang.name)),
            cell(gang.state.as_deref()),
            Piece::plain(held.join(",")),
            Piece::plain(count(gang.slots_per_node, "slot")),
            Piece::plain(nodes_of(gang)),
        ]
    }));
    table(rows)
}

fn nodes_of(gang: &MatrixGang) -> String {
    match (gang.nodes.len(), gang.wanted_nodes) {
        (0, wanted) => format!("{UNKNOWN} of {wanted}"),
        (seen, wanted) if u32::try_from(seen) == Ok(wanted) => wanted.to_string(),
        (seen, wanted) => format!("{seen} of {wanted}"),
    }
}
