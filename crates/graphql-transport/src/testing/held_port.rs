//! A port that stays a test's own while nobody listens on it.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port of 127.0.0.1 on which connections are refused until somebody listens on it by its number.
///
/// A port that was only free a moment ago may be another test's by now. This one is bound, by a socket that does not
/// listen, so that the system gives it to nobody; servers that set `SO_REUSEADDR`, as those of the standard library and
/// of tokio do on Unix, can listen on it one after another. It is free again when this is dropped.
#[derive(Debug)]
pub struct HeldPort {
    address: SocketAddr,
    _socket: TcpSocket,
}

impl HeldPort {
    /// Any free port.
    pub fn any() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("a setting of sockets");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(any).expect("a free port");
        let address = socket.local_addr().expect("an address");
        Self {
            address,
            _socket: socket,
        }
    }

    /// Where to listen, or where nobody does.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::ErrorKind,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn servers_come_and_go_on_it_and_it_refuses_connections_without_one() {
        let port = HeldPort::any();
        for _ in 0..3 {
            let refused = TcpStream::connect(port.address()).expect_err("nobody listens");
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            let listener = TcpListener::bind(port.address()).expect("it is free");
            let client = TcpStream::connect(port.address()).expect("a connection");
            listener.accept().expect("the client");
            drop(client);
        }
    }
}
