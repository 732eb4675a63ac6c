//! The ports of the stack.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use crate::Service;

/// The ports of a stack without a given port: below those that Linux gives to connections by default.
const GIVEN: Range<u16> = 10_000..32_768;
/// How many of them are tried for one service.
const ATTEMPTS: u32 = 100;

/// Where each service listens, on 127.0.0.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub(crate) gateway: u16,
    pub(crate) posts: u16,
    pub(crate) comments: u16,
    pub(crate) pages: u16,
}

impl Ports {
    /// The given port and the three after it, all of them free; for 0, any four.
    pub(crate) fn choose(first: u16) -> anyhow::Result<Self> {
        Self::of_listeners(&listeners(first, 4)?)
    }

    /// The given port, the two after it and, after one for the development issuer, that of the pages. The issuer's is
    /// held from now on.
    pub(crate) fn choose_with_issuer(first: u16) -> anyhow::Result<(Self, TcpListener)> {
        let mut listeners = listeners(first, 5)?;
        let issuer = listeners.remove(3);
        Ok((Self::of_listeners(&listeners)?, issuer))
    }

    fn of_listeners(listeners: &[TcpListener]) -> anyhow::Result<Self> {
        let port =
            |index: usize| -> anyhow::Result<u16> { Ok(listeners[index].local_addr()?.port()) };
        Ok(Self {
            gateway: port(0)?,
            posts: port(1)?,
            comments: port(2)?,
            pages: port(3)?,
        })
    }
}

/// Listeners on `count` ports from `first` on. All are held until the last is known, so that they differ.
fn listeners(first: u16, count: u16) -> anyhow::Result<Vec<TcpListener>> {
    if first == 0 {
        return (0..count).map(|_| unlikely_listener()).collect();
    }
    let ports = (0..count).map(|offset| first.saturating_add(offset));
    ports
        .map(|port| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
            listener.map_err(|error| refused(first, count, port, error))
        })
        .collect()
}

/// A listener on a port that nobody is likely to take between its end and the start of the service that gets it: the
/// system gives none of these to connections.
fn unlikely_listener() -> anyhow::Result<TcpListener> {
    for attempt in 0..ATTEMPTS {
        let random = RandomState::new().hash_one(attempt);
        let span = u64::from(GIVEN.end - GIVEN.start);
        let port = GIVEN.start + u16::try_from(random % span).unwrap_or_default();
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener);
        }
    }
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?)
}

impl Ports {
    pub(crate) fn of(self, service: Service) -> u16 {
        match service {
            Service::Gateway => self.gateway,
            Service::Posts => self.posts,
            Service::Comments => self.comments,
            Service::Pages => self.pages,
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
    use std::collections::BTreeSet;

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
    fn the_issuer_holds_the_port_between_the_subgraphs_and_the_pages() {
        let (ports, issuer) = Ports::choose_with_issuer(0).expect("five ports");
        let held = issuer.local_addr().expect("an address").port();
        assert!(!all(ports).contains(&held));
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, held)).is_err());
        let (ports, issuer) = (0..100)
            .find_map(|_| Ports::choose_with_issuer(given_port()).ok())
            .expect("five free ports in a row");
        let held = issuer.local_addr().expect("an address").port();
        assert_eq!(held, ports.comments + 1);
        assert_eq!(held + 1, ports.pages);
    }

    /// A port that the system has just given, so that those after it are likely to be free.
    fn given_port() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        port.min(65_000)
    }

    #[test]
    fn port_0_gives_four_different_ports() {
        let ports = all(Ports::choose(0).expect("four ports"));
        assert_eq!(BTreeSet::from(ports).len(), ports.len());
    }

    fn all(ports: Ports) -> [u16; 4] {
        [ports.gateway, ports.posts, ports.comments, ports.pages]
    }
}
