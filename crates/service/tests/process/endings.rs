//! How a process ends, and with which exit code.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::{Process, fetch, until_closed};
use crate::talkative::talkative;
use crate::{LIMIT, play, serve};

/// Waits until it serves, which is a moment after it listens: before, it would end without a delay.
fn serves(process: &mut Process) -> SocketAddr {
    let address = process.address();
    let ready = fetch(address, "/health/ready");
    assert!(ready.contains(r#""status":"ready""#), "{ready}");
    address
}

#[test]
fn a_background_task_that_dies_ends_the_process_with_its_reason_in_the_log() {
    play(|config, listener, lifecycle| async move {
        lifecycle.spawn("projection", async { Err(anyhow::anyhow!("no primary")) });
        serve(axum::Router::new(), &config, listener, &lifecycle).await
    });
    let mut process = Process::start(
        a_background_task_that_dies_ends_the_process_with_its_reason_in_the_log,
        &[("LOG_FORMAT", "json")],
    );
    assert_eq!(process.end().code(), Some(1));

    let log = process.json_log();
    let last = log.last().expect("a line");
    assert_eq!(last["level"], "ERROR");
    assert_eq!(last["message"], "stopped by a fault");
    assert_eq!(last["service"], "doomed");
    assert_eq!(last["reason"], "projection failed: no primary");
    assert!(log.iter().all(|event| event["timestamp"].is_string()));
}

#[test]
fn with_the_log_turned_off_the_reason_is_told_all_the_same() {
    play(|_, _, _| async { Err(anyhow::anyhow!("no primary")) });
    let mut process = Process::start(
        with_the_log_turned_off_the_reason_is_told_all_the_same,
        &[("LOG", "off")],
    );
    assert_eq!(process.end().code(), Some(1));
    assert_eq!(process.whole_log(), ["doomed: no primary"]);
}

#[test]
fn a_hangup_calls_for_a_reload_and_ends_nothing() {
    play(|config, listener, lifecycle| async move {
        let (mut reloads, shutdown) = (lifecycle.reloads(), lifecycle.shutdown().clone());
        lifecycle.spawn("feed", async move {
            while let Some(changed) = shutdown.run_until_cancelled(reloads.changed()).await {
                changed?;
                tracing::info!(count = *reloads.borrow(), "read again");
            }
            Ok(())
        });
        serve(axum::Router::new(), &config, listener, &lifecycle).await
    });
    let mut process = Process::start(a_hangup_calls_for_a_reload_and_ends_nothing, &[]);
    process.address();
    for count in 1..=2 {
        process.signal(Signal::HUP);
        process.logged(&format!("read again count={count}"));
    }
    process.signal(Signal::TERM);
    assert_eq!(process.end().code(), Some(0));
}

#[test]
fn a_second_interrupt_ends_a_process_that_is_still_shutting_down() {
    play(|config, listener, lifecycle| async move {
        lifecycle.spawn("feed", std::future::pending());
        talkative(config, listener, lifecycle).await
    });
    let mut process = Process::start(
        a_second_interrupt_ends_a_process_that_is_still_shutting_down,
        &[],
    );
    serves(&mut process);
    process.signal(Signal::TERM);
    process.logged("shutting down");
    process.signal(Signal::TERM);
    process.signal(Signal::INT);
    assert_eq!(process.end().code(), Some(130));
}

#[test]
fn a_background_task_that_never_returns_is_abandoned_after_one_grace_period() {
    play(|config, listener, lifecycle| async move {
        lifecycle.spawn("feed", std::future::pending());
        talkative(config, listener, lifecycle).await
    });
    let mut process = Process::start(
        a_background_task_that_never_returns_is_abandoned_after_one_grace_period,
        &[("SHUTDOWN_GRACE", "1s")],
    );
    serves(&mut process);
    process.signal(Signal::TERM);
    assert_eq!(process.end().code(), Some(1));
    process.logged("the background tasks did not stop within 1 s");
}

#[test]
fn a_service_that_hangs_is_abandoned_after_its_grace_period() {
    play(|config, listener, lifecycle| async move {
        talkative(config, listener, lifecycle).await?;
        std::future::pending().await
    });
    let mut process = Process::start(
        a_service_that_hangs_is_abandoned_after_its_grace_period,
        &[("SHUTDOWN_GRACE", "1s")],
    );
    serves(&mut process);
    process.signal(Signal::TERM);
    assert_eq!(process.end().code(), Some(1));
    process.logged("the service did not end within 1 s");
}

#[test]
fn a_process_whose_every_thread_is_busy_ends_after_its_grace_period() {
    play(talkative);
    let mut process = Process::start(
        a_process_whose_every_thread_is_busy_ends_after_its_grace_period,
        &[("SHUTDOWN_GRACE", "0s")],
    );
    let address = process.address();
    let hung = std::thread::spawn(move || fetch(address, "/hang"));
    process.logged("every thread hangs");
    process.signal(Signal::TERM);
    assert_eq!(process.end().code(), Some(1));
    process.logged("the process did not end within 3 s: something in it hangs");
    assert_eq!(hung.join().expect("no panic"), "");
}

#[test]
fn a_service_that_is_told_to_end_before_it_serves_ends_at_once() {
    play(|_, _, lifecycle| async move {
        let _lifecycle = lifecycle;
        std::future::pending().await
    });
    let mut process = Process::start(
        a_service_that_is_told_to_end_before_it_serves_ends_at_once,
        &[("SHUTDOWN_GRACE", "1h")],
    );
    process.address();
    process.signal(Signal::TERM);
    assert_eq!(process.end().code(), Some(0));
}

#[test]
fn a_service_that_is_asked_to_leave_serves_on_until_it_is_asked_again() {
    play(talkative);
    for signal in [Signal::INT, Signal::TERM] {
        let mut process = Process::start(
            a_service_that_is_asked_to_leave_serves_on_until_it_is_asked_again,
            &[("SHUTDOWN_DELAY", "1h")],
        );
        let address = serves(&mut process);
        process.signal(Signal::TERM);
        process.logged("shutting down");
        // Two that come together are one: some supervisors send them to a process and to its group.
        process.signal(Signal::TERM);
        // It says so a moment after it has logged it.
        let began = Instant::now();
        let is_leaving =
            || fetch(address, "/health/ready").contains("the service is shutting down");
        while !is_leaving() {
            assert!(began.elapsed() < LIMIT, "it stays ready");
        }
        assert_eq!(fetch(address, "/health/live"), "live\n");
        assert_eq!(fetch(address, "/panic"), "caught");
        // Without being asked to, it closes connections, before it stops: nothing is under way to it then.
        let answer = until_closed(address, "/health/live", "").to_lowercase();
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        process.signal(signal);
        let began = Instant::now();
        while signal == Signal::TERM && began.elapsed() < LIMIT && !process.has_ended() {
            process.signal(signal);
            std::thread::sleep(Duration::from_millis(20));
        }
        // The rest of the delay is left out, and not the end itself.
        assert_eq!(process.end().code(), Some(0));
    }
}

#[test]
fn a_service_that_is_asked_to_leave_ends_after_its_delay() {
    play(talkative);
    let mut process = Process::start(
        a_service_that_is_asked_to_leave_ends_after_its_delay,
        &[("SHUTDOWN_DELAY", "300ms")],
    );
    serves(&mut process);
    let began = Instant::now();
    process.signal(Signal::TERM);
    assert_eq!(process.end().code(), Some(0));
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_person_who_interrupts_waits_for_no_delay() {
    play(talkative);
    let mut process = Process::start(
        a_person_who_interrupts_waits_for_no_delay,
        &[("SHUTDOWN_DELAY", "1h")],
    );
    serves(&mut process);
    process.signal(Signal::INT);
    assert_eq!(process.end().code(), Some(0));
}
