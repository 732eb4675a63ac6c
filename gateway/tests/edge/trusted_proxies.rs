//! Whose word on a client's address counts.

use std::net::Ipv4Addr;

use reqwest::StatusCode;
use serde_json::json;

use crate::support::{Socket, gateway::TestGateway};

const PROXIES: &str = "--trusted-proxies=127.0.0.1, 10.0.0.0/8,,fd00::/8";
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const NAME: &str = "x-forwarded-for";

/// Each client has one unit.
async fn behind(more: &[&str]) -> TestGateway {
    let limit = ["--rate-limit=1/1h"];
    TestGateway::with(&[&limit, more].concat()).await
}

/// The status of a request with these headers, from this machine.
async fn status(gateway: &TestGateway, address: Ipv4Addr, forwarded: &[&str]) -> StatusCode {
    let body = json!({"query": "{ greeting }"}).to_string();
    let mut request = gateway.post_from(address).body(body);
    for forwarded in forwarded {
        request = request.header(NAME, *forwarded);
    }
    request.send().await.expect("an answer").status()
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_its_own_limit() {
    let gateway = behind(&[PROXIES]).await;
    let from = async |forwarded: &[&str]| status(&gateway, Ipv4Addr::LOCALHOST, forwarded).await;
    assert_eq!(from(&["192.0.2.1"]).await, 200);
    assert_eq!(from(&["192.0.2.1"]).await, 429);
    // Nothing that it adds makes another client of it, nor does another chain of proxies.
    assert_eq!(from(&["6.6.6.6, 192.0.2.1"]).await, 429);
    assert_eq!(from(&["6.6.6.6", "192.0.2.1:4711, 10.1.2.3"]).await, 429);
    assert_eq!(from(&["192.0.2.1, fd00::1", "10.1.2.3"]).await, 429);
    assert_eq!(from(&["192.0.2.2, 10.1.2.3"]).await, 200);
    assert_eq!(from(&["[2a00:1:2:3::1]:443"]).await, 200);
    assert_eq!(from(&["2a00:1:2:3::2"]).await, 429);
    // What tells nothing is the proxy's own.
    assert_eq!(from(&[]).await, 200);
    for nothing in [
        &[][..],
        &["unknown"],
        &["192.0.2.9,"],
        &["192.0.2.9, -, 10.1.2.3"],
    ] {
        assert_eq!(from(nothing).await, 429, "{nothing:?}");
    }
}

#[tokio::test]
async fn a_stranger_cannot_say_who_it_is() {
    for arguments in [&[PROXIES][..], &[]] {
        let gateway = behind(arguments).await;
        let mut answers = Vec::new();
        for forwarded in ["192.0.2.1", "192.0.2.2", "127.0.0.1"] {
            answers.push(status(&gateway, STRANGER, &[forwarded]).await.as_u16());
        }
        assert_eq!(answers, [200, 429, 429], "{arguments:?}");
    }
}

#[tokio::test]
async fn sockets_and_pages_have_the_address_of_their_client() {
    // With origins, requests go through the routes.
    for more in [
        &[PROXIES][..],
        &[PROXIES, "--cors-origins=https://app.example"],
    ] {
        let gateway = behind(more).await;
        for (client, code) in [
            ("192.0.2.1", None),
            ("192.0.2.2", None),
            ("192.0.2.1", Some("RATE_LIMITED")),
        ] {
            let mut socket = Socket::open(gateway.address, &[(NAME, client)]).await;
            socket.init(json!({})).await;
            socket.subscribe("1", "{ greeting }").await;
            let message = socket.next().await;
            let found = message["payload"][0]["extensions"]["code"].as_str();
            assert_eq!(found, code, "{message}");
        }
        let here = async |client| status(&gateway, Ipv4Addr::LOCALHOST, &[client]).await;
        assert_eq!(here("192.0.2.2").await, 429);
        assert_eq!(here("192.0.2.3").await, 200);
    }
}
