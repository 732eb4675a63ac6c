//! An HTTP/1.1 connection written and read by hand: what a client library would not do.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::PATIENCE;

/// A TCP connection, and the bytes that were received and not taken yet.
pub struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Wire {
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    /// Sends a text, whatever it is.
    pub async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.expect("sent");
    }

    /// Sends no more, and goes on reading.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.expect("still open");
    }

    /// Sends a GraphQL request by POST.
    pub async fn post(&mut self, accept: &str, query: &str) {
        let body = json!({ "query": query }).to_string();
        self.send(&format!(
            "POST /graphql HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    }

    /// Status and JSON of the next answer.
    pub async fn answer(&mut self) -> (u16, Value) {
        let head = self.head().await;
        let status = head[9..12].parse().expect("a status");
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            })
            .expect("a length");
        let body = self.take(length).await;
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    /// Status line and headers of the next answer.
    pub async fn head(&mut self) -> String {
        loop {
            let end = self.unread.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                let head = self.take(end + 4).await;
                return String::from_utf8(head).expect("text");
            }
            self.read_more().await;
        }
    }

    /// Takes exactly `count` bytes; panics when they do not come in time.
    pub async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            self.read_more().await;
        }
        self.unread.drain(..count).collect()
    }

    /// Everything until the other side ends the connection, in whatever way.
    pub async fn rest(mut self) -> Vec<u8> {
        let all = async {
            let mut piece = [0; 64 * 1024];
            while let Ok(count @ 1..) = self.stream.read(&mut piece).await {
                self.unread.extend_from_slice(&piece[..count]);
            }
        };
        timeout(PATIENCE, all).await.expect("an end in time");
        self.unread
    }

    async fn read_more(&mut self) {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.unread)).await;
        let count = read.expect("bytes in time").expect("an open connection");
        assert_ne!(count, 0, "the connection ended early");
    }
}
