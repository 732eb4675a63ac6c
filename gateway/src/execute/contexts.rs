//! Requests whose arguments come from contexts (`@fromContext`), that is from objects above: they
//! have one list of entities for each distinct set of values.

use std::{sync::Arc, vec};

use bytes::Bytes;
use federation::TypeId;
use rustc_hash::FxHashMap;

use super::{
    Execution,
    merge::follow,
    represent,
    request::{Awaited, AwaitedList, Known, Request},
    response_store::{ObjectId, ResponseStore, Value},
};
use crate::prepare::plan::{
    ContextTemplate, EntityFetch, FetchStep, ListTemplate, Merge, PathSegment, Requirement,
};

/// The values of contexts as JSON, in the order of [`ListTemplate::contexts`].
type ContextValues = Vec<Arc<[u8]>>;

/// The entities that are fetched with the same context values.
#[derive(Default)]
struct ContextGroup {
    values: ContextValues,
    /// The representations' JSON, without brackets.
    representations: Vec<u8>,
    known: Known,
    objects: Vec<Awaited>,
}

impl ContextGroup {
    /// Adds an object. `write` appends its representation and returns whether it has one; objects with the same
    /// representation are one entity. Returns whether the object was added.
    fn add(
        &mut self,
        object: ObjectId,
        target: usize,
        write: impl FnOnce(&mut Vec<u8>) -> bool,
    ) -> bool {
        let out = &mut self.representations;
        let end = out.len();
        if self.known.count > 0 {
            out.push(b',');
        }
        let start = out.len();
        if !write(out) {
            out.truncate(end);
            return false;
        }
        let (entity, is_new) = self.known.entity(out, start);
        if !is_new {
            out.truncate(end);
        }
        self.objects.push(Awaited {
            object,
            target,
            entity,
        });
        true
    }
}

/// The entities that a step with contexts has not requested yet.
pub struct Unsent {
    step: usize,
    /// The groups of each entity fetch, by its index in the step.
    groups: Vec<(usize, vec::IntoIter<ContextGroup>)>,
}

impl Unsent {
    /// The step's index in the plan.
    pub fn step(&self) -> usize {
        self.step
    }
}

impl Execution<'_> {
    /// Everything that a step with contexts has to request. With many distinct values, that is more
    /// than fits in one request. `index` is the step's index in the plan.
    pub fn by_context(
        &mut self,
        index: usize,
        step: &FetchStep,
        template: &ContextTemplate,
    ) -> Option<Unsent> {
        let Merge::Entities(fetches) = &step.merge else {
            return None;
        };
        let mut groups = Vec::new();
        for (number, (fetch, list)) in fetches.iter().zip(&template.lists).enumerate() {
            let own = self.groups(index, fetch, list);
            groups.push((number, own));
        }
        let max = self.graph.settings.limits.representations_max;
        let all = || groups.iter().flat_map(|(_, groups)| groups);
        if all().count() > max || all().any(|group| group.known.count > max) {
            let lists = groups.into_iter().map(|(fetch, groups)| AwaitedList {
                fetch,
                key: fetches[fetch].key,
                objects: groups.into_iter().flat_map(|it| it.objects).collect(),
            });
            let lists = lists.collect();
            self.too_many(index, step, lists);
            return None;
        }
        let groups = groups.into_iter();
        Some(Unsent {
            step: index,
            groups: groups
                .map(|(number, groups)| (number, groups.into_iter()))
                .collect(),
        })
    }

    /// Takes the next request from what is unsent; `None` if nothing is left.
    pub fn next_by_context(
        &self,
        unsent: &mut Unsent,
        step: &FetchStep,
        template: &ContextTemplate,
    ) -> Option<Request> {
        let mut writer = ContextRequestWriter::default();
        for (number, rest) in &mut unsent.groups {
            let list = &template.lists[*number];
            for (key, group) in list.keys.iter().zip(rest.by_ref()) {
                writer.add(list, &group);
                writer.lists.push(AwaitedList {
                    fetch: *number,
                    key: *key,
                    objects: group.objects,
                });
            }
        }
        if writer.lists.is_empty() {
            return None;
        }
        let mut clients = Vec::new();
        self.variables.write(&step.request.variables, &mut clients);
        Some(writer.finish(unsent.step, template, &clients))
    }

    /// Groups the objects of a fetch by the values of their contexts.
    fn groups(
        &mut self,
        index: usize,
        fetch: &EntityFetch,
        list: &ListTemplate,
    ) -> Vec<ContextGroup> {
        let mut groups: Vec<ContextGroup> = Vec::new();
        let mut by_values: FxHashMap<ContextValues, usize> = FxHashMap::default();
        for (target_index, target) in fetch.targets.iter().enumerate() {
            let mut walk = ContextWalk {
                first_mark: self.store.begin_marks(target.path.len() + 1),
                store: &mut self.store,
                path: &target.path,
                list,
                values: Vec::new(),
                found: Vec::new(),
            };
            walk.at(Value::Object(self.root), 0);
            // Objects below the same parent follow each other: its values need not be looked up
            // again.
            let mut last: Option<(ContextValues, usize)> = None;
            for (object, values) in walk.found {
                let Some(values) = values else {
                    self.left_out.insert((index, object));
                    continue;
                };
                let is_last = |(last, _): &&(ContextValues, usize)| {
                    let mut both = last.iter().zip(&values);
                    both.all(|(one, other)| Arc::ptr_eq(one, other))
                };
                let number = match last.as_ref().filter(is_last) {
                    Some((_, number)) => *number,
                    None => {
                        let next = groups.len();
                        let entry = by_values.entry(values.clone());
                        let number = *entry.or_insert_with_key(|values| {
                            groups.push(ContextGroup {
                                values: values.clone(),
                                ..ContextGroup::default()
                            });
                            next
                        });
                        last = Some((values, number));
                        number
                    }
                };
                let types = self.graph.types();
                let is_added = groups[number].add(object, target_index, |out| {
                    represent::write(&self.store, types, fetch, object, out)
                });
                if !is_added {
                    self.left_out.insert((index, object));
                }
            }
        }
        groups.retain(|group| !group.objects.is_empty());
        groups
    }
}

/// Finds the objects at a path, each with its context values; `None` if one of them is missing.
struct ContextWalk<'w> {
    store: &'w mut ResponseStore,
    path: &'w [PathSegment],
    list: &'w ListTemplate,
    first_mark: u32,
    values: Vec<Option<Arc<[u8]>>>,
    found: Vec<(ObjectId, Option<ContextValues>)>,
}

impl ContextWalk<'_> {
    fn at(&mut self, value: Value, depth: usize) {
        match value {
            Value::List(list) => {
                for index in 0..self.store.list_len(list) {
                    self.at(self.store.entry(list, index), depth);
                }
            }
            Value::Object(object) => {
                if !self.store.mark(object, self.first_mark + depth as u32) {
                    return;
                }
                let above = self.values.len();
                let contexts = self.list.contexts.iter();
                for context in contexts.filter(|it| it.depth == depth) {
                    let mut value = Vec::new();
                    let is_there = write_value(self.store, object, &context.selection, &mut value);
                    self.values.push(is_there.then(|| value.into()));
                }
                match self.path.get(depth) {
                    None => self
                        .found
                        .push((object, self.values.iter().cloned().collect())),
                    Some(segment) => {
                        if let Some(value) = follow(self.store, object, segment) {
                            self.at(value, depth + 1);
                        }
                    }
                }
                self.values.truncate(above);
            }
            Value::Null | Value::Leaf(_) | Value::Disputed => {}
        }
    }
}

/// Appends the value that a selection takes from an object, as JSON. Returns false if it is
/// missing.
fn write_value(
    store: &ResponseStore,
    object: ObjectId,
    selection: &[Requirement],
    out: &mut Vec<u8>,
) -> bool {
    let type_id = store.type_id(object);
    for requirement in selection {
        match requirement {
            Requirement::Field {
                source, requires, ..
            } => {
                let value = store.get(object, *source, 0);
                return value.is_some_and(|value| write_below(store, value, requires, out));
            }
            Requirement::Fragment {
                types, requires, ..
            } if type_id == TypeId::UNKNOWN || types.contains(type_id) => {
                return write_value(store, object, requires, out);
            }
            Requirement::Fragment { .. } => {}
        }
    }
    // The context selects nothing from objects of this type.
    out.extend_from_slice(b"null");
    true
}

fn write_below(
    store: &ResponseStore,
    value: Value,
    below: &[Requirement],
    out: &mut Vec<u8>,
) -> bool {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Leaf(text) => out.extend_from_slice(store.bytes(text)),
        Value::Object(object) => return write_value(store, object, below, out),
        Value::List(list) => {
            out.push(b'[');
            for index in 0..store.list_len(list) {
                if index > 0 {
                    out.push(b',');
                }
                if !write_below(store, store.entry(list, index), below, out) {
                    return false;
                }
            }
            out.push(b']');
        }
        Value::Disputed => return false,
    }
    true
}

/// Builds the body of one request from its lists.
#[derive(Default)]
struct ContextRequestWriter {
    lists: Vec<AwaitedList>,
    /// The number of the last list among those of its entity fetch, from 0.
    of_kind: usize,
    definitions: Vec<u8>,
    selections: Vec<u8>,
    fragments: Vec<u8>,
    variables: Vec<u8>,
}

impl ContextRequestWriter {
    fn add(&mut self, list: &ListTemplate, group: &ContextGroup) {
        let is_first_of_kind = self
            .lists
            .last()
            .is_none_or(|last| !list.keys.contains(&last.key));
        self.of_kind = if is_first_of_kind {
            0
        } else {
            self.of_kind + 1
        };
        let number = self.of_kind.to_string();
        if !self.lists.is_empty() {
            self.definitions.extend_from_slice(b", ");
            self.selections.push(b' ');
        }
        numbered(&list.definitions, &number, &mut self.definitions);
        numbered(&list.selection, &number, &mut self.selections);
        numbered(&list.fragments, &number, &mut self.fragments);
        self.variable(&list.variable, &number);
        self.variables.push(b'[');
        self.variables.extend_from_slice(&group.representations);
        self.variables.push(b']');
        for (context, value) in list.contexts.iter().zip(&group.values) {
            self.variable(&context.variable, &number);
            self.variables.extend_from_slice(value);
        }
    }

    fn variable(&mut self, name: &[u8], number: &str) {
        if !self.variables.is_empty() {
            self.variables.push(b',');
        }
        self.variables.extend_from_slice(name);
        self.variables.extend_from_slice(number.as_bytes());
        self.variables.extend_from_slice(b"\":");
    }

    fn finish(self, step: usize, template: &ContextTemplate, clients: &[u8]) -> Request {
        let separator: &[u8] = if clients.is_empty() { b"" } else { b"," };
        let is_here = |list: &usize| self.lists.iter().any(|it| it.fetch == *list);
        let used = template.clients.iter();
        let used = used.filter(|(_, lists)| lists.iter().any(is_here));
        let used: Vec<&[u8]> = used.map(|(definition, _)| &**definition).collect();
        let parts: [&[u8]; 12] = [
            &template.start,
            &self.definitions,
            &used.concat(),
            &template.middle,
            &self.selections,
            b"}",
            &self.fragments,
            b"\",\"variables\":{",
            clients,
            separator,
            &self.variables,
            b"}}",
        ];
        Request {
            body: Bytes::from(parts.concat()),
            entities: self.lists,
            step,
        }
    }
}

fn numbered(parts: &[Box<[u8]>], number: &str, out: &mut Vec<u8>) {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(number.as_bytes());
        }
        out.extend_from_slice(part);
    }
}
