//! The live view as lines of text with colours: pure, so that it can be tried without a terminal.

use crossterm::style::Color;

use super::{JobLine, NodeColumn, Snapshot, StrobeCounts};
use crate::terminal::{Line, Picture, Piece, cut};

/// Cells of a progress bar.
const BAR: usize = 20;

/// What stands before the slots of a row.
const ROW: &str = "row 16";

/// Columns of a slot.
const SLOT: usize = 3;

/// Widest column of names.
const NAME: usize = 24;

/// Colours of jobs, in turn.
const COLOURS: [Color; 6] = [Color::Cyan, Color::Yellow, Color::Magenta, Color::Green, Color::Blue, Color::Red];

/// What the lines of jobs have in common.
#[derive(Debug, Clone, Copy)]
struct JobColumns {
    name: usize,
    bar: bool,
}

impl Picture for Snapshot {
    fn lines(&self, width: usize, height: usize) -> Vec<Line> {
        lines(self, width, height)
    }
}

/// The picture of a state, at most `width` columns wide and `height` lines high; nodes and jobs that do not fit are counted.
fn lines(snapshot: &Snapshot, width: usize, height: usize) -> Vec<Line> {
    let mut lines = vec![title(snapshot)];
    lines.extend(matrix(snapshot, width));
    let measured = measured(snapshot);
    let room = height.saturating_sub(lines.len() + measured.len());
    lines.extend(jobs(&snapshot.jobs, room));
    lines.extend(measured);
    lines.truncate(height);
    lines.into_iter().map(|line| cut(line, width)).collect()
}

fn title(snapshot: &Snapshot) -> Line {
    let term = snapshot.term.map(|(term, manager)| format!(" · term {term}, managed by node {manager}"));
    vec![Piece { text: snapshot.title.clone() + &term.unwrap_or_default(), colour: None, strong: true }]
}

/// One line for the nodes, one for each row that a gang stands in.
fn matrix(snapshot: &Snapshot, width: usize) -> Vec<Line> {
    let shown = fitting(&snapshot.nodes, width.saturating_sub(ROW.len()));
    let mut header = vec![Piece::plain(" ".repeat(ROW.len()))];
    for (index, node) in snapshot.nodes.iter().take(shown).enumerate() {
        let mark = if node.reached { "" } else { "?" };
        header.push(Piece::plain(format!(" {:<1$}", format!("node{index}{mark}"), column_width(node))));
    }
    if shown < snapshot.nodes.len() {
        header.push(Piece::plain(format!(" and {} more", snapshot.nodes.len() - shown)));
    }
    let used = (0..snapshot.rows).filter(|row| snapshot.nodes.iter().any(|node| is_used(node, *row)));
    std::iter::once(header).chain(used.map(|row| matrix_row(&snapshot.nodes[..shown], row))).collect()
}

/// How many nodes have room; when not all have, beside the words that count the others. One at least: lines are cut.
fn fitting(nodes: &[NodeColumn], width: usize) -> usize {
    let ends = nodes.iter().scan(0, |end, node| {
        *end += column_width(node) + 1;
        Some(*end)
    });
    let ends: Vec<usize> = ends.collect();
    let within = |width: usize| ends.iter().filter(|end| **end <= width).count();
    if within(width) == nodes.len() { nodes.len() } else { within(width.saturating_sub(" and 63 more".len())).max(1) }
}

/// The slots of the row that a node runs stand in brackets.
fn matrix_row(nodes: &[NodeColumn], row: usize) -> Line {
    let mut line = vec![Piece::plain(format!("row {row:<2}"))];
    for node in nodes {
        let active = node.active == Some(row);
        line.push(Piece::plain(" ".to_owned()));
        for slot in node.slots.get(row).into_iter().flatten() {
            line.push(match (slot, active) {
                (Some(job), true) => Piece { text: format!("[{}]", letter(*job)), colour: Some(colour(*job)), strong: true },
                (Some(job), false) => Piece { text: format!(" {} ", letter(*job)), colour: Some(colour(*job)), strong: false },
                (None, _) => Piece::plain(" · ".to_owned()),
            });
        }
        line.push(Piece::plain(" ".repeat(column_width(node) - SLOT * node.cpus.len())));
    }
    line
}

fn is_used(node: &NodeColumn, row: usize) -> bool {
    node.slots.get(row).is_some_and(|slots| slots.iter().any(Option::is_some))
}

fn column_width(node: &NodeColumn) -> usize {
    (SLOT * node.cpus.len()).max("node63?".len())
}

/// As many jobs as there are lines; where there are too few, first those that are not over.
fn jobs(jobs: &[JobLine], room: usize) -> Vec<Line> {
    let shown = if jobs.len() <= room { jobs.len() } else { room.saturating_sub(1) };
    let mut places: Vec<usize> = (0..jobs.len()).collect();
    places.sort_by_key(|place| jobs[*place].over);
    places.truncate(shown);
    places.sort_unstable();
    let widest = jobs.iter().map(|job| job.name.chars().count()).max().unwrap_or(0).min(NAME);
    let columns = JobColumns { name: widest, bar: jobs.iter().any(|job| job.progress.is_some()) };
    let mut lines: Vec<Line> = places.into_iter().map(|place| job(place, &jobs[place], columns)).collect();
    if shown < jobs.len() && room > 0 {
        lines.push(vec![Piece::plain(format!("and {} more jobs", jobs.len() - shown))]);
    }
    lines
}

fn job(index: usize, job: &JobLine, columns: JobColumns) -> Line {
    let name: String = job.name.chars().take(NAME).collect();
    let bar = if columns.bar { bar(job.progress) } else { String::new() };
    vec![
        Piece { text: format!("{} {name:<1$} ", letter(index), columns.name), colour: Some(colour(index)), strong: false },
        Piece::plain(format!("{bar}{:<11} {:>7.1} s  {}", job.state, job.seconds, job.note)),
    ]
}

fn bar(progress: Option<u8>) -> String {
    let Some(progress) = progress else { return " ".repeat(BAR + "[] 100% ".len()) };
    let full = BAR * usize::from(progress) / 100;
    format!("[{}{}] {progress:>3}% ", "█".repeat(full), "░".repeat(BAR - full))
}

/// What the strobe does, once there is something to say.
fn measured(snapshot: &Snapshot) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(strobes) = &snapshot.strobes {
        let StrobeCounts { count, late, missed, stragglers } = strobes;
        lines.push(vec![Piece::plain(format!("strobes {count}: {late} late, {missed} missed · stragglers {stragglers}"))]);
    }
    let skew = snapshot
        .skew_micros
        .map(|skew| format!("skew p50 {:.0} µs, p99 {:.0} µs, clock error ≤ {:.0} µs", skew.p50, skew.p99, skew.bound.ceil()));
    let switch = snapshot.switch_micros.map(|p50| format!("switch p50 {p50:.0} µs"));
    let times: Vec<String> = [skew, switch].into_iter().flatten().collect();
    if !times.is_empty() {
        lines.push(vec![Piece::plain(times.join(" · "))]);
    }
    lines
}

fn letter(index: usize) -> char {
    char::from(b'A' + u8::try_from(index % 26).expect("below 26"))
}

const fn colour(index: usize) -> Color {
    COLOURS[index % COLOURS.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::view::SkewFigures;
    use crate::terminal::text;

    fn snapshot() -> Snapshot {
        let node = |active| NodeColumn { cpus: vec![0], reached: true, active, slots: vec![vec![Some(0)], vec![Some(1)], vec![None]] };
        let job = |name: &str, progress| JobLine { name: name.to_owned(), state: "Running".to_owned(), progress, ..JobLine::default() };
        Snapshot {
            title: "local".to_owned(),
            nodes: vec![node(Some(0)), node(Some(1))],
            rows: 3,
            jobs: vec![job("sor", Some(50)), job("tsp", None)],
            strobes: Some(StrobeCounts { count: 9, late: 1, missed: 0, stragglers: 2 }),
            skew_micros: Some(SkewFigures { p50: 12.4, p99: 80.0, bound: 3.2 }),
            switch_micros: Some(70.0),
            term: Some((1, 0)),
        }
    }

    fn texts(lines: &[Line]) -> Vec<String> {
        lines.iter().map(text).collect()
    }

    #[test]
    fn the_picture_shows_matrix_progress_and_skew() {
        let lines = lines(&snapshot(), 100, 20);
        assert_eq!(
            texts(&lines),
            [
                "local · term 1, managed by node 0",
                "       node0   node1",
                "row 0  [A]      A",
                "row 1   B      [B]",
                "A sor [██████████░░░░░░░░░░]  50% Running         0.0 s",
                "B tsp                             Running         0.0 s",
                "strobes 9: 1 late, 0 missed · stragglers 2",
                "skew p50 12 µs, p99 80 µs, clock error ≤ 4 µs · switch p50 70 µs",
            ]
        );
        let strong: Vec<bool> = lines[2].iter().filter(|piece| piece.colour.is_some()).map(|piece| piece.strong).collect();
        assert_eq!(strong, [true, false], "row 0 is active on node 0 alone");
    }

    #[test]
    fn without_progress_there_is_no_bar_and_before_the_first_strobe_no_figure() {
        let mut early = snapshot();
        (early.strobes, early.skew_micros, early.switch_micros) = (None, None, None);
        early.jobs.iter_mut().for_each(|job| job.progress = None);
        assert_eq!(texts(&lines(&early, 100, 20))[4..], ["A sor Running         0.0 s", "B tsp Running         0.0 s"]);
    }

    #[test]
    fn it_fits_a_small_terminal() {
        let mut many = snapshot();
        many.jobs[0].over = true;
        assert_eq!(texts(&lines(&many, 15, 8))[3..6], ["row 1   B", "A sor [████████", "B tsp"]);
        let small = texts(&lines(&many, 20, 7));
        assert_eq!(small[1..5], ["       node0   and 1", "row 0  [A]", "row 1   B", "and 2 more jobs"]);
        for (width, height) in [(0, 0), (1, 1), (10, 2), (22, 3)] {
            let lines = texts(&lines(&many, width, height));
            assert!(lines.len() <= height && lines.iter().all(|line| line.chars().count() <= width), "{lines:?}");
        }
    }

    #[test]
    fn of_too_many_jobs_those_that_run_are_shown() {
        let mut many = snapshot();
        many.jobs[0].over = true;
        many.jobs.push(many.jobs[1].clone());
        let shown = texts(&lines(&many, 100, 8));
        assert!(shown[4].starts_with("B tsp") && shown[5] == "and 2 more jobs", "{shown:?}");
    }
}
