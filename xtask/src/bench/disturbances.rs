//! What others did to the machine during a whole measurement, and how its page says so.

use super::page::row;
use super::processor_time::{DISTURBED_PERCENT, Noise};

/// What others did meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Disturbances {
    pub(super) cells: usize,
    pub(super) disturbed: usize,
    /// The largest of each.
    pub(super) most: Noise,
    /// No real-time priority, or no cgroups, in some cell.
    pub(super) degraded: bool,
}

// === impl Disturbances ===

impl Disturbances {
    /// Of the noise of each cell.
    pub(super) fn of<'a>(noises: impl Iterator<Item = &'a Noise>, degraded: bool) -> Self {
        let noises: Vec<&Noise> = noises.collect();
        let most = |figure: fn(&Noise) -> f64| noises.iter().map(|noise| figure(noise)).fold(0.0, f64::max);
        Self {
            cells: noises.len(),
            disturbed: noises.iter().filter(|noise| noise.is_disturbed()).count(),
            most: Noise {
                busy_before_percent: most(|noise| noise.busy_before_percent),
                other_percent: most(|noise| noise.other_percent),
                stolen_percent: most(|noise| noise.stolen_percent),
                load: most(|noise| noise.load),
            },
            degraded,
        }
    }

    /// The section about them. `others` says which processes count, `where_degraded` what ran without real-time priority or cgroups.
    pub(super) fn section(&self, others: &str, where_degraded: &str) -> String {
        let most = &self.most;
        let mut text = format!(
            "## Noise\n\nOf {} cells, {} were disturbed: processes that are {others}, or the machine's host, used more than {DISTURBED_PERCENT} % \
            of its CPU time. All cells are in the figures. The most in any cell: other processes {:.1} %, host {:.1} %; {:.1} % in the moment \
            before a start.\n",
            self.cells, self.disturbed, most.other_percent, most.stolen_percent, most.busy_before_percent,
        );
        if self.degraded {
            text.push_str(&format!(
                "\n**Some {where_degraded} without real-time priority or without cgroups: see `scheduler` and `freezer` in the raw results.**\n"
            ));
        }
        text
    }

    /// The rows of the machine's table that are measured, after those that are looked up.
    pub(super) fn add_rows(&self, text: &mut String, loops_per_us: f64) {
        let load = format!("{:.2}, earlier cells included", self.most.load);
        row(text, &["largest load of a minute at a cell's start".to_owned(), load]);
        row(text, &["loops of grain in a microsecond".to_owned(), format!("{loops_per_us:.1}")]);
    }
}
