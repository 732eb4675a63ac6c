//! The state of one subscription over all of its tries, apart from sockets and timers.
//!
//! How it knows that the subscription stands: by the server's first frame; or by the first event; or, where neither
//! comes, because it was not refused for a time (a guess). Each time that it stands where events may be missing, the
//! first time too, there is a [`Gap`]: whoever reads the data then, and applies the events that follow, has
//! everything.
//!
//! The package for TypeScript has the same states (`client/src/resume.ts`): a fault that is found in one is looked for
//! in the other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::contract::{self, Frame, Response, cursor_in, field_cursor_in, has_variable, is_cursor};
use crate::failure::{
    BAD_USER_INPUT, Failure, MESSAGE_TOO_LARGE, RESYNC_REQUIRED, SUBSCRIPTION_INTERRUPTED,
    is_ending_code, is_final_code,
};
use crate::item::{Event, Gap, Item};
use crate::pause::Pauses;
use crate::store::Mark;
use crate::{Guarantee, Resync};

/// A subscription that stood for so long is no failed try.
const SETTLED_AFTER: Duration = Duration::from_secs(5);
/// Events that are recognised when they come again.
const RECENT_MAX: usize = 128;
/// An event that fails so often is given up, and so is one that is too large.
const EVENT_TRIES_MAX: u32 = 3;

/// Whether a failure ends the subscription.
pub(crate) type IsFinal = Arc<dyn Fn(&Failure) -> bool + Send + Sync>;

/// What is asked for, and how.
#[derive(Clone)]
pub(crate) struct Asked {
    pub query: String,
    pub operation_name: Option<String>,
    pub variables: Map<String, Value>,
    pub extensions: Map<String, Value>,
    pub guarantee: Guarantee,
    /// The variable of servers that do not know the contract.
    pub after_variable: String,
    pub resync: Resync,
    pub is_final: Option<IsFinal>,
    pub pauses: Pauses,
    pub tries_max: Option<u32>,
}

impl Asked {
    /// The request without its position, as the cursor's name in a store.
    pub(crate) fn key(&self) -> String {
        let mut variables = self.variables.clone();
        variables.remove(&self.after_variable);
        json!([self.operation_name, self.query, variables]).to_string()
    }
}

/// What follows from a message or a failure.
#[derive(Debug)]
pub(crate) enum Then {
    GoOn,
    /// Try again after this time.
    Again(Duration),
    /// The server has completed the subscription, or no other try would help.
    End(Option<Failure>),
}

/// What goes to the application, and what is true once it has applied it.
pub(crate) type Out = Vec<(Item, Mark)>;

/// How a subscription is known to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Frame,
    Event,
    Guess,
}

/// One try.
#[derive(Default)]
struct Try {
    /// The cursor that was sent.
    after: Option<String>,
    by: Option<By>,
    told_gap: bool,
    had_frame: bool,
    /// The cursor of the first frame.
    from: Option<String>,
    stood_at: Option<Instant>,
}

pub(crate) struct Resume {
    asked: Asked,
    takes_variable: bool,
    cursor: Option<String>,
    /// The last events' cursors, and of which try they are.
    recent: VecDeque<(String, u64)>,
    tries: u64,
    now: Try,
    /// Failed tries since one that stood for a while.
    attempt: u32,
    /// The server has sent a first frame.
    knows_contract: bool,
    told_gap: bool,
    /// A cursor was refused, and no event has come since.
    has_forgotten: bool,
    /// A stored cursor is to be forgotten, too.
    forgets: bool,
    failing: Option<(String, u32)>,
    too_large: u32,
}

impl Resume {
    /// Begins after `cursor`.
    pub(crate) fn new(asked: Asked, cursor: Option<String>) -> Self {
        let mut resume = Self {
            takes_variable: has_variable(&asked.query, &asked.after_variable),
            asked,
            cursor: None,
            recent: VecDeque::new(),
            tries: 0,
            now: Try::default(),
            attempt: 0,
            knows_contract: false,
            told_gap: false,
            has_forgotten: false,
            forgets: false,
            failing: None,
            too_large: 0,
        };
        if let Some(cursor) = cursor.filter(|it| is_cursor(it)) {
            resume.remember(&cursor);
            resume.cursor = Some(cursor);
        }
        resume
    }

    /// The request of another try.
    pub(crate) fn next_try(&mut self) -> Value {
        self.tries += 1;
        self.now = Try {
            after: self.cursor.clone(),
            ..Try::default()
        };
        let mut variables = self.asked.variables.clone();
        // Without a cursor the variable is left out, whatever the application gave: it may have been forgotten.
        variables.remove(&self.asked.after_variable);
        if let (true, Some(cursor)) = (self.takes_variable, &self.cursor) {
            variables.insert(self.asked.after_variable.clone(), cursor.clone().into());
        }
        let mut extensions = self.asked.extensions.clone();
        let delivery = contract::delivery(self.asked.guarantee, self.cursor.as_deref());
        extensions.insert("delivery".to_owned(), delivery);
        let mut request =
            json!({ "query": self.asked.query, "variables": variables, "extensions": extensions });
        if let Some(name) = &self.asked.operation_name {
            request["operationName"] = name.clone().into();
        }
        request
    }

    /// Whether nothing says yet that the subscription stands.
    pub(crate) fn is_unsure(&self) -> bool {
        self.now.by.is_none()
    }

    /// Whether a cursor was refused just now: a stored one is to be forgotten.
    pub(crate) fn forgets(&mut self) -> bool {
        std::mem::take(&mut self.forgets)
    }

    /// It was not refused for a time.
    pub(crate) fn guess(&mut self, out: &mut Out) {
        self.stands(By::Guess, None, out);
    }

    /// A message, and its id where the transport has one.
    pub(crate) fn take(&mut self, message: Response, id: Option<&str>, out: &mut Out) -> Then {
        let cursor = self.cursor_of_message(&message.extensions);
        if message.is_refusal() {
            return self.take_errors(Failure::from_errors(message.errors), cursor, out);
        }
        let Some(data) = message.data else {
            let delivery = &message.extensions["delivery"];
            if !delivery.is_object() {
                self.stands(By::Event, None, out);
            } else if let Some(frame) = Frame::of(delivery) {
                self.take_frame(frame, cursor_in(&message.extensions["cursor"]), out);
            }
            return Then::GoOn;
        };
        self.stands(By::Event, None, out);
        let of_contract = cursor.is_some();
        let cursor = cursor.or_else(|| {
            let of_field = self.takes_variable.then(|| field_cursor_in(&data));
            of_field.flatten()
        });
        let heard_in = cursor.as_deref().and_then(|it| self.heard_in(it));
        // Where the cursor is the data's own, several events may have it: only a resumption brings one again.
        if heard_in.is_some_and(|heard_in| of_contract || heard_in != self.tries) {
            return Then::GoOn;
        }
        self.has_forgotten = false;
        self.failing = None;
        self.too_large = 0;
        if let Some(cursor) = &cursor {
            self.remember(cursor);
        }
        let position = cursor.or_else(|| id.filter(|it| is_cursor(it)).map(str::to_owned));
        if position.is_some() {
            self.cursor.clone_from(&position);
        }
        let mark = position.clone().map_or(Mark::None, Mark::Applied);
        let event = Event::new(data, message.errors, message.extensions, position);
        out.push((Item::Event(event), mark));
        Then::GoOn
    }

    /// The try has failed: what does the contract say?
    pub(crate) fn failed(&mut self, failure: Failure, out: &mut Out) -> Then {
        let is_cursors = failure.has_code(RESYNC_REQUIRED)
            || (failure.code() == BAD_USER_INPUT
                && self.now.after.is_some()
                && !self.has_forgotten);
        if is_cursors {
            self.has_forgotten = true;
            self.forgets = true;
            self.cursor = None;
            self.recent.clear();
        }
        let is_end = match is_cursors {
            true => self.asked.resync == Resync::End,
            false => self.is_final(&failure),
        };
        if is_end {
            return Then::End(Some(failure));
        }
        let mark = match failure.cursor() {
            Some(cursor) if !is_cursors => {
                self.cursor = Some(cursor.to_owned());
                Mark::Applied(cursor.to_owned())
            }
            _ => Mark::None,
        };
        self.again(failure, mark, out)
    }

    /// Servers that do not know the contract may have something else of this name.
    fn cursor_of_message(&self, extensions: &Value) -> Option<String> {
        let is_position = self.knows_contract || self.takes_variable;
        let cursor = is_position.then(|| cursor_in(&extensions["cursor"]));
        cursor.flatten().map(str::to_owned)
    }

    fn take_frame(&mut self, frame: Frame, cursor: Option<&str>, out: &mut Out) {
        self.knows_contract = true;
        // It comes again, or late: events have come, and they have later cursors.
        if std::mem::replace(&mut self.now.had_frame, true) || self.now.by == Some(By::Event) {
            return;
        }
        let is_resumed = self.now.after.is_some() && frame.kept == Guarantee::AtLeastOnce;
        if let (false, Some(cursor)) = (is_resumed, cursor) {
            self.cursor = Some(cursor.to_owned());
            self.now.from.clone_from(&self.cursor);
        }
        self.stands(By::Frame, Some(is_resumed), out);
    }

    /// Errors without data: an event failed, or some are missing, or the subscription has ended.
    fn take_errors(&mut self, failure: Failure, cursor: Option<String>, out: &mut Out) -> Then {
        if failure.has_code(SUBSCRIPTION_INTERRUPTED) {
            self.recent.clear();
            if let Some(cursor) = failure.cursor().map(str::to_owned).or(cursor) {
                self.cursor = Some(cursor);
            }
            self.stands(By::Event, Some(false), out);
            return Then::GoOn;
        }
        // Without a cursor, there is no event.
        let Some(cursor) = cursor.filter(|_| !is_ending_code(failure.code())) else {
            return self.failed(failure, out);
        };
        if self.heard_in(&cursor).is_some() {
            return Then::GoOn;
        }
        let count = match self.failing.take() {
            Some((failing, count)) if failing == cursor => count + 1,
            _ => 1,
        };
        if count < EVENT_TRIES_MAX && !self.is_final(&failure) {
            self.failing = Some((cursor, count));
            return self.again(failure, Mark::None, out);
        }
        // An event that always fails would hold up all that follow.
        self.remember(&cursor);
        self.cursor = Some(cursor);
        self.stands(By::Event, Some(false), out);
        Then::GoOn
    }

    /// The subscription stands. Where it is not said, it is resumed if it was sent a cursor that the server follows.
    fn stands(&mut self, by: By, is_resumed: Option<bool>, out: &mut Out) {
        let is_interrupted = by == By::Event && is_resumed == Some(false);
        let before = self.now.by;
        if matches!(before, Some(By::Event | By::Frame)) {
            if is_interrupted {
                self.gap(false, out);
            }
            return;
        }
        self.now.by = Some(by);
        self.now.stood_at.get_or_insert_with(Instant::now);
        // Its first frame will say it; until then it is believed.
        let is_expected = by == By::Guess && self.knows_contract;
        let is_resumed = is_resumed
            .unwrap_or_else(|| self.now.after.is_some() && (self.takes_variable || is_expected));
        if before.is_none() || by == By::Frame {
            let from = match is_resumed {
                true => self.now.after.clone(),
                false => self.now.from.clone(),
            };
            let is_guess = by == By::Guess;
            out.push((Item::Stands { from, is_guess }, Mark::None));
        }
        if is_resumed || (self.now.told_gap && by == By::Event && !is_interrupted) {
            return;
        }
        // A server that began elsewhere may use a cursor once more.
        if !is_interrupted {
            self.recent.clear();
        }
        self.gap(by == By::Guess, out);
    }

    fn gap(&mut self, is_guess: bool, out: &mut Out) {
        self.now.told_gap = true;
        let is_first = !std::mem::replace(&mut self.told_gap, true);
        let gap = Gap { is_first, is_guess };
        out.push((Item::Gap(gap), Mark::Gap(self.cursor.clone())));
    }

    fn again(&mut self, failure: Failure, mark: Mark, out: &mut Out) -> Then {
        let stood_for = self.now.stood_at.map(|at| at.elapsed());
        if stood_for.is_some_and(|it| it > SETTLED_AFTER) {
            self.attempt = 0;
        }
        self.attempt = self.attempt.saturating_add(1);
        if self.asked.tries_max.is_some_and(|max| self.attempt >= max) {
            return Then::End(Some(failure));
        }
        let pause = self.asked.pauses.before(self.attempt - 1, &failure);
        out.push((Item::Reconnecting { failure, pause }, mark));
        Then::Again(pause)
    }

    fn is_final(&mut self, failure: &Failure) -> bool {
        if failure.code() == MESSAGE_TOO_LARGE {
            self.too_large += 1;
            return self.too_large >= EVENT_TRIES_MAX;
        }
        match &self.asked.is_final {
            Some(is_final) => is_final(failure),
            None => is_final_code(failure.code()),
        }
    }

    fn heard_in(&self, cursor: &str) -> Option<u64> {
        let mut recent = self.recent.iter().rev();
        recent.find(|(it, _)| it == cursor).map(|(_, tries)| *tries)
    }

    fn remember(&mut self, cursor: &str) {
        self.recent.retain(|(it, _)| it != cursor);
        self.recent.push_back((cursor.to_owned(), self.tries));
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
        }
    }
}
