//! Builds the body of a subgraph request, and remembers which objects its response completes.

use std::{collections::hash_map::Entry, hash::Hasher, ops::Range};

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHasher};

use super::{
    Execution,
    field_error::Failure,
    merge, represent,
    response_store::{ObjectId, Value},
};
use crate::prepare::plan::{EntityFetch, FetchStep, Merge, ResponseKey};

/// The largest number of requests in flight for one step with contexts; at least 2.
const BY_CONTEXT_MAX: usize = 8;

/// The approximate size of a representation, in bytes.
const REPRESENTATION_BYTES: usize = 48;

/// A request that is ready to be sent.
pub struct Request {
    /// The body, as JSON.
    pub body: Bytes,
    /// The lists of entities that it requests.
    pub entities: Vec<AwaitedList>,
    /// The index of its step in the plan.
    pub step: usize,
}

/// A list of entities that a request fetches.
pub struct AwaitedList {
    /// The index of its entity fetch in the step.
    pub fetch: usize,
    /// The response key of its `_entities` field.
    pub key: ResponseKey,
    /// The objects that its entities complete.
    pub objects: Vec<Awaited>,
}

/// An object that an entity will complete.
pub struct Awaited {
    /// The object in the response store.
    pub object: ObjectId,
    /// The index of the fetch's target by which it was found.
    pub target: usize,
    /// The index of the entity in the list.
    pub entity: usize,
}

impl Execution<'_> {
    /// The request of `step`, whose index in the plan is `index`, and a few more if its contexts
    /// have many values; [`Execution::next_request`] gives the rest. `None` if its conditions do
    /// not hold, or no object needs it.
    pub fn requests(&mut self, index: usize, step: &FetchStep) -> (Option<Request>, Vec<Request>) {
        let mut conditions = step.conditions.iter();
        if !conditions.all(|condition| condition.holds(self.variables)) {
            return (None, Vec::new());
        }
        let Some(template) = &step.request.by_context else {
            return (self.request(index, step), Vec::new());
        };
        let Some(mut unsent) = self.by_context(index, step, template) else {
            return (None, Vec::new());
        };
        let mut requests = Vec::new();
        while requests.len() < BY_CONTEXT_MAX {
            match self.next_by_context(&mut unsent, step, template) {
                Some(request) => requests.push(request),
                None => return (requests.pop(), requests),
            }
        }
        self.unsent.push(unsent);
        (requests.pop(), requests)
    }

    /// The next request of a step with contexts, after one of its requests was answered.
    pub fn next_request(&mut self, index: usize, step: &FetchStep) -> Option<Request> {
        let template = step.request.by_context.as_ref()?;
        let place = self.unsent.iter().position(|it| it.step() == index)?;
        let mut unsent = self.unsent.swap_remove(place);
        let next = self.next_by_context(&mut unsent, step, template)?;
        self.unsent.push(unsent);
        Some(next)
    }

    fn request(&mut self, index: usize, step: &FetchStep) -> Option<Request> {
        if let Some(other) = step.fallback_of
            && !self.left_out.iter().any(|(step, _)| *step == other)
        {
            return None;
        }
        let template = &step.request;
        if let Some(constant) = &template.constant {
            return Some(Request {
                body: constant.clone(),
                entities: Vec::new(),
                step: index,
            });
        }
        let mut body = Vec::with_capacity(template.head.len() + 256);
        body.extend_from_slice(&template.head);
        body.extend_from_slice(b",\"variables\":{");
        let variables_start = body.len();
        self.variables.write(&template.variables, &mut body);
        let mut entities = Vec::new();
        if let Merge::Entities(fetches) = &step.merge {
            let mut count = 0;
            for (number, fetch) in fetches.iter().enumerate() {
                if body.len() > variables_start {
                    body.push(b',');
                }
                let objects = self.representations(index, step, fetch, &mut body);
                count += objects.len();
                entities.push(AwaitedList {
                    fetch: number,
                    key: fetch.key,
                    objects,
                });
            }
            if count == 0 {
                return None;
            }
            let max = self.graph.settings.limits.representations_max;
            let mut awaited = entities.iter().flat_map(|list| &list.objects);
            if awaited.any(|awaited| awaited.entity >= max) {
                self.too_many(index, step, entities);
                return None;
            }
        }
        body.extend_from_slice(b"}}");
        Some(Request {
            body: Bytes::from(body),
            entities,
            step: index,
        })
    }

    /// Fails a request that would have too many representations, without sending it.
    pub(super) fn too_many(&mut self, index: usize, step: &FetchStep, entities: Vec<AwaitedList>) {
        let max = self.graph.settings.limits.representations_max;
        let failure = Failure::TooManyRepresentations(max);
        let subgraph = &self.graph.subgraphs[usize::from(step.subgraph.0)];
        let metrics = &self.graph.settings.subgraph_metrics;
        metrics.of(subgraph.name()).failures.inc();
        let request = Request {
            body: Bytes::new(),
            entities,
            step: index,
        };
        self.fetch_failed(step, &request, &failure);
    }

    /// Appends the variable of a fetch: the representations of its objects, each distinct one once.
    fn representations(
        &mut self,
        index: usize,
        step: &FetchStep,
        fetch: &EntityFetch,
        body: &mut Vec<u8>,
    ) -> Vec<Awaited> {
        body.extend_from_slice(&fetch.variable);
        let mut known = Known::default();
        let mut awaited = Vec::new();
        for (target_index, target) in fetch.targets.iter().enumerate() {
            let objects =
                merge::objects_at(&mut self.store, Value::Object(self.root), &target.path);
            awaited.reserve(objects.len());
            known.by_hash.reserve(objects.len());
            body.reserve(objects.len() * REPRESENTATION_BYTES);
            for object in objects {
                if let Some(other) = step.fallback_of
                    && !self.left_out.contains(&(other, object))
                {
                    continue;
                }
                let end = body.len();
                if known.count > 0 {
                    body.push(b',');
                }
                let start = body.len();
                if !represent::write(&self.store, self.graph.types(), fetch, object, body) {
                    body.truncate(end);
                    self.left_out.insert((index, object));
                    continue;
                }
                let (entity, is_new) = known.entity(body, start);
                if !is_new {
                    body.truncate(end);
                }
                awaited.push(Awaited {
                    object,
                    target: target_index,
                    entity,
                });
            }
        }
        body.push(b']');
        awaited
    }
}

/// The distinct representations in one list so far.
#[derive(Default)]
pub(super) struct Known {
    pub(super) count: usize,
    /// By hash: the index of the entity, and its bytes in the body.
    by_hash: FxHashMap<u64, (usize, Range<usize>)>,
}

impl Known {
    /// The index of the representation at the end of `body`, and whether it is the first with its
    /// bytes. One with the hash of another but different bytes counts as new each time: fetching an
    /// entity twice is correct, and rare.
    pub(super) fn entity(&mut self, body: &[u8], start: usize) -> (usize, bool) {
        let mut hasher = FxHasher::default();
        hasher.write(&body[start..]);
        match self.by_hash.entry(hasher.finish()) {
            Entry::Occupied(entry) => {
                let (entity, bytes) = entry.get();
                if body[bytes.clone()] == body[start..] {
                    return (*entity, false);
                }
            }
            Entry::Vacant(entry) => {
                entry.insert((self.count, start..body.len()));
            }
        }
        self.count += 1;
        (self.count - 1, true)
    }
}
