//! Cuts a rank's output into pieces that can be written without tearing a line, each with the name of its rank where several write.

use std::path::Path;

use super::limits::PIECE_BYTES;
use crate::supervisor_protocol::{GangName, Rank};

/// By what the lines of ranks are told apart where they are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming {
    /// None where no other gang writes.
    gang: Option<GangName>,
}

// === impl Naming ===

impl Naming {
    /// For what goes there: to this process's own standard output (`-`), which in a pod is the gang's alone, or to a FIFO of all gangs.
    #[must_use]
    pub fn new(gang: GangName, output: &Path) -> Self {
        Self { gang: Some(gang).filter(|_| output != Path::new("-")) }
    }

    /// The name of a rank, one of so many that write there; none where its gang writes there alone, and no other rank does.
    #[must_use]
    pub fn of(&self, rank: Rank, ranks: u32) -> Option<String> {
        match &self.gang {
            Some(gang) => Some(format!("{}.{}", gang.0, rank.0)),
            None => (ranks > 1).then(|| rank.0.to_string()),
        }
    }
}

/// Cuts the bytes of one stream of one rank into pieces: a prefix, at most one line, a line end. Without a name there is no prefix, and
/// no line end between two pieces of a line either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineCutter {
    prefix: Vec<u8>,
    continuation: Vec<u8>,
    partial: Vec<u8>,
    continues: bool,
}

impl LineCutter {
    /// A cutter for the rank of that name.
    #[must_use]
    pub fn new(name: Option<&str>) -> Self {
        let prefix = |mark: &str| name.map(|name| format!("[{name}{mark}] ").into_bytes()).unwrap_or_default();
        Self { prefix: prefix(""), continuation: prefix("+"), partial: Vec::new(), continues: false }
    }

    /// Takes bytes and passes every piece that they complete to `emit`, in order.
    pub fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(Vec<u8>)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = self.room();
            let end = rest.iter().take(room).position(|&byte| byte == b'\n');
            let taken = end.unwrap_or_else(|| room.min(rest.len()));
            self.partial.extend_from_slice(&rest[..taken]);
            rest = &rest[taken..];
            if end.is_some() {
                rest = &rest[1..];
                emit(self.piece(false));
            } else if self.room() == 0 && rest.first() != Some(&b'\n') && !rest.is_empty() {
                emit(self.piece(true));
            } else if self.room() == 0 && rest.first() == Some(&b'\n') {
                rest = &rest[1..];
                emit(self.piece(false));
            }
        }
    }

    /// A line of somebody else's among those of the rank.
    #[must_use]
    pub fn whole_line(&self, text: &str) -> Vec<u8> {
        [self.prefix.as_slice(), text.as_bytes(), b"\n"].concat()
    }

    /// The stream has ended: the last line, if it had no end of its own.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        (!self.partial.is_empty()).then(|| self.piece(false))
    }

    fn room(&self) -> usize {
        // The longer prefix counts, so that the room does not depend on where a piece stands in its line.
        PIECE_BYTES - 1 - self.continuation.len() - self.partial.len()
    }

    fn piece(&mut self, continues: bool) -> Vec<u8> {
        let prefix = if self.continues { &self.continuation } else { &self.prefix };
        let end: &[u8] = if continues && self.prefix.is_empty() { b"" } else { b"\n" };
        let piece = [prefix.as_slice(), &self.partial, end].concat();
        self.partial.clear();
        self.continues = continues;
        piece
    }
}
