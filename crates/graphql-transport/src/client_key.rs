//! A client's identity for fair turns and bounds: its address.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use http::Extensions;

/// A client, for turns and bounds that are fair by client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientKey(Option<IpAddr>);

impl ClientKey {
    /// A remote address. Of an IPv6 address the network counts (64 bits), as a client has all of it.
    pub fn of(address: IpAddr) -> Self {
        Self(Some(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 64 << 64;
                IpAddr::V6(network.into())
            }
            address => address,
        }))
    }

    /// The peer of a request's connection, or the client that a trusted proxy tells, where the server has noted it;
    /// otherwise the client of all whose address is not known.
    pub(crate) fn of_peer(extensions: &Extensions) -> Self {
        let peer = extensions.get::<ConnectInfo<SocketAddr>>();
        peer.map_or(Self::default(), |ConnectInfo(peer)| Self::of(peer.ip()))
    }
}
