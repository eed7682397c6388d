//! The life of one link: connect, carry, and after an end connect again, until it is cut.

use std::{future::pending, net::SocketAddr, sync::Arc, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::Instant,
};

use super::{Arrival, DialError, LaneQueues, Links, Outbound, Wire};
use crate::{
    back_off::BackOff,
    counters::RefusedPeer,
    datagram::{DatagramKeys, KeyMaterial},
    hello::Hello,
    lane::{Lane, LaneReader, LaneWriter, ReadHalf, WriteHalf},
    limits::{BACK_OFF_MAX, COALESCE_BYTES, LANE_BYTES_MAX},
    queue::{self, QueueReceiver, QueueSender},
    transport::{Class, Delivery, DownReason, FaultPoint, Frame, LinkDown, LinkId, LinkUp},
};

/// Owns a link's lanes and tasks. After it was cut it says nothing more, and when it ends all its tasks have ended.
pub(super) struct Supervisor<W> {
    links: Arc<Links<W>>,
    link: LinkId,
    outbound: Outbound,
    source: Source<W>,
}

/// Where a link's lanes come from.
pub(super) enum Source<W> {
    /// The peer has the higher index: this end dials.
    Dial(Dialer<W>),
    /// The peer has the lower index and dials.
    Accept(Assembler),
    /// The link of a node with itself, within the process.
    Own(BackOff),
}

pub(super) struct Dialer<W> {
    links: Arc<Links<W>>,
    link: LinkId,
    address: SocketAddr,
    back_off: BackOff,
    up_since: Option<Instant>,
    first: bool,
}

/// Puts the two lanes of one life of a link together.
pub(super) struct Assembler {
    arrivals: mpsc::Receiver<Arrival>,
    half: Option<Arrival>,
}

/// The two lanes of one life of a link.
pub(super) struct Pair {
    number: u64,
    control: Lane,
    bulk: Lane,
    material: KeyMaterial,
}

/// The agent has dropped its inbox.
struct InboxGone;

// === impl Supervisor ===

impl<W: Wire> Supervisor<W> {
    pub(super) fn new(links: Arc<Links<W>>, link: LinkId, outbound: Outbound, source: Source<W>) -> Self {
        Self { links, link, outbound, source }
    }

    /// Runs until `cut` resolves, which it also does when its sender is dropped.
    pub(super) async fn run(mut self, cut: oneshot::Receiver<()>) {
        let mut tasks = JoinSet::new();
        tokio::select! {
            biased;
            _ = cut => {}
            _ = self.live(&mut tasks) => {}
        }
        self.outbound.set(None);
        tasks.shutdown().await;
    }

    async fn live(&mut self, tasks: &mut JoinSet<DownReason>) -> Result<(), InboxGone> {
        let mut replacement = None;
        loop {
            let pair = match replacement.take() {
                Some(pair) => pair,
                None => self.source.pair().await,
            };
            self.bring_up(pair, tasks).await?;
            let reason = tokio::select! {
                ended = tasks.join_next() => ended.and_then(Result::ok).unwrap_or(DownReason::Closed),
                pair = self.source.pair_while_up() => {
                    replacement = Some(pair);
                    DownReason::Replaced
                }
            };
            self.bring_down(reason, tasks).await?;
        }
    }

    async fn bring_up(&self, pair: Pair, tasks: &mut JoinSet<DownReason>) -> Result<(), InboxGone> {
        let (control, control_queue) = queue::bounded(LANE_BYTES_MAX);
        let (bulk, bulk_queue) = queue::bounded(LANE_BYTES_MAX);
        tasks.spawn(self.writer(pair.control.write, control_queue, Class::Control).run());
        tasks.spawn(self.writer(pair.bulk.write, bulk_queue, Class::Bulk).run());
        self.outbound.set(Some(LaneQueues { control, bulk }));
        // The low half of the number tells two lives of the link apart; the keys themselves hang on all of it.
        let keys = Box::new(DatagramKeys::new(&pair.material, self.links.options.node, self.link, pair.number as u32));
        self.tell(Delivery::Up(LinkUp { link: self.link, keys })).await?;
        self.links.counters.links_up.fetch_add(1, Ordering::Relaxed);
        // Only now, so that the agent hears of the link before it reads its first frame.
        let inbox = &self.links.inbox;
        tasks.spawn(self.reader(pair.control.read, Class::Control, &inbox.control).run());
        tasks.spawn(self.reader(pair.bulk.read, Class::Bulk, &inbox.bulk).run());
        Ok(())
    }

    async fn bring_down(&self, reason: DownReason, tasks: &mut JoinSet<DownReason>) -> Result<(), InboxGone> {
        self.outbound.set(None);
        tasks.shutdown().await;
        self.links.counters.links_down.fetch_add(1, Ordering::Relaxed);
        if let DownReason::BadFrame(error) = reason {
            self.links.counters.refuse(RefusedPeer::Node(self.link.node), error.refusal());
        }
        tracing::debug!(link = %self.link, %reason, "a link went down");
        self.tell(Delivery::Down(LinkDown { link: self.link, reason })).await
    }

    async fn tell(&self, delivery: Delivery) -> Result<(), InboxGone> {
        self.links.inbox.control.push(delivery, 0).await.map_err(|_| InboxGone)
    }

    fn writer(&self, write: WriteHalf, queue: QueueReceiver<Bytes>, class: Class) -> LaneWriter {
        let options = &self.links.options;
        let point = FaultPoint { from: options.node, to: self.link, class, bytes: 0 };
        LaneWriter { write, queue, point, faults: options.faults.clone() }
    }

    fn reader<T: From<Frame>>(&self, read: ReadHalf, class: Class, inbox: &QueueSender<T>) -> LaneReader<T> {
        LaneReader { read, link: self.link, class, inbox: inbox.clone() }
    }
}

// === impl Source ===

impl<W: Wire> Source<W> {
    pub(super) fn new(links: &Arc<Links<W>>, link: LinkId, address: SocketAddr, arrivals: mpsc::Receiver<Arrival>) -> Self {
        let node = links.options.node;
        // Every link of a node gets waits of its own.
        let back_off = BackOff::new(links.options.jitter_seed ^ link.term.0.rotate_left(32) ^ u64::from(link.node.0));
        match node.cmp(&link.node) {
            std::cmp::Ordering::Less => {
                Self::Dial(Dialer { links: Arc::clone(links), link, address, back_off, up_since: None, first: true })
            }
            std::cmp::Ordering::Greater => Self::Accept(Assembler { arrivals, half: None }),
            std::cmp::Ordering::Equal => Self::Own(back_off),
        }
    }

    /// The lanes of the link's next life.
    async fn pair(&mut self) -> Pair {
        match self {
            Self::Dial(dialer) => dialer.pair().await,
            Self::Accept(assembler) => assembler.pair().await,
            Self::Own(back_off) => own_pair(back_off).await,
        }
    }

    /// Resolves if the peer starts another life of the link by itself.
    async fn pair_while_up(&mut self) -> Pair {
        match self {
            Self::Accept(assembler) => assembler.pair().await,
            Self::Dial(_) | Self::Own(_) => pending().await,
        }
    }
}

// === impl Dialer ===

impl<W: Wire> Dialer<W> {
    async fn pair(&mut self) -> Pair {
        // A link that flaps is dialled ever more slowly; one that lasted starts anew.
        if self.up_since.take().is_some_and(|since| since.elapsed() > BACK_OFF_MAX) {
            self.back_off.reset();
        }
        loop {
            if !std::mem::take(&mut self.first) {
                tokio::time::sleep(self.back_off.wait()).await;
            }
            match self.attempt().await {
                Ok(pair) => {
                    self.up_since = Some(Instant::now());
                    return pair;
                }
                Err(error) => self.note(error),
            }
        }
    }

    async fn attempt(&self) -> Result<Pair, DialError> {
        let number = random_number();
        let options = &self.links.options;
        let hello =
            |class| Hello { class, partition: options.partition, term: self.link.term, number, from: options.node, to: self.link.node };
        let (control, bulk) = (hello(Class::Control), hello(Class::Bulk));
        let wire = &self.links.wire;
        let (control, bulk) = tokio::try_join!(wire.dial(self.address, &control), wire.dial(self.address, &bulk))?;
        Ok(Pair { number, control: control.lane, bulk: bulk.lane, material: control.material })
    }

    fn note(&self, error: DialError) {
        let counters = &self.links.counters;
        match error {
            DialError::Unreachable => {
                counters.unreachable.fetch_add(1, Ordering::Relaxed);
            }
            DialError::Refused(refusal) => counters.refuse(RefusedPeer::Node(self.link.node), refusal),
            DialError::RefusedByPeer(refusal) => tracing::debug!(link = %self.link, refusal = refusal.label(), "refused by the peer"),
        }
    }
}

// === impl Assembler ===

impl Assembler {
    /// Nothing is lost when the future is dropped: a half stays here.
    async fn pair(&mut self) -> Pair {
        loop {
            // The sender goes with the link's entry, and then the cut ends this future too.
            let Some(arrival) = self.arrivals.recv().await else { return pending().await };
            if let Some(pair) = self.add(arrival) {
                return pair;
            }
        }
    }

    /// The newest arrival decides which life is being put together: its dialer has given up every other one.
    fn add(&mut self, arrival: Arrival) -> Option<Pair> {
        match self.half.take() {
            Some(half) if half.number == arrival.number && half.class != arrival.class => {
                let (control, bulk) = if half.class == Class::Control { (half, arrival) } else { (arrival, half) };
                Some(Pair { number: control.number, control: control.lane, bulk: bulk.lane, material: control.material })
            }
            Some(_) | None => {
                self.half = Some(arrival);
                None
            }
        }
    }
}

async fn own_pair(back_off: &mut BackOff) -> Pair {
    // The first wait is a few milliseconds; it bounds what a fault hook that always cuts can cost.
    tokio::time::sleep(back_off.wait().min(Duration::from_millis(5))).await;
    Pair { number: random_number(), control: own_lane(), bulk: own_lane(), material: random_material() }
}

/// What is written to it is read from it.
fn own_lane() -> Lane {
    let (near, far) = tokio::io::duplex(COALESCE_BYTES);
    Lane { read: Box::new(far), write: Box::new(near) }
}

/// Key material for two ends in one process.
pub(crate) fn random_material() -> KeyMaterial {
    let mut material = KeyMaterial([0; 88]);
    fill_random(&mut material.0);
    material
}

fn random_number() -> u64 {
    let mut bytes = [0; 8];
    fill_random(&mut bytes);
    u64::from_le_bytes(bytes)
}

fn fill_random(bytes: &mut [u8]) {
    SystemRandom::new().fill(bytes).expect("the kernel gives random numbers once it has booted; TLS needs them too");
}
