//! The table of one transport: a line for each contestant and number of clients, and the goals.

use super::contest::{Contestant, Measurement};
use super::{BARE_LOOP, OURS};
use crate::report::{Goals, median};

/// Ours over a peer's processor time.
const PEER_RATIO_MAX: f64 = 0.7;
/// Ours over the bare loop's.
const BARE_RATIO_MAX: f64 = 1.2;
/// Memory for a client that waits.
const IDLE_KIB_MAX: f64 = 8.0;
const CONNECT_S_MAX: f64 = 20.0;
/// Ours with the most clients over ours with the fewest: what is flat, but for noise.
const FLAT_RATIO_MAX: f64 = 1.15;

/// The rounds of all contestants with one number of clients, in the contestants' order.
pub struct Size {
    pub clients: usize,
    pub rounds: Vec<Vec<Measurement>>,
}

/// The head of the rounds' lines.
pub fn print_head() {
    println!(
        "{:>8} {:<14} {:>9} {:>8} {:>9} {:>9} {:>10} {:>8} {:>8} {:>11}",
        "clients",
        "",
        "CPU us",
        "clients'",
        "idle KiB",
        "after KiB",
        "connect s",
        "p50 ms",
        "p99 ms",
        "deliveries"
    );
}

/// One line.
pub fn print_line(clients: usize, name: &str, it: &Measurement) {
    println!(
        "{clients:>8} {name:<14} {:>9.2} {:>8.2} {:>9.1} {:>9.1} {:>10.2} {:>8.2} {:>8.2} {:>11}",
        it.cpu_us,
        it.clients_cpu_us,
        it.idle_kib,
        it.after_kib,
        it.connect_s,
        it.p50_ms,
        it.p99_ms,
        it.deliveries
    );
}

/// Prints the medians, and judges them.
pub fn judge(contestants: &[Contestant], sizes: &[Size], goals: &mut Goals) {
    println!("\nmedians of the rounds:");
    print_head();
    for size in sizes {
        for (contestant, rounds) in contestants.iter().zip(&size.rounds) {
            let of = |field: fn(&Measurement) -> f64| median(rounds.iter().map(field));
            let line = Measurement {
                cpu_us: of(|it| it.cpu_us),
                clients_cpu_us: of(|it| it.clients_cpu_us),
                idle_kib: of(|it| it.idle_kib),
                after_kib: of(|it| it.after_kib),
                connect_s: of(|it| it.connect_s),
                p50_ms: of(|it| it.p50_ms),
                p99_ms: of(|it| it.p99_ms),
                deliveries: rounds.iter().map(|it| it.deliveries).sum(),
            };
            print_line(size.clients, &contestant.name, &line);
        }
    }
    println!();
    let rounds_of = |size: &'_ Size, name: &str| -> Vec<Measurement> {
        let index = contestants.iter().position(|it| it.name == name);
        index.map_or_else(Vec::new, |index| size.rounds[index].clone())
    };
    for size in sizes {
        let clients = size.clients;
        let ours = rounds_of(size, OURS);
        for contestant in contestants.iter().filter(|it| it.name != OURS) {
            let theirs = rounds_of(size, &contestant.name);
            let pairs = ours.iter().zip(&theirs);
            let ratio = median(pairs.map(|(ours, theirs)| ours.cpu_us / theirs.cpu_us));
            let most = if contestant.name == BARE_LOOP {
                BARE_RATIO_MAX
            } else {
                PEER_RATIO_MAX
            };
            goals.judge(
                ratio <= most,
                format!(
                    "{clients} clients: CPU time {ratio:.2} of that of {} (goal: {most})",
                    contestant.name
                ),
            );
        }
        let idle_kib = median(ours.iter().map(|it| it.idle_kib));
        goals.judge(
            idle_kib < IDLE_KIB_MAX,
            format!("{clients} clients: {idle_kib:.1} KiB for each that waits (goal: below {IDLE_KIB_MAX})"),
        );
        let connect_s = median(ours.iter().map(|it| it.connect_s));
        goals.judge(
            connect_s <= CONNECT_S_MAX,
            format!(
                "{clients} clients: subscribed within {connect_s:.1} s (goal: {CONNECT_S_MAX})"
            ),
        );
    }
    if let [fewest, .., most] = sizes {
        let [least_us, most_us] =
            [fewest, most].map(|size| median(rounds_of(size, OURS).iter().map(|it| it.cpu_us)));
        let ratio = most_us / least_us;
        goals.judge(
            ratio <= FLAT_RATIO_MAX,
            format!(
                "a delivery to {} clients costs {ratio:.2} of one to {} (goal: {FLAT_RATIO_MAX})",
                most.clients, fewest.clients
            ),
        );
    }
}
