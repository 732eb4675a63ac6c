//! Summarises floods of equal log lines: the first lines of a window are written, the rest is counted.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// The target of the lines that say how many others were left out.
pub(crate) const TARGET: &str = "service::log_flood";

/// Lines of one kind that are written within a window. Generous, because the fields of equal lines
/// differ: a hundred documents that cannot be read are a hundred ids.
const BURST_LINES: u32 = 100;
/// From the first line of a kind until its burst begins again.
const WINDOW: Duration = Duration::from_secs(60);
/// Messages of one call site that have a burst of their own; further ones share the last burst. The
/// number of call sites is fixed when the program is built, so this bounds the memory.
const CALLSITE_MESSAGES_MAX: usize = 16;
/// Bytes of a message that are kept to name the lines that were left out.
const MESSAGE_BYTES_MAX: usize = 200;
/// Fields that say what a line is about: lines that differ in one of them are of different kinds. Each has
/// few values. A field that numbers, counts or times does not belong here, nor one that a client fills.
const IDENTIFYING_FIELDS: [&str; 8] = [
    "service",
    "subgraph.name",
    "subgraph",
    "collection",
    "projection",
    "field",
    "code",
    "page",
];
/// Bytes of an identifying field that count.
const FIELD_BYTES_MAX: usize = 64;

/// A layer that leaves out the lines of a kind beyond [`BURST_LINES`] in a [`WINDOW`].
///
/// Two lines are of one kind when the same place in the code writes the same message with the same
/// [`IDENTIFYING_FIELDS`]. The place alone would not do: a message may name what failed, and the `log`
/// crate's records all come from one place. Without the fields, the flood of one subgraph would hide
/// that another fails too. Other fields do not count, since every reconnect has another number in one
/// of them.
/// Events at the levels debug and trace always pass: a person who enables them wants all of them.
pub(crate) struct LogFlood<W> {
    burst_lines: u32,
    window: Duration,
    callsites: Mutex<HashMap<Identifier, Callsite>>,
    suppressed: Counter,
    /// Lets somebody call [`LogFlood::due`] at this time.
    wake_at: W,
}

struct Callsite {
    metadata: &'static Metadata<'static>,
    kinds: Vec<Kind>,
}

/// The lines with one message and the same identifying fields from one call site.
struct Kind {
    hash: u64,
    /// The message, cut to [`MESSAGE_BYTES_MAX`], and its identifying fields.
    message: String,
    window_end: Instant,
    written: u32,
    left_out: u64,
    /// When it has to be said how many were left out.
    due: Option<Instant>,
}

/// How many lines of a kind were left out.
#[derive(Debug, PartialEq)]
pub(crate) struct LeftOut {
    level: Level,
    target: &'static str,
    message: String,
    lines: u64,
}

impl<W: Fn(Instant)> LogFlood<W> {
    /// A layer that counts the lines that it leaves out in `suppressed`, and calls `wake_at` with the
    /// time at which [`LogFlood::due`] has something to return.
    pub(crate) fn new(suppressed: Counter, wake_at: W) -> Self {
        Self {
            burst_lines: BURST_LINES,
            window: WINDOW,
            callsites: Mutex::default(),
            suppressed,
            wake_at,
        }
    }

    /// What was left out in the windows that have ended by `now`, to be reported once.
    pub(crate) fn due(&self, now: Instant) -> Vec<LeftOut> {
        self.take(|due| due <= now, now)
    }

    /// What was left out and not reported yet, for the end of the process.
    pub(crate) fn rest(&self) -> Vec<LeftOut> {
        self.take(|_| true, Instant::now())
    }

    fn take(&self, is_taken: impl Fn(Instant) -> bool, now: Instant) -> Vec<LeftOut> {
        let mut taken = Vec::new();
        let mut next: Option<Instant> = None;
        let mut callsites = self.lock();
        for callsite in callsites.values_mut() {
            for kind in &mut callsite.kinds {
                let Some(due) = kind.due else { continue };
                if !is_taken(due) {
                    next = Some(next.map_or(due, |next| next.min(due)));
                    continue;
                }
                kind.due = None;
                taken.push(LeftOut {
                    level: *callsite.metadata.level(),
                    target: callsite.metadata.target(),
                    message: kind.message.clone(),
                    lines: std::mem::take(&mut kind.left_out),
                });
            }
            callsite
                .kinds
                .retain(|kind| kind.due.is_some() || now < kind.window_end);
        }
        callsites.retain(|_, callsite| !callsite.kinds.is_empty());
        drop(callsites);
        if let Some(next) = next {
            (self.wake_at)(next);
        }
        taken
    }

    /// Whether a line is written.
    fn admits(
        &self,
        metadata: &'static Metadata<'static>,
        hash: u64,
        message: String,
        now: Instant,
    ) -> bool {
        let mut callsites = self.lock();
        let callsite = callsites
            .entry(metadata.callsite())
            .or_insert_with(|| Callsite {
                metadata,
                kinds: Vec::new(),
            });
        let kind = callsite.kind(hash, message, now);
        if now >= kind.window_end {
            kind.window_end = now + self.window;
            kind.written = 0;
        }
        if kind.written < self.burst_lines {
            kind.written += 1;
            return true;
        }
        kind.left_out += 1;
        let is_first = kind.due.is_none();
        let due = *kind.due.get_or_insert(kind.window_end);
        drop(callsites);
        self.suppressed.inc();
        if is_first {
            (self.wake_at)(due);
        }
        false
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Identifier, Callsite>> {
        self.callsites
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Callsite {
    /// The kind with this message: known, new, or the one that further messages share.
    fn kind(&mut self, hash: u64, message: String, now: Instant) -> &mut Kind {
        let known = self.kinds.iter().position(|kind| kind.hash == hash);
        let index = known.unwrap_or_else(|| {
            // What is over and reported makes room.
            self.kinds
                .retain(|kind| kind.due.is_some() || now < kind.window_end);
            if self.kinds.len() < CALLSITE_MESSAGES_MAX {
                self.kinds.push(Kind {
                    hash,
                    message,
                    window_end: now,
                    written: 0,
                    left_out: 0,
                    due: None,
                });
            }
            self.kinds.len() - 1
        });
        &mut self.kinds[index]
    }
}

impl<S: Subscriber, W: Fn(Instant) + 'static> Layer<S> for LogFlood<W> {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || metadata.target() == TARGET {
            return true;
        }
        // The message is formatted before the lock is taken: its code may log, or panic.
        let mut message = Message::default();
        event.record(&mut message);
        self.admits(
            metadata,
            message.hash.finish(),
            message.named(),
            Instant::now(),
        )
    }
}

impl LeftOut {
    /// Logs it at the level of the lines that were left out.
    pub(crate) fn log(&self) {
        let Self {
            level,
            target,
            message,
            lines,
        } = self;
        macro_rules! log {
            ($level:expr) => {
                tracing::event!(
                    target: TARGET,
                    $level,
                    lines,
                    of = target,
                    like = message,
                    "{lines} more lines like the last one were left out"
                )
            };
        }
        match *level {
            Level::ERROR => log!(Level::ERROR),
            Level::WARN => log!(Level::WARN),
            _ => log!(Level::INFO),
        }
    }
}

/// What tells the kinds of an event's call site apart: the hash of the message and of the identifying
/// fields, and what names them.
#[derive(Default)]
struct Message {
    hash: DefaultHasher,
    start: String,
    /// The identifying fields, as ` name=value` each.
    fields: String,
}

impl Message {
    /// The beginning of the message and its identifying fields.
    fn named(mut self) -> String {
        self.start.push_str(&self.fields);
        self.start
    }

    fn record_field(&mut self, name: &str, value: fmt::Arguments<'_>) {
        let mut text = Cut::<FIELD_BYTES_MAX>::default();
        // What cannot be formatted counts as far as it goes.
        let _ = text.write_fmt(value);
        // No text has the byte 255, so a field never looks like the end of what is before it.
        self.hash.write(&[255]);
        self.hash.write(name.as_bytes());
        self.hash.write(&[255]);
        self.hash.write(text.text.as_bytes());
        self.hash.write(&[255]);
        let _ = write!(self.fields, " {name}={}", text.text);
    }
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // A message that cannot be formatted is of one kind with others that end like it.
            let _ = write!(self, "{value:?}");
        } else if IDENTIFYING_FIELDS.contains(&field.name()) {
            self.record_field(field.name(), format_args!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.hash.write(text.as_bytes());
        push_cut(&mut self.start, text, MESSAGE_BYTES_MAX);
        Ok(())
    }
}

/// A text of at most `MAX` bytes; the rest is dropped while it is written.
#[derive(Default)]
struct Cut<const MAX: usize> {
    text: String,
    is_full: bool,
}

impl<const MAX: usize> Write for Cut<MAX> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !self.is_full {
            self.is_full = !push_cut(&mut self.text, text, MAX);
        }
        Ok(())
    }
}

/// Appends what of `text` has room below `max` bytes; tells whether all of it has.
fn push_cut(to: &mut String, text: &str, max: usize) -> bool {
    let mut room = max.saturating_sub(to.len()).min(text.len());
    while !text.is_char_boundary(room) {
        room -= 1;
    }
    to.push_str(&text[..room]);
    room == text.len()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Keeps what the layer lets pass, and its wake-ups.
    #[derive(Clone, Default)]
    struct Seen {
        lines: Arc<Mutex<Vec<String>>>,
        wakes: Arc<Mutex<Vec<Instant>>>,
    }

    impl<S: Subscriber> Layer<S> for Seen {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut message = Message::default();
            event.record(&mut message);
            self.lines.lock().expect("lines").push(message.named());
        }
    }

    type Flood = Arc<LogFlood<Box<dyn Fn(Instant) + Send + Sync>>>;

    struct Shared(Flood);

    impl<S: Subscriber> Layer<S> for Shared {
        fn event_enabled(&self, event: &Event<'_>, context: Context<'_, S>) -> bool {
            self.0.event_enabled(event, context)
        }
    }

    fn flooded(act: impl FnOnce()) -> (Flood, Vec<String>, Vec<Instant>) {
        let seen = Seen::default();
        let wakes = Arc::clone(&seen.wakes);
        let flood: Flood = Arc::new(LogFlood::new(
            Counter::default(),
            Box::new(move |time| wakes.lock().expect("wakes").push(time)),
        ));
        let subscriber = tracing_subscriber::registry()
            .with(seen.clone())
            .with(Shared(Arc::clone(&flood)));
        tracing::subscriber::with_default(subscriber, act);
        let lines = std::mem::take(&mut *seen.lines.lock().expect("lines"));
        let wakes = std::mem::take(&mut *seen.wakes.lock().expect("wakes"));
        (flood, lines, wakes)
    }

    #[test]
    fn the_first_lines_of_a_flood_pass_and_the_rest_is_counted_once() {
        let (flood, lines, wakes) = flooded(|| {
            for attempt in 0..250 {
                tracing::warn!(attempt, "the stream broke");
            }
        });
        assert_eq!(lines.len(), 100);
        assert_eq!(flood.suppressed.get(), 150);
        let [due] = wakes[..] else {
            panic!("one wake-up, not {wakes:?}")
        };
        assert_eq!(flood.due(due - Duration::from_millis(1)), []);
        let left_out = LeftOut {
            level: Level::WARN,
            target: "service::log_flood::tests",
            message: "the stream broke".to_owned(),
            lines: 150,
        };
        assert_eq!(flood.due(due), [left_out]);
        assert_eq!(flood.due(due), []);
        assert!(flood.lock().is_empty(), "nothing is kept of it");
    }

    #[test]
    fn a_flood_that_goes_on_shows_its_first_lines_in_each_window() {
        let (flood, _, wakes) = flooded(|| {
            (0..101).for_each(|_| tracing::warn!("the stream broke"));
        });
        let end = wakes[0];
        let (metadata, hash) = {
            let callsites = flood.lock();
            let callsite = callsites.values().next().expect("a call site");
            (callsite.metadata, callsite.kinds[0].hash)
        };
        let admits = |now| flood.admits(metadata, hash, String::new(), now);
        assert!(!admits(end - Duration::from_millis(1)));
        // The report may be late: the first lines of the next window do not put it off.
        assert!((0..100).all(|_| admits(end)));
        assert!(!admits(end));
        assert_eq!(flood.due(end)[0].lines, 3);
    }

    #[test]
    fn other_messages_levels_and_places_have_a_burst_of_their_own() {
        let (flood, lines, _) = flooded(|| {
            for _ in 0..200 {
                tracing::warn!("the stream broke");
                tracing::error!("the stream broke");
                for post in 0..3 {
                    tracing::warn!("post {post} is odd");
                }
            }
        });
        assert_eq!(lines.len(), 5 * 100);
        assert_eq!(flood.rest().len(), 5);
    }

    #[test]
    fn the_flood_of_one_subgraph_hides_no_other() {
        let (flood, lines, _) = flooded(|| {
            for attempt in 0..300 {
                let subgraph = if attempt < 150 { "comments" } else { "posts" };
                tracing::warn!(subgraph.name = subgraph, attempt, "a request failed");
            }
        });
        let named = |subgraph| {
            let line = format!("a request failed subgraph.name={subgraph}");
            lines.iter().filter(|seen| **seen == line).count()
        };
        assert_eq!((named("comments"), named("posts")), (100, 100));
        let mut rest: Vec<_> = flood
            .rest()
            .into_iter()
            .map(|rest| (rest.message, rest.lines))
            .collect();
        rest.sort();
        let expected = ["comments", "posts"]
            .map(|subgraph| (format!("a request failed subgraph.name={subgraph}"), 50));
        assert_eq!(rest, expected);
    }

    #[test]
    fn an_identifying_field_counts_by_its_first_bytes() {
        let (flood, lines, _) = flooded(|| {
            for index in 0..200 {
                let field = format!("{}{index}", "é".repeat(FIELD_BYTES_MAX));
                tracing::warn!(field, "a field is odd");
            }
        });
        assert_eq!(lines.len(), 100);
        let rest = flood.rest();
        assert_eq!(rest[0].lines, 100);
        assert!(rest[0].message.len() < 100, "{}", rest[0].message);
    }

    #[test]
    fn messages_that_always_differ_are_bounded_and_take_bounded_memory() {
        let (flood, lines, _) = flooded(|| {
            for post in 0..10_000 {
                tracing::warn!("post {post} is odd: {}", "é".repeat(1000));
            }
        });
        assert_eq!(lines.len(), CALLSITE_MESSAGES_MAX - 1 + 100);
        let callsites = flood.lock();
        let kinds = &callsites.values().next().expect("a call site").kinds;
        assert_eq!(kinds.len(), CALLSITE_MESSAGES_MAX);
        assert!(kinds.iter().all(|kind| kind.message.len() <= 200));
    }

    #[test]
    fn debug_events_and_reports_always_pass() {
        let (_, lines, _) = flooded(|| {
            for _ in 0..200 {
                tracing::debug!("a detail");
                tracing::warn!(target: TARGET, "a report");
            }
        });
        assert_eq!(lines.len(), 400);
    }
}
