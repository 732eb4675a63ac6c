//! The queue of log lines: one thread writes them, so that a log line neither delays a request nor fails it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

/// Bytes of lines that may wait. A line that does not fit is dropped, unless nothing else waits.
const QUEUE_BYTES_MAX: usize = 1024 * 1024;
/// How long the writer pauses when a non-blocking standard error takes nothing.
const WOULD_BLOCK_PAUSE: Duration = Duration::from_millis(10);

/// Lines on their way to standard error. A reader that is gone, a full disk and a full pipe cost
/// lines, which are counted, and nothing else.
#[derive(Default)]
pub(crate) struct LogQueue {
    state: Mutex<State>,
    /// Notified when there is something to write or to flush.
    work: Condvar,
    /// Wakes who waits for the last line.
    done: Condvar,
    dropped: Counter,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Box<[u8]>>,
    /// Of the lines that wait and of the one that is being written.
    bytes: usize,
    is_writing: bool,
    /// Whether the writer waits for work: otherwise it need not be woken.
    is_waiting: bool,
    /// When the writer runs its timed work.
    wake_at: Option<Instant>,
}

enum Work {
    Line(Box<[u8]>),
    Timed,
}

impl LogQueue {
    /// A queue that counts in `dropped` the lines that were not written.
    pub(crate) fn new(dropped: Counter) -> Self {
        Self {
            dropped,
            ..Self::default()
        }
    }

    /// Adds a line, which ends with a line break, or drops it when too much waits already.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.bytes > 0 && state.bytes.saturating_add(line.len()) > QUEUE_BYTES_MAX {
            self.dropped.inc();
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line.into());
        self.wake(&state);
    }

    /// Lets the writer run its timed work at this time, or earlier if it was set so.
    pub(crate) fn wake_at(&self, time: Instant) {
        let mut state = self.lock();
        state.wake_at = Some(state.wake_at.map_or(time, |earlier| earlier.min(time)));
        self.wake(&state);
    }

    /// Waits until every line has been written or dropped, or until `limit` has passed. Returns
    /// whether nothing is left.
    pub(crate) fn flush(&self, limit: Duration) -> bool {
        let is_busy = |state: &mut State| state.is_writing || !state.lines.is_empty();
        let waited = self.done.wait_timeout_while(self.lock(), limit, is_busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Writes lines for ever. `timed` runs when [`LogQueue::wake_at`] says so; `dropped` hears of the
    /// number of lines that were lost, once lines can be written again.
    pub(crate) fn write_to(
        &self,
        mut sink: impl Write,
        timed: impl Fn(Instant),
        dropped: impl Fn(u64),
    ) -> ! {
        let mut reported = 0;
        let mut is_line_open = false;
        loop {
            let line = match self.next_work() {
                Work::Line(line) => line,
                Work::Timed => {
                    timed(Instant::now());
                    continue;
                }
            };
            let is_written = write_line(&mut sink, &line, &mut is_line_open);
            if !is_written {
                self.dropped.inc();
            }
            let lost = self.dropped.get();
            if is_written && lost > reported && self.lock().lines.is_empty() {
                dropped(lost - reported);
                reported = lost;
            }
            let mut state = self.lock();
            state.bytes -= line.len();
            state.is_writing = false;
            if state.lines.is_empty() {
                self.done.notify_all();
            }
        }
    }

    fn next_work(&self) -> Work {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.is_writing = true;
                return Work::Line(line);
            }
            let pause = state
                .wake_at
                .map(|time| time.saturating_duration_since(Instant::now()));
            if pause.is_some_and(|pause| pause.is_zero()) {
                state.wake_at = None;
                return Work::Timed;
            }
            state.is_waiting = true;
            state = match pause {
                None => self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(pause) => {
                    let waited = self.work.wait_timeout(state, pause);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.is_waiting = false;
        }
    }

    fn wake(&self, state: &State) {
        if state.is_waiting {
            self.work.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the log's formatter writes to: it hands over one line at a time, and no line fails.
impl Write for &LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a line and returns whether all of it was written. `is_line_open` says that a part of an
/// earlier line was written: then this line begins with a line break.
fn write_line(sink: &mut impl Write, line: &[u8], is_line_open: &mut bool) -> bool {
    if *is_line_open && write_all(sink, b"\n") != 1 {
        return false;
    }
    let written = write_all(sink, line);
    *is_line_open = written > 0 && written < line.len();
    written == line.len()
}

/// Writes as much as can be written, and returns how much that was.
fn write_all(sink: &mut impl Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match sink.write(&bytes[written..]) {
            Ok(0) => break,
            Ok(count) => written += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Whoever shares the terminal or pipe may have made it non-blocking.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(WOULD_BLOCK_PAUSE);
            }
            Err(_) => break,
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Enough for any of these tests; only a failure takes as long.
    const LIMIT: Duration = Duration::from_secs(60);

    /// A sink whose every write waits for its outcome and then shows what was written.
    struct Gate {
        outcomes: Receiver<io::Result<usize>>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = self.outcomes.recv().unwrap_or(Ok(bytes.len()))?;
            let count = count.min(bytes.len());
            let _ = self.written.send(bytes[..count].to_vec());
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A queue with its writer; the losses that it reports become lines.
    fn gated() -> (Arc<LogQueue>, Sender<io::Result<usize>>, Receiver<Vec<u8>>) {
        let queue = Arc::new(LogQueue::default());
        let (outcome, outcomes) = channel();
        let (written, lines) = channel();
        let writer = Arc::clone(&queue);
        std::thread::spawn(move || {
            let report = |lost| writer.push(format!("{lost} lost\n").as_bytes());
            writer.write_to(Gate { outcomes, written }, |_| {}, report)
        });
        (queue, outcome, lines)
    }

    fn text(lines: &Receiver<Vec<u8>>) -> String {
        String::from_utf8(lines.try_iter().flatten().collect()).expect("a text")
    }

    #[test]
    fn lines_beyond_the_bound_are_dropped_and_counted_while_nobody_reads() {
        let (queue, outcome, lines) = gated();
        let line = [b'x'; 1024];
        for _ in 0..2 * QUEUE_BYTES_MAX / line.len() {
            queue.push(&line);
        }
        assert_eq!(queue.dropped.get(), 1024);
        assert!(!queue.flush(Duration::ZERO));
        // Whoever reads again gets what waited, and hears how many lines are missing.
        drop(outcome);
        assert!(queue.flush(LIMIT));
        let text = text(&lines);
        assert_eq!(text.len(), QUEUE_BYTES_MAX + "1024 lost\n".len());
        assert!(text.ends_with("x1024 lost\n"));
    }

    #[test]
    fn a_line_that_cannot_be_written_is_dropped_and_the_next_one_is_whole() {
        let (queue, outcome, lines) = gated();
        let send = |result| outcome.send(result).expect("a writer");
        send(Err(ErrorKind::StorageFull.into()));
        send(Err(ErrorKind::Interrupted.into()));
        send(Err(ErrorKind::WouldBlock.into()));
        send(Ok(3));
        send(Err(ErrorKind::StorageFull.into()));
        drop(outcome);
        for line in ["first\n", "second\n", "third\n"] {
            queue.push(line.as_bytes());
        }
        assert!(queue.flush(LIMIT));
        assert_eq!(text(&lines), "sec\nthird\n2 lost\n");
        assert_eq!(queue.dropped.get(), 2);
    }

    #[test]
    fn a_line_that_is_longer_than_the_bound_is_written_when_nothing_else_waits() {
        let (queue, outcome, lines) = gated();
        drop(outcome);
        queue.push(&vec![b'x'; 2 * QUEUE_BYTES_MAX]);
        assert!(queue.flush(LIMIT));
        assert_eq!(text(&lines).len(), 2 * QUEUE_BYTES_MAX);
    }
}
