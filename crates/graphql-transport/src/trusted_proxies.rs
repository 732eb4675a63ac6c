//! The address of a client behind proxies that are trusted to tell it, in `X-Forwarded-For`.
//!
//! Each proxy appends the address that it was reached from, so only what trusted proxies have appended is read: from the
//! right, up to the first address that is not one of theirs. What stands left of that is the client's own word.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

use http::HeaderMap;

const FORWARDED_FOR: &str = "x-forwarded-for";
/// A longer chain of trusted proxies is not followed.
const HOPS_MAX: usize = 32;
/// The longest address has 47 bytes: an IPv6 address with brackets and a port.
const ADDRESS_BYTES_MAX: usize = 64;

/// The proxies whose `X-Forwarded-For` counts; none by default. Clones share the list.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Arc<[Network]>);

/// An address, or all that begin with the same bits (CIDR).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoNetwork(String);

impl fmt::Display for NoNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoNetwork {}

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let form = || {
            NoNetwork(format!(
                "{text:?} is neither an address nor a network such as 10.0.0.0/8"
            ))
        };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let bits = bits_of(address);
        let prefix = match prefix {
            // Digits alone: a number may have a sign.
            Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => {
                prefix.parse().map_err(|_| form())?
            }
            Some(_) => return Err(form()),
            None => bits,
        };
        if prefix > bits {
            return Err(form());
        }
        if masked(address, prefix) != number(address) {
            return Err(NoNetwork(format!(
                "{text:?} has bits after its first {prefix}: which network is meant?"
            )));
        }
        // An IPv4 network in the form of IPv6 is one of IPv4, as its addresses are.
        Ok(match (address.to_canonical(), address) {
            (short @ IpAddr::V4(_), IpAddr::V6(_)) if prefix >= 96 => Self {
                address: short,
                prefix: prefix - 96,
            },
            _ => Self { address, prefix },
        })
    }
}

impl Network {
    /// Whether an address, in its canonical form, belongs to it.
    fn has(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && masked(address, self.prefix) == number(self.address)
    }
}

impl FromIterator<Network> for TrustedProxies {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

impl TrustedProxies {
    /// Whether this is the address of one.
    pub fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.has(address))
    }

    /// The client of a request that comes from a trusted proxy; `None` if the header does not tell it. If all addresses
    /// are those of trusted proxies, it is the first one. The work does not depend on what a client has put in the header.
    pub(crate) fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let values = headers.get_all(FORWARDED_FOR).iter().rev();
        let mut hops = values.flat_map(|value| Hops(Some(value.as_bytes())));
        let mut client = None;
        for _ in 0..HOPS_MAX {
            let Some(hop) = hops.next() else {
                return client;
            };
            let address = address(hop?)?;
            if !self.has(address) {
                return Some(address);
            }
            client = Some(address);
        }
        None
    }
}

/// The addresses in one header, from the right; `None` for one that is too long.
struct Hops<'h>(Option<&'h [u8]>);

impl<'h> Iterator for Hops<'h> {
    type Item = Option<&'h [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let left = self.0.take()?;
        let seen = left.len().saturating_sub(ADDRESS_BYTES_MAX);
        match left[seen..].iter().rposition(|byte| *byte == b',') {
            Some(comma) => {
                self.0 = Some(&left[..seen + comma]);
                Some(Some(&left[seen + comma + 1..]))
            }
            None if seen == 0 => Some(Some(left)),
            None => Some(None),
        }
    }
}

/// An address as proxies write it: with or without a port, and that of IPv6 with or without brackets.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop.trim_ascii()).ok()?;
    let bare = || text.parse::<IpAddr>().ok();
    let with_port = || Some(text.parse::<SocketAddr>().ok()?.ip());
    let in_brackets = || {
        let text = text.strip_prefix('[')?.strip_suffix(']')?;
        Some(IpAddr::V6(text.parse::<Ipv6Addr>().ok()?))
    };
    let address = bare().or_else(with_port).or_else(in_brackets)?;
    Some(address.to_canonical())
}

fn bits_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The bits of an address, at the upper end.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => address.into(),
    }
}

/// The first bits of an address.
fn masked(address: IpAddr, prefix: u8) -> u128 {
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix));
    number(address) & mask.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn trusted(networks: &[&str]) -> TrustedProxies {
        let networks = networks.iter().map(|it| it.parse::<Network>().expect(it));
        networks.collect()
    }

    fn client(networks: &[&str], headers: &[&[u8]]) -> Option<String> {
        let name = HeaderName::from_static(FORWARDED_FOR);
        let value = |it: &&[u8]| HeaderValue::from_bytes(it).expect("a header value");
        let headers = headers.iter().map(|it| (name.clone(), value(it)));
        let client = trusted(networks).client(&headers.collect());
        client.map(|address| address.to_string())
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_alike() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.2"),
            ("10.1.2.0/31", "::ffff:10.1.2.1", "10.1.2.2"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.1.2.3"),
            ("0.0.0.0/0", "200.1.2.3", "::1"),
            ("::/0", "2001:db8::1", "10.1.2.3"),
            ("fd00::/8", "fd12::1", "fe00::1"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
        ] {
            let trusted = trusted(&[network]);
            assert!(trusted.has(inside.parse().expect(inside)), "{network}");
            assert!(!trusted.has(outside.parse().expect(outside)), "{network}");
        }
        assert!(!TrustedProxies::default().has(IpAddr::from([127, 0, 0, 1])));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            "::/129",
            "proxy.example",
            "10.0.0.1:80",
            "[::1]",
            "10.0.0.0/256",
            "*",
        ] {
            let error = text.parse::<Network>().expect_err(text);
            assert!(error.to_string().contains("neither"), "{error}");
        }
        let error = "10.0.0.1/8".parse::<Network>().expect_err("no network");
        assert!(error.to_string().contains("first 8"), "{error}");
    }

    #[test]
    fn the_client_is_the_first_from_the_right_that_is_no_proxy() {
        let proxies = ["10.0.0.0/8", "2001:db8::/32"];
        for (headers, expected) in [
            (&["192.0.2.1"][..], "192.0.2.1"),
            (&["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
            (&["6.6.6.6, 192.0.2.1, 10.1.1.1,10.2.2.2"], "192.0.2.1"),
            // Several headers are one list.
            (&["6.6.6.6", "192.0.2.1, 10.1.1.1", "10.2.2.2"], "192.0.2.1"),
            (&["nonsense, 192.0.2.1:4711"], "192.0.2.1"),
            (
                &["192.0.2.1,[2001:db8::7]:443, 2001:db8::8, [2001:db8::9]"],
                "192.0.2.1",
            ),
            (&["[2a00::1]:80"], "2a00::1"),
            (&["[2a00::1]"], "2a00::1"),
            (&["2a00::1"], "2a00::1"),
            (&["::ffff:192.0.2.1, ::ffff:10.0.0.1"], "192.0.2.1"),
            // All are proxies: the first of them has asked for itself.
            (&["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        ] {
            let bytes: Vec<_> = headers.iter().map(|it| it.as_bytes()).collect();
            assert_eq!(
                client(&proxies, &bytes).as_deref(),
                Some(expected),
                "{headers:?}"
            );
        }
    }

    #[test]
    fn what_is_malformed_tells_nothing() {
        let long = format!("192.0.2.1, {}", "1".repeat(100_000));
        let blank = format!("192.0.2.1,{}", " ".repeat(100_000));
        for header in [
            "",
            " ",
            "unknown",
            "192.0.2.1,",
            "192.0.2.1, ,10.0.0.1",
            "192.0.2.1, _hidden, 10.0.0.1",
            "192.0.2.1:port",
            "192.0.2.1:99999",
            "[192.0.2.1]",
            "[2a00::1",
            "fe80::1%eth0",
            "\"192.0.2.1\"",
            "for=192.0.2.1",
            &long,
            &blank,
        ] {
            assert_eq!(
                client(&["10.0.0.0/8"], &[header.as_bytes()]),
                None,
                "{header:.50}"
            );
        }
        assert_eq!(client(&["10.0.0.0/8"], &[b"192.0.2.1\xff"]), None);
        assert_eq!(client(&["10.0.0.0/8"], &[]), None);
    }

    #[test]
    fn a_long_chain_is_not_followed() {
        let of = |proxies: usize| format!("192.0.2.1{}", ", 10.0.0.1".repeat(proxies));
        let client = |header: &str| client(&["10.0.0.0/8"], &[header.as_bytes()]);
        assert!(client(&of(HOPS_MAX - 1)).is_some());
        assert_eq!(client(&of(HOPS_MAX)), None);
        // What the client has made up is not looked at.
        let made_up = format!("{}192.0.2.1", "6.6.6.6, ".repeat(100_000));
        assert_eq!(client(&made_up).as_deref(), Some("192.0.2.1"));
    }
}
