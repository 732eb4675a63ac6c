//! The tables of a contest: one for each workload, and one of all ratios at the end.

use std::collections::BTreeMap;

use anyhow::ensure;

use super::contest::{Contestant, Measurement};
use super::workloads::Workload;
use super::{OURS, WITH_TOKENS};
use crate::report::median;

/// How much more CPU time a token on every request may cost.
const TOKEN_RATIO_MAX: f64 = 1.03;

/// Each contestant's rounds.
pub type Measurements<'a> = BTreeMap<&'a str, Vec<Measurement>>;

/// Prints one workload's table.
pub fn print(workload: &Workload, contestants: &[Contestant], measurements: &Measurements<'_>) {
    println!(
        "\n{} (medians of the rounds; ratio: CPU of {OURS} over CPU of the other, round by round)",
        workload.name
    );
    println!(
        "{:<22} {:>10} {:>9} {:>9} {:>10} {:>10} {:>10} {:>7}",
        "", "requests/s", "p50 ms", "p99 ms", "CPU ms", "peak MiB", "allocated", "ratio"
    );
    for contestant in contestants {
        let rounds = &measurements[contestant.name.as_str()];
        println!(
            "{:<22} {:>10.0} {:>9.3} {:>9.3} {:>10.4} {:>10.1} {:>10.1} {:>7.2}",
            contestant.name,
            of(rounds, |round| round.requests_per_second),
            of(rounds, |round| round.p50_ms),
            of(rounds, |round| round.p99_ms),
            of(rounds, |round| round.cpu_ms),
            of(rounds, |round| round.peak_mib),
            of(rounds, |round| round.peak_anonymous_mib),
            ratio(&measurements[OURS], rounds, |round| round.cpu_ms),
        );
    }
}

/// The last table: one line for each workload and peer.
#[derive(Default)]
pub struct Summary {
    lines: Vec<String>,
    /// What was not met, each in a few words.
    missed: Vec<String>,
}

impl Summary {
    /// Adds a workload's lines.
    pub fn add(
        &mut self,
        workload: &Workload,
        contestants: &[Contestant],
        measurements: &Measurements<'_>,
    ) {
        let ours = &measurements[OURS];
        for contestant in contestants.iter().filter(|it| it.name != OURS) {
            if contestant.name == WITH_TOKENS {
                self.add_tokens(workload, ours, &measurements[WITH_TOKENS]);
                continue;
            }
            let others = &measurements[contestant.name.as_str()];
            let cpu = ratio(ours, others, |round| round.cpu_ms);
            let [p99, their_p99] = [ours, others].map(|rounds| of(rounds, |round| round.p99_ms));
            let [memory, their_memory] =
                [ours, others].map(|rounds| of(rounds, |round| round.peak_mib));
            let mut verdict = |what: &str, compared: bool, is_met: bool| {
                if compared && !is_met {
                    let (workload, other) = (workload.name, &contestant.name);
                    self.missed
                        .push(format!("{what} of {workload} against {other}"));
                }
                match (compared, is_met) {
                    (false, _) => "",
                    (true, true) => "met",
                    (true, false) => "NOT",
                }
            };
            let cpu_met = verdict("CPU time", true, cpu <= workload.goal);
            let p99_met = verdict("p99", workload.compares_p99, p99 <= their_p99);
            let memory_met = verdict("memory", workload.compares_memory, memory < their_memory);
            self.lines.push(format!(
                "{:<16} {:<18} {cpu:>6.2} {:>6.2} {cpu_met:>4} {:>8.4} / {:<8.4} {p99:>7.2} / {their_p99:<7.2} {p99_met:<4} {memory:>6.1} / {their_memory:<6.1} {memory_met}",
                workload.name,
                contestant.name,
                workload.goal,
                of(ours, |round| round.cpu_ms),
                of(others, |round| round.cpu_ms),
            ));
        }
    }

    /// What tokens cost: nothing but CPU time, and a goal of its own.
    fn add_tokens(&mut self, workload: &Workload, without: &[Measurement], with: &[Measurement]) {
        let cost = ratio(with, without, |round| round.cpu_ms);
        let is_met = cost <= TOKEN_RATIO_MAX;
        if !is_met {
            let workload = workload.name;
            self.missed
                .push(format!("the cost of tokens in {workload}"));
        }
        let verdict = if is_met { "met" } else { "NOT" };
        self.lines.push(format!(
            "{:<16} {:<18} {cost:>6.3} {TOKEN_RATIO_MAX:>6.2} {verdict:>4} {:>8.4} / {:<8.4}",
            workload.name,
            "tokens over none",
            of(with, |round| round.cpu_ms),
            of(without, |round| round.cpu_ms),
        ));
    }

    /// Prints it, if there is any comparison.
    ///
    /// # Errors
    /// When a goal was not met.
    pub fn print(&self) -> anyhow::Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        println!("\n{OURS} over the other (ratio: median of the rounds; all answers were equal)");
        println!(
            "{:<16} {:<18} {:>6} {:>6} {:>4} {:^19} {:^17} {:>4} {:^15}",
            "workload", "other", "ratio", "goal", "", "CPU ms", "p99 ms", "", "peak MiB"
        );
        for line in &self.lines {
            println!("{}", line.trim_end());
        }
        ensure!(
            self.missed.is_empty(),
            "not met: {}",
            self.missed.join(", ")
        );
        Ok(())
    }
}

fn of(rounds: &[Measurement], field: fn(&Measurement) -> f64) -> f64 {
    median(rounds.iter().map(field))
}

fn ratio(ours: &[Measurement], others: &[Measurement], field: fn(&Measurement) -> f64) -> f64 {
    let pairs = ours.iter().zip(others);
    median(pairs.map(|(ours, other)| field(ours) / field(other)))
}
