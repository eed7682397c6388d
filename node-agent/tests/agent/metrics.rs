//! What a Prometheus server finds at a real agent.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
};

use rustix::thread::{sched_getaffinity, sched_setaffinity};
use strobe_core::{
    model::{Desire, EndCause, GangId, GangIncarnation, GangRun},
    primitives::GangPhase,
};

use crate::{
    RUN,
    authority::{Nodes, gang, in_row},
    observe::eventually,
};

const OTHER: GangRun = GangRun { gang: GangId(2), incarnation: GangIncarnation(1) };

/// Every family: its name, its type, and the unit that its name has to end in.
const FAMILIES: [(&str, &str, Option<&str>); 25] = [
    ("strobe_scheduler", "info", None),
    ("strobe_epochs", "counter", None),
    ("strobe_late_epochs", "counter", None),
    ("strobe_missed_epochs", "counter", None),
    ("strobe_stragglers", "counter", None),
    ("strobe_version_missing_epochs", "counter", None),
    ("strobe_unsynchronised_epochs", "counter", None),
    ("strobe_refused_datagrams", "counter", None),
    ("strobe_watchdog_expiries", "counter", None),
    ("strobe_switch_seconds", "histogram", Some("seconds")),
    ("strobe_epoch_lateness_seconds", "histogram", Some("seconds")),
    ("strobe_clock_offset_seconds", "gauge", Some("seconds")),
    ("strobe_clock_error_bound_seconds", "gauge", Some("seconds")),
    ("strobe_clock_disturbances", "counter", None),
    ("strobe_blocks_held_bytes", "gauge", Some("bytes")),
    ("strobe_blocks_received_bytes", "counter", Some("bytes")),
    ("strobe_blocks_given_bytes", "counter", Some("bytes")),
    ("strobe_blocks_given_up", "counter", None),
    ("strobe_seals", "counter", None),
    ("strobe_admissions", "counter", None),
    ("strobe_affinity_escapes", "counter", None),
    ("strobe_cpu_set_mends", "counter", None),
    ("strobe_refused", "counter", None),
    ("strobe_gangs", "gauge", None),
    ("strobe_gang_cpu_seconds", "counter", Some("seconds")),
];

/// One answer.
pub(crate) struct Scrape {
    head: String,
    text: String,
}

impl Scrape {
    pub(crate) fn of(nodes: &Nodes, node: u16) -> Self {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, nodes.listening(node).metrics_port)).expect("the agent serves metrics");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("a request can be sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the answer is text");
        let (head, text) = answer.split_once("\r\n\r\n").expect("an answer has a head and a body");
        Self { head: head.to_lowercase(), text: text.to_owned() }
    }

    fn has(&self, line: &str) -> bool {
        self.text.lines().any(|other| other == line)
    }

    /// The value of the one series that begins so.
    pub(crate) fn value(&self, series: &str) -> Option<f64> {
        let mut found = self.text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = found.next()?.parse().expect("a value is a number");
        assert!(found.next().is_none(), "{series} is there twice");
        Some(value)
    }

    fn cpu_seconds(&self, run: GangRun) -> Option<f64> {
        self.value(&format!("strobe_gang_cpu_seconds_total{{node=\"0\",gang=\"{}\",incarnation=\"{}\"}}", run.gang.0, run.incarnation.0))
    }

    /// Holds the whole text to the table: each family declared as it should be, and no line of another.
    fn assert_families(&self) {
        for (name, kind, unit) in FAMILIES {
            assert!(self.has(&format!("# TYPE {name} {kind}")), "{name} is no {kind} in\n{}", self.text);
            assert!(self.text.contains(&format!("# HELP {name} ")), "{name} says nothing of itself");
            assert_eq!(self.text.contains(&format!("# UNIT {name} {}\n", unit.unwrap_or_default())), unit.is_some(), "{name}");
            assert!(unit.is_none_or(|unit| name.ends_with(unit)));
        }
        let declared = self.text.lines().filter(|line| line.starts_with("# TYPE ")).count();
        assert_eq!(declared, FAMILIES.len(), "another family in\n{}", self.text);
        self.text.lines().filter(|line| !line.starts_with('#')).for_each(|line| self.assert_sample_is_declared(line));
        assert_eq!(self.text.lines().last(), Some("# EOF"));
    }

    /// The family that a sample's line belongs to, by the rules of the text format.
    fn assert_sample_is_declared(&self, line: &str) {
        let name = line.split(['{', ' ']).next().expect("a line has a name");
        let suffixes: [(&str, &[&str]); 4] =
            [("counter", &["_total"]), ("gauge", &[""]), ("info", &["_info"]), ("histogram", &["_bucket", "_sum", "_count"])];
        let declared = suffixes.iter().flat_map(|(kind, suffixes)| suffixes.iter().map(move |suffix| (*kind, *suffix)));
        let mut families = declared.filter_map(|(kind, suffix)| Some((name.strip_suffix(suffix)?, kind)));
        assert!(families.any(|family| FAMILIES.iter().any(|(name, kind, _)| family == (*name, *kind))), "{line} is of no family");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_family_is_served_with_its_type_and_unit_and_counts() {
    let mut nodes = Nodes::start(1).await;
    let fresh = Scrape::of(&nodes, 0);
    assert!(fresh.head.starts_with("http/1.1 200"), "{}", fresh.head);
    assert!(fresh.head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{}", fresh.head);
    assert!(fresh.value("strobe_clock_error_bound_seconds{node=\"0\"}").unwrap().is_nan(), "a bound is claimed before there is a manager");
    let classes = ["fifo", "other"].map(|class| fresh.value(&format!("strobe_scheduler_info{{node=\"0\",class=\"{class}\"}}")));
    assert!(fresh.cpu_seconds(RUN).is_none(), "a gang has used CPU time before it is there");
    assert!(matches!(classes, [Some(1.0), None] | [None, Some(1.0)]), "{classes:?}");

    nodes.command(1, &[gang(RUN, 1, Desire::Run), in_row(gang(OTHER, 1, Desire::Run), 1)]).await;
    let finish = nodes.path().join("finish");
    for run in [RUN, OTHER] {
        nodes.launch(run, 1, &format!("while test ! -e {}; do :; done", finish.display())).await;
        nodes.wait_for("the gang is released", |heard| (heard.phase(run) == Some(GangPhase::Released)).then_some(())).await;
    }
    let counts = |scrape: &Scrape| {
        let above_zero = |series: &str| scrape.value(&format!("{series}{{node=\"0\"}}")).is_some_and(|value| value > 0.0);
        let counted = ["strobe_epochs_total", "strobe_seals_total", "strobe_admissions_total"].into_iter().all(above_zero);
        let measured = ["strobe_switch_seconds_count", "strobe_switch_seconds_sum", "strobe_epoch_lateness_seconds_count"];
        let computed = [RUN, OTHER].into_iter().all(|run| scrape.cpu_seconds(run).is_some_and(|seconds| seconds > 0.0));
        let synchronised = scrape.value("strobe_clock_error_bound_seconds{node=\"0\"}").is_some_and(|bound| bound < 0.001);
        counted && computed && synchronised && measured.into_iter().all(above_zero)
    };
    eventually("the figures count", || counts(&Scrape::of(&nodes, 0))).await;
    Scrape::of(&nodes, 0).assert_families();
    assert_eq!(Scrape::of(&nodes, 0).value("strobe_gangs{node=\"0\"}"), Some(2.0));

    std::fs::write(finish, "").unwrap();
    for run in [RUN, OTHER] {
        assert_eq!(nodes.wait_for("the gang ends", |heard| heard.ended(run)).await, EndCause::Completed);
    }
    nodes.plan(1, &[]).await;
    nodes.remove(RUN, 0).await;
    eventually("the series of a forgotten gang is gone", || Scrape::of(&nodes, 0).cpu_seconds(RUN).is_none()).await;
    assert!(Scrape::of(&nodes, 0).cpu_seconds(OTHER).is_some(), "the other gang's series went too");
    nodes.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rank_that_leaves_its_cpu_is_pinned_again_and_counted() {
    let everywhere = sched_getaffinity(None).unwrap();
    assert!(everywhere.count() > 1, "this test needs a second CPU to escape to");
    let mut nodes = Nodes::start(1).await;
    nodes.command(1, &[gang(RUN, 1, Desire::Run)]).await;
    let finish = nodes.path().join("finish");
    nodes.launch(RUN, 1, &format!("echo ready; while test ! -e {}; do :; done", finish.display())).await;
    nodes.wait_for_output(RUN, 1).await;
    let escapes = || Scrape::of(&nodes, 0).value("strobe_affinity_escapes_total{node=\"0\"}").unwrap();
    assert!(escapes() < f64::EPSILON, "a rank in its place is counted");
    let rank = nodes.ranks(RUN, 0).processes()[0];
    let own = sched_getaffinity(Some(rank)).unwrap();
    assert_eq!(own.count(), 1);
    sched_setaffinity(Some(rank), &everywhere).unwrap();
    eventually("the escape is counted", || escapes() > 0.0).await;
    assert_eq!(sched_getaffinity(Some(rank)).unwrap(), own);
    std::fs::write(finish, "").unwrap();
    assert_eq!(nodes.wait_for("the gang ends", |heard| heard.ended(RUN)).await, EndCause::Completed);
    nodes.stop().await;
}
