//! One node, its device, and connections to the other.

use std::{net::IpAddr, time::Duration};

use strobe_fabric::verbs::{Buffer, Completion, Device, Domain, Endpoint, Memory, Patience, QueuePair, Window, WindowKey};

use super::{cases::Side, control::Control};

/// How long a completion may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of a window.
pub(crate) const WINDOW: usize = 2 << 20;
/// What a window holds where nobody wrote.
pub(crate) const UNTOUCHED: u8 = 0xee;

/// This end.
pub(crate) struct Node {
    pub(crate) side: Side,
    pub(crate) device: Device,
}

/// A connection as a term has it: everything is new.
pub(crate) struct Session {
    pub(crate) domain: Domain,
    pub(crate) pair: QueuePair,
}

impl Node {
    pub(crate) fn of(address: IpAddr, side: Side) -> Self {
        let device = Device::of_address(address).unwrap();
        println!(
            "{side:?}: {address} is {} port {}, entry {} {}, {:?}",
            device.name(),
            device.port(),
            device.gid_index(),
            device.gid(),
            device.mtu()
        );
        Self { side, device }
    }

    /// Each line is told by one of the two.
    pub(crate) fn tell(&self, what: &str) {
        if self.side == Side::Receiver {
            println!("ok: {what}");
        }
    }

    /// A new domain and a connected pair in it. `prepare` has the pair before it is connected.
    pub(crate) fn session(&self, control: &mut Control, prepare: impl FnOnce(&Domain, &mut QueuePair)) -> Session {
        let domain = Domain::new(&self.device).unwrap();
        let mut pair = QueuePair::new(&domain).unwrap();
        prepare(&domain, &mut pair);
        control.tell(&pair.endpoint().encode());
        let peer = Endpoint::decode(&control.hear()).unwrap();
        pair.connect(&peer).unwrap();
        control.meet();
        Session { domain, pair }
    }
}

impl Session {
    /// Opens a window and tells the peer its key.
    pub(crate) fn open_window(&self, control: &mut Control, mut memory: Memory) -> Window {
        memory.write(0, &vec![UNTOUCHED; memory.bytes()]).unwrap();
        let window = Window::open(&self.domain, memory).unwrap();
        control.tell(&window.key().encode());
        window
    }

    /// Writes and says how it ended.
    pub(crate) fn write(&mut self, bytes: &[u8], window: &WindowKey, offset: u64) -> Completion {
        let mut buffer = Buffer::new(&self.domain, bytes.len()).unwrap();
        buffer.as_mut_slice().copy_from_slice(bytes);
        let id = self.pair.post_write(buffer, bytes.len(), window, offset).unwrap();
        let completion = self.next();
        assert_eq!(completion.id, id);
        assert_eq!(completion.buffer.as_slice(), bytes, "the buffer comes back as it was given");
        completion
    }

    pub(crate) fn next(&mut self) -> Completion {
        let patience = Patience { look: Duration::from_millis(1), wait: PATIENCE };
        self.pair.wait(patience).unwrap().expect("no completion came")
    }
}

pub(crate) fn window_key(control: &mut Control) -> WindowKey {
    WindowKey::decode(&control.hear()).unwrap()
}

/// Bytes that are not all the same, and others for another seed.
pub(crate) fn pattern(seed: usize, bytes: usize) -> Vec<u8> {
    // None of them is UNTOUCHED, so that each byte that was written is seen.
    (0..bytes).map(|place| u8::try_from((place * 7 + place / 251 + seed) % 231).unwrap()).collect()
}
