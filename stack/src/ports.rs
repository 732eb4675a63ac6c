//! The three ports of the stack.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use crate::Service;

/// Where each service listens, on 127.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) gateway: u16,
    pub(crate) posts: u16,
    pub(crate) comments: u16,
}

impl Ports {
    /// The given port and the two after it, all of them free; for 0, three that the system gives.
    pub(crate) fn choose(first: u16) -> anyhow::Result<Self> {
        let wished = match first {
            0 => [0; 3],
            _ => [0, 1, 2].map(|offset| first.saturating_add(offset)),
        };
        // All three are held until the last is known, so that they differ.
        let mut listeners = Vec::new();
        for port in wished {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
            listeners.push(listener.map_err(|error| refused(first, port, error))?);
        }
        let port =
            |index: usize| -> anyhow::Result<u16> { Ok(listeners[index].local_addr()?.port()) };
        Ok(Self {
            gateway: port(0)?,
            posts: port(1)?,
            comments: port(2)?,
        })
    }
}

impl Ports {
    pub(crate) fn of(self, service: Service) -> u16 {
        match service {
            Service::Gateway => self.gateway,
            Service::Posts => self.posts,
            Service::Comments => self.comments,
        }
    }
}

/// Says which port it was, why, and what to do about it.
fn refused(first: u16, port: u16, error: io::Error) -> anyhow::Error {
    let reason = match error.kind() {
        io::ErrorKind::AddrInUse => format!("port {port} is taken by another process"),
        _ => format!("port {port} cannot be used ({error})"),
    };
    anyhow::anyhow!(
        "{reason}; the stack uses three ports from {first} on, and --port chooses others"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_the_way_out() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let port = taken.local_addr().expect("an address").port();
        let error = Ports::choose(port).expect_err("the port is taken");
        assert!(
            error
                .to_string()
                .starts_with(&format!("port {port} is taken")),
            "{error}"
        );
        assert!(error.to_string().contains("--port"), "{error}");
    }

    #[test]
    fn a_port_that_is_refused_is_not_called_taken() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = refused(79, 80, denied).to_string();
        assert!(
            error.starts_with("port 80 cannot be used (permission"),
            "{error}"
        );
        assert!(error.contains("--port"), "{error}");
    }

    #[test]
    fn port_0_gives_three_different_ports() {
        let ports = Ports::choose(0).expect("three ports");
        assert!(
            ports.gateway != ports.posts
                && ports.posts != ports.comments
                && ports.gateway != ports.comments
        );
    }
}
