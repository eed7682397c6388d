//! The live view as lines of text with colours: pure, so that it can be tried without a terminal.

use crossterm::style::{Color, Stylize};

use super::{JobLine, NodeColumn, Snapshot};

/// Cells of a progress bar.
const BAR: usize = 20;

/// Widest column of names.
const NAME: usize = 24;

/// Colours of jobs, in turn.
const COLOURS: [Color; 6] = [Color::Cyan, Color::Yellow, Color::Magenta, Color::Green, Color::Blue, Color::Red];

/// A piece of a line: its text and its look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub text: String,
    pub colour: Option<Color>,
    pub strong: bool,
}

/// A line of a picture.
pub(super) type Line = Vec<Piece>;

/// The picture of a state, at most `width` columns wide and `height` lines high; jobs that do not fit are counted.
pub(super) fn lines(snapshot: &Snapshot, width: usize, height: usize) -> Vec<Line> {
    let mut lines = vec![title(snapshot)];
    lines.extend(matrix(snapshot));
    let room = height.saturating_sub(lines.len());
    let shown = if snapshot.jobs.len() <= room { snapshot.jobs.len() } else { room.saturating_sub(1) };
    let name_width = snapshot.jobs.iter().map(|job| job.name.chars().count()).max().unwrap_or(0).min(NAME);
    lines.extend(snapshot.jobs.iter().take(shown).enumerate().map(|(index, line)| job(index, line, name_width)));
    if shown < snapshot.jobs.len() {
        lines.push(vec![plain(format!("and {} more jobs", snapshot.jobs.len() - shown))]);
    }
    lines.truncate(height);
    lines.into_iter().map(|line| cut(line, width)).collect()
}

/// A piece with its colours, as a terminal wants it.
pub(super) fn styled(piece: &Piece) -> String {
    let text = piece.text.clone();
    match (piece.colour, piece.strong) {
        (Some(colour), true) => text.with(colour).bold().reverse().to_string(),
        (Some(colour), false) => text.with(colour).to_string(),
        (None, true) => text.bold().to_string(),
        (None, false) => text,
    }
}

fn title(snapshot: &Snapshot) -> Line {
    let mut text = vec![snapshot.title.clone()];
    text.extend(snapshot.term.map(|(term, manager)| format!("term {term}, managed by node {manager}")));
    text.extend(snapshot.skew_micros.map(|(p50, p99)| format!("skew p50 {p50:.0} µs, p99 {p99:.0} µs")));
    text.extend(snapshot.switch_micros.map(|p50| format!("switch {p50:.0} µs")));
    vec![Piece { text: text.join(" · "), colour: None, strong: true }]
}

/// One line for the nodes, one for each row that a gang stands in.
fn matrix(snapshot: &Snapshot) -> Vec<Line> {
    let mut header = vec![plain("       ".to_owned())];
    for (index, node) in snapshot.nodes.iter().enumerate() {
        let width = column_width(node);
        let mark = if node.reached { "" } else { "?" };
        header.push(plain(format!("{:<width$} ", format!("node{index}{mark}"))));
    }
    let used = (0..snapshot.rows).filter(|row| snapshot.nodes.iter().any(|node| is_used(node, *row)));
    std::iter::once(header).chain(used.map(|row| matrix_row(snapshot, row))).collect()
}

fn matrix_row(snapshot: &Snapshot, row: usize) -> Line {
    let mut line = vec![plain(format!("row {row:<2} "))];
    for node in &snapshot.nodes {
        let active = node.active == Some(row);
        for slot in node.slots.get(row).into_iter().flatten() {
            line.push(match slot {
                Some(job) => Piece { text: format!(" {} ", letter(*job)), colour: Some(colour(*job)), strong: active },
                None => plain(" · ".to_owned()),
            });
        }
        let slots = 3 * node.cpus.len();
        line.push(plain(" ".repeat(column_width(node) + 1 - slots)));
    }
    line
}

fn is_used(node: &NodeColumn, row: usize) -> bool {
    node.slots.get(row).is_some_and(|slots| slots.iter().any(Option::is_some))
}

fn column_width(node: &NodeColumn) -> usize {
    (3 * node.cpus.len()).max("node63?".len())
}

fn job(index: usize, job: &JobLine, name_width: usize) -> Line {
    let name: String = job.name.chars().take(NAME).collect();
    vec![
        Piece { text: format!("{} {name:<name_width$} ", letter(index)), colour: Some(colour(index)), strong: false },
        plain(bar(job.progress)),
        plain(format!(" {:<11} {:>7.1} s  {}", job.state, job.seconds, job.note)),
    ]
}

fn bar(progress: Option<u8>) -> String {
    let Some(progress) = progress else { return " ".repeat(BAR + 7) };
    let full = BAR * usize::from(progress) / 100;
    format!("[{}{}] {progress:>3}%", "█".repeat(full), "░".repeat(BAR - full))
}

fn letter(index: usize) -> char {
    char::from(b'A' + u8::try_from(index % 26).expect("below 26"))
}

const fn colour(index: usize) -> Color {
    COLOURS[index % COLOURS.len()]
}

const fn plain(text: String) -> Piece {
    Piece { text, colour: None, strong: false }
}

/// Cuts a line to `width` characters: a longer one would wrap, and the picture could not be drawn over.
fn cut(line: Line, width: usize) -> Line {
    let mut left = width;
    let mut short = Vec::new();
    for piece in line {
        let text: String = piece.text.chars().take(left).collect();
        left -= text.chars().count();
        short.push(Piece { text, ..piece });
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let node = |active| NodeColumn { cpus: vec![0], reached: true, active, slots: vec![vec![Some(0)], vec![Some(1)], vec![None]] };
        let job = |name: &str, progress| JobLine { name: name.to_owned(), state: "Running".to_owned(), progress, ..JobLine::default() };
        Snapshot {
            title: "local".to_owned(),
            nodes: vec![node(Some(0)), node(Some(1))],
            rows: 3,
            jobs: vec![job("sor", Some(50)), job("tsp", None)],
            skew_micros: Some((12.4, 80.0)),
            switch_micros: None,
            term: Some((1, 0)),
        }
    }

    fn texts(lines: &[Line]) -> Vec<String> {
        lines.iter().map(|line| line.iter().map(|piece| piece.text.as_str()).collect::<String>().trim_end().to_owned()).collect()
    }

    #[test]
    fn the_picture_shows_matrix_progress_and_skew() {
        let lines = lines(&snapshot(), 100, 20);
        assert_eq!(
            texts(&lines),
            [
                "local · term 1, managed by node 0 · skew p50 12 µs, p99 80 µs",
                "       node0   node1",
                "row 0   A       A",
                "row 1   B       B",
                "A sor [██████████░░░░░░░░░░]  50% Running         0.0 s",
                "B tsp                             Running         0.0 s",
            ]
        );
        let strong: Vec<bool> = lines[2].iter().filter(|piece| piece.colour.is_some()).map(|piece| piece.strong).collect();
        assert_eq!(strong, [true, false], "row 0 is active on node 0 alone");
    }

    #[test]
    fn it_fits_a_small_terminal() {
        let small = lines(&snapshot(), 10, 5);
        assert_eq!(texts(&small), ["local · te", "       nod", "row 0   A", "row 1   B", "and 2 more"]);
        assert_eq!(lines(&snapshot(), 10, 2).len(), 2);
    }
}
