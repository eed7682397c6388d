//! Cuts a rank's output into prefixed pieces that can be written without tearing a line.

use super::limits::PIECE_BYTES;

/// Cuts the bytes of one stream of one rank into pieces: a prefix, at most one line, a line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineCutter {
    prefix: Vec<u8>,
    continuation: Vec<u8>,
    partial: Vec<u8>,
    continues: bool,
}

impl LineCutter {
    /// A cutter for the rank of that name (`gang.rank`).
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            prefix: format!("[{name}] ").into_bytes(),
            continuation: format!("[{name}+] ").into_bytes(),
            partial: Vec::new(),
            continues: false,
        }
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
        let piece = [prefix.as_slice(), &self.partial, b"\n"].concat();
        self.partial.clear();
        self.continues = continues;
        piece
    }
}
