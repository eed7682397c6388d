//! The authority of one partition: a task that owns everything here and takes one event after the other. What may take long, requests to
//! the API server above all, runs beside it and comes back as an event: strobes and jobs go on while the API server is away.

mod conditions;
pub(crate) mod deletion;
mod enrolment;
mod event;
mod eviction;
mod gangs;
mod jobs;
mod keeper;
mod kept;
mod lives;
mod making;
mod node_statuses;
pub(crate) mod pod;
pub(crate) mod pod_groups;
mod pods;
mod report;
mod resuming;
pub(crate) mod shares;
mod taint;
mod used;

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant as Clock;

use futures_util::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::runtime::reflector::{self, Store as Cache};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Resource as _, ResourceExt as _};
use strobe_authority::{Command, Contacts, SessionEvent, SessionId, SessionOptions};
use strobe_core::authority::{Authority, AuthorityInput, Launches, PartitionConfiguration};
use strobe_core::machine::{Machine as _, Outbox};
use strobe_core::message::PartitionReport;
use strobe_core::model::{GangId, GangRun, Instant, NodeIncarnation, PartitionUid, Settings, Term};
use strobe_crds::partition::{Partition as Object, PartitionStatus};
use strobe_crds::validate::{self, ValidPartition};
use strobe_fabric::authority::AuthorityError;
use strobe_fabric::identity::PeerIdentity;
use strobe_proto::agent::{AgentHello, AgentMessage, agent_message, authority_message::Message};
use tokio::sync::{mpsc, watch};

pub(crate) use event::{Enrolling, Event};

use crate::limits::{PARTITION_EVENTS, STORE_AGAIN, TICK};
use crate::names::LABEL_PARTITION_UID;
use crate::nodes::Nodes;
use crate::partitions::{Context, Known, Shared};
use crate::standing::Standing;
use gangs::Gang;
use jobs::Job;
use keeper::{Change, Keeper};
use kept::Store;
use lives::Looks;
use node_statuses::NodeStatuses;

/// What is to be said of jobs, by their UIDs.
pub(crate) type Board = Arc<Mutex<BTreeMap<String, Standing>>>;

/// Why a partition has no authority.
#[derive(Debug, thiserror::Error)]
enum PartitionError {
    /// An API server with our schema lets no such object in.
    #[error("its rules do not hold: {0}")]
    Invalid(String),
    /// It has no UID, or none that is one.
    #[error("its UID is no UID")]
    Uid,
    /// Somebody else commands.
    #[error("it was overtaken")]
    Overtaken(#[source] kept::StoreError),
    /// It has no certificate to speak to agents with.
    #[error("no certificate for its authority")]
    Certificate(#[source] AuthorityError),
    /// What it relied on did not hold; the standard error has the place.
    #[error("it panicked, which is a fault of Strobe: {0}")]
    Panicked(String),
}

/// See the module.
struct Partition {
    context: Context,
    object: Arc<Object>,
    uid: PartitionUid,
    valid: ValidPartition,
    born: Clock,
    authority: Authority,
    outbox: Outbox<strobe_core::authority::AuthorityEffect>,
    keeper: Keeper,
    /// What follows from changes that are not written yet, in order.
    follows: VecDeque<(Change, Command)>,
    contacts: Contacts<Event>,
    launches: Launches,
    gangs: BTreeMap<GangRun, Gang>,
    jobs: BTreeMap<GangId, Job>,
    pods: Cache<Pod>,
    /// The newest report of the manager.
    heard: Option<PartitionReport>,
    /// What was last said of the partition itself, and when.
    told: Option<(PartitionStatus, Instant)>,
    node_statuses: NodeStatuses,
    board: Board,
    known: Arc<Known>,
    /// The nodes of the cluster, and what was found and done about them.
    nodes: watch::Receiver<Option<Arc<Nodes>>>,
    looks: Looks,
    events: mpsc::Sender<Event>,
}

/// Runs a partition's authority until it is aborted. One that was overtaken or has panicked begins anew, from what was kept of it: the task
/// would end unseen, and with it all that its jobs get, while this replica went on to lead.
pub(crate) async fn run(context: Context, mut object: Arc<Object>, shared: Shared, mut told: mpsc::Receiver<Event>) {
    loop {
        let (events, queue) = mpsc::channel(PARTITION_EVENTS);
        let begun = unless_panicked(Partition::begin(context.clone(), Arc::clone(&object), shared.clone(), events)).await;
        let ended = match begun {
            Ok(mut partition) => {
                let ended = unless_panicked(partition.drive(&mut told, queue)).await;
                object = partition.object;
                ended
            }
            Err(error) => {
                // It may never begin: what speaks against jobs is said without it.
                shared.known.begun.store(true, Ordering::Release);
                Err(error)
            }
        };
        let Err(error) = ended else { return };
        tracing::error!(partition = object.name_any(), error = &error as &dyn std::error::Error, "a Partition's authority begins anew");
        tokio::time::sleep(STORE_AGAIN).await;
    }
}

/// What comes of a part of an authority's life, or that it panicked.
async fn unless_panicked<T>(life: impl Future<Output = Result<T, PartitionError>>) -> Result<T, PartitionError> {
    let said = |panic: Box<dyn Any + Send>| match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(said), _) => (*said).to_owned(),
        (_, Some(said)) => said.clone(),
        _ => "no message".to_owned(),
    };
    AssertUnwindSafe(life).catch_unwind().await.unwrap_or_else(|panic| Err(PartitionError::Panicked(said(panic))))
}

impl Partition {
    async fn begin(context: Context, object: Arc<Object>, shared: Shared, events: mpsc::Sender<Event>) -> Result<Self, PartitionError> {
        let valid = valid(&object)?;
        let uid = object.uid().as_deref().and_then(partition_uid).ok_or(PartitionError::Uid)?;
        let owner = object.owner_ref(&()).ok_or(PartitionError::Uid)?;
        let store = Store::new(context.client.clone(), &context.namespace, owner);
        let Shared { board, mut nodes, known } = shared;
        // Whoever sends them lives as long as this task.
        drop(nodes.wait_for(Option::is_some).await);
        let found = answered("read what must not be forgotten", || store.load()).await;
        let options = session_options(&context, uid, &valid)?;
        let pods = watch_pods(&context, &object, events.clone());
        let mut partition = Self {
            uid,
            born: Clock::now(),
            authority: Authority::new(),
            outbox: Outbox::default(),
            keeper: Keeper::new(store, found, events.clone()),
            follows: VecDeque::new(),
            contacts: Contacts::new(options, valid.suspicion, events.clone()),
            launches: Launches::default(),
            gangs: BTreeMap::new(),
            jobs: BTreeMap::new(),
            pods,
            heard: None,
            told: None,
            node_statuses: NodeStatuses::new(context.client.clone(), &object),
            context,
            object,
            valid,
            board,
            known,
            nodes,
            looks: Looks::default(),
            events,
        };
        partition.resume().await;
        // Before an agent is reached, so before anything is admitted.
        partition.look_at_cordons();
        for node in partition.keeper.kept().nodes.clone() {
            partition.contacts.expect(partition.now(), node.index, node.address);
        }
        Ok(partition)
    }

    /// The instant of this authority's clock.
    fn now(&self) -> Instant {
        Instant::from_nanoseconds(u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX).saturating_add(1))
    }

    /// Works until the authority is overtaken, or nobody tells it anything any more.
    async fn drive(&mut self, told: &mut mpsc::Receiver<Event>, mut queue: mpsc::Receiver<Event>) -> Result<(), PartitionError> {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                event = queue.recv() => self.happened(event.expect("this partition holds a sender"))?,
                event = told.recv() => match event {
                    Some(event) => self.happened(event)?,
                    None => return Ok(()),
                },
                _ = tick.tick() => self.tick(),
            }
        }
    }

    fn happened(&mut self, event: Event) -> Result<(), PartitionError> {
        match event {
            Event::Session(SessionEvent::Message(id, message)) => self.said(id, *message),
            Event::Session(SessionEvent::Over(id, error)) => {
                tracing::debug!(node = %id.node, error = &error as &dyn std::error::Error, "a session is over");
                let lost = self.contacts.over(self.now(), id);
                self.lose(lost);
            }
            Event::Configured(object) => self.configured(object),
            Event::Enrol(enrolling) => self.enrol(*enrolling),
            Event::Job(submission) => self.submitted(*submission),
            Event::Refused(object) => self.refused(&object),
            Event::Written(result) => {
                if let Some(record) = self.keeper.was_written(result).map_err(PartitionError::Overtaken)? {
                    self.step(AuthorityInput::RecordWritten { term: record.term });
                }
                self.follow_up();
            }
            Event::Made(run, result) => self.made(run, result),
            Event::GivenUp(run, given_up) => self.given_up(run, given_up),
            Event::Node(index, seen) => self.judge_life(index, seen.as_ref()),
            Event::Pods => self.look_at_pods(),
        }
        Ok(())
    }

    fn tick(&mut self) {
        let now = self.now();
        let silent = self.contacts.tick(now);
        self.lose(silent);
        if self.authority.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.step(AuthorityInput::Timer);
        }
        self.look_at_nodes(now);
        self.look_at_gangs(now);
        self.withdraw_absent();
        self.forget_ended();
        self.publish();
        self.known.begun.fetch_or(self.has_said_all(), Ordering::Release);
        self.report();
        self.publish_nodes();
    }

    // === the partition's object and its nodes ===

    fn configured(&mut self, object: Arc<Object>) {
        if let Err(error) = self.take_over(object) {
            tracing::error!(error = &error as &dyn std::error::Error, "a changed Partition is not taken over");
        }
    }

    fn take_over(&mut self, object: Arc<Object>) -> Result<(), PartitionError> {
        let valid = valid(&object)?;
        if valid != self.valid {
            let options = session_options(&self.context, self.uid, &valid)?;
            let lost = self.contacts.change(options, valid.suspicion);
            self.valid = valid;
            self.lose(lost);
            self.configure();
        }
        self.object = object;
        Ok(())
    }

    /// Tells the authority its nodes and settings, once there are nodes.
    fn configure(&mut self) {
        let configuration = self.configuration(strobe_authority::settings(&self.valid));
        self.step_all(configuration);
    }

    fn configuration(&self, settings: Settings) -> Option<AuthorityInput> {
        let nodes = self.keeper.kept().capacities();
        let configuration = || PartitionConfiguration {
            ranks_per_namespace: self.valid.max_ranks_per_namespace,
            ..PartitionConfiguration::new(self.uid, settings, nodes.clone())
        };
        (!nodes.is_empty()).then(|| AuthorityInput::Configure(configuration()))
    }

    fn lose(&mut self, agents: impl IntoIterator<Item = NodeIncarnation>) {
        for agent in agents {
            tracing::info!(node = self.keeper.kept().name(agent.node), "an agent is not reached");
            self.step(AuthorityInput::AgentUnreachable { agent });
        }
    }

    // === the agents ===

    fn said(&mut self, id: SessionId, message: AgentMessage) {
        let Some(message) = message.message else { return };
        if let agent_message::Message::Hello(hello) = &message {
            return self.greeted(id, hello);
        }
        let Some(agent) = self.contacts.hears(self.now(), id) else { return };
        match message {
            agent_message::Message::Hello(_) => {}
            agent_message::Message::Report(report) => match PartitionReport::try_from(report) {
                Ok(report) => self.reported(report),
                Err(error) => tracing::warn!(node = self.keeper.kept().name(agent.node), %error, "a report is refused"),
            },
            agent_message::Message::LaunchFailed(failed) => self.launch_failed(failed),
            agent_message::Message::Figures(figures) => {
                self.node_measured(agent, &figures);
                self.measured(agent, &figures);
            }
            agent_message::Message::RankAborted(aborted) => self.aborted(aborted),
            // No file is asked for in a cluster.
            agent_message::Message::Staging(_) => {}
            agent_message::Message::Leaving(_) => self.step(AuthorityInput::AgentLeaving { agent }),
        }
    }

    fn greeted(&mut self, id: SessionId, hello: &AgentHello) {
        let Some(agent) = self.contacts.greeted(self.now(), id, hello) else {
            return tracing::warn!(node = self.keeper.kept().name(id.node), "an agent says that it is another; not spoken to");
        };
        tracing::info!(node = self.keeper.kept().name(agent.node), incarnation = agent.incarnation.0, "an agent is reached");
        self.node_statuses.greeted(self.now(), agent, hello);
        self.step(AuthorityInput::AgentReachable { agent, sealed: hello.sealed.map(Term) });
        let adopted: Vec<GangRun> = hello.adopted.iter().copied().map(GangRun::from).collect();
        for run in adopted.iter().filter(|run| !self.launches.holds(**run)) {
            self.contacts.say(agent.node, Message::Remove((*run).into()));
        }
        for run in self.launches.due(agent, &adopted, |run| self.authority.part(run, agent.node)) {
            self.launch_on(agent, run);
        }
        // What was taken from its node while it was silent counts now.
        self.look_at_pods();
    }

    fn reported(&mut self, report: PartitionReport) {
        for gang in &report.gangs {
            self.follow(gang);
        }
        // The authority believes nobody but the manager that it has appointed itself.
        let counts = self.authority.term_record().is_some_and(|record| record.term == report.fence.term);
        let is_news = counts && self.resumed_are_known(&report);
        self.heard = Some(report.clone());
        self.step(AuthorityInput::Report(report));
        if is_news {
            // Pods that had ended before it was known how far their gang came count now.
            self.look_at_pods();
        }
    }

    // === the authority ===

    fn step(&mut self, input: AuthorityInput) {
        self.step_all([input]);
    }

    /// Keeps what must not be forgotten after all of the inputs, and then does what follows from them.
    fn step_all(&mut self, inputs: impl IntoIterator<Item = AuthorityInput>) {
        let now = self.now();
        for input in inputs {
            self.authority.step(now, input, &mut self.outbox);
        }
        let effects: Vec<_> = self.outbox.drain().collect();
        let change = self.keep_gangs();
        for effect in effects {
            match Command::from(effect) {
                Command::WriteRecord(record) => {
                    self.keeper.keep(|kept| kept.term = Some(record));
                }
                Command::Say(node, message) => self.contacts.say(node, message),
                command @ (Command::Launch(..) | Command::Remove(_)) => self.follows.push_back((change, command)),
                Command::Job(status) => self.changed(&status),
            }
        }
        self.follow_up();
    }

    /// Does what was to be done only once nobody could forget it.
    fn follow_up(&mut self) {
        while self.follows.front().is_some_and(|(change, _)| self.keeper.has_written(*change)) {
            let Some((_, command)) = self.follows.pop_front() else { return };
            match command {
                Command::Launch(run, placement) => self.launch(run, placement),
                Command::Remove(run) => self.remove(run),
                Command::WriteRecord(_) | Command::Say(..) | Command::Job(_) => unreachable!("only what pods are made of waits"),
            }
        }
    }
}

/// What the API server answers, however long it takes: without it nobody may command.
async fn answered<Answer, Failure, Asking>(what: &str, ask: impl Fn() -> Asking) -> Answer
where
    Failure: std::error::Error + 'static,
    Asking: Future<Output = Result<Answer, Failure>>,
{
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot {what} yet");
                tokio::time::sleep(STORE_AGAIN).await;
            }
        }
    }
}

fn valid(object: &Object) -> Result<ValidPartition, PartitionError> {
    validate::partition(object).map_err(|broken| {
        let broken: Vec<String> = broken.iter().map(ToString::to_string).collect();
        PartitionError::Invalid(broken.join("; "))
    })
}

fn session_options(context: &Context, uid: PartitionUid, valid: &ValidPartition) -> Result<SessionOptions, PartitionError> {
    let certificate = context.authority.issue(PeerIdentity::authority(uid)).map_err(PartitionError::Certificate)?;
    Ok(SessionOptions { partition: uid, settings: (&strobe_authority::settings(valid)).into(), certificate })
}

/// A UID as Kubernetes writes it.
fn partition_uid(uid: &str) -> Option<PartitionUid> {
    let digits: String = uid.chars().filter(|character| *character != '-').collect();
    (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok()).flatten().map(PartitionUid)
}

/// Follows the pods of the partition's gangs; the cache is what is seen of them.
fn watch_pods(context: &Context, object: &Object, events: mpsc::Sender<Event>) -> Cache<Pod> {
    let (cache, writer) = reflector::store();
    let labels = format!("{LABEL_PARTITION_UID}={}", object.uid().unwrap_or_default());
    let pods = watcher(Api::<Pod>::all(context.client.clone()), watcher::Config::default().labels(&labels));
    let changes = reflector::reflector(writer, pods.default_backoff().modify(|pod| pod.managed_fields_mut().clear()));
    tokio::spawn(async move {
        let mut changes = std::pin::pin!(changes);
        loop {
            let change = tokio::select! {
                change = changes.next() => change,
                // The partition is gone, or another replica's.
                () = events.closed() => return,
            };
            match change {
                Some(Ok(_)) if events.send(Event::Pods).await.is_ok() => {}
                Some(Ok(_)) | None => return,
                Some(Err(error)) => tracing::warn!(error = &error as &dyn std::error::Error, "pods are not seen for now"),
            }
        }
    });
    cache
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_end_that_is_told() {
        let told = |ended: Result<(), PartitionError>| ended.unwrap_err().to_string();
        let literally = unless_panicked(async { panic!("the row is taken") }).await;
        assert_eq!(told(literally), "it panicked, which is a fault of Strobe: the row is taken");
        let row = 3;
        let formatted = unless_panicked(async { panic!("row {row} is taken") }).await;
        assert_eq!(told(formatted), "it panicked, which is a fault of Strobe: row 3 is taken");
        assert!(unless_panicked(async { Ok(()) }).await.is_ok());
    }

    #[test]
    fn a_uid_is_128_bits_in_hexadecimal() {
        assert_eq!(partition_uid("00000000-0000-0000-0000-0000000000ff"), Some(PartitionUid(255)));
        assert_eq!(partition_uid("ff"), None);
        assert_eq!(partition_uid("zzzzzzzz-0000-0000-0000-000000000000"), None);
    }
}
