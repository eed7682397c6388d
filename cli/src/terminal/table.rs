//! Tables: columns as wide as their widest cell, two blanks between.

use super::{Line, Piece};

/// Blanks between two columns.
const BETWEEN: usize = 2;

/// The lines of a table; a row that is shorter than others has no cells at its end.
pub(crate) fn table(rows: Vec<Line>) -> Vec<Line> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(width).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(widest).collect();
    rows.into_iter().map(|row| line(row, &widths)).collect()
}

fn line(row: Line, widths: &[usize]) -> Line {
    let last = row.len().saturating_sub(1);
    let mut line = Vec::new();
    for (column, cell) in row.into_iter().enumerate() {
        let blanks = if column == last { 0 } else { widths[column] - width(&cell) + BETWEEN };
        line.extend([cell, Piece::plain(" ".repeat(blanks))]);
    }
    line
}

fn width(cell: &Piece) -> usize {
    cell.text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::text;

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["A", "LONG"], vec!["wörd", "x"], vec!["b"]];
        let rows = rows.map(|row| row.into_iter().map(Piece::plain).collect()).to_vec();
        assert_eq!(table(rows).iter().map(text).collect::<Vec<_>>(), ["A     LONG", "wörd  x", "b"]);
        assert_eq!(table(Vec::new()), Vec::<Line>::new());
    }
}
