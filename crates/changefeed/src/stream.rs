//! One change stream, read by a task of its own and kept open across faults.
//!
//! The driver does not support dropping its futures half-way, so only this task polls the
//! stream; events go out through a channel that is bounded by count and by bytes.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bson::{Document, RawDocumentBuf, Timestamp};
use futures_util::future::poll_immediate;
use mongodb::change_stream::ChangeStream;
use mongodb::options::{ChangeStreamOptions, FullDocumentBeforeChangeType, FullDocumentType};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::metrics::Counter;
use crate::position::Position;
use crate::server_codes::{OBJECT_TOO_LARGE, ends_a_stream, server_code};
use crate::{ResumeToken, SendAction, Source, WithCauses, oversized};

/// How long the server waits for new events before it answers a stream that lives on with an empty
/// batch. Bounds how late the position of a quiet stream is known, and how long a dropped reader
/// lingers.
pub(crate) const AWAIT_TIME: Duration = Duration::from_millis(200);
/// The shortest wait that a stream can be given: 0 would stand for the server's own default of a second.
const AWAIT_TIME_MIN: Duration = Duration::from_millis(1);
/// Events in one answer of the server's to a hub's reader, at most (16 MB bound it as well).
pub(crate) const ANSWER_COUNT_MAX: u32 = 10_000;
/// Bytes of events that a hub's reader reads ahead at most; a single larger event still passes.
pub(crate) const BYTES_AHEAD_MAX: usize = 64 << 20;
/// Bytes of one answer of the server's, at most.
pub(crate) const ANSWER_BYTES_MAX: usize = 16 << 20;
/// An answer with more bytes of events may have ended for want of room: it ends before an event that it has no room for,
/// and few events have more than the rest of it, 15 MiB.
const WHOLE_BYTES_MAX: usize = 1 << 20;
/// The first wait before a failed stream is opened again; doubles up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// The pause before events are handed on that came while nobody listened, and before more are fetched.
/// Each fetch is a command of its own, and without it there would be one for nearly every event.
const UNHEARD_PAUSE: Duration = Duration::from_millis(5);
/// What each event of the last answer adds to that pause, several times as long as the server works on one.
/// During an import a reader without listeners so leaves the server to those who wait for it.
const UNHEARD_PAUSE_PER_EVENT: Duration = Duration::from_micros(100);
/// How often a longer pause looks whether somebody listens by now.
const UNHEARD_LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// By how much an answer gets smaller after one that was too large, and larger after that.
const ANSWER_FACTOR: u32 = 8;
/// Smaller answers that have to pass before larger ones are asked for.
const ANSWERS_BEFORE_MORE: u32 = 16;

/// Where a stream begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Start {
    /// After this event, or this place of a stream without events.
    After(ResumeToken),
    /// With the events of this time.
    At(Timestamp),
}

/// What the reader hands over, in order.
pub(crate) enum Signal {
    /// The next event of the stream.
    Event(RawEvent),
    /// There was nothing more at this place in the history.
    Idle(ResumeToken),
    /// This was the whole of the server's answer, which had room for more, where [`Options::tells_level`]. The changes of one
    /// transaction, which share their time, are all there. The first answer of an opened stream has any part of what
    /// there is, or nothing, so it is not told of.
    ///
    /// With the moment before the question was sent: the answer says nothing about what came later. It may have waited
    /// in its socket while this process was paused.
    Level(Instant),
    /// The stream cannot go on from where it was; it has ended.
    Lost(mongodb::error::Error),
}

/// An event as the server sent it.
pub(crate) struct RawEvent {
    pub document: RawDocumentBuf,
    _room: OwnedSemaphorePermit,
}

impl RawEvent {
    /// Its place in the history.
    pub fn place(&self) -> Option<Position> {
        let token = self.document.get_document("_id").ok()?;
        Position::of(&ResumeToken::from_raw(token))
    }
}

/// What a stream shows of a change.
#[derive(Clone)]
pub(crate) enum Content {
    /// The documents before and after it. Where they are too large to be sent, they keep these
    /// fields alone.
    Images { kept: Vec<String> },
    /// The document's key alone.
    Keys,
}

/// What a stream is read with.
#[derive(Clone)]
pub(crate) struct Options {
    /// What it shows of a change.
    pub content: Content,
    /// Stages after `$changeStream`; must stay the same for one line of resume tokens.
    pub pipeline: Vec<Document>,
    /// Events in one answer of the server's, at most (16 MB bound it as well).
    pub answer_count_max: u32,
    /// Events read ahead at most.
    pub ahead_count_max: usize,
    /// Bytes of events read ahead at most: those in the channel, and those that its receiver still
    /// holds. A single larger event still passes.
    pub ahead_bytes_max: usize,
    /// How long the server waits for new events before it says that there are none.
    pub await_time: Duration,
    /// Counts how often the stream was opened again.
    pub restarts: Counter,
    /// When more events are fetched.
    pub pace: Pace,
    /// Whether to tell where an answer of the server's ends.
    pub tells_level: bool,
}

/// When a reader fetches more events.
#[derive(Clone)]
pub(crate) enum Pace {
    /// At once; the server holds the answer back until there are some.
    Live,
    /// At once while somebody listens; otherwise several at a time.
    LiveWhileHeard(IsHeard),
    /// Again and again after this pause. The server looks through the writes since the last time at once,
    /// which costs it less than a look at each write.
    Interval(Duration),
}

/// Tells whether anybody listens.
pub(crate) type IsHeard = Arc<dyn Fn() -> bool + Send + Sync>;

/// Starts a reader. It ends after [`Signal::Lost`] or when the receiver is dropped.
pub(crate) fn read(source: &Source, start: Start, options: Options) -> mpsc::Receiver<Signal> {
    read_in_task(source, start, options).0
}

/// The same, with the reader's task. When it has ended, the server does nothing for it any more.
pub(crate) fn read_in_task(
    source: &Source,
    start: Start,
    options: Options,
) -> (mpsc::Receiver<Signal>, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel(options.ahead_count_max);
    let bytes_ahead_max = u32::try_from(options.ahead_bytes_max).unwrap_or(u32::MAX);
    let bytes_ahead_max = bytes_ahead_max.max(1);
    let bytes_ahead = Arc::new(Semaphore::new(bytes_ahead_max as usize));
    let reader = StreamReader {
        source: source.clone(),
        at: start,
        answer_count: options.answer_count_max,
        options,
        sender,
        bytes_ahead_max,
        bytes_ahead,
    };
    let task = tokio::spawn(reader.run());
    (receiver, task)
}

/// The pause before a stream is opened in place of a lost one: none at first, and a longer one each time
/// that the new stream is lost as soon as it is open.
pub(crate) struct LossPause {
    opened: Instant,
    next: Duration,
}

impl LossPause {
    pub fn new() -> Self {
        Self {
            opened: Instant::now(),
            next: Duration::ZERO,
        }
    }

    /// The stream that is opened now was lost before; returns the pause.
    pub fn after_loss(&mut self) -> Duration {
        if self.opened.elapsed() > BACKOFF_MAX {
            self.next = Duration::ZERO;
        }
        let pause = self.next;
        self.next = (pause * 2).clamp(BACKOFF_MIN, BACKOFF_MAX);
        self.opened = Instant::now() + pause;
        pause
    }
}

struct StreamReader {
    source: Source,
    at: Start,
    options: Options,
    /// Events that one answer may have. Less than the most after an answer that the server could not send:
    /// it fills an answer up to 16 MB and then adds a resume token, which holds a key twice over.
    answer_count: u32,
    sender: mpsc::Sender<Signal>,
    bytes_ahead_max: u32,
    bytes_ahead: Arc<Semaphore>,
}

/// Why one change stream is not read any further.
enum Stop {
    ReceiverGone,
    Failed(mongodb::error::Error),
    Malformed(bson::error::Error),
    Exhausted,
    /// What made smaller answers necessary is passed.
    Passed,
}

impl StreamReader {
    async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        loop {
            let started = Instant::now();
            match self.read_until_fault().await {
                Stop::ReceiverGone => return,
                Stop::Passed => {
                    let more = self.answer_count.saturating_mul(ANSWER_FACTOR);
                    self.answer_count = more.min(self.options.answer_count_max);
                    continue;
                }
                // An answer, or the token that the server adds to it, was too large to be sent.
                Stop::Failed(error)
                    if server_code(&error) == Some(OBJECT_TOO_LARGE) && self.answer_count > 1 =>
                {
                    self.answer_count = (self.answer_count / ANSWER_FACTOR).max(1);
                    continue;
                }
                Stop::Failed(error) if ends_a_stream(&error) => {
                    // A receiver that is gone needs no word of it.
                    let _ = self.sender.send(Signal::Lost(error)).await;
                    return;
                }
                Stop::Failed(error) => {
                    // The server closes the connection where the first answer is too large.
                    self.answer_count = (self.answer_count / ANSWER_FACTOR).max(1);
                    tracing::warn!(error = %WithCauses(&error), collection = self.source.collection(), "the change stream failed and is opened again");
                }
                Stop::Malformed(error) => {
                    tracing::error!(%error, "the change stream sent an event without its envelope and is opened again");
                }
                Stop::Exhausted => {
                    tracing::info!(
                        collection = self.source.collection(),
                        "the server closed the change stream: it is opened again"
                    );
                }
            }
            self.options.restarts.inc();
            if started.elapsed() > BACKOFF_MAX {
                backoff = BACKOFF_MIN;
            }
            tokio::select! {
                () = tokio::time::sleep(backoff) => {}
                () = self.sender.closed() => return,
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    async fn read_until_fault(&mut self) -> Stop {
        let mut answer = Answer::first();
        let mut stream = match self.open().await {
            Ok(stream) => stream,
            Err(stop) => return stop,
        };
        let (mut events, mut passed_events) = (0, 0_u32);
        loop {
            let is_told = self.options.tells_level && answer.is_whole(self.answer_count);
            let level = is_told.then_some((&self.sender, answer.asked));
            // Before anything is sent.
            let now = Instant::now();
            let (event, was_fetched) = next(&mut stream, level).await;
            if was_fetched {
                answer = Answer::asked_at(now);
            }
            if let Ok(Some(event)) = &event {
                answer.add(event);
            }
            let event = match event {
                Ok(event) => event,
                Err(error) => return Stop::Failed(error),
            };
            if was_fetched {
                self.pause(event.is_none(), events).await;
                if event.is_some() {
                    events = 0;
                }
            }
            events += 1;
            passed_events += 1;
            let is_idle = event.is_none();
            let passed = match event {
                Some(document) => self.pass_event(document).await,
                None if !stream.is_alive() => return Stop::Exhausted,
                None => self.pass_idle(stream.resume_token()).await,
            };
            if let Err(stop) = passed {
                return stop;
            }
            let is_passed = is_idle || passed_events >= ANSWERS_BEFORE_MORE * self.answer_count;
            if is_passed && self.answer_count < self.options.answer_count_max {
                return Stop::Passed;
            }
        }
    }

    /// The pause after a fetch that brought nothing, or the first event of a new answer. `events` came with
    /// the answer before.
    async fn pause(&self, is_idle: bool, events: u32) {
        match self.options.pace {
            Pace::LiveWhileHeard(_) if !is_idle => {
                self.pause_while_unheard(UNHEARD_PAUSE + UNHEARD_PAUSE_PER_EVENT * events)
                    .await;
            }
            Pace::Interval(interval) if is_idle => tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = self.sender.closed() => {}
            },
            _ => {}
        }
    }

    async fn pause_while_unheard(&self, pause: Duration) {
        let end = Instant::now() + pause;
        while self.is_unheard() && !self.sender.is_closed() {
            let now = Instant::now();
            if now >= end {
                return;
            }
            tokio::time::sleep_until(end.min(now + UNHEARD_LOOK_INTERVAL)).await;
        }
    }

    fn is_unheard(&self) -> bool {
        matches!(&self.options.pace, Pace::LiveWhileHeard(is_heard) if !is_heard())
    }

    async fn open(&self) -> Result<ChangeStream<RawDocumentBuf>, Stop> {
        let mut options = ChangeStreamOptions::default();
        let mut pipeline = Vec::new();
        if let Content::Images { kept } = &self.options.content {
            options.full_document = Some(FullDocumentType::WhenAvailable);
            options.full_document_before_change = Some(FullDocumentBeforeChangeType::WhenAvailable);
            // Before all others: a filter over whole images is refused what is too large, too.
            pipeline.extend(oversized::cut_down(kept));
        }
        pipeline.extend(self.options.pipeline.iter().cloned());
        options.batch_size = Some(self.answer_count);
        options.max_await_time = Some(match self.options.pace {
            Pace::Interval(_) => AWAIT_TIME_MIN,
            Pace::Live | Pace::LiveWhileHeard(_) => self.options.await_time,
        });
        match &self.at {
            // startAfter does all that resumeAfter does, and works after an invalidation too.
            Start::After(token) => {
                options.start_after = Some(token.to_driver().map_err(Stop::Malformed)?)
            }
            Start::At(time) => options.start_at_operation_time = Some(*time),
        }
        let watched = self.source.watched();
        let stream = watched
            .watch()
            .pipeline(pipeline)
            .with_options(options)
            .send()
            .await;
        Ok(stream.map_err(Stop::Failed)?.with_type())
    }

    async fn pass_event(&mut self, document: RawDocumentBuf) -> Result<(), Stop> {
        let token = document.get_document("_id").map_err(Stop::Malformed)?;
        self.at = Start::After(ResumeToken::from_raw(token));
        let bytes = u32::try_from(document.as_bytes().len())
            .unwrap_or(u32::MAX)
            .min(self.bytes_ahead_max);
        let room = self
            .bytes_ahead
            .clone()
            .acquire_many_owned(bytes)
            .await
            .map_err(|_| Stop::ReceiverGone)?;
        let event = Signal::Event(RawEvent {
            document,
            _room: room,
        });
        self.sender
            .send(event)
            .await
            .map_err(|_| Stop::ReceiverGone)
    }

    async fn pass_idle(
        &mut self,
        token: Option<mongodb::change_stream::event::ResumeToken>,
    ) -> Result<(), Stop> {
        if self.sender.is_closed() {
            return Err(Stop::ReceiverGone);
        }
        let Some(token) = token else { return Ok(()) };
        let token = ResumeToken::from_driver(&token).map_err(Stop::Malformed)?;
        self.at = Start::After(token.clone());
        self.sender
            .send(Signal::Idle(token))
            .await
            .map_err(|_| Stop::ReceiverGone)
    }
}

/// What is known of an answer of the server's.
struct Answer {
    /// The moment before the question was sent.
    asked: Instant,
    /// Whether it came with the stream itself: then it has any part of what there is.
    is_first: bool,
    count: u32,
    bytes: usize,
}

impl Answer {
    fn first() -> Self {
        Self {
            is_first: true,
            ..Self::asked_at(Instant::now())
        }
    }

    fn asked_at(asked: Instant) -> Self {
        Self {
            asked,
            is_first: false,
            count: 0,
            bytes: 0,
        }
    }

    fn add(&mut self, event: &RawDocumentBuf) {
        self.count += 1;
        self.bytes += event.as_bytes().len();
    }

    /// Whether it has all that there was, as far as it shows: an answer without room for more is followed by another one.
    fn is_whole(&self, count_max: u32) -> bool {
        !self.is_first && self.count < count_max && self.bytes <= WHOLE_BYTES_MAX
    }
}

/// The next event, if there is one, and whether the server was asked for it: of those that it gives at
/// once, the driver keeps the others. `level`, with the moment before the last question, is told before the server is
/// asked.
async fn next(
    stream: &mut ChangeStream<RawDocumentBuf>,
    level: Option<(&mpsc::Sender<Signal>, Instant)>,
) -> (mongodb::error::Result<Option<RawDocumentBuf>>, bool) {
    let mut next = pin!(stream.next_if_any());
    match poll_immediate(&mut next).await {
        Some(event) => (event, false),
        None => {
            if let Some((receiver, asked)) = level {
                // A receiver that is gone is noticed with the next event.
                let _ = receiver.send(Signal::Level(asked)).await;
            }
            (next.await, true)
        }
    }
}
