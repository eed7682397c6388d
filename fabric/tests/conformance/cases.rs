//! One case a clause.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use strobe_core::model::{NodeIndex, Term};
use strobe_fabric::{
    counters::Refusal,
    datagram::{DATAGRAM_HEADER_BYTES, DatagramKeys},
    limits::{DATAGRAM_BYTES_MAX, FRAME_BYTES_MAX, INBOX_BYTES_MAX, LANE_BYTES_MAX, LINKS_MAX},
    transport::{Class, Delivery, DownReason, Fault, FaultPoint, LinkPlan, OpenError, Peer, SendError, Transport},
};

use super::harness::{Cluster, Fabric, link, soon};

pub(crate) async fn every_pair_of_1_2_3_and_5_nodes_is_linked<F: Fabric>() {
    for nodes in [1, 2, 3, 5] {
        let mut cluster = Cluster::<F>::linked(nodes).await;
        for from in 0..nodes {
            for to in 0..nodes {
                for class in Class::ALL {
                    cluster.send(from, link(1, to), class, vec![from as u8, to as u8]).await;
                    let frame = cluster.frame(to, class).await;
                    assert_eq!((frame.link, &frame.payload[..]), (link(1, from), &[from as u8, to as u8][..]));
                }
            }
        }
    }
}

pub(crate) async fn frames_of_every_size_arrive_and_a_larger_one_is_refused<F: Fabric>() {
    let mut cluster = Cluster::<F>::linked(2).await;
    for class in Class::ALL {
        for bytes in [0, 1, 8, 64 << 10, (64 << 10) + 1, 1 << 20, FRAME_BYTES_MAX] {
            let payload: Bytes = (0..bytes).map(|place| (place % 251) as u8).collect();
            cluster.send(0, link(1, 1), class, payload.clone()).await;
            assert!(cluster.frame(1, class).await.payload == payload, "{bytes} bytes arrived differently");
        }
        let beyond = Bytes::from(vec![0; FRAME_BYTES_MAX + 1]);
        let refused = Err(SendError::Oversized { bytes: FRAME_BYTES_MAX + 1 });
        assert_eq!(cluster.end(0).transport.try_send(link(1, 1), class, beyond.clone()), refused);
        assert_eq!(cluster.end(0).transport.send(link(1, 1), class, beyond).await, refused);
    }
}

pub(crate) async fn frames_keep_their_order_by_sender_and_class<F: Fabric>() {
    const FRAMES: u32 = 2000;
    let mut cluster = Cluster::<F>::linked(3).await;
    for count in 0..FRAMES {
        for (from, class) in [(0, Class::Control), (1, Class::Control), (0, Class::Bulk), (1, Class::Bulk)] {
            let padding = vec![0; (count as usize * 37) % 900];
            let payload = [&count.to_le_bytes()[..], &padding].concat();
            cluster.send(from, link(1, 2), class, payload).await;
        }
    }
    for class in Class::ALL {
        let mut next = [0; 2];
        for _ in 0..2 * FRAMES {
            let frame = cluster.frame(2, class).await;
            let expected = &mut next[usize::from(frame.link.node.0)];
            assert_eq!(frame.payload[..4], u32::to_le_bytes(*expected));
            *expected += 1;
        }
        assert_eq!(next, [FRAMES; 2]);
    }
}

pub(crate) async fn a_full_lane_holds_its_sender_back_and_no_other_class<F: Fabric>() {
    const CHUNK: usize = 256 << 10;
    let mut cluster = Cluster::<F>::linked(2).await;
    let mut queued = 0;
    // An inbox that nobody reads takes this much for certain.
    while queued * CHUNK < INBOX_BYTES_MAX - LANE_BYTES_MAX {
        cluster.send(0, link(1, 1), Class::Bulk, vec![queued as u8; CHUNK]).await;
        queued += 1;
    }
    // And all queues together take so much and no more, however often the sender tries.
    let mut full = Ok(());
    for _ in 0..10_000 {
        full = cluster.end(0).transport.try_send(link(1, 1), Class::Bulk, Bytes::from(vec![queued as u8; CHUNK]));
        queued += usize::from(full.is_ok());
        assert!(queued * CHUNK < 4 * (LANE_BYTES_MAX + INBOX_BYTES_MAX), "nothing holds the sender back");
        tokio::task::yield_now().await;
    }
    assert_eq!(full, Err(SendError::Full { to: link(1, 1) }));
    cluster.send(0, link(1, 1), Class::Control, "urgent").await;
    assert_eq!(&cluster.frame(1, Class::Control).await.payload[..], b"urgent");
    for count in 0..queued {
        assert_eq!(cluster.frame(1, Class::Bulk).await.payload[0], count as u8);
    }
    cluster.send(0, link(1, 1), Class::Bulk, "last").await;
    assert_eq!(&cluster.frame(1, Class::Bulk).await.payload[..], b"last");
}

pub(crate) async fn a_killed_peer_is_heard_of_and_comes_back<F: Fabric>() {
    let mut cluster = Cluster::<F>::linked(3).await;
    cluster.kill(2);
    for node in [0, 1] {
        let down = cluster.down(node).await;
        assert_eq!((down.link, down.reason), (link(1, 2), DownReason::Closed));
        let refused = cluster.end(node).transport.try_send(link(1, 2), Class::Control, Bytes::new());
        assert_eq!(refused, Err(SendError::Down { to: link(1, 2) }));
    }
    cluster.send(0, link(1, 1), Class::Control, "still here").await;
    assert_eq!(&cluster.frame(1, Class::Control).await.payload[..], b"still here");
    cluster.restart(2).await;
    for node in 0..3 {
        cluster.open(node, 1);
    }
    for node in [0, 1] {
        assert_eq!(cluster.up(node).await.link, link(1, 2));
        cluster.send(node, link(1, 2), Class::Bulk, "again").await;
        assert_eq!(cluster.frame(2, Class::Bulk).await.link, link(1, node));
    }
}

pub(crate) async fn a_killed_dialer_comes_back_without_a_new_plan<F: Fabric>() {
    let mut cluster = Cluster::<F>::linked(2).await;
    for _ in 0..3 {
        cluster.kill(0);
        assert_eq!(cluster.down(1).await.link, link(1, 0));
        cluster.restart(0).await;
        cluster.open(0, 1);
        assert_eq!(cluster.up(1).await.link, link(1, 0));
        // The news of where the dialer now lives does not disturb the link.
        cluster.open(1, 1);
        cluster.send(1, link(1, 0), Class::Bulk, "welcome").await;
        assert_eq!(&cluster.frame(0, Class::Bulk).await.payload[..], b"welcome");
    }
}

pub(crate) async fn a_closed_term_is_silent_when_closing_returns<F: Fabric>() {
    let mut cluster = Cluster::<F>::linked(3).await;
    for (from, class) in [(0, Class::Control), (0, Class::Bulk), (2, Class::Control), (2, Class::Bulk)] {
        for _ in 0..100 {
            cluster.send(from, link(1, 1), class, "of the old term").await;
        }
    }
    // One of each has arrived, so others wait in the inboxes or on their way.
    cluster.frame(1, Class::Control).await;
    cluster.frame(1, Class::Bulk).await;
    soon(cluster.end(1).transport.close_links(Term(2))).await;
    let refused = cluster.end(1).transport.try_send(link(1, 0), Class::Control, Bytes::new());
    assert_eq!(refused, Err(SendError::Down { to: link(1, 0) }));
    let plan = cluster.plan(1, &[0, 2]);
    let old = Err(OpenError::OldTerm { term: Term(1), floor: Term(2) });
    assert_eq!(cluster.end(1).transport.open_links(&plan), old);
    for node in [0, 2] {
        assert_eq!(cluster.down(node).await.link, link(1, 1));
    }
    // Node 0 goes on dialling in the old term until it hears of the new one; it is refused, and counted.
    soon(async {
        while cluster.end(1).transport.counters().refused(Refusal::OldTerm) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // Whatever node 1 hears from now on is of the new term.
    cluster.open_everywhere(2).await;
    cluster.send(0, link(2, 1), Class::Bulk, "of the new term").await;
    assert_eq!(cluster.frame(1, Class::Bulk).await.link, link(2, 0));
}

pub(crate) async fn closing_waits_until_the_writer_has_stopped<F: Fabric>() {
    let (entered, entering) = std::sync::mpsc::sync_channel(1);
    let writing = Arc::new(AtomicBool::new(false));
    let shown = Arc::clone(&writing);
    // The writer is caught in the middle of its work, and stays there for a while after the closing began.
    let hook = move |point: &FaultPoint| {
        if point.bytes == 13 {
            shown.store(true, Ordering::SeqCst);
            entered.send(()).unwrap();
            // No event tells that the closing waits: a fabric may block in it, so that nothing could let the writer go then.
            std::thread::sleep(Duration::from_millis(100));
            shown.store(false, Ordering::SeqCst);
        }
        Fault::None
    };
    let mut cluster = Cluster::<F>::with_faults(2, Some(Arc::new(hook))).await;
    cluster.open_everywhere(1).await;
    cluster.send(0, link(1, 1), Class::Control, vec![0; 13]).await;
    tokio::task::spawn_blocking(move || entering.recv()).await.unwrap().unwrap();
    soon(cluster.end(0).transport.close_links(Term(2))).await;
    assert!(!writing.load(Ordering::SeqCst), "closed, and a frame of the old term is still being written");
    assert_eq!(cluster.down(1).await.link, link(1, 0));
}

pub(crate) async fn closing_ends_what_waits_for_room<F: Fabric>() {
    let mut cluster = Cluster::<F>::linked(2).await;
    let (sending, receiving) = {
        let mut ends = cluster.ends.drain(..).map(Option::unwrap);
        (ends.next().unwrap(), ends.next().unwrap())
    };
    let transport = Arc::new(sending.transport);
    let sender = Arc::clone(&transport);
    let waiting = tokio::spawn(async move {
        loop {
            if let Err(error) = sender.send(link(1, 1), Class::Control, Bytes::from(vec![0; FRAME_BYTES_MAX])).await {
                return error;
            }
        }
    });
    soon(async {
        while transport.try_send(link(1, 1), Class::Control, Bytes::from(vec![0; FRAME_BYTES_MAX])).is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    soon(transport.close_links(Term(2))).await;
    assert_eq!(soon(waiting).await.unwrap(), SendError::Down { to: link(1, 1) });
    // Its peer has no room left to be told that the link went down, and closes all the same.
    soon(receiving.transport.close_links(Term(2))).await;
}

pub(crate) async fn a_term_is_opened_beside_an_older_one<F: Fabric>() {
    let mut cluster = Cluster::<F>::linked(2).await;
    cluster.open_everywhere(2).await;
    for term in [1, 2] {
        cluster.send(0, link(term, 1), Class::Control, "seal").await;
        assert_eq!(cluster.frame(1, Class::Control).await.link, link(term, 0));
    }
}

pub(crate) async fn a_peer_that_is_no_longer_planned_is_cut<F: Fabric>() {
    let mut cluster = Cluster::<F>::linked(3).await;
    let plan = cluster.plan(1, &[0, 1]);
    cluster.end(0).transport.open_links(&plan).unwrap();
    assert_eq!(cluster.down(2).await.link, link(1, 0));
    let refused = cluster.end(0).transport.try_send(link(1, 2), Class::Control, Bytes::new());
    assert_eq!(refused, Err(SendError::Down { to: link(1, 2) }));
    cluster.send(0, link(1, 1), Class::Control, "kept").await;
    assert_eq!(cluster.frame(1, Class::Control).await.link, link(1, 0));
}

pub(crate) async fn more_links_than_the_limit_are_refused<F: Fabric>() {
    let mut cluster = Cluster::<F>::linked(1).await;
    let address = cluster.addresses[0];
    let peers: Vec<Peer> = (0..=LINKS_MAX as u16).map(|node| Peer { node: NodeIndex(node), address }).collect();
    let plan = LinkPlan { term: Term(1), peers };
    let refused = Err(OpenError::TooManyLinks { links: LINKS_MAX + 1 });
    assert_eq!(cluster.end(0).transport.open_links(&plan), refused);
    cluster.send(0, link(1, 0), Class::Control, "unchanged").await;
    assert_eq!(cluster.frame(0, Class::Control).await.link, link(1, 0));
}

pub(crate) async fn keys_of_a_link_fit_its_other_end_only<F: Fabric>() {
    let mut cluster = Cluster::<F>::new(3).await;
    for node in 0..3 {
        let peers: Vec<u16> = (0..3).filter(|peer| *peer != node).collect();
        let plan = cluster.plan(1, &peers);
        cluster.end(node).transport.open_links(&plan).unwrap();
    }
    let mut keys: Vec<((u16, u16), Box<DatagramKeys>)> = Vec::new();
    for node in 0..3 {
        for _ in 0..2 {
            let up = cluster.up(node).await;
            keys.push(((node, up.link.node.0), up.keys));
        }
    }
    keys.sort_by_key(|(ends, _)| *ends);
    for sealing in 0..keys.len() {
        let mut buffer = [7; DATAGRAM_BYTES_MAX];
        let bytes = keys[sealing].1.seal_in_place(&mut buffer, 100).unwrap();
        let (from, to) = keys[sealing].0;
        for (ends, keys) in &mut keys {
            let mut datagram = buffer;
            let opened = keys.open_in_place(&mut datagram[..bytes]);
            assert_eq!(opened.is_ok(), *ends == (to, from), "sealed by {from} for {to}, opened with the keys of {ends:?}");
            if let Ok(payload) = opened {
                assert_eq!((payload.start, &datagram[payload]), (DATAGRAM_HEADER_BYTES, &[7; 100][..]));
            }
        }
    }
}

pub(crate) async fn the_fault_hook_drops_duplicates_and_delays<F: Fabric>() {
    const DELAY: Duration = Duration::from_millis(30);
    // The number of bytes tells the hook what to do.
    let hook = |point: &FaultPoint| match point.bytes {
        1 => Fault::Drop,
        2 => Fault::Duplicate,
        3 => Fault::Delay(DELAY),
        _ => Fault::None,
    };
    let mut cluster = Cluster::<F>::with_faults(2, Some(Arc::new(hook))).await;
    cluster.open_everywhere(1).await;
    let started = Instant::now();
    for bytes in [0, 1, 2, 3, 4] {
        cluster.send(0, link(1, 1), Class::Control, vec![0; bytes]).await;
    }
    let mut arrived = Vec::new();
    for _ in 0..5 {
        arrived.push(cluster.frame(1, Class::Control).await.payload.len());
    }
    assert_eq!(arrived, [0, 2, 2, 3, 4]);
    assert!(started.elapsed() >= DELAY);
}

pub(crate) async fn the_fault_hook_cuts_a_link_which_comes_up_again<F: Fabric>() {
    let armed = Arc::new(AtomicBool::new(true));
    let trigger = Arc::clone(&armed);
    let hook = move |point: &FaultPoint| {
        let cut = point.bytes == 13 && trigger.swap(false, Ordering::SeqCst);
        if cut { Fault::Cut } else { Fault::None }
    };
    let mut cluster = Cluster::<F>::with_faults(2, Some(Arc::new(hook))).await;
    cluster.open_everywhere(1).await;
    cluster.send(1, link(1, 0), Class::Bulk, vec![0; 13]).await;
    assert_eq!(cluster.down(1).await.reason, DownReason::Fault);
    assert_eq!(cluster.down(0).await.reason, DownReason::Closed);
    for node in 0..2 {
        assert!(matches!(cluster.delivery(node).await, Delivery::Up(up) if up.link == link(1, 1 - node)));
    }
    cluster.send(1, link(1, 0), Class::Bulk, vec![1; 13]).await;
    assert_eq!(&cluster.frame(0, Class::Bulk).await.payload[..], [1; 13]);
}
