//! The programs of perftest that are run between two nodes, and what they print.

use anyhow::{Context, Result, ensure};

use super::nodes::Node;
use crate::limits::PERFTEST;

/// What a program measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measures {
    /// Microseconds one way, for reads and atomics there and back.
    Latency,
    /// MiB a second.
    Bandwidth,
}

/// One program with its arguments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measurement {
    pub(super) program: &'static str,
    /// Reliable connection or unreliable datagram.
    pub(super) transport: &'static str,
    bytes: u32,
    iterations: u32,
    measures: Measures,
}

/// What it found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) bytes: u32,
    pub(super) iterations: u32,
    pub(super) values: Values,
}

/// The figures, by what was measured. A peak of bandwidth is none of them: under emulation perftest has printed 0 for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Values {
    Latency { least_us: f64, typical_us: f64, most_us: f64 },
    Bandwidth { average_mib_s: f64 },
}

/// Every kind of work request that Strobe uses, as far as perftest knows it.
pub(super) const MEASUREMENTS: [Measurement; 6] = [
    Measurement::new("ib_write_lat", "RC", 8, 1000, Measures::Latency),
    Measurement::new("ib_write_bw", "RC", 65536, 300, Measures::Bandwidth),
    Measurement::new("ib_read_lat", "RC", 8, 500, Measures::Latency),
    Measurement::new("ib_send_lat", "UD", 64, 1000, Measures::Latency),
    Measurement::new("ib_atomic_lat", "RC", 8, 500, Measures::Latency),
    Measurement::new("ib_send_bw", "RC", 65536, 300, Measures::Bandwidth),
];

// === impl Measurement ===

impl Measurement {
    const fn new(program: &'static str, transport: &'static str, bytes: u32, iterations: u32, measures: Measures) -> Self {
        Self { program, transport, bytes, iterations, measures }
    }

    /// What is run in the machine.
    pub(super) fn command(&self, server: &Node, client: &Node) -> Vec<String> {
        let place = |node: &Node| [node.name.clone(), node.device.clone(), node.gid_index.to_string()];
        let mut words = vec!["strobe-perftest".to_owned(), PERFTEST.as_secs().to_string()];
        words.extend(place(server));
        words.push(server.address.to_string());
        words.extend(place(client));
        words.extend([self.program, "-F", "-c", self.transport, "-n"].map(str::to_owned));
        words.push(self.iterations.to_string());
        // An atomic operation has one size only, and perftest takes none for it.
        if self.program != "ib_atomic_lat" {
            words.extend(["-s".to_owned(), self.bytes.to_string()]);
        }
        words
    }

    /// Reads what the client printed.
    ///
    /// # Errors
    /// There is no table, it is another than was expected, or it tells of another measurement.
    pub(super) fn parse(&self, output: &str) -> Result<Found> {
        let mut lines = output.lines().skip_while(|line| !line.trim_start().starts_with("#bytes"));
        let (columns, row) = (columns(lines.next().unwrap_or_default()), lines.next().unwrap_or_default());
        let cells: Vec<&str> = row.split_whitespace().collect();
        let value = |name: &str| -> Result<f64> {
            let index = columns.iter().position(|column| column == name).with_context(|| format!("no column {name}"))?;
            let value: f64 = cells.get(index).and_then(|cell| cell.parse().ok()).with_context(|| format!("no number for {name}"))?;
            ensure!(value.is_finite() && value > 0.0, "{name} is {value}");
            Ok(value)
        };
        let values = match self.measures {
            Measures::Latency => {
                Values::Latency { least_us: value("t_min[usec]")?, typical_us: value("t_typical[usec]")?, most_us: value("t_max[usec]")? }
            }
            Measures::Bandwidth => Values::Bandwidth { average_mib_s: value("BW average[MiB/sec]")? },
        };
        let found = (value("#bytes")?, value("#iterations")?);
        ensure!(found == (f64::from(self.bytes), f64::from(self.iterations)), "{} times {} bytes were measured", found.1, found.0);
        Ok(Found { bytes: self.bytes, iterations: self.iterations, values })
    }
}

/// The names of a table's columns: words, but for those of two words that begin with BW.
fn columns(header: &str) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for word in header.split_whitespace() {
        match columns.last_mut() {
            Some(last) if last == "BW" => *last = format!("BW {word}"),
            _ => columns.push(word.to_owned()),
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LATENCY: &str = "Device not recognized to implement inline feature. Disabling it\n-----\n Mtu             : 1024[B]\n-----\n\
        \x20#bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec]    t_avg[usec]    t_stdev[usec]   99% percentile[usec]   99.9% percentile[usec] \n\
        \x208       1000          65.60          9595.08      1347.67  \t       1687.42     \t1602.16\t\t7962.73 \t\t9595.08\n-----\n";
    const BANDWIDTH: &str = "-----\n #bytes     #iterations    BW peak[MiB/sec]    BW average[MiB/sec]   MsgRate[Mpps]\n\
        \x2065536      300              13.20              12.55  \t\t     0.000201\n-----\n";

    fn measurement(program: &str) -> &'static Measurement {
        MEASUREMENTS.iter().find(|measurement| measurement.program == program).unwrap()
    }

    fn node(number: u8) -> Node {
        let address = Ipv4Addr::new(10, 77, 0, number + 1);
        let (name, device) = (format!("node{number}"), format!("rxe{number}"));
        Node { name, address, device, gid_index: u32::from(number) + 1, gid: address.to_ipv6_mapped() }
    }

    #[test]
    fn a_latency_is_read_by_its_columns() {
        let values = Values::Latency { least_us: 65.6, typical_us: 1347.67, most_us: 9595.08 };
        assert_eq!(measurement("ib_write_lat").parse(LATENCY).unwrap(), Found { bytes: 8, iterations: 1000, values });
    }

    #[test]
    fn a_bandwidth_is_read_by_its_columns() {
        let values = Values::Bandwidth { average_mib_s: 12.55 };
        assert_eq!(measurement("ib_write_bw").parse(BANDWIDTH).unwrap(), Found { bytes: 65536, iterations: 300, values });
    }

    #[test]
    fn what_was_not_asked_for_is_no_result() {
        let error = |program, output: &str| measurement(program).parse(output).unwrap_err().to_string();
        assert_eq!(error("ib_write_bw", LATENCY), "no column BW average[MiB/sec]");
        assert_eq!(error("ib_read_lat", LATENCY), "1000 times 8 bytes were measured");
        assert_eq!(error("ib_write_lat", "Couldn't connect to 10.77.0.1:18515\n"), "no column t_min[usec]");
        assert_eq!(error("ib_write_bw", &BANDWIDTH.replace("12.55", " 0.00")), "BW average[MiB/sec] is 0");
        assert_eq!(error("ib_write_bw", &BANDWIDTH.replace("12.55", "  nan")), "BW average[MiB/sec] is NaN");
    }

    #[test]
    fn each_side_uses_its_own_device_and_entry() {
        let words = measurement("ib_write_bw").command(&node(0), &node(2)).join(" ");
        assert_eq!(words, "strobe-perftest 120 node0 rxe0 1 10.77.0.1 node2 rxe2 3 ib_write_bw -F -c RC -n 300 -s 65536");
        assert!(measurement("ib_atomic_lat").command(&node(0), &node(1)).join(" ").ends_with(" ib_atomic_lat -F -c RC -n 500"));
    }
}
