//! Pieces of lines: pure, so that what is shown can be tried without a terminal.

use crossterm::style::{Color, Stylize};

/// A piece of a line: its text and its look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The text.
    pub text: String,
    /// Its colour, where it has one.
    pub colour: Option<Color>,
    /// Whether it stands out.
    pub strong: bool,
}

/// A line of pieces.
pub(crate) type Line = Vec<Piece>;

impl Piece {
    /// Text as it is.
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), colour: None, strong: false }
    }

    /// Coloured text.
    pub(crate) fn coloured(text: impl Into<String>, colour: Color) -> Self {
        Self { text: text.into(), colour: Some(colour), strong: false }
    }

    /// Text that stands out.
    pub(crate) fn strong(text: impl Into<String>) -> Self {
        Self { text: text.into(), colour: None, strong: true }
    }
}

/// A piece with its colours, as a terminal wants it.
pub(crate) fn styled(piece: &Piece) -> String {
    let text = piece.text.clone();
    match (piece.colour, piece.strong) {
        (Some(colour), true) => text.with(colour).bold().reverse().to_string(),
        (Some(colour), false) => text.with(colour).to_string(),
        (None, true) => text.bold().to_string(),
        (None, false) => text,
    }
}

/// A line without its looks.
pub(crate) fn text(line: &Line) -> String {
    line.iter().map(|piece| piece.text.as_str()).collect::<String>().trim_end().to_owned()
}

/// Cuts a line to `width` characters: a longer one would wrap, and a picture could not be drawn over.
pub(crate) fn cut(line: Line, width: usize) -> Line {
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

    #[test]
    fn without_colour_the_text_is_still_seen() {
        assert!(styled(&Piece::strong("[A]")).contains("[A]"));
    }

    #[test]
    fn a_line_is_cut_within_its_pieces() {
        let line = vec![Piece::plain("one "), Piece::strong("two "), Piece::plain("three")];
        assert_eq!(text(&cut(line.clone(), 6)), "one tw");
        assert_eq!((text(&cut(line.clone(), 0)), text(&cut(line, 99))), (String::new(), "one two three".to_owned()));
    }
}
