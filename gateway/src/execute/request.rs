//! The body of a subgraph request, and which objects its answer is for.

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::{
    Run,
    field_error::Failure,
    merge, represent,
    store::{ObjectId, Value},
};
use crate::prepare::plan::{EntityFetch, Merge, Step};

/// A request ready to be sent.
pub struct Request {
    /// The JSON body.
    pub body: Bytes,
    /// For each of the step's entity fetches, its objects.
    pub entities: Vec<Vec<Awaited>>,
}

/// An object that waits for an entity.
pub struct Awaited {
    /// Which object.
    pub object: ObjectId,
    /// By which of the fetch's targets it was found.
    pub target: usize,
    /// Which of the entities asked for.
    pub entity: usize,
}

impl Run<'_> {
    /// The request of `step`; none where its conditions do not hold, or nothing needs it.
    pub fn request(&mut self, step: &Step) -> Option<Request> {
        if !step
            .conditions
            .iter()
            .all(|condition| self.variables.satisfies(*condition))
        {
            return None;
        }
        let template = &step.request;
        if let Some(constant) = &template.constant {
            return Some(Request {
                body: constant.clone(),
                entities: Vec::new(),
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
            for fetch in fetches {
                if !fetch.variable.is_empty() && body.len() > variables_start {
                    body.push(b',');
                }
                let awaited = self.representations(fetch, &mut body);
                count += awaited.len();
                entities.push(awaited);
            }
            if count == 0 {
                return None;
            }
            let max = self.graph.settings.limits.representations_max;
            if entities
                .iter()
                .flatten()
                .any(|awaited| awaited.entity >= max)
            {
                let failure = Failure::TooManyRepresentations(max);
                self.fetch_failed(
                    step,
                    &Request {
                        body: Bytes::new(),
                        entities,
                    },
                    &failure,
                );
                return None;
            }
        }
        body.extend_from_slice(b"}}");
        Some(Request {
            body: Bytes::from(body),
            entities,
        })
    }

    /// Appends a fetch's variable: the representations of its objects, each distinct one once.
    fn representations(&mut self, fetch: &EntityFetch, body: &mut Vec<u8>) -> Vec<Awaited> {
        let before = body.len();
        body.extend_from_slice(&fetch.variable);
        let mut known: FxHashMap<u64, Vec<(usize, std::ops::Range<usize>)>> = FxHashMap::default();
        let mut awaited = Vec::new();
        let mut entities = 0;
        for (target_index, target) in fetch.targets.iter().enumerate() {
            let objects =
                merge::objects_at(&mut self.store, Value::Object(self.root), &target.path);
            for object in objects {
                let end = body.len();
                if entities > 0 {
                    body.push(b',');
                }
                let start = body.len();
                if !represent::write(&self.store, &self.graph.types, fetch, object, body) {
                    body.truncate(end);
                    continue;
                }
                let same = known.entry(hash(&body[start..])).or_default();
                let entity = same
                    .iter()
                    .find(|(_, other)| body[other.clone()] == body[start..]);
                let entity = match entity {
                    Some((entity, _)) => {
                        let entity = *entity;
                        body.truncate(end);
                        entity
                    }
                    None => {
                        same.push((entities, start..body.len()));
                        entities += 1;
                        entities - 1
                    }
                };
                awaited.push(Awaited {
                    object,
                    target: target_index,
                    entity,
                });
            }
        }
        if fetch.variable.is_empty() {
            // Another fetch of this request has written the same list.
            body.truncate(before);
        } else {
            body.push(b']');
        }
        awaited
    }
}

fn hash(bytes: &[u8]) -> u64 {
    use std::hash::Hasher;
    let mut hasher = rustc_hash::FxHasher::default();
    hasher.write(bytes);
    hasher.finish()
}
