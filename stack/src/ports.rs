//! The ports of the stack.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::Context;

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
        Self::of_listeners(&listeners(first, 3)?)
    }

    /// The same with a fourth port, for the development issuer, which is held from now on.
    pub(crate) fn choose_with_issuer(first: u16) -> anyhow::Result<(Self, TcpListener)> {
        let mut listeners = listeners(first, 4)?;
        let ports = Self::of_listeners(&listeners)?;
        let issuer = listeners.pop().context("four listeners")?;
        Ok((ports, issuer))
    }

    fn of_listeners(listeners: &[TcpListener]) -> anyhow::Result<Self> {
        let port =
            |index: usize| -> anyhow::Result<u16> { Ok(listeners[index].local_addr()?.port()) };
        Ok(Self {
            gateway: port(0)?,
            posts: port(1)?,
            comments: port(2)?,
        })
    }
}

/// Listeners on `count` ports from `first` on. All are held until the last is known, so that they differ.
fn listeners(first: u16, count: u16) -> anyhow::Result<Vec<TcpListener>> {
    let ports = (0..count).map(|offset| match first {
        0 => 0,
        _ => first.saturating_add(offset),
    });
    ports
        .map(|port| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
            listener.map_err(|error| refused(first, count, port, error))
        })
        .collect()
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
fn refused(first: u16, count: u16, port: u16, error: io::Error) -> anyhow::Error {
    let reason = match error.kind() {
        io::ErrorKind::AddrInUse => format!("port {port} is taken by another process"),
        _ => format!("port {port} cannot be used ({error})"),
    };
    anyhow::anyhow!(
        "{reason}; the stack uses {count} ports from {first} on, and --port chooses others"
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
        let error = refused(79, 3, 80, denied).to_string();
        assert!(
            error.starts_with("port 80 cannot be used (permission"),
            "{error}"
        );
        assert!(error.contains("--port"), "{error}");
    }

    #[test]
    fn the_issuer_holds_the_port_after_the_services() {
        let (ports, issuer) = Ports::choose_with_issuer(0).expect("four ports");
        let held = issuer.local_addr().expect("an address").port();
        assert!(![ports.gateway, ports.posts, ports.comments].contains(&held));
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, held)).is_err());
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
