//! Every message that is translated comes back as it went, and every field that can be wrong is refused by its name.
//!
//! The fields that have no row in the tables of bad values are those of which every value means something: counts that only
//! grow (terms, views, epochs, versions, incarnations), sets of one bit a node, durations without a rule, and flags.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{sync::Arc, time::Duration};

use prost::Message;
use strobe_core::{
    authority::SINCE_MAX,
    limits::{CPUS_PER_NODE_MAX, GANGS_PER_PLAN_MAX, MEMBERS_MAX, RANKS_PER_GANG_MAX},
    message::{GangReport, PartitionReport},
    model::{
        AgentIncarnation, Appointment, BarrierFailure, CpuIndex, Desire, EndCause, EstablishedTerm, Fence, GangId, GangIncarnation,
        GangRun, MatrixVersion, NodeIncarnation, NodeIndex, NodePlacement, NodeSet, PartitionUid, Plan, PlannedGang, Policy, RankIndex,
        RankOutcome, RowSet, Settings, SettingsError, Term, TermRecord, View,
    },
    primitives::GangPhase,
};
use strobe_proto::{ConvertError, agent, partition_bytes, partition_uid};

const PARTITION: PartitionUid = PartitionUid(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
const RUN: GangRun = GangRun { gang: GangId(u64::MAX), incarnation: GangIncarnation(u32::MAX) };
const LAST_NODE: NodeIndex = NodeIndex(MEMBERS_MAX as u16 - 1);

/// A good message, made bad in one field.
type Spoiled<Wire> = (fn(&mut Wire), ConvertError);

/// Over the wire and back.
fn carried<Wire: Message + Default>(message: &Wire) -> Wire {
    Wire::decode(message.encode_to_vec().as_slice()).unwrap()
}

fn assert_each_is_refused<Wire, Core>(good: &Wire, spoiled: &[Spoiled<Wire>])
where
    Wire: Message + Default + Clone,
    Core: TryFrom<Wire, Error = ConvertError> + std::fmt::Debug,
{
    Core::try_from(carried(good)).expect("the message is good before it is spoiled");
    for (spoil, error) in spoiled {
        let mut bad = good.clone();
        spoil(&mut bad);
        assert_eq!(Core::try_from(carried(&bad)).expect_err("a spoiled message"), *error);
    }
}

const fn out_of_range(field: &'static str, value: u64) -> ConvertError {
    ConvertError::OutOfRange { field, value }
}

const fn missing(field: &'static str) -> ConvertError {
    ConvertError::Missing { field }
}

const fn too_many(field: &'static str, limit: usize) -> ConvertError {
    ConvertError::TooMany { field, length: limit + 1, limit }
}

fn settings() -> Settings {
    Settings {
        quantum: Duration::from_nanos(10_000_001),
        rows: 16,
        policy: Policy::Kernel,
        lead: Duration::from_nanos(3),
        heartbeat: Duration::from_nanos(4),
        suspicion: Duration::from_nanos(500),
        watchdog: Duration::from_nanos(501),
        clock_tolerance: Duration::from_nanos(7),
        node_lost: Duration::from_nanos(502),
    }
}

fn record() -> TermRecord {
    let members = [NodeIndex(0), LAST_NODE].map(|node| NodeIncarnation { node, incarnation: AgentIncarnation(u64::MAX) });
    let earlier = |term| EstablishedTerm { term: Term(term), members: NodeSet::from_bits(1 << 63 | term) };
    TermRecord {
        partition: PARTITION,
        term: Term(u64::MAX),
        manager: members[1],
        members: members.to_vec(),
        established: Some(earlier(2)),
        since: vec![earlier(3), earlier(4)],
    }
}

fn placement() -> NodePlacement {
    let cpus = [CpuIndex(0), CpuIndex(CPUS_PER_NODE_MAX as u16 - 1)].into_iter().collect();
    NodePlacement { node: LAST_NODE, cpus, first_rank: RankIndex(RANKS_PER_GANG_MAX - 2), ranks: 2 }
}

fn plan() -> Plan {
    let desires = [Desire::Run, Desire::Pause, Desire::Terminate { grace: Duration::from_nanos(u64::MAX) }];
    let planned = |desire| PlannedGang { run: RUN, desire, rows: RowSet::from_bits(0x8001), placement: vec![placement()] };
    Plan { version: MatrixVersion(u64::MAX), gangs: desires.map(planned).to_vec() }
}

fn appointment() -> Appointment {
    Appointment { record: record(), dead: NodeSet::from_bits(1 << 63 | 1), lost: NodeSet::from_bits(1 << 63), plan: Arc::new(plan()) }
}

fn causes() -> Vec<EndCause> {
    let failed = |outcome| EndCause::RankFailed { node: LAST_NODE, rank: RankIndex(RANKS_PER_GANG_MAX - 1), outcome };
    vec![
        EndCause::Completed,
        failed(RankOutcome::Exited(u8::MAX)),
        failed(RankOutcome::Signalled(u8::MAX)),
        failed(RankOutcome::NotStarted(u16::MAX)),
        EndCause::SupervisorLost { node: LAST_NODE },
        EndCause::NodeLost { node: LAST_NODE },
        EndCause::Terminated,
        failed(RankOutcome::Aborted(i32::MIN)),
        failed(RankOutcome::Aborted(i32::MAX)),
        failed(RankOutcome::OutOfMemory),
        failed(RankOutcome::Unknown),
        EndCause::BarrierFailed { node: LAST_NODE, reason: BarrierFailure::KeysTooLarge },
        EndCause::BarrierFailed { node: LAST_NODE, reason: BarrierFailure::MemoryFull },
        EndCause::BarrierFailed { node: LAST_NODE, reason: BarrierFailure::SpaceFull },
        EndCause::BarrierFailed { node: LAST_NODE, reason: BarrierFailure::KeysDamaged },
        EndCause::BarrierFailed { node: LAST_NODE, reason: BarrierFailure::RankLeft },
    ]
}

fn report() -> PartitionReport {
    let gang =
        |phase| GangReport { run: RUN, phase, held: true, nodes_up: MEMBERS_MAX as u16, nodes_absent: vec![NodeIndex(0), LAST_NODE] };
    let phases = [GangPhase::Launching, GangPhase::Released].into_iter();
    let phases = phases.chain(causes().into_iter().flat_map(|cause| [GangPhase::Ending(cause), GangPhase::Ended(cause)]));
    PartitionReport {
        fence: Fence { partition: PARTITION, term: Term(7), view: View(8) },
        sequence: 9,
        established: true,
        leads: true,
        refused_by: Some(Term(0)),
        view: record().members,
        generation: 10,
        plan: MatrixVersion(11),
        gangs: phases.map(gang).collect(),
    }
}

#[test]
fn what_goes_over_the_wire_comes_back_the_same() {
    assert_eq!(Settings::try_from(carried(&agent::Settings::from(&settings()))), Ok(settings()));
    assert_eq!(TermRecord::try_from(carried(&agent::TermRecord::from(&record()))), Ok(record()));
    assert_eq!(Plan::try_from(carried(&agent::Plan::from(&plan()))), Ok(plan()));
    assert_eq!(Appointment::try_from(carried(&agent::Appointment::from(&appointment()))), Ok(appointment()));
    assert_eq!(PartitionReport::try_from(carried(&agent::PartitionReport::from(&report()))), Ok(report()));
    assert_eq!(GangRun::from(carried(&agent::GangRun::from(RUN))), RUN);
    assert_eq!(partition_uid(&partition_bytes(PARTITION)), Ok(PARTITION));
}

#[test]
fn what_is_absent_comes_back_absent() {
    let first = TermRecord { established: None, since: Vec::new(), ..record() };
    assert_eq!(TermRecord::try_from(carried(&agent::TermRecord::from(&first))), Ok(first));
    let quiet = PartitionReport { refused_by: None, established: false, leads: false, gangs: Vec::new(), view: Vec::new(), ..report() };
    assert_eq!(PartitionReport::try_from(carried(&agent::PartitionReport::from(&quiet))), Ok(quiet));
}

#[test]
fn a_partition_uid_has_sixteen_bytes() {
    for length in [0, 15, 17] {
        assert_eq!(partition_uid(&vec![1; length]), Err(ConvertError::PartitionUid { length }));
    }
}

#[test]
fn bad_settings_are_refused_field_by_field() {
    let refused = ConvertError::Settings;
    assert_each_is_refused::<agent::Settings, Settings>(
        &(&settings()).into(),
        &[
            (|bad| bad.quantum_nanoseconds = 0, refused(SettingsError::Quantum)),
            (|bad| bad.rows = 0, refused(SettingsError::Rows)),
            (|bad| bad.rows = 17, refused(SettingsError::Rows)),
            (|bad| bad.rows = 256, out_of_range("rows", 256)),
            (|bad| bad.policy = 0, missing("policy")),
            (|bad| bad.policy = 3, out_of_range("policy", 3)),
            (|bad| bad.lead_nanoseconds = 0, refused(SettingsError::Lead)),
            (|bad| bad.heartbeat_nanoseconds = u64::MAX, refused(SettingsError::Heartbeat)),
            (|bad| bad.suspicion_nanoseconds = u64::MAX, refused(SettingsError::Watchdog)),
            (|bad| bad.watchdog_nanoseconds = 500, refused(SettingsError::Watchdog)),
            (|bad| bad.node_lost_nanoseconds = 499, refused(SettingsError::NodeLost)),
        ],
    );
}

#[test]
fn a_bad_term_record_is_refused_field_by_field() {
    assert_each_is_refused::<agent::TermRecord, TermRecord>(
        &(&record()).into(),
        &[
            (|bad| bad.partition.truncate(15), ConvertError::PartitionUid { length: 15 }),
            (|bad| bad.manager = None, missing("manager")),
            (|bad| bad.manager.as_mut().unwrap().node = 64, out_of_range("node", 64)),
            (|bad| bad.members[1].node = u32::MAX, out_of_range("node", u32::MAX.into())),
            (|bad| bad.members = vec![bad.members[0]; MEMBERS_MAX + 1], too_many("members", MEMBERS_MAX)),
            (|bad| bad.since = vec![bad.since[0]; SINCE_MAX + 1], too_many("since", SINCE_MAX)),
        ],
    );
}

#[test]
fn a_bad_plan_is_refused_field_by_field() {
    fn place(plan: &mut agent::Plan) -> &mut agent::NodePlacement {
        &mut plan.gangs[0].placement[0]
    }
    assert_each_is_refused::<agent::Plan, Plan>(
        &(&plan()).into(),
        &[
            (|bad| bad.gangs = vec![bad.gangs[0].clone(); GANGS_PER_PLAN_MAX + 1], too_many("gangs", GANGS_PER_PLAN_MAX)),
            (|bad| bad.gangs[0].run = None, missing("run")),
            (|bad| bad.gangs[0].desire = None, missing("desire")),
            (|bad| bad.gangs[0].rows = 1 << 16, out_of_range("rows", 1 << 16)),
            (|bad| bad.gangs[0].placement = vec![place(bad).clone(); MEMBERS_MAX + 1], too_many("placement", MEMBERS_MAX)),
            (|bad| place(bad).node = 64, out_of_range("node", 64)),
            (|bad| place(bad).cpus[0] = CPUS_PER_NODE_MAX as u32, out_of_range("cpus", CPUS_PER_NODE_MAX as u64)),
            (|bad| place(bad).cpus = vec![0; CPUS_PER_NODE_MAX + 1], too_many("cpus", CPUS_PER_NODE_MAX)),
            (|bad| place(bad).first_rank = RANKS_PER_GANG_MAX, out_of_range("first_rank", RANKS_PER_GANG_MAX.into())),
            (|bad| place(bad).ranks = 0, out_of_range("ranks", 0)),
            (|bad| place(bad).ranks = 3, out_of_range("ranks", 3)),
            (|bad| place(bad).ranks = u32::MAX, out_of_range("ranks", u32::MAX.into())),
        ],
    );
}

#[test]
fn a_bad_appointment_is_refused_field_by_field() {
    assert_each_is_refused::<agent::Appointment, Appointment>(
        &(&appointment()).into(),
        &[
            (|bad| bad.record = None, missing("record")),
            (|bad| bad.record.as_mut().unwrap().manager = None, missing("manager")),
            (|bad| bad.plan = None, missing("plan")),
            (|bad| bad.plan.as_mut().unwrap().gangs[0].run = None, missing("run")),
        ],
    );
}

#[test]
fn a_bad_report_is_refused_field_by_field() {
    assert_each_is_refused::<agent::PartitionReport, PartitionReport>(
        &(&report()).into(),
        &[
            (|bad| bad.partition.push(0), ConvertError::PartitionUid { length: 17 }),
            (|bad| bad.members[0].node = 64, out_of_range("node", 64)),
            (|bad| bad.members = vec![bad.members[0]; MEMBERS_MAX + 1], too_many("members", MEMBERS_MAX)),
            (|bad| bad.gangs = vec![bad.gangs[0].clone(); GANGS_PER_PLAN_MAX + 1], too_many("gangs", GANGS_PER_PLAN_MAX)),
            (|bad| bad.gangs[0].run = None, missing("run")),
            (|bad| bad.gangs[0].phase = 0, missing("phase")),
            (|bad| bad.gangs[0].phase = 5, out_of_range("phase", 5)),
            (|bad| bad.gangs[2].cause = None, missing("cause")),
            (|bad| bad.gangs[3].cause = Some(agent::EndCause { cause: None }), missing("cause")),
            (|bad| bad.gangs[0].nodes_up = 65, out_of_range("nodes_up", 65)),
            (|bad| bad.gangs[0].nodes_absent[0] = 64, out_of_range("nodes_absent", 64)),
            (|bad| bad.gangs[0].nodes_absent = vec![0; MEMBERS_MAX + 1], too_many("nodes_absent", MEMBERS_MAX)),
        ],
    );
}

/// A field of number 8, of no bytes: of a version to come.
const FURTHER_OUTCOME: [u8; 2] = [8 << 3 | 2, 0];

#[test]
fn an_outcome_that_only_a_later_version_knows_is_a_failure_of_that_rank() {
    let told = agent::RankFailed { node: 1, rank: 2, outcome: None };
    let mut bytes = told.encode_to_vec();
    bytes.extend(FURTHER_OUTCOME);
    let read = agent::RankFailed::decode(bytes.as_slice()).unwrap();
    let cause = agent::EndCause { cause: Some(agent::end_cause::Cause::RankFailed(read)) };
    let failed = EndCause::RankFailed { node: NodeIndex(1), rank: RankIndex(2), outcome: RankOutcome::Unknown };
    assert_eq!(EndCause::try_from(cause), Ok(failed));
}

#[test]
fn a_bad_cause_of_an_end_is_refused_field_by_field() {
    use agent::{BarrierFailed, EndCause as Wire, RankFailed, end_cause::Cause, rank_failed::Outcome};
    let failed = RankFailed { node: 1, rank: 2, outcome: Some(Outcome::Exited(3)) };
    let ended = |outcome| Cause::RankFailed(RankFailed { outcome: Some(outcome), ..failed });
    let bad = [
        (Cause::RankFailed(RankFailed { node: 64, ..failed }), out_of_range("node", 64)),
        (Cause::RankFailed(RankFailed { rank: RANKS_PER_GANG_MAX, ..failed }), out_of_range("rank", RANKS_PER_GANG_MAX.into())),
        (ended(Outcome::Exited(256)), out_of_range("exited", 256)),
        (ended(Outcome::Signalled(256)), out_of_range("signalled", 256)),
        (ended(Outcome::NotStarted(65_536)), out_of_range("not_started", 65_536)),
        (Cause::SupervisorLost(64), out_of_range("supervisor_lost", 64)),
        (Cause::NodeLost(64), out_of_range("node_lost", 64)),
        (Cause::BarrierFailed(BarrierFailed { node: 64, reason: 1 }), out_of_range("node", 64)),
        (Cause::BarrierFailed(BarrierFailed { node: 1, reason: 0 }), missing("reason")),
        (Cause::BarrierFailed(BarrierFailed { node: 1, reason: 6 }), out_of_range("reason", 6)),
    ];
    for (cause, error) in bad {
        assert_eq!(EndCause::try_from(carried(&Wire { cause: Some(cause) })), Err(error));
    }
}
