//! Which step waits for which, and where objects may be shared.
//!
//! The planner's requests come in waves: all of one, then all of the next. A step needs less: only
//! the steps that write what it reads (the keys on the way to its objects, their types, and what its
//! representations hold). What each step reads and writes is known from its paths and shapes.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Wave, keys_of};
use crate::prepare::plan::{
    ContextValue, EntityFetch, Key, Merge, PathSegment, Plan, Rename, Requirement, ShapeId, Step,
};

/// The fetches (step and number) that complete something below a path, each with the rest of its
/// path.
type Below<'t> = FxHashSet<(usize, usize, &'t [PathSegment])>;

/// A place in the response: the keys from its root, lists passed through silently.
type Place = Vec<Key>;

/// Fills in what the steps wait for, and what they may share.
pub fn connect(plan: &mut Plan, waves: &[Wave]) {
    connect_steps(plan, waves);
    let targets = Targets::of(plan);
    let contextual = contextual_places(plan);
    mark_sharing(plan, &targets, &contextual);
    mark_interning(plan, &targets, &contextual);
}

fn connect_steps(plan: &mut Plan, waves: &[Wave]) {
    let mut writers: FxHashMap<Place, Vec<usize>> = FxHashMap::default();
    for index in 0..plan.steps.len() {
        let mut places = FxHashSet::default();
        for (base, shape, renames) in written_objects(plan, index) {
            collect_places(plan, shape, &mut base.clone(), renames, &mut places);
        }
        for place in places {
            writers.entry(place).or_default().push(index);
        }
    }
    let is_mutation = |plan: &Plan, index: usize| {
        plan.steps[index].is_mutation && matches!(plan.steps[index].merge, Merge::Root { .. })
    };
    let mut waits: Vec<Vec<usize>> = Vec::with_capacity(plan.steps.len());
    for index in 0..plan.steps.len() {
        let earlier: Vec<usize> = (0..index)
            .filter(|other| waves[*other] < waves[index])
            .collect();
        // Mutations happen strictly in order, each after all that the ones before led to.
        waits.push(if is_mutation(plan, index) {
            earlier
        } else {
            let fallback_of = plan.steps[index].fallback_of;
            let mut found = wait_for(&read_places(&plan.steps[index]), &writers, &earlier);
            found.extend(fallback_of.filter(|other| !found.contains(other)));
            found
        });
    }
    for (index, waits) in waits.into_iter().enumerate() {
        plan.steps[index].waits_for = waits.len();
        for other in waits {
            plan.steps[other].wakes.push(index);
        }
    }
}

/// The steps among `earlier` that write any of `needed`. Where something needed has no known
/// writer, all of them: the waves' order is always right.
fn wait_for(
    needed: &FxHashSet<(Place, bool)>,
    writers: &FxHashMap<Place, Vec<usize>>,
    earlier: &[usize],
) -> Vec<usize> {
    let mut waits = FxHashSet::default();
    for (place, is_essential) in needed {
        let found = writers.get(place).map_or(&[][..], |steps| steps);
        let mut found = found
            .iter()
            .filter(|step| earlier.contains(step))
            .peekable();
        if found.peek().is_none() && *is_essential {
            return earlier.to_vec();
        }
        waits.extend(found.copied());
    }
    let mut waits: Vec<usize> = waits.into_iter().collect();
    waits.sort_unstable();
    waits
}

/// What a step writes: objects at places, each with its shape and the aliases undone in it.
fn written_objects(plan: &Plan, step: usize) -> Vec<(Place, ShapeId, &[Rename])> {
    let step = &plan.steps[step];
    match &step.merge {
        Merge::Root { renames } => vec![(Place::new(), step.shape, renames)],
        Merge::Reentry { path, renames } => vec![(keys_of(path).collect(), step.shape, renames)],
        Merge::Entities(fetches) => fetches
            .iter()
            .filter_map(|fetch| Some((fetch, entity_shape(plan, step.shape, fetch.key)?)))
            .flat_map(|(fetch, shape)| {
                let targets = fetch.targets.iter();
                targets.map(move |target| (keys_of(&target.path).collect(), shape, &*fetch.renames))
            })
            .collect(),
    }
}

fn entity_shape(plan: &Plan, root: ShapeId, key: Key) -> Option<ShapeId> {
    let fields = &plan.shapes[root.0 as usize].fields;
    fields.iter().find(|field| field.key == key)?.shape
}

fn collect_places(
    plan: &Plan,
    shape: ShapeId,
    place: &mut Place,
    renames: &[Rename],
    places: &mut FxHashSet<Place>,
) {
    for field in &plan.shapes[shape.0 as usize].fields {
        let meant = renames
            .iter()
            .filter(|rename| rename.from == field.key)
            .map(|rename| rename.to);
        let typename = field.is_typename.then_some(Key::TYPENAME);
        for key in std::iter::once(field.key).chain(meant).chain(typename) {
            place.push(key);
            places.insert(place.clone());
            if let Some(shape) = field.shape {
                collect_places(plan, shape, place, renames, places);
            }
            place.pop();
        }
    }
}

/// What a step reads; true where there must be a writer before it.
fn read_places(step: &Step) -> FxHashSet<(Place, bool)> {
    let mut places = FxHashSet::default();
    for (path, value) in context_values(step) {
        let mut place: Place = keys_of(&path[..value.depth]).collect();
        read_requirements(&value.selection, &mut place, &mut places);
    }
    match &step.merge {
        Merge::Root { .. } => {}
        Merge::Reentry { path, .. } => read_path(path, &mut places),
        Merge::Entities(fetches) => {
            for fetch in fetches {
                read_by_fetch(fetch, &mut places);
            }
        }
    }
    places
}

/// The values that a step takes from contexts, each with the path that leads by its object.
fn context_values(step: &Step) -> impl Iterator<Item = (&[PathSegment], &ContextValue)> {
    let fetches = match &step.merge {
        Merge::Entities(fetches) => &fetches[..],
        Merge::Root { .. } | Merge::Reentry { .. } => &[],
    };
    let lists = step.request.by_context.iter().flat_map(|it| &it.lists);
    lists.zip(fetches).flat_map(|(list, fetch)| {
        let targets = fetch.targets.iter();
        targets.flat_map(move |it| list.contexts.iter().map(move |value| (&*it.path, value)))
    })
}

/// The places whose objects depend on an object above, down from that one.
fn contextual_places(plan: &Plan) -> FxHashSet<Place> {
    let mut places = FxHashSet::default();
    for (path, value) in plan.steps.iter().flat_map(context_values) {
        let keys: Place = keys_of(path).collect();
        let above = keys_of(&path[..value.depth]).count();
        places.extend((above..=keys.len()).map(|length| keys[..length].to_vec()));
    }
    places
}

fn read_by_fetch(fetch: &EntityFetch, places: &mut FxHashSet<(Place, bool)>) {
    for target in &fetch.targets {
        read_path(&target.path, places);
        let mut place: Place = keys_of(&target.path).collect();
        read_requirements(&fetch.requires, &mut place, places);
    }
}

fn read_path(path: &[PathSegment], places: &mut FxHashSet<(Place, bool)>) {
    let mut place = Place::new();
    for segment in path {
        match segment {
            PathSegment::Key(key) => {
                place.push(*key);
                places.insert((place.clone(), true));
            }
            PathSegment::Type(_) => {
                place.push(Key::TYPENAME);
                places.insert((place.clone(), false));
                place.pop();
            }
        }
    }
}

fn read_requirements(
    requires: &[Requirement],
    place: &mut Place,
    places: &mut FxHashSet<(Place, bool)>,
) {
    place.push(Key::TYPENAME);
    places.insert((place.clone(), false));
    place.pop();
    for requirement in requires {
        match requirement {
            Requirement::Field {
                source, requires, ..
            } => {
                place.push(*source);
                places.insert((place.clone(), *source != Key::TYPENAME));
                if !requires.is_empty() {
                    read_requirements(requires, place, places);
                }
                place.pop();
            }
            Requirement::Fragment { requires, .. } => read_requirements(requires, place, places),
        }
    }
}

/// A path that some step completes objects at, and which fetch of which step it is.
struct AnyTarget {
    step: usize,
    fetch: usize,
    path: Vec<PathSegment>,
}

/// All of them.
struct Targets {
    all: Vec<AnyTarget>,
    /// By the places that their paths come by.
    by_place: FxHashMap<Place, Passing>,
}

/// The targets whose paths come by a place.
#[derive(Default)]
struct Passing {
    targets: Vec<usize>,
    /// Whether a path ends there.
    ends_here: bool,
    /// After how many keys a path asks for a type, at the earliest.
    first_type: Option<usize>,
}

impl Targets {
    fn of(plan: &Plan) -> Self {
        let mut targets = Self {
            all: Vec::new(),
            by_place: FxHashMap::default(),
        };
        for (step, merge) in plan.steps.iter().map(|step| &step.merge).enumerate() {
            match merge {
                Merge::Root { .. } => {}
                Merge::Reentry { path, .. } => targets.add(step, 0, path),
                Merge::Entities(fetches) => {
                    for (fetch, of_fetch) in fetches.iter().map(|it| &it.targets).enumerate() {
                        for target in of_fetch {
                            targets.add(step, fetch, &target.path);
                        }
                    }
                }
            }
        }
        targets
    }

    fn add(&mut self, step: usize, fetch: usize, path: &[PathSegment]) {
        let is_type = |segment: &PathSegment| matches!(segment, PathSegment::Type(_));
        let first_type = path.iter().position(is_type);
        let keys: Place = keys_of(path).collect();
        for length in 1..=keys.len() {
            let passing = self.by_place.entry(keys[..length].to_vec()).or_default();
            passing.targets.push(self.all.len());
            passing.ends_here |= length == keys.len();
            let types = [passing.first_type, first_type];
            passing.first_type = types.into_iter().flatten().min();
        }
        let path = path.to_vec();
        self.all.push(AnyTarget { step, fetch, path });
    }

    /// The fetches that complete something below `path`, with the rest of their paths; none where
    /// such a path comes by other type conditions, so that it means only some of `path`'s objects.
    fn completed_below(&self, path: &[PathSegment]) -> Option<Below<'_>> {
        let keys: Place = keys_of(path).collect();
        let mut below = FxHashSet::default();
        let passing = self.by_place.get(&keys).into_iter();
        for target in passing.flat_map(|it| &it.targets) {
            let target = &self.all[*target];
            if keys_of(&target.path).count() > keys.len() {
                let rest = target.path.strip_prefix(path)?;
                below.insert((target.step, target.fetch, rest));
            }
        }
        Some(below)
    }
}

/// Two objects may hold one and the same entity if whatever completes the entity's own objects
/// later does so for both alike: the same fetch of the same step, with the same path below, and with
/// nothing from an object above.
fn mark_sharing(plan: &mut Plan, targets: &Targets, contextual: &FxHashSet<Place>) {
    for step in &mut plan.steps {
        let Merge::Entities(fetches) = &mut step.merge else {
            continue;
        };
        for fetch in fetches {
            let below: Vec<Option<Below<'_>>> = fetch
                .targets
                .iter()
                .map(|target| targets.completed_below(&target.path))
                .collect();
            let is_alike = below.iter().all(|set| set.is_some() && *set == below[0]);
            for (target, below) in fetch.targets.iter_mut().zip(&below) {
                let place: Place = keys_of(&target.path).collect();
                target.may_share = below.is_some() && !contextual.contains(&place);
            }
            fetch.shares_across_targets = is_alike;
        }
    }
}

/// Objects that steps complete are interned by their bytes, unless some path to them, or through
/// them, asks for a type on the way: then two objects alike may still be completed differently. So they
/// may where two steps bring them, which are put together by their places in lists.
fn mark_interning(plan: &mut Plan, targets: &Targets, contextual: &FxHashSet<Place>) {
    let mut bringers: FxHashMap<Place, FxHashSet<usize>> = FxHashMap::default();
    for index in 0..plan.steps.len() {
        // A fallback step brings nothing of an object that the other has asked about.
        let bringer = plan.steps[index].fallback_of.unwrap_or(index);
        for (base, shape, _) in written_objects(plan, index) {
            visit_objects(plan, shape, &mut base.clone(), &mut |_, place| {
                bringers.entry(place.clone()).or_default().insert(bringer);
            });
        }
    }
    let mut candidates: FxHashMap<ShapeId, bool> = FxHashMap::default();
    for index in 0..plan.steps.len() {
        for (base, shape, renames) in written_objects(plan, index) {
            visit_objects(plan, shape, &mut base.clone(), &mut |shape, place| {
                let may = targets.by_place.get(place).is_some_and(|passing| {
                    let is_plain = passing.first_type.is_none_or(|first| first >= place.len());
                    let is_single = bringers.get(place).is_none_or(|all| all.len() == 1);
                    let is_alone = !contextual.contains(place);
                    passing.ends_here && is_plain && is_single && is_alone && renames.is_empty()
                });
                candidates
                    .entry(shape)
                    .and_modify(|all| *all &= may)
                    .or_insert(may);
            });
        }
    }
    for (shape, intern) in candidates {
        plan.shapes[shape.0 as usize].intern = intern;
    }
}

fn visit_objects(
    plan: &Plan,
    shape: ShapeId,
    place: &mut Place,
    visit: &mut impl FnMut(ShapeId, &Place),
) {
    for field in &plan.shapes[shape.0 as usize].fields {
        if let Some(shape) = field.shape {
            place.push(field.key);
            visit(shape, place);
            visit_objects(plan, shape, place, visit);
            place.pop();
        }
    }
}
