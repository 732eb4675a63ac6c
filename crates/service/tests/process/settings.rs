//! Settings by their new and their old names, and bad ones.

use rustix::process::Signal;

use crate::process::Process;
use crate::{play, serve};

/// A service that does nothing, with these settings, from its start to its end.
fn serve_and_stop(test: impl Fn(), settings: &[(&str, &str)]) -> Vec<String> {
    play(|config, listener, lifecycle| async move {
        let grace = config.service.shutdown_grace;
        tracing::info!("grace is {grace:?}");
        serve(axum::Router::new(), &config, listener, &lifecycle).await
    });
    let mut process = Process::start(test, settings);
    process.address();
    process.signal(Signal::TERM);
    assert_eq!(process.end().code(), Some(0));
    process.whole_log()
}

fn has(log: &[String], text: &str) -> bool {
    log.iter().any(|line| line.contains(text))
}

#[test]
fn a_new_name_is_read_without_a_warning() {
    let log = serve_and_stop(
        a_new_name_is_read_without_a_warning,
        &[("SHUTDOWN_GRACE", "1500ms")],
    );
    assert!(has(&log, "grace is 1.5s"), "{log:?}");
    assert!(!has(&log, "WARN"), "{log:?}");
}

#[test]
fn a_setting_is_read_from_a_file() {
    let path = file("shutdown-grace", "1500ms\n");
    let log = serve_and_stop(
        a_setting_is_read_from_a_file,
        &[("SHUTDOWN_GRACE_FILE", &path)],
    );
    assert!(has(&log, "grace is 1.5s"), "{log:?}");
}

#[test]
fn a_bad_setting_in_a_file_is_named_and_not_shown() {
    play(|_, _, _| async { Ok(()) });
    let path = file("bad-shutdown-grace", "hunter2");
    let mut process = Process::start(
        a_bad_setting_in_a_file_is_named_and_not_shown,
        &[("SHUTDOWN_GRACE_FILE", &path)],
    );
    assert_eq!(process.end().code(), Some(2));
    let log = process.whole_log();
    assert!(has(&log, "SHUTDOWN_GRACE_FILE="), "{log:?}");
    assert!(!has(&log, "hunter2"), "{log:?}");
}

/// The path of a file with this content.
fn file(name: &str, content: &str) -> String {
    let path = format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&path, content).expect("written");
    path
}

#[test]
fn an_old_name_is_read_and_the_log_says_the_new_one() {
    let log = serve_and_stop(
        an_old_name_is_read_and_the_log_says_the_new_one,
        &[("SHUTDOWN_GRACE_SECONDS", "7")],
    );
    assert!(has(&log, "grace is 7s"), "{log:?}");
    assert!(has(&log, "a setting has a new name"), "{log:?}");
    assert!(has(&log, "SHUTDOWN_GRACE=7s"), "{log:?}");
}

#[test]
fn of_an_old_and_a_new_name_the_new_one_holds() {
    let log = serve_and_stop(
        of_an_old_and_a_new_name_the_new_one_holds,
        &[("SHUTDOWN_GRACE_SECONDS", "7"), ("SHUTDOWN_GRACE", "2s")],
    );
    assert!(has(&log, "grace is 2s"), "{log:?}");
    assert!(has(&log, "by its old and its new name"), "{log:?}");
}

#[test]
fn a_bad_setting_is_named_before_anything_starts() {
    play(|_, _, _| async { Ok(()) });
    for (name, value) in [
        ("SHUTDOWN_GRACE", "10"),
        ("SHUTDOWN_GRACE_SECONDS", "10s"),
        ("FIRST_REQUEST_SECONDS", "0"),
    ] {
        let mut process = Process::start(
            a_bad_setting_is_named_before_anything_starts,
            &[(name, value)],
        );
        assert_eq!(process.end().code(), Some(2));
        let log = process.whole_log();
        assert!(has(&log, name), "{log:?}");
    }
}
