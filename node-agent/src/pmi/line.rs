//! One line of PMI-1: `cmd=NAME key=value key=value`, and the cutting of a byte stream into lines.

use thiserror::Error;

use super::limits::{FIELDS, LINE_BYTES};

/// The command whose message is free text, and which is obeyed whatever else its line holds.
pub(super) const ABORT: &str = "abort";

/// A parsed line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// The command's name.
    pub command: &'a str,
    /// Whether it began with `mcmd=`: more lines follow, up to `endcmd`.
    pub multiple: bool,
    /// The other fields, in order. Words of an abort that are no field are left out: a text follows there, unescaped.
    pub fields: Vec<(&'a str, &'a str)>,
    /// The whole line.
    text: &'a str,
}

/// Why a line is no command. The text of each is what the rank is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LineError {
    /// Longer than [`LINE_BYTES`].
    #[error("line_too_long")]
    TooLong,
    /// Not ASCII text.
    #[error("not_ascii_text")]
    NotText,
    /// Does not begin with `cmd=` or `mcmd=` and a name.
    #[error("no_command")]
    NoCommand,
    /// A field without `=`.
    #[error("field_without_value")]
    BadField,
    /// More than [`FIELDS`] fields.
    #[error("too_many_fields")]
    TooManyFields,
}

/// Cuts a rank's bytes into lines, holding at most one partial line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LineBuffer {
    partial: Vec<u8>,
    overlong: bool,
}

impl<'a> Line<'a> {
    /// Parses a line without its line end.
    ///
    /// # Errors
    /// [`LineError`] says what is wrong.
    pub fn parse(line: &'a [u8]) -> Result<Self, LineError> {
        let text = std::str::from_utf8(line).map_err(|_| LineError::NotText)?;
        if !text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ' || byte == b'\t' || byte == b'\r') {
            return Err(LineError::NotText);
        }
        let mut words = text.split_ascii_whitespace();
        let first = words.next().ok_or(LineError::NoCommand)?;
        let (multiple, command) = match first.split_once('=') {
            Some(("cmd", command)) => (false, command),
            Some(("mcmd", command)) => (true, command),
            _ => return Err(LineError::NoCommand),
        };
        if command.is_empty() {
            return Err(LineError::NoCommand);
        }
        let mut fields = Vec::new();
        for word in words {
            match word.split_once('=') {
                // Words of its message: they are a text, not fields.
                _ if command == ABORT && fields.len() == FIELDS => break,
                _ if fields.len() == FIELDS => return Err(LineError::TooManyFields),
                Some(field) => fields.push(field),
                None if command == ABORT => {}
                None => return Err(LineError::BadField),
            }
        }
        Ok(Self { command, multiple, fields, text })
    }

    /// The value of the first field of that name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'a str> {
        self.fields.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    /// All that follows such a field's `=`, to the end of the line: clients escape no text.
    #[must_use]
    pub fn text_after(&self, name: &str) -> Option<&'a str> {
        self.text.split_once(&format!(" {name}=")).map(|(_, text)| text.trim_ascii_end())
    }
}

impl LineBuffer {
    /// Takes bytes and gives the lines that they complete, in order.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Result<Vec<u8>, LineError>> {
        let mut lines = Vec::new();
        let mut pieces = bytes.split(|&byte| byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            self.extend(piece);
            if pieces.peek().is_some() {
                lines.push(self.take());
            }
        }
        lines
    }

    fn extend(&mut self, piece: &[u8]) {
        if self.overlong || self.partial.len() + piece.len() > LINE_BYTES {
            self.overlong = true;
            self.partial.clear();
        } else {
            self.partial.extend_from_slice(piece);
        }
    }

    fn take(&mut self) -> Result<Vec<u8>, LineError> {
        let line = std::mem::take(&mut self.partial);
        if std::mem::take(&mut self.overlong) { Err(LineError::TooLong) } else { Ok(line) }
    }
}
