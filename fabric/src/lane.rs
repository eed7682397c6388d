//! One lane of a link: frames of one class over a byte stream, one task a direction.

use std::{io, sync::Arc};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use crate::{
    frame::{self, FRAME_HEADER_BYTES, FrameError},
    limits::COALESCE_BYTES,
    queue::{QueueReceiver, QueueSender},
    transport::{Class, DownReason, Fault, FaultHook, FaultPoint, Frame, LinkId},
};

/// A connected byte stream in both directions.
pub(crate) struct Lane {
    pub(crate) read: ReadHalf,
    pub(crate) write: WriteHalf,
}

pub(crate) type ReadHalf = Box<dyn AsyncRead + Send + Sync + Unpin>;
pub(crate) type WriteHalf = Box<dyn AsyncWrite + Send + Sync + Unpin>;

/// What a lane's writer works on.
pub(crate) struct LaneWriter {
    pub(crate) write: WriteHalf,
    pub(crate) queue: QueueReceiver<Bytes>,
    /// Who writes, to whom, on which lane; the bytes are filled in for each frame.
    pub(crate) point: FaultPoint,
    pub(crate) faults: Option<Arc<dyn FaultHook>>,
}

/// What a lane's reader works on.
pub(crate) struct LaneReader<T> {
    pub(crate) read: ReadHalf,
    pub(crate) link: LinkId,
    pub(crate) class: Class,
    pub(crate) inbox: QueueSender<T>,
}

// === impl Lane ===

impl Lane {
    pub(crate) fn new(stream: impl AsyncRead + AsyncWrite + Send + Sync + 'static) -> Self {
        let (read, write) = tokio::io::split(stream);
        Self { read: Box::new(read), write: Box::new(write) }
    }
}

// === impl LaneWriter ===

impl LaneWriter {
    /// Writes queued frames until the lane ends. What is queued already is joined to one write; nothing waits for more.
    pub(crate) async fn run(mut self) -> DownReason {
        let mut buffer = Vec::with_capacity(COALESCE_BYTES + FRAME_HEADER_BYTES);
        loop {
            let Some(first) = self.queue.pop().await else { return DownReason::Closed };
            if let Err(reason) = self.write_batch(first, &mut buffer).await {
                return reason;
            }
        }
    }

    async fn write_batch(&mut self, first: Bytes, buffer: &mut Vec<u8>) -> Result<(), DownReason> {
        let mut next = Some(first);
        while let Some(payload) = next {
            for _ in 0..self.copies(payload.len()).await? {
                self.append(&payload, buffer).await?;
            }
            next = if buffer.len() < COALESCE_BYTES { self.queue.try_pop() } else { None };
        }
        self.write_out(buffer).await?;
        self.write.flush().await.map_err(|error| broken(&error))
    }

    /// Small frames are gathered; a large one is written after them, without a copy.
    async fn append(&mut self, payload: &Bytes, buffer: &mut Vec<u8>) -> Result<(), DownReason> {
        if buffer.len() + payload.len() > COALESCE_BYTES {
            self.write_out(buffer).await?;
        }
        buffer.extend_from_slice(&frame::encode_header(self.point.class, payload.len()));
        if payload.len() <= COALESCE_BYTES {
            buffer.extend_from_slice(payload);
            return Ok(());
        }
        self.write_out(buffer).await?;
        self.write.write_all(payload).await.map_err(|error| broken(&error))
    }

    async fn write_out(&mut self, buffer: &mut Vec<u8>) -> Result<(), DownReason> {
        self.write.write_all(buffer).await.map_err(|error| broken(&error))?;
        buffer.clear();
        Ok(())
    }

    /// How often the frame is written: once, unless a fault hook says otherwise.
    async fn copies(&self, bytes: usize) -> Result<usize, DownReason> {
        let Some(faults) = &self.faults else { return Ok(1) };
        match faults.decide(&FaultPoint { bytes, ..self.point }) {
            Fault::None => Ok(1),
            Fault::Drop => Ok(0),
            Fault::Duplicate => Ok(2),
            Fault::Cut => Err(DownReason::Fault),
            Fault::Delay(delay) => {
                tokio::time::sleep(delay).await;
                Ok(1)
            }
        }
    }
}

// === impl LaneReader ===

impl<T: From<Frame>> LaneReader<T> {
    /// Reads frames into the inbox until the lane ends. A full inbox stops the reading, and so the peer's writing.
    pub(crate) async fn run(self) -> DownReason {
        let mut read = BufReader::with_capacity(COALESCE_BYTES, self.read);
        loop {
            let payload = match read_frame(&mut read, self.class).await {
                Ok(payload) => payload,
                Err(reason) => return reason,
            };
            let bytes = payload.len();
            if self.inbox.push(T::from(Frame { link: self.link, payload }), bytes).await.is_err() {
                return DownReason::Closed;
            }
        }
    }
}

async fn read_frame(read: &mut BufReader<ReadHalf>, class: Class) -> Result<Bytes, DownReason> {
    let mut header = [0; FRAME_HEADER_BYTES];
    // The end of the stream between two frames is the peer's leave; within one it is a truncation.
    match read.read(&mut header[..1]).await {
        Ok(0) => return Err(DownReason::Closed),
        Ok(_) => {}
        Err(error) => return Err(broken(&error)),
    }
    read.read_exact(&mut header[1..]).await.map_err(|error| truncated(&error))?;
    let bytes = frame::decode_header(header, class).map_err(DownReason::BadFrame)?;
    let mut payload = BytesMut::zeroed(bytes);
    read.read_exact(&mut payload).await.map_err(|error| truncated(&error))?;
    Ok(payload.freeze())
}

fn truncated(error: &io::Error) -> DownReason {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => DownReason::BadFrame(FrameError::Truncated),
        _ => broken(error),
    }
}

/// A peer that was killed resets its connections, or ends them without TLS's farewell.
fn broken(error: &io::Error) -> DownReason {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => DownReason::Closed,
        kind => DownReason::Broken(kind),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strobe_core::model::{NodeIndex, Term};

    use super::*;
    use crate::{limits::FRAME_BYTES_MAX, queue};

    const LINK: LinkId = LinkId { term: Term(1), node: NodeIndex(2) };

    /// Feeds `bytes` to a reader and returns the frames it made of them and why it ended.
    fn read_all(bytes: &[u8]) -> (Vec<Bytes>, DownReason) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (inbox, mut frames) = queue::bounded::<Frame>(1 << 22);
            let read: ReadHalf = Box::new(io::Cursor::new(bytes.to_vec()));
            let reason = LaneReader { read, link: LINK, class: Class::Control, inbox }.run().await;
            let mut payloads = Vec::new();
            while let Some(frame) = frames.try_pop() {
                payloads.push(frame.payload);
            }
            (payloads, reason)
        })
    }

    fn wire(payloads: &[Vec<u8>]) -> Vec<u8> {
        let frames = payloads.iter().map(|payload| [&frame::encode_header(Class::Control, payload.len())[..], &payload[..]].concat());
        frames.collect::<Vec<_>>().concat()
    }

    proptest! {
        #[test]
        fn a_stream_cut_anywhere_yields_whole_frames_and_then_says_so(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..6),
            at: prop::sample::Index,
        ) {
            let whole = wire(&payloads);
            let at = at.index(whole.len() + 1);
            let (frames, reason) = read_all(&whole[..at]);
            let complete = (0..=payloads.len()).rev().find(|count| wire(&payloads[..*count]).len() <= at).unwrap();
            prop_assert_eq!(frames, payloads[..complete].iter().map(|payload| Bytes::copy_from_slice(payload)).collect::<Vec<_>>());
            let between = wire(&payloads[..complete]).len() == at;
            prop_assert_eq!(reason, if between { DownReason::Closed } else { DownReason::BadFrame(FrameError::Truncated) });
        }

        #[test]
        fn any_bytes_end_in_a_typed_reason(bytes in proptest::collection::vec(any::<u8>(), 0..200), header: bool) {
            let bytes = if header { [&frame::encode_header(Class::Control, bytes.len())[..], &bytes[..]].concat() } else { bytes };
            let (_, reason) = read_all(&bytes);
            prop_assert!(matches!(reason, DownReason::Closed | DownReason::BadFrame(_)));
        }
    }

    #[test]
    fn an_oversized_announcement_ends_the_lane_before_anything_is_allocated() {
        let mut header = frame::encode_header(Class::Control, 0);
        header[4..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(read_all(&header), (vec![], DownReason::BadFrame(FrameError::Oversized(u32::MAX))));
        let beyond = frame::encode_header(Class::Control, FRAME_BYTES_MAX + 1);
        assert_eq!(read_all(&beyond).1, DownReason::BadFrame(FrameError::Oversized(FRAME_BYTES_MAX as u32 + 1)));
    }
}
