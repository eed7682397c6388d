//! Sealing, sending, receiving and opening datagrams takes no memory from the allocator: the strobe thread must not wait
//! for its locks, nor for the kernel behind it.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![allow(unsafe_code, reason = "a counting allocator cannot be written without it")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    sync::atomic::Ordering,
};

use strobe_core::model::{NodeIndex, Term};
use strobe_fabric::{
    datagram::{DATAGRAM_PAYLOAD_BYTES_MAX, DatagramCounters, DatagramError, DatagramKeys, DatagramSocket, KeyMaterial, ReceiveError},
    transport::LinkId,
};

/// Counts per thread: the test harness allocates on its own threads at any time.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged; counting touches a constant-initialised
// thread-local, which does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps `alloc`'s contract, which is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; `pointer` came from `alloc`, so from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// Two nodes' sockets with each other's keys, and the link as the first one names it.
fn pair() -> [(DatagramSocket, Arc<DatagramCounters>); 2] {
    let nodes = [NodeIndex(0), NodeIndex(1)];
    let mut sockets = nodes.map(|_| {
        let counters = Arc::new(DatagramCounters::default());
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        (DatagramSocket::bind(any, 4, Arc::clone(&counters)).unwrap(), counters)
    });
    let addresses = [0, 1].map(|at: usize| sockets[at].0.local_address().unwrap());
    for (at, (socket, _)) in sockets.iter_mut().enumerate() {
        let keys = DatagramKeys::new(&KeyMaterial([3; 88]), nodes[at], LinkId { term: Term(1), node: nodes[1 - at] }, 5);
        socket.install(Box::new(keys), addresses[1 - at]).unwrap();
    }
    sockets
}

fn to(node: u16) -> LinkId {
    LinkId { term: Term(1), node: NodeIndex(node) }
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations_of(|| drop(std::hint::black_box(Box::new(1)))), 1);
}

#[test]
fn a_thousand_datagrams_each_way_allocate_nothing() {
    let [(mut low, _), (mut high, counters)] = pair();
    let allocations = allocations_of(|| {
        for count in 0..1000 {
            let payload = [count as u8; DATAGRAM_PAYLOAD_BYTES_MAX];
            let payload = &payload[..count % (DATAGRAM_PAYLOAD_BYTES_MAX + 1)];
            low.send(to(1), payload).unwrap();
            // Loopback hands a datagram over within the call that sends it.
            let received = high.receive().unwrap().expect("it was sent");
            assert!(received.from == to(0) && received.payload == payload);
            high.send(to(0), payload).unwrap();
            assert!(low.receive().unwrap().expect("it was sent").payload == payload);
        }
        assert!(low.receive().unwrap().is_none());
    });
    assert_eq!(allocations, 0);
    assert_eq!(counters.received.load(Ordering::Relaxed), 1000);
}

#[test]
fn refusing_what_a_stranger_sends_allocates_nothing_and_is_counted() {
    let [(low, _), (mut high, counters)] = pair();
    drop(low);
    let stranger = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = high.local_address().unwrap();
    let mut known_but_forged = [0; 64];
    known_but_forged[..16].copy_from_slice(&[1, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    known_but_forged[16] = 1;
    let mut unknown = known_but_forged;
    unknown[2] = 9;
    let mut version = known_but_forged;
    version[0] = 2;
    let sent: [(&[u8], DatagramError); 5] = [
        (&[1; 10], DatagramError::Truncated(10)),
        (&[1; 1400], DatagramError::Oversized),
        (&version, DatagramError::WrongVersion(2)),
        (&unknown, DatagramError::UnknownKey),
        (&known_but_forged, DatagramError::Refused),
    ];
    let allocations = allocations_of(|| {
        for (bytes, expected) in sent {
            stranger.send_to(bytes, address).unwrap();
            match high.receive() {
                Err(ReceiveError::Refused(refused)) => assert_eq!(refused, expected),
                other => panic!("{other:?} instead of {expected:?}"),
            }
        }
    });
    assert_eq!(allocations, 0);
    let counted = [&counters.truncated, &counters.oversized, &counters.wrong_version, &counters.unknown_key, &counters.refused];
    assert_eq!(counted.map(|counter| counter.load(Ordering::Relaxed)), [1; 5]);
    assert_eq!(counters.received.load(Ordering::Relaxed), 0);
}

#[test]
fn a_replayed_datagram_is_counted_and_refused() {
    let [(mut low, _), (mut high, counters)] = pair();
    let address = high.local_address().unwrap();
    // A listener in the middle: the sender's datagrams go to it, and it passes each on twice.
    let middle = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let keys = DatagramKeys::new(&KeyMaterial([3; 88]), NodeIndex(0), to(1), 5);
    low.install(Box::new(keys), middle.local_addr().unwrap()).unwrap();
    low.send(to(1), b"strobe").unwrap();
    let mut datagram = [0; 1500];
    let (bytes, _) = middle.recv_from(&mut datagram).unwrap();
    for _ in 0..2 {
        middle.send_to(&datagram[..bytes], address).unwrap();
    }
    assert_eq!(high.receive().unwrap().expect("the first copy").payload, b"strobe");
    assert!(matches!(high.receive(), Err(ReceiveError::Refused(DatagramError::Replayed(1)))));
    assert_eq!(counters.replayed.load(Ordering::Relaxed), 1);
}
