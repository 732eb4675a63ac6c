//! A process of the crowd: its clients, in one loop, as the coordinator says.
//!
//! | command | answer |
//! |---|---|
//! | `connect N` | `subscribed` once N more clients have subscribed |
//! | `until K` | `reached K` once every client has got event K - 1 |
//! | `stall N` | `stalled`: the first N clients no longer read, and may be ended |
//! | `wake` | `woken`: they read again |
//! | `departures` | `departures [["REASON", NS], ..]` of the clients that resume, since the last such command |
//! | `standing` | `standing N` clients that are subscribed now |
//! | `ends` | `ends {"REASON": COUNT}` of the clients that were ended |
//! | `delays FROM TO` | `delays [[..]]` in microseconds, by event |
//! | `leave` | `left` |
//!
//! It ends with its input, and says `failed REASON` when a client did not get what it should.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::Transport;
use super::receiver::{Client, Common};

/// Handshakes that are under way at the same time in one process.
const BEGINNING_MAX: usize = 64;
/// Room for many events of one client.
const BUFFER_BYTES: usize = 64 << 10;
const EVENTS: usize = 1_024;
const COMMAND: Token = Token(usize::MAX);

/// Options of the hidden subcommand.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The server.
    #[arg(long)]
    pub server: SocketAddr,
    /// The address of the first clients; the next ones have the next.
    #[arg(long)]
    pub first_address: Ipv4Addr,
    #[arg(long)]
    pub clients_per_address: usize,
    #[arg(long)]
    pub transport: Transport,
    #[arg(long)]
    pub query: String,
    #[arg(long)]
    pub variables: String,
    #[arg(long)]
    pub text_length: usize,
    /// The kernel's room for what a client has not read; by default the kernel's own choice.
    #[arg(long)]
    pub receive_buffer: Option<usize>,
    /// Ask for cursors, and come back after the last one when a connection ends.
    #[arg(long)]
    pub resumes: bool,
}

/// Runs until the input ends.
///
/// # Errors
/// When a client does not get what it should.
pub fn run(options: Options) -> anyhow::Result<()> {
    let result = serve(options);
    if let Err(error) = &result {
        println!("failed {}", format!("{error:#}").replace('\n', " "));
    }
    result
}

fn serve(options: Options) -> anyhow::Result<()> {
    let mut poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), COMMAND)?;
    let (sender, commands) = channel();
    std::thread::spawn(move || read_commands(&sender, &waker));
    let mut crowd = Crowd::new(options);
    let mut events = Events::with_capacity(EVENTS);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        if let Err(error) = poll.poll(&mut events, crowd.time_to_return()) {
            if error.kind() == std::io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error.into());
        }
        for event in &events {
            if event.token() == COMMAND {
                if !crowd.obey(&commands, &poll)? {
                    return Ok(());
                }
                continue;
            }
            // A client that has left may still have an event.
            let Some(client) = crowd.clients.get_mut(event.token().0) else {
                continue;
            };
            if event.is_writable() {
                client.writable(&mut crowd.common)?;
            }
            if event.is_readable() {
                client.readable(&mut crowd.common, &mut buffer)?;
            }
        }
        crowd.connect(&poll)?;
        crowd.answer();
    }
}

/// Sends lines on; `None` at the end.
fn read_commands(commands: &Sender<Option<String>>, waker: &Waker) {
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let is_sent = commands.send(Some(line)).is_ok();
        if !is_sent || waker.wake().is_err() {
            return;
        }
    }
    // An error means that the loop has ended.
    let _ = commands.send(None);
    let _ = waker.wake();
}

struct Crowd {
    options: Options,
    common: Common,
    clients: Vec<Client>,
    stalled: usize,
    /// Clients that are wanted in all.
    wanted: usize,
    awaits_subscribed: bool,
    awaits_reached: bool,
}

impl Crowd {
    fn new(options: Options) -> Self {
        let mut common = Common::new(
            options.transport,
            options.server.to_string(),
            options.query.clone(),
            options.variables.clone(),
            options.text_length,
        );
        common.resumes = options.resumes;
        Self {
            options,
            common,
            clients: Vec::new(),
            stalled: 0,
            wanted: 0,
            awaits_subscribed: false,
            awaits_reached: false,
        }
    }

    /// Does what is asked; no longer, when the input has ended.
    fn obey(&mut self, commands: &Receiver<Option<String>>, poll: &Poll) -> anyhow::Result<bool> {
        while let Ok(command) = commands.try_recv() {
            let Some(command) = command else {
                return Ok(false);
            };
            let words: Vec<&str> = command.split_whitespace().collect();
            match words[..] {
                ["connect", count] => {
                    self.wanted += count.parse::<usize>()?;
                    self.awaits_subscribed = true;
                }
                ["until", target] => {
                    let target = target.parse()?;
                    self.common.target = target;
                    let has_reached = |client: &&Client| client.next >= Some(target);
                    let reading = self.clients.iter().skip(self.stalled);
                    self.common.counts.reached = reading.filter(has_reached).count();
                    self.awaits_reached = true;
                }
                ["stall", count] => self.stall(count.parse()?, poll)?,
                ["wake"] => self.wake(poll)?,
                ["departures"] => {
                    let departures = std::mem::take(&mut self.common.departures).into_iter();
                    let departures: Vec<_> = departures.map(|it| (it.reason, it.at_ns)).collect();
                    println!("departures {}", serde_json::to_string(&departures)?);
                }
                ["standing"] => println!("standing {}", self.common.counts.subscribed),
                ["ends"] => {
                    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
                    for end in self.clients.iter().filter_map(|it| it.ended.as_deref()) {
                        *ends.entry(end).or_default() += 1;
                    }
                    println!("ends {}", serde_json::to_string(&ends)?);
                }
                ["delays", from, to] => {
                    let delays = self.common.delays_us(from.parse()?, to.parse()?);
                    println!("delays {}", serde_json::to_string(delays)?);
                }
                ["leave"] => {
                    self.clients = Vec::new();
                    self.wanted = 0;
                    self.common.counts = Default::default();
                    println!("left");
                }
                _ => bail!("no command: {command}"),
            }
        }
        Ok(true)
    }

    fn stall(&mut self, count: usize, poll: &Poll) -> anyhow::Result<()> {
        for client in self.clients.iter_mut().take(count) {
            poll.registry().deregister(&mut client.stream)?;
            client.may_end = true;
        }
        self.stalled = count.min(self.clients.len());
        println!("stalled");
        Ok(())
    }

    fn wake(&mut self, poll: &Poll) -> anyhow::Result<()> {
        for (index, client) in self.clients.iter_mut().enumerate().take(self.stalled) {
            let registry = poll.registry();
            registry.register(&mut client.stream, Token(index), Interest::READABLE)?;
        }
        println!("woken");
        Ok(())
    }

    /// How long until the next client comes back. As soon as one that came back stands, if they wait for each other.
    fn time_to_return(&self) -> Option<Duration> {
        let Reverse((at, _)) = self.common.returns.peek()?;
        let is_free = self.common.counts.beginning < BEGINNING_MAX;
        is_free.then(|| at.saturating_duration_since(Instant::now()))
    }

    /// Begins further connections, as many as may be under way.
    fn connect(&mut self, poll: &Poll) -> anyhow::Result<()> {
        let now = Instant::now();
        while self.common.counts.beginning < BEGINNING_MAX
            && let Some(Reverse((at, index))) = self.common.returns.peek().copied()
            && at <= now
        {
            self.common.returns.pop();
            self.common.counts.beginning += 1;
            let Some(socket) = self.socket(index)? else {
                self.clients[index].refused(&mut self.common)?;
                continue;
            };
            let mut stream = mio::net::TcpStream::from_std(socket.into());
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry()
                .register(&mut stream, Token(index), interest)?;
            self.clients[index].come_back(stream);
        }
        while self.clients.len() < self.wanted && self.common.counts.beginning < BEGINNING_MAX {
            let index = self.clients.len();
            let socket = self
                .socket(index)?
                .context("the server refuses connections")?;
            let mut stream = mio::net::TcpStream::from_std(socket.into());
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry()
                .register(&mut stream, Token(index), interest)?;
            self.clients.push(Client::new(stream, index));
            self.common.counts.beginning += 1;
        }
        Ok(())
    }

    /// A socket whose connection is under way, from the client's address; `None` if nobody listens.
    fn socket(&self, index: usize) -> anyhow::Result<Option<OwnedFd>> {
        let SocketAddr::V4(server) = self.options.server else {
            bail!("the server has no IPv4 address");
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)
            .context("no further socket")?;
        if let Some(bytes) = self.options.receive_buffer {
            sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
        }
        let number = u32::try_from(index / self.options.clients_per_address)?;
        let address = Ipv4Addr::from_bits(self.options.first_address.to_bits() + number);
        rustix::net::bind(&socket, &SocketAddrV4::new(address, 0))
            .with_context(|| format!("binding {address}"))?;
        match rustix::net::connect(&socket, &server) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(Some(socket)),
            Err(Errno::CONNREFUSED) => Ok(None),
            Err(error) => Err(error).context("connecting"),
        }
    }

    fn answer(&mut self) {
        let counts = self.common.counts;
        if self.awaits_subscribed && counts.subscribed == self.wanted {
            self.awaits_subscribed = false;
            println!("subscribed");
        }
        if self.awaits_reached && counts.reached == self.clients.len() - self.stalled {
            self.awaits_reached = false;
            println!("reached {}", self.common.target);
        }
    }
}
