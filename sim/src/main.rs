fn main() {
    let first = std::env::args().nth(1).unwrap_or_default();
    if first.ends_with(".json") {
        let scenario = serde_json::from_str(&std::fs::read_to_string(first).unwrap()).unwrap();
        let outcome = strobe_sim::simulate(&scenario, true);
        for line in &outcome.lines { println!("{line}"); }
        println!("{:?} {:?}", outcome.violation, outcome.counters);
        return;
    }
    let start: u64 = first.parse().unwrap_or(0);
    let count: u64 = std::env::args().nth(2).and_then(|a| a.parse().ok()).unwrap_or(1);
    let mut fails = 0; let mut events = 0;
    let begin = std::time::Instant::now();
    for seed in start..start + count {
        let scenario = strobe_sim::scenario::Scenario::of_seed(seed, strobe_sim::scenario::Options::default());
        let outcome = strobe_sim::simulate(&scenario, count == 1);
        events += outcome.counters.events;
        if count == 1 {
            for line in &outcome.lines { println!("{line}"); }
            println!("{}", serde_json::to_string(&scenario).unwrap());
        }
        if let Some(v) = outcome.violation { fails += 1; println!("{seed} n={} {:?} {:?}", scenario.nodes, v, outcome.counters.nanoseconds / 1000000); }
    }
    println!("{fails} of {count} failed, {events} events, {:?}", begin.elapsed());
}
