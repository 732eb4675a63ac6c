//! Starts the logs: events go to standard error, so that standard output stays the program's own.
//!
//! A log line never delays a request. Lines go through a bounded queue to a thread that writes
//! them; what cannot be written is dropped and counted in `log_lines_dropped_total`. Floods of equal
//! lines are summarised, and counted in `log_lines_suppressed_total`.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

use crate::log_flood::{self, LogFlood};
use crate::log_queue::LogQueue;
use crate::{LogFormat, Settings};

/// How long the end of a process waits for the last lines of each kind.
const FLUSH_TIME_LIMIT: Duration = Duration::from_millis(500);

type Flood = LogFlood<fn(Instant)>;

/// What happened to log lines of this process that were not written.
#[derive(Clone, Default)]
pub(crate) struct LogCounters {
    pub(crate) dropped: Counter,
    pub(crate) suppressed: Counter,
    /// Lines of [`print()`] and [`print_line`].
    pub(crate) output_dropped: Counter,
}

/// One process has one standard error, so these are the process's too.
static COUNTERS: LazyLock<LogCounters> = LazyLock::new(LogCounters::default);
static FLOOD: LazyLock<Flood> =
    LazyLock::new(|| LogFlood::new(COUNTERS.suppressed.clone(), |time| QUEUE.wake_at(time)));
static QUEUE: LazyLock<Arc<LogQueue>> = LazyLock::new(|| {
    let queue = Arc::new(LogQueue::new(COUNTERS.dropped.clone()));
    let writer = Arc::clone(&queue);
    let started = std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || writer.write_to(standard_error(), report_suppressed, report_dropped));
    // Without a thread there is no log: its lines wait, and are counted when too many do.
    drop(started);
    queue
});
/// What the program itself prints, by the same means.
static OUTPUT: LazyLock<Arc<LogQueue>> = LazyLock::new(|| {
    let queue = Arc::new(LogQueue::new(COUNTERS.output_dropped.clone()));
    let writer = Arc::clone(&queue);
    let started = std::thread::Builder::new()
        .name("output".to_owned())
        .spawn(move || writer.write_to(standard_output(), |_| {}, |_| {}));
    drop(started);
    queue
});

/// Checks `LOG`.
///
/// # Errors
/// If it is not a log filter.
pub fn check(settings: &Settings) -> anyhow::Result<()> {
    filter(settings).map(drop)
}

fn filter(settings: &Settings) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(&settings.log)
        .map_err(|error| anyhow::anyhow!("LOG={:?} is not a log filter: {error}", settings.log))
}

/// Installs the process-wide subscriber, and a panic hook that logs. Called once by
/// [`crate::start()`]; a second call keeps the first subscriber.
///
/// # Errors
/// When the `LOG` filter cannot be parsed.
pub fn init(settings: &Settings) -> anyhow::Result<()> {
    let filter = filter(settings)?
        // A report of what was left out passes, whatever kept its own line short.
        .add_directive(format!("{}=info", log_flood::TARGET).parse()?);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(Arc::clone(&QUEUE))
        .log_internal_errors(false)
        // Colours are for people, not for files.
        .with_ansi(std::io::stderr().is_terminal());
    let lines: Box<dyn Layer<_> + Send + Sync> = match settings.log_format {
        LogFormat::Compact => lines.compact().boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let subscriber = Registry::default()
        .with(filter)
        .with(lines)
        .with(FloodLayer);
    if subscriber.try_init().is_err() {
        tracing::debug!("logging was started before; its subscriber is kept");
    }
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Writes a line to standard error, in turn with the log's lines. Never fails and never waits: a
/// line that cannot be written is dropped and counted.
pub fn tell(line: impl Display) {
    QUEUE.push(format!("{line}\n").as_bytes());
}

/// Writes a line to standard output. Never fails and never waits: a reader, if there is one,
/// gets it a moment later.
pub fn print(line: impl Display) {
    OUTPUT.push(format!("{line}\n").as_bytes());
}

/// Writes one line, which ends with a line break, as [`print()`] does. Up to 1 MiB of lines waits for the reader of standard
/// output; further ones are dropped, and counted in `output_lines_dropped_total`.
pub fn print_line(line: &str) {
    OUTPUT.push(line.as_bytes());
}

/// Waits for the last lines of the log and of the program, for at most a second if nobody reads them.
/// To be called before the process ends.
pub fn flush() {
    for left_out in FLOOD.rest() {
        left_out.log();
    }
    OUTPUT.flush(FLUSH_TIME_LIMIT);
    QUEUE.flush(FLUSH_TIME_LIMIT);
}

/// Logs why the process ends, or writes it where the log does not say it, because it could not be
/// started or is turned off.
pub(crate) fn fault(service: &str, reason: impl Display) {
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!(service, %reason, "stopped by a fault");
    } else {
        tell(format_args!("{service}: {reason}"));
    }
}

pub(crate) fn counters() -> LogCounters {
    COUNTERS.clone()
}

/// Standard error without the standard library's lock, which a write to a full pipe would hold.
fn standard_error() -> Box<dyn Write> {
    unlocked(std::io::stderr())
}

/// Standard output without the lock, for the same reason.
fn standard_output() -> Box<dyn Write> {
    unlocked(std::io::stdout())
}

fn unlocked(stream: impl Write + AsFd + 'static) -> Box<dyn Write> {
    match stream.as_fd().try_clone_to_owned() {
        Ok(descriptor) => Box::new(File::from(descriptor)),
        Err(_) => Box::new(stream),
    }
}

fn report_suppressed(now: Instant) {
    for left_out in FLOOD.due(now) {
        left_out.log();
    }
}

fn report_dropped(lines: u64) {
    tracing::warn!(
        target: log_flood::TARGET,
        lines,
        "log lines were dropped because they could not be written in time"
    );
}

/// The standard hook writes to standard error itself, where a full pipe would hold up the thread
/// that panics, and with it whatever waits for its end.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let reason = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is no text");
    let location = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!(
            reason,
            location,
            thread,
            backtrace = backtrace.map(|backtrace| backtrace.to_string()),
            "a thread panicked"
        );
    } else {
        let location = location.unwrap_or_default();
        tell(format_args!(
            "thread {thread} panicked at {location}: {reason}"
        ));
    }
}

/// The process's [`LogFlood`] as a layer.
struct FloodLayer;

impl<S: tracing::Subscriber> Layer<S> for FloodLayer {
    fn event_enabled(
        &self,
        event: &tracing::Event<'_>,
        context: tracing_subscriber::layer::Context<'_, S>,
    ) -> bool {
        FLOOD.event_enabled(event, context)
    }
}
