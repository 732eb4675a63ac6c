//! What is served on the public port, and what on the operations port.

use rustix::process::Signal;
use service::Lifecycle;
use tokio::net::TcpListener;

use crate::process::{Process, fetch};
use crate::{Config, operations, play, serve};

#[test]
fn metrics_are_on_the_public_port_in_development_only() {
    play(public_and_operations);
    for (development, is_there) in [("true", true), ("false", false)] {
        let mut process = Process::start(
            metrics_are_on_the_public_port_in_development_only,
            &[("DEVELOPMENT", development)],
        );
        let address = process.address();
        assert_eq!(fetch(address, "/health/live"), "live\n");
        assert_eq!(fetch(address, "/metrics/page") == "a page", is_there);
        assert_eq!(fetch(address, "/metrics").contains("# EOF"), is_there);
    }
}

#[test]
fn metrics_are_on_the_operations_port_alone_where_there_is_one() {
    play(public_and_operations);
    for development in ["true", "false"] {
        let settings = [("OPERATIONS_PORT", "0"), ("DEVELOPMENT", development)];
        let mut process = Process::start(
            metrics_are_on_the_operations_port_alone_where_there_is_one,
            &settings,
        );
        let public = process.address();
        let operations = process.address_after(service::OPERATIONS);
        assert_eq!(fetch(operations, "/metrics/page"), "a page");
        assert!(fetch(operations, "/metrics").contains("# EOF"));
        assert_eq!(fetch(public, "/health/live"), "live\n");
        for path in ["/metrics", "/metrics/page"] {
            assert_eq!(fetch(public, path), "", "{path}");
        }
        process.signal(Signal::TERM);
        assert_eq!(process.end().code(), Some(0));
    }
}

#[test]
fn an_operations_port_that_cannot_be_used_is_refused_by_name() {
    play(public_and_operations);
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let taken = held.local_addr().expect("an address").port().to_string();
    for (port, code, name) in [
        (&*taken, 1, "OPERATIONS_PORT"),
        ("many", 2, "--operations-port"),
    ] {
        let mut process = Process::start(
            an_operations_port_that_cannot_be_used_is_refused_by_name,
            &[("OPERATIONS_PORT", port), ("SHUTDOWN_GRACE", "0s")],
        );
        assert_eq!(process.end().code(), Some(code));
        let log = process.whole_log().join("\n");
        assert!(log.contains(name), "{log}");
    }
}

#[test]
fn an_operations_port_that_the_process_before_still_holds_is_taken_when_it_is_free() {
    play(public_and_operations);
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = held.local_addr().expect("an address");
    let mut process = Process::start(
        an_operations_port_that_the_process_before_still_holds_is_taken_when_it_is_free,
        &[("OPERATIONS_PORT", &address.port().to_string())],
    );
    let public = process.address();
    process.logged("the operations port is taken, will retry");
    assert_eq!(fetch(public, "/health/live"), "live\n");
    drop(held);
    assert_eq!(process.address_after(service::OPERATIONS), address);
    assert!(fetch(address, "/metrics").contains("# EOF"));
    process.signal(Signal::TERM);
    assert_eq!(process.end().code(), Some(0));
}

async fn public_and_operations(
    config: Config,
    listener: TcpListener,
    lifecycle: Lifecycle,
) -> anyhow::Result<()> {
    let router = operations(&config, &lifecycle).await?;
    serve(router, &config, listener, &lifecycle).await
}
