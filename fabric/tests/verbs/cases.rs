//! What is tried, each step by both sides.

use std::time::{Duration, Instant};

use strobe_fabric::verbs::{Buffer, Device, Kind, Memory, Status, VerbsError, Window, WindowKey};

use super::{
    control::Control,
    node::{Node, PATIENCE, UNTOUCHED, WINDOW, pattern, window_key},
};

/// Which of the two processes this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Receiver,
    Sender,
}

type Case = (&'static str, fn(&Node, &mut Control));

pub(crate) const ALL: [Case; 10] = [
    ("an address that no port has is refused with what was found", a_foreign_address_is_refused),
    ("messages of 0, 1, 8 and 4096 bytes arrive", messages_arrive),
    ("writes of 1 byte, 8 bytes, 64 KiB and 1 MiB land, and nothing beside them", writes_land),
    ("a write with a wrong key is refused", a_wrong_key_is_refused),
    ("a write beyond the window's end is refused", a_write_beyond_the_end_is_refused),
    ("a closed pair gives back all that was under way", a_closed_pair_gives_all_back),
    ("after the queue pair was closed, an old peer's write does not land though its window is still open", no_write_after_close),
    ("after the window was closed, an old peer's write is refused, and the key of an old term by a new one", no_write_after_the_window),
    ("a queue pair that is closed amid writes writes nothing more once that has returned", no_write_from_amid),
    ("what is posted too early, too much or too long comes back with its buffer", what_is_refused_comes_back),
];

fn a_foreign_address_is_refused(node: &Node, _control: &mut Control) {
    let error = Device::of_address("192.0.2.9".parse().unwrap()).unwrap_err();
    let VerbsError::NoPort { found, .. } = &error else { panic!("{error}") };
    let own = found.ports.iter().filter(|port| port.gid == node.device.gid()).count();
    assert_eq!(own, 1, "{error}");
    node.tell(&error.to_string());
}

fn messages_arrive(node: &Node, control: &mut Control) {
    const SIZES: [usize; 4] = [0, 1, 8, 4096];
    let mut session = node.session(control, |domain, pair| {
        for _ in SIZES {
            pair.post_receive(Buffer::new(domain, 4096).unwrap()).unwrap();
        }
    });
    match node.side {
        Side::Sender => {
            for bytes in SIZES {
                let mut buffer = Buffer::new(&session.domain, 4096).unwrap();
                buffer.as_mut_slice()[..bytes].copy_from_slice(&pattern(bytes, bytes));
                session.pair.post_send(buffer, bytes).unwrap();
            }
            for _ in SIZES {
                let completion = session.next();
                assert_eq!((completion.kind, completion.outcome), (Kind::Send, Ok(0)));
            }
        }
        Side::Receiver => {
            for bytes in SIZES {
                let completion = session.next();
                assert_eq!((completion.kind, completion.outcome), (Kind::Receive, Ok(bytes)));
                let (arrived, beside) = completion.buffer.as_slice().split_at(bytes);
                assert_eq!(arrived, pattern(bytes, bytes));
                assert!(beside.iter().all(|byte| *byte == 0));
            }
        }
    }
    control.meet();
}

fn writes_land(node: &Node, control: &mut Control) {
    // Not at the beginning of a page, and not at a multiple of a packet.
    const WRITES: [(usize, usize); 4] = [(0, 1), (4091, 8), (70_001, 64 << 10), (900_003, 1 << 20)];
    let mut session = node.session(control, |_, _| {});
    match node.side {
        Side::Sender => {
            let window = window_key(control);
            for (offset, bytes) in WRITES {
                let outcome = session.write(&pattern(offset, bytes), &window, offset as u64).outcome;
                assert_eq!(outcome, Ok(0));
                control.meet();
                // The other looks.
                control.meet();
            }
        }
        Side::Receiver => {
            let window = session.open_window(control, Memory::new(WINDOW).unwrap());
            let mut expected = vec![UNTOUCHED; WINDOW];
            for (offset, bytes) in WRITES {
                control.meet();
                expected[offset..offset + bytes].copy_from_slice(&pattern(offset, bytes));
                assert_same(&content(&window), &expected);
                control.meet();
            }
        }
    }
    control.meet();
}

fn a_wrong_key_is_refused(node: &Node, control: &mut Control) {
    // The device's number of the region is right in the first and wrong in the second.
    for wrong in [1, 1 << 20] {
        refused(node, control, |window| (WindowKey { key: window.key ^ wrong, ..window }, 0));
    }
}

fn a_write_beyond_the_end_is_refused(node: &Node, control: &mut Control) {
    for offset in [WINDOW as u64 - 4, WINDOW as u64, u64::MAX - 3] {
        refused(node, control, |window| (window, offset));
    }
}

/// Eight bytes that the peer's device has to refuse, on a connection of their own, for a refusal ends it.
fn refused(node: &Node, control: &mut Control, spoil: impl FnOnce(WindowKey) -> (WindowKey, u64)) {
    let mut session = node.session(control, |_, _| {});
    match node.side {
        Side::Sender => {
            let (window, offset) = spoil(window_key(control));
            assert_eq!(session.write(&[1; 8], &window, offset).outcome, Err(Status::RemoteAccess));
            // The connection has ended: what comes after is flushed.
            assert_eq!(session.write(&[1; 8], &window, 0).outcome, Err(Status::Flushed));
            control.meet();
        }
        Side::Receiver => {
            let window = session.open_window(control, Memory::new(WINDOW).unwrap());
            control.meet();
            assert_untouched(&content(&window));
        }
    }
    control.meet();
}

fn a_closed_pair_gives_all_back(node: &Node, control: &mut Control) {
    const RECEIVES: usize = 5;
    let session = node.session(control, |domain, pair| {
        for _ in 0..RECEIVES {
            pair.post_receive(Buffer::new(domain, 64).unwrap()).unwrap();
        }
    });
    assert_eq!(session.pair.under_way(), RECEIVES);
    let ended = session.pair.close(PATIENCE).unwrap();
    assert_eq!(ended.len(), RECEIVES);
    assert!(ended.iter().all(|completion| completion.outcome == Err(Status::Flushed) && completion.buffer.bytes() == 64));
}

fn no_write_after_close(node: &Node, control: &mut Control) {
    let mut session = node.session(control, |_, _| {});
    match node.side {
        Side::Sender => {
            let window = window_key(control);
            assert_eq!(session.write(&[1; 8], &window, 0).outcome, Ok(0));
            control.meet();
            control.meet();
            let began = Instant::now();
            assert_eq!(session.write(&[2; 8], &window, 0).outcome, Err(Status::Unacknowledged));
            println!("the old peer heard of it after {:?}", began.elapsed());
            control.meet();
        }
        Side::Receiver => {
            let window = session.open_window(control, Memory::new(WINDOW).unwrap());
            control.meet();
            assert_eq!(session.pair.close(PATIENCE).unwrap().len(), 0);
            control.meet();
            control.meet();
            let mut expected = vec![UNTOUCHED; WINDOW];
            expected[..8].copy_from_slice(&[1; 8]);
            assert_same(&content(&window), &expected);
        }
    }
    control.meet();
}

fn no_write_after_the_window(node: &Node, control: &mut Control) {
    let mut old = node.session(control, |_, _| {});
    match node.side {
        Side::Sender => {
            let old_key = window_key(control);
            assert_eq!(old.write(&[1; 8], &old_key, 0).outcome, Ok(0));
            control.meet();
            control.meet();
            assert_eq!(old.write(&[2; 8], &old_key, 0).outcome, Err(Status::RemoteAccess));
            let mut new = node.session(control, |_, _| {});
            let new_key = window_key(control);
            assert_eq!((new_key.address, new_key.bytes), (old_key.address, old_key.bytes), "the same memory");
            assert_eq!(new.write(&[3; 8], &new_key, 8).outcome, Ok(0));
            assert_eq!(new.write(&[4; 8], &old_key, 16).outcome, Err(Status::RemoteAccess));
            control.meet();
        }
        Side::Receiver => {
            let window = old.open_window(control, Memory::new(WINDOW).unwrap());
            control.meet();
            let memory = window.close().unwrap();
            control.meet();
            let new = node.session(control, |_, _| {});
            let mut first = [0; 8];
            memory.read(0, &mut first).unwrap();
            assert_eq!(first, [1; 8]);
            let window = new.open_window(control, memory);
            control.meet();
            let mut expected = vec![UNTOUCHED; WINDOW];
            expected[8..16].copy_from_slice(&[3; 8]);
            assert_same(&content(&window), &expected);
        }
    }
    control.meet();
}

fn no_write_from_amid(node: &Node, control: &mut Control) {
    const WRITES: usize = 16;
    let mut session = node.session(control, |_, _| {});
    match node.side {
        Side::Sender => {
            let window = window_key(control);
            for _ in 0..WRITES {
                let mut buffer = Buffer::new(&session.domain, WINDOW).unwrap();
                buffer.as_mut_slice().fill(1);
                session.pair.post_write(buffer, WINDOW, &window, 0).unwrap();
            }
            let outcomes: Vec<_> = (0..WRITES).map(|_| session.next().outcome).collect();
            let done = outcomes.iter().take_while(|outcome| outcome.is_ok()).count();
            assert!(done < WRITES, "all writes were done before the pair was closed");
            assert_eq!(outcomes[done], Err(Status::Unacknowledged));
            assert!(outcomes[done + 1..].iter().all(|outcome| *outcome == Err(Status::Flushed)));
            println!("of {WRITES} writes {done} were done");
            control.meet();
        }
        Side::Receiver => {
            let mut window = session.open_window(control, Memory::new(WINDOW).unwrap());
            let deadline = Instant::now() + PATIENCE;
            let mut first = [UNTOUCHED];
            while first == [UNTOUCHED] {
                assert!(Instant::now() < deadline, "no write came");
                window.read(0, &mut first).unwrap();
            }
            session.pair.close(PATIENCE).unwrap();
            window.write(0, &vec![UNTOUCHED; WINDOW]).unwrap();
            control.meet();
            assert_untouched(&content(&window));
        }
    }
    control.meet();
}

fn what_is_refused_comes_back(node: &Node, control: &mut Control) {
    let mut session = node.session(control, |domain, pair| {
        let refused = pair.post_send(Buffer::new(domain, 8).unwrap(), 8).unwrap_err();
        assert!(matches!(refused.error, VerbsError::NotConnected));
    });
    let refused = session.pair.post_send(Buffer::new(&session.domain, 8).unwrap(), 9).unwrap_err();
    assert!(matches!(refused.error, VerbsError::OutOfRegion { .. }));
    let mut buffer = refused.buffer;
    let limit = loop {
        match session.pair.post_receive(buffer) {
            Ok(_) => buffer = Buffer::new(&session.domain, 8).unwrap(),
            Err(refused) => match refused.error {
                VerbsError::Full { limit, .. } => break limit,
                error => panic!("{error}"),
            },
        }
    };
    assert_eq!(session.pair.under_way(), limit);
    assert_eq!(session.pair.close(Duration::from_secs(60)).unwrap().len(), limit);
}

fn content(window: &Window) -> Vec<u8> {
    let mut bytes = vec![0; WINDOW];
    window.read(0, &mut bytes).unwrap();
    bytes
}

fn assert_untouched(bytes: &[u8]) {
    assert_same(bytes, &[UNTOUCHED; WINDOW]);
}

/// Megabytes in a panic help nobody.
fn assert_same(bytes: &[u8], expected: &[u8]) {
    let different = bytes.iter().zip(expected).position(|(byte, expected)| byte != expected);
    assert_eq!((different, bytes.len()), (None, expected.len()), "the first byte that is not as it should be");
}
