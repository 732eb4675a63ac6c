//! What a process logs, and that the log never delays it.

use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::{Process, counter, fetch};
use crate::talkative::talkative;
use crate::{LIMIT, play};

#[test]
fn a_process_whose_log_has_no_reader_any_more_answers_and_ends() {
    play(talkative);
    let mut process = Process::start(
        a_process_whose_log_has_no_reader_any_more_answers_and_ends,
        &[],
    );
    drop(process.log.take());
    let dropped = answers_whatever_it_logs(&mut process);
    assert!(dropped > 0);
}

#[test]
fn a_process_whose_log_goes_to_a_full_disk_answers_and_ends() {
    play(talkative);
    let full = File::options().write(true).open("/dev/full");
    let mut process = Process::start_with_log(
        a_process_whose_log_goes_to_a_full_disk_answers_and_ends,
        &[],
        full.expect("a file").into(),
    );
    let dropped = answers_whatever_it_logs(&mut process);
    assert!(dropped > 0);
}

#[test]
fn a_process_whose_log_nobody_reads_answers_and_ends() {
    play(talkative);
    let mut process = Process::start(a_process_whose_log_nobody_reads_answers_and_ends, &[]);
    let dropped = answers_whatever_it_logs(&mut process);
    assert!(dropped > 0);
}

#[test]
fn a_process_whose_log_file_is_at_the_limit_of_file_sizes_answers_and_ends() {
    play(talkative);
    let file = tempfile::tempfile().expect("a file");
    let mut process = Process::start_by(
        // The limit is in units of 512 or 1024 bytes, by the shell.
        Command::new("sh")
            .args(["-c", "ulimit -f 64; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().expect("this program")),
        a_process_whose_log_file_is_at_the_limit_of_file_sizes_answers_and_ends,
        &[],
        file.try_clone().expect("a file").into(),
    );
    let dropped = answers_whatever_it_logs(&mut process);
    assert!(dropped > 0);
    let length = file.metadata().expect("its length").len();
    assert!(length >= 32 * 1024, "{length} bytes were logged");
}

#[test]
fn a_flood_of_equal_lines_is_summed_up_in_the_log() {
    play(|config, listener, lifecycle| async move {
        for attempt in 0..1000 {
            tracing::warn!(attempt, "the stream broke");
        }
        tracing::warn!("the stream is back");
        talkative(config, listener, lifecycle).await
    });
    let mut process = Process::start(
        a_flood_of_equal_lines_is_summed_up_in_the_log,
        &[("LOG_FORMAT", "json"), ("LOG", "process=warn")],
    );
    let address = process.address();
    assert_eq!(counter(address, "log_lines_suppressed_total"), 900);
    process.signal(Signal::TERM);
    assert_eq!(process.end().code(), Some(0));
    let log = process.json_log();
    assert_eq!(log.len(), 102, "{log:#?}");
    assert_eq!(log[0]["attempt"], 0);
    assert_eq!(log[99]["attempt"], 99);
    assert_eq!(log[100]["message"], "the stream is back");
    let summary = &log[101];
    assert_eq!(
        summary["message"],
        "900 more lines like the last one were left out"
    );
    assert_eq!(summary["level"], "WARN");
    assert_eq!(summary["lines"], 900);
    assert_eq!(summary["of"], "process::logs");
    assert_eq!(summary["like"], "the stream broke");
}

#[test]
fn a_panic_is_an_event_of_the_log() {
    play(talkative);
    let mut process = Process::start(a_panic_is_an_event_of_the_log, &[("LOG_FORMAT", "json")]);
    let address = process.address();
    assert_eq!(fetch(address, "/panic"), "caught");
    process.signal(Signal::TERM);
    assert_eq!(process.end().code(), Some(0));
    let log = process.json_log();
    let panic = log
        .iter()
        .find(|event| event["message"] == "a thread panicked");
    let panic = panic.expect("its event");
    assert_eq!(panic["reason"], "boom 1");
    assert!(
        panic["location"]
            .as_str()
            .is_some_and(|at| at.contains("talkative.rs:"))
    );
}

/// Goes through a life with many log lines and a panic; returns how many lines were dropped.
fn answers_whatever_it_logs(process: &mut Process) -> u64 {
    let address = process.address();
    assert_eq!(fetch(address, "/log"), "logged");
    assert_eq!(fetch(address, "/panic"), "caught");
    assert_eq!(fetch(address, "/health/live"), "live\n");
    let dropped = || counter(address, "log_lines_dropped_total");
    let deadline = Instant::now() + LIMIT;
    while dropped() == 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let dropped = dropped();
    process.signal(Signal::TERM);
    assert_eq!(process.end().code(), Some(0));
    dropped
}
