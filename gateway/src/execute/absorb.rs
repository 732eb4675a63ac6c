//! Merges a subgraph's response into the client's response: its data, its errors, or its failure.

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    Execution,
    field_error::{self, ERRORS_MAX, Failure, SubgraphError, SubgraphPathItem},
    forward,
    merge::{self, PathItem},
    read::{self, SubgraphResponse},
    request::Request,
    response_store::Value,
};
use crate::{
    error::Code,
    prepare::{
        OperationKind,
        plan::{EntityFetch, FetchStep, Merge, PathSegment, ResponseKey},
    },
    subgraphs::{FetchError, HttpResponse},
    watch,
};

/// A failed request is reported at no more than this many of the paths that it leaves without a
/// value.
const PLACES_OF_A_FAILURE_MAX: usize = 100;

impl Execution<'_> {
    /// Merges the result of a request of `step`, which may be a failure.
    pub fn absorb(
        &mut self,
        step: &FetchStep,
        request: &Request,
        answer: Result<HttpResponse, FetchError>,
    ) {
        self.mutations_sent += usize::from(step.is_mutation);
        match answer {
            Ok(answer) => {
                let name = self.graph.subgraph(step.subgraph).name;
                let rules = &self.graph.settings.header_rules;
                rules.response(name, &answer.headers, &mut self.to_client);
                if let Err(failure) = self.absorb_body(step, request, answer.status, answer.body) {
                    self.fetch_failed(step, request, &failure);
                }
            }
            Err(error) => self.fetch_failed(step, request, &Failure::Fetch(error)),
        }
    }

    /// Merges a subscription's event as the response to its first step.
    pub fn absorb_event(&mut self, step: &FetchStep, payload: Bytes) {
        let request = Request {
            body: Bytes::new(),
            entities: Vec::new(),
            step: 0,
        };
        if let Err(failure) = self.absorb_body(step, &request, 200, payload) {
            self.fetch_failed(step, &request, &failure);
        }
    }

    fn absorb_body(
        &mut self,
        step: &FetchStep,
        request: &Request,
        status: u16,
        body: Bytes,
    ) -> Result<(), Failure> {
        let prepared = self.prepared;
        let types = self.graph.types();
        let is_success = (200..300).contains(&status);
        if !self.may_take(body.len()) {
            return Ok(());
        }
        if prepared.plan.forwards
            && is_success
            && forward::is_answer(&body, &prepared.projection, types)
        {
            self.forwarded = Some(body);
            return Ok(());
        }
        let read = read::read(body, step.shape, &prepared.plan, types, &mut self.store);
        self.count_objects();
        if self.ended.is_some() {
            return Ok(());
        }
        let response = read.map_err(|malformed| match is_success {
            true => Failure::Malformed(malformed.to_string()),
            false => Failure::Status(status),
        })?;
        if !response.has_data && response.errors.is_none() {
            return Err(match is_success {
                true => Failure::Malformed("it has neither data nor errors".into()),
                false => Failure::Status(status),
            });
        }
        if response.errors.is_none()
            && let Some(reason) = self.wrong_entities(step, request, response.data)
        {
            return Err(Failure::Malformed(reason.into()));
        }
        if response.errors.is_none() && !is_success {
            let subgraph = self.graph.subgraph(step.subgraph);
            tracing::warn!(
                subgraph.name,
                subgraph.url,
                status,
                "a subgraph returned data with an HTTP error status"
            );
            self.errors
                .push(field_error::odd_status(subgraph.name, status));
        }
        // Errors first: their paths depend on where the objects are before the merge.
        if let Some(errors) = &response.errors {
            let errors = SubgraphError::read_all(errors);
            let was_begun = matches!(response.data, Value::Object(_));
            if step.is_mutation && !was_begun && self.are_refusals(step, &errors) {
                self.mutations_refused += 1;
            }
            self.subgraph_errors(step, request, &errors);
        }
        self.absorb_data(step, request, &response);
        self.count_objects();
        Ok(())
    }

    /// What is wrong with the entities of a response without errors, if anything. Such a response
    /// must have an object or null for each representation.
    fn wrong_entities(
        &self,
        step: &FetchStep,
        request: &Request,
        data: Value,
    ) -> Option<&'static str> {
        const FEWER: &str = "it has fewer entities than requested";
        let Merge::Entities(_) = &step.merge else {
            return None;
        };
        let Value::Object(data) = data else {
            return Some(FEWER);
        };
        for (index, list) in request.entities.iter().enumerate() {
            let asked = list.objects.iter().map(|it| it.entity + 1);
            let asked = asked.max().unwrap_or(0);
            let found = match self.store.get(data, list.key, index) {
                Some(Value::List(entities)) => entities,
                _ if asked == 0 => continue,
                _ => return Some(FEWER),
            };
            if self.store.list_len(found) < asked {
                return Some(FEWER);
            }
            let mut entities = (0..asked).map(|entity| self.store.entry(found, entity));
            if entities.any(|it| !matches!(it, Value::Null | Value::Object(_))) {
                return Some("it has entities that are neither objects nor null");
            }
        }
        None
    }

    fn absorb_data(&mut self, step: &FetchStep, request: &Request, response: &SubgraphResponse) {
        let Value::Object(data) = response.data else {
            return;
        };
        self.has_data = true;
        let types = self.graph.types();
        match &step.merge {
            Merge::Root { renames } => {
                merge::rename(&mut self.store, types, response.data, renames);
                merge::merge(&mut self.store, types, self.root, data);
            }
            Merge::Reentry { path, renames } => {
                merge::rename(&mut self.store, types, response.data, renames);
                let targets = merge::objects_at(&mut self.store, Value::Object(self.root), path);
                for target in targets {
                    let copy = merge::deep_copy(&mut self.store, response.data);
                    if let Value::Object(copy) = copy {
                        merge::merge(&mut self.store, types, target, copy);
                    }
                }
            }
            Merge::Entities(fetches) => {
                for (index, list) in request.entities.iter().enumerate() {
                    let fetch = &fetches[list.fetch];
                    let entities = self.store.get(data, list.key, index);
                    let entities = entities.unwrap_or(Value::Null);
                    merge::rename(&mut self.store, types, entities, &fetch.renames);
                    self.absorb_entities(fetch, &list.objects, entities);
                }
            }
        }
    }

    fn absorb_entities(
        &mut self,
        fetch: &EntityFetch,
        awaited: &[super::request::Awaited],
        entities: Value,
    ) {
        let Value::List(entities) = entities else {
            return;
        };
        // The target that received each entity first, with the value; then those of further
        // targets.
        let mut first: Vec<Option<(usize, Value)>> = vec![None; self.store.list_len(entities)];
        let mut others: FxHashMap<(usize, usize), Value> = FxHashMap::default();
        for awaited in awaited {
            let Some(first) = first.get_mut(awaited.entity) else {
                continue;
            };
            let original = self.store.entry(entities, awaited.entity);
            // One for all targets if they may share entities.
            let target = if fetch.shares_across_targets {
                0
            } else {
                awaited.target
            };
            let known = match first {
                Some((first_target, value)) if *first_target == target => Some(*value),
                Some(_) => others.get(&(target, awaited.entity)).copied(),
                None => None,
            };
            let may_share = fetch.targets[awaited.target].may_share;
            let entity = match known {
                Some(entity) if may_share => entity,
                // The first target gets the entity as it was read, others get copies.
                _ if first.is_none() => original,
                _ => merge::deep_copy(&mut self.store, original),
            };
            match first {
                Some((first_target, _)) if *first_target != target => {
                    others.insert((target, awaited.entity), entity);
                }
                first => *first = Some((target, entity)),
            }
            if let Value::Object(entity) = entity {
                merge::merge(&mut self.store, self.graph.types(), awaited.object, entity);
            }
        }
    }

    fn subgraph_errors(&mut self, step: &FetchStep, request: &Request, errors: &[SubgraphError]) {
        let service = self.graph.subgraph(step.subgraph).name;
        self.count_codes(service, errors);
        let is_of_mutation = self.prepared.kind() == OperationKind::Mutation;
        for error in errors {
            let is_at_root = step.is_mutation && error.path.len() <= 1;
            let is_read_after_write = is_of_mutation && !is_at_root && error.is_overload();
            // An overload without a path would seem to be about the whole mutation.
            let paths = match is_at_root && error.path.is_empty() && error.is_overload() {
                true => root_places(step),
                false => self.client_paths(step, request, &error.path),
            };
            for path in paths {
                if self.errors.len() >= ERRORS_MAX {
                    return;
                }
                let mut error = error.at(self.graph, service, path);
                if is_read_after_write {
                    error.read_after_write();
                }
                self.errors.push(error);
            }
        }
    }

    /// Counts each code of an answer's errors once.
    fn count_codes(&self, service: &str, errors: &[SubgraphError]) {
        let own = Code::DownstreamServiceError.as_str();
        let mut counted = FxHashSet::default();
        for error in errors.iter().take(ERRORS_MAX) {
            let code = error.code().map_or(own, watch::code);
            if counted.insert(code) {
                let metrics = &self.graph.settings.subgraph_metrics;
                metrics.errors.count(service, code);
            }
        }
    }

    /// Whether the errors of a mutation without data say that an overload kept all root fields from
    /// starting: they have no path, or there is one at each root field.
    fn are_refusals(&self, step: &FetchStep, errors: &[SubgraphError]) -> bool {
        let is_at = |error: &SubgraphError, key: ResponseKey| match &*error.path {
            [SubgraphPathItem::Name(name)] => self.key_path_item(step, name) == PathItem::Key(key),
            _ => false,
        };
        let mut fields = step.root_keys.iter();
        errors.iter().all(SubgraphError::is_overload)
            && (errors.iter().all(|error| error.path.is_empty())
                || fields.all(|key| errors.iter().any(|error| is_at(error, *key))))
    }

    /// Translates a path in the subgraph's response to paths in the client's response. There is at
    /// least one, which may be the root.
    fn client_paths(
        &self,
        step: &FetchStep,
        request: &Request,
        path: &[SubgraphPathItem],
    ) -> Vec<Vec<PathItem>> {
        let keys = &self.prepared.plan.keys;
        let rest = |path: &[SubgraphPathItem]| -> Vec<PathItem> {
            let item = |item: &SubgraphPathItem| match item {
                SubgraphPathItem::Index(index) => PathItem::Index(*index),
                SubgraphPathItem::Name(name) => self.key_path_item(step, name),
            };
            path.iter().map(item).collect()
        };
        match &step.merge {
            Merge::Root { .. } => vec![rest(path)],
            Merge::Reentry { path: base, .. } => {
                let mut places = self.places(base);
                for place in &mut places {
                    place.extend(rest(path));
                }
                if places.is_empty() {
                    vec![Vec::new()]
                } else {
                    places
                }
            }
            Merge::Entities(fetches) => {
                let (field, entity, below) = match path {
                    [
                        SubgraphPathItem::Name(field),
                        SubgraphPathItem::Index(entity),
                        below @ ..,
                    ] => (Some(field), Some(*entity), below),
                    [SubgraphPathItem::Name(field), ..] => (Some(field), None, &[][..]),
                    _ => (None, None, &[][..]),
                };
                let mut paths = Vec::new();
                for list in &request.entities {
                    if field.is_some_and(|field| *keys[list.key.0 as usize] != **field) {
                        continue;
                    }
                    let fetch = &fetches[list.fetch];
                    for awaited in &list.objects {
                        if entity.is_some_and(|entity| entity != awaited.entity) {
                            continue;
                        }
                        let base = &fetch.targets[awaited.target].path;
                        self.places_of(base, awaited.object, &mut paths);
                        if entity.is_none() {
                            break;
                        }
                    }
                }
                for path in &mut paths {
                    path.extend(rest(below));
                }
                if paths.is_empty() {
                    vec![Vec::new()]
                } else {
                    paths
                }
            }
        }
    }

    /// A name in a subgraph's path as the client knows it, with internal aliases undone.
    fn key_path_item(&self, step: &FetchStep, name: &str) -> PathItem {
        let keys = &self.prepared.plan.keys;
        let renames = match &step.merge {
            Merge::Root { renames } | Merge::Reentry { renames, .. } => vec![renames],
            Merge::Entities(fetches) => fetches.iter().map(|fetch| &fetch.renames).collect(),
        };
        let rename = renames
            .into_iter()
            .flatten()
            .find(|rename| *keys[rename.from.0 as usize] == *name)
            .map(|rename| PathItem::Key(rename.to));
        let known = || {
            let key = keys.iter().position(|key| **key == *name)?;
            Some(PathItem::Key(crate::prepare::plan::ResponseKey(key as u32)))
        };
        rename
            .or_else(known)
            .unwrap_or_else(|| PathItem::Name(name.to_owned()))
    }

    /// The response paths of the objects at a plan's path, up to [`PLACES_OF_A_FAILURE_MAX`].
    fn places(&self, path: &[PathSegment]) -> Vec<Vec<PathItem>> {
        let mut places = Vec::new();
        let root = Value::Object(self.root);
        merge::places_at(&self.store, root, path, &mut Vec::new(), &mut |place, _| {
            places.push(place.to_vec());
            places.len() < PLACES_OF_A_FAILURE_MAX
        });
        places
    }

    /// Adds the response paths at which this object is found.
    fn places_of(
        &self,
        path: &[PathSegment],
        object: super::response_store::ObjectId,
        places: &mut Vec<Vec<PathItem>>,
    ) {
        let root = Value::Object(self.root);
        merge::places_at(
            &self.store,
            root,
            path,
            &mut Vec::new(),
            &mut |place, found| {
                if found == object && !places.iter().any(|other| other == place) {
                    places.push(place.to_vec());
                }
                places.len() < PLACES_OF_A_FAILURE_MAX
            },
        );
    }

    /// The paths of the fields that `fetch` would have added to the objects at `places`.
    fn with_fields(
        &self,
        step: &FetchStep,
        fetch: &EntityFetch,
        places: &[Vec<PathItem>],
    ) -> Vec<Vec<PathItem>> {
        let shapes = &self.prepared.plan.shapes;
        let field = shapes[step.shape.0 as usize]
            .fields
            .iter()
            .find(|it| it.key == fetch.key);
        let Some(shape) = field.and_then(|field| field.shape) else {
            return places.to_vec();
        };
        let fields = &shapes[shape.0 as usize].fields;
        if fields.iter().all(|field| field.is_typename) {
            // Only type names were requested: the error belongs to the objects themselves.
            return places.to_vec();
        }
        let mut all = Vec::new();
        for place in places {
            for field in fields.iter().filter(|it| !it.is_typename) {
                let rename = fetch.renames.iter().find(|rename| rename.from == field.key);
                let key = rename.map_or(field.key, |rename| rename.to);
                all.push(place.iter().cloned().chain([PathItem::Key(key)]).collect());
            }
        }
        all.truncate(PLACES_OF_A_FAILURE_MAX);
        all
    }

    /// Reports that a whole request failed, at the paths that it leaves without a value.
    pub fn fetch_failed(&mut self, step: &FetchStep, request: &Request, failure: &Failure) {
        let subgraph = self.graph.subgraph(step.subgraph);
        tracing::warn!(subgraph.name, subgraph.url, error = %failure, "a subgraph request failed");
        let metrics = &self.graph.settings.subgraph_metrics;
        metrics.errors.count(subgraph.name, failure.code().as_str());
        let places = match &step.merge {
            Merge::Root { .. } => root_places(step),
            Merge::Reentry { path, .. } => self.places(path),
            Merge::Entities(fetches) => {
                let mut all = Vec::new();
                for list in &request.entities {
                    let fetch = &fetches[list.fetch];
                    let mut places = Vec::new();
                    for awaited in &list.objects {
                        if places.len() < PLACES_OF_A_FAILURE_MAX {
                            let path = &fetch.targets[awaited.target].path;
                            self.places_of(path, awaited.object, &mut places);
                        }
                    }
                    all.extend(self.with_fields(step, fetch, &places));
                }
                all
            }
        };
        for place in places {
            if self.errors.len() < ERRORS_MAX {
                let error = field_error::fetch_failed(self.graph, subgraph.name, failure, place);
                self.errors.push(error);
            }
        }
    }
}

/// The paths of the root fields that a step requests.
fn root_places(step: &FetchStep) -> Vec<Vec<PathItem>> {
    let keys = step.root_keys.iter();
    keys.map(|key| vec![PathItem::Key(*key)]).collect()
}
