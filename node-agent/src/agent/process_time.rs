//! CPU time of processes, as `/proc/PID/stat` tells it: to a clock tick, which is 10 ms.

use std::{fs, time::Duration};

use rustix::{param::clock_ticks_per_second, process::Pid};

use crate::process_tree::children_of;

/// CPU time of a process, in clock ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    /// Of all its threads.
    own: u64,
    /// Of children that it has waited for, and of theirs.
    waited: u64,
}

/// CPU time of children that a process has waited for, and of those that they had waited for; none when it is gone.
pub(super) fn waited_time(process: Pid) -> Option<Duration> {
    Ticks::of(process).map(|ticks| duration(ticks.waited))
}

/// CPU time of a process, of what it has waited for, and of its living descendants where the kernel lists children. What ends
/// meanwhile may be left out, and is never counted twice: a parent is read before its children, and only a parent is told of
/// time.
pub(super) fn tree_time(root: Pid) -> Duration {
    let mut ticks = 0;
    let mut left = vec![root];
    while let Some(process) = left.pop() {
        let Some(used) = Ticks::of(process) else { continue };
        ticks += used.own + used.waited;
        left.extend(children_of(process));
    }
    duration(ticks)
}

fn duration(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64)
}

// === impl Ticks ===

impl Ticks {
    fn of(process: Pid) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{process}/stat")).ok()?)
    }

    /// The fields 14 to 17 of proc(5): the third is the first behind the bracketed name.
    fn parse(stat: &[u8]) -> Option<Self> {
        let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
        let fields = std::str::from_utf8(&stat[after_name..]).ok()?.split_ascii_whitespace();
        let mut times = fields.skip(11).map_while(|field| field.parse::<u64>().ok());
        let own = times.next()? + times.next()?;
        Some(Self { own, waited: times.next()? + times.next()? })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        process::{Child, Command, Stdio},
    };

    use super::*;

    /// Longer than a test computes.
    const MUCH: Duration = Duration::from_secs(3600);

    #[test]
    fn the_times_follow_the_last_bracket() {
        let stat = b"12 (a) S 9 9) R 1 7 8 0 -1 4194560 10 20 30 40 150 50 7 3 20 0 1";
        assert_eq!(Ticks::parse(stat), Some(Ticks { own: 200, waited: 10 }));
        assert_eq!(Ticks::parse(b"12 (a) R 1 7 8"), None);
    }

    /// A shell that has computed as `script` says, and waits for the end of its input.
    fn computed(script: &str) -> Child {
        let work = "work() { i=0; while test $i -lt 100000; do i=$((i+1)); done; }";
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("{work}; {script}")]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        shell
    }

    fn end(mut shell: Child) {
        drop(shell.stdin.take());
        shell.wait().unwrap();
    }

    #[test]
    fn the_time_of_a_process_counts_as_that_of_its_living_and_its_ended_children() {
        for script in ["work; echo done; read end", "(work); echo done; read end", "(work; echo done; read end)"] {
            let shell = computed(script);
            let used = tree_time(Pid::from_child(&shell));
            assert!(used > Duration::ZERO && used < MUCH, "{script}: {used:?}");
            end(shell);
        }
    }

    #[test]
    fn children_count_as_waited_for_when_they_were() {
        let shell = computed("(work); echo done; read end");
        let own = computed("work; echo done; read end");
        assert!(waited_time(Pid::from_child(&shell)).is_some_and(|waited| waited > Duration::ZERO));
        assert_eq!(waited_time(Pid::from_child(&own)), Some(Duration::ZERO));
        end(shell);
        end(own);
    }
}
