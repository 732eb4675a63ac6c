//! Which step waits for which, and where objects may be shared.
//!
//! The planner's requests come in waves: all of one, then all of the next. A step needs less: only
//! the steps that write what it reads (the keys on the way to its objects, their types, and what its
//! representations hold). What each step reads and writes is known from its paths and shapes.

use std::collections::{HashMap, HashSet};

use super::{Wave, keys_of};
use crate::prepare::plan::{
    EntityFetch, Key, Merge, PathSegment, Plan, Rename, Requirement, ShapeId,
};

/// The fetches (step and number) that complete something below a path, each with the rest of its
/// path.
type Below = HashSet<(usize, usize, Vec<u8>)>;

/// A place in the response: the keys from its root, lists passed through silently.
type Place = Vec<Key>;

/// Fills in what the steps wait for, and what they may share.
pub fn connect(plan: &mut Plan, waves: &[Wave]) {
    connect_steps(plan, waves);
    let targets = all_targets(plan);
    mark_sharing(plan, &targets);
    mark_interning(plan, &targets);
}

fn connect_steps(plan: &mut Plan, waves: &[Wave]) {
    let mut writers: HashMap<Place, Vec<usize>> = HashMap::new();
    for index in 0..plan.steps.len() {
        let mut places = HashSet::new();
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
            wait_for(&read_places(&plan.steps[index].merge), &writers, &earlier)
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
    needed: &HashSet<(Place, bool)>,
    writers: &HashMap<Place, Vec<usize>>,
    earlier: &[usize],
) -> Vec<usize> {
    let mut waits = HashSet::new();
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
    places: &mut HashSet<Place>,
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
fn read_places(merge: &Merge) -> HashSet<(Place, bool)> {
    let mut places = HashSet::new();
    match merge {
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

fn read_by_fetch(fetch: &EntityFetch, places: &mut HashSet<(Place, bool)>) {
    for target in &fetch.targets {
        read_path(&target.path, places);
        let mut place: Place = keys_of(&target.path).collect();
        read_requirements(&fetch.requires, &mut place, places);
    }
}

fn read_path(path: &[PathSegment], places: &mut HashSet<(Place, bool)>) {
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
    places: &mut HashSet<(Place, bool)>,
) {
    place.push(Key::TYPENAME);
    places.insert((place.clone(), false));
    place.pop();
    for requirement in requires {
        match requirement {
            Requirement::Field {
                source,
                fallback,
                requires,
                ..
            } => {
                let is_essential = *source != Key::TYPENAME && source == fallback;
                for key in [source, fallback] {
                    place.push(*key);
                    places.insert((place.clone(), is_essential));
                    if !requires.is_empty() {
                        read_requirements(requires, place, places);
                    }
                    place.pop();
                }
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

fn all_targets(plan: &Plan) -> Vec<AnyTarget> {
    let mut all = Vec::new();
    for (step, merge) in plan.steps.iter().map(|step| &step.merge).enumerate() {
        match merge {
            Merge::Root { .. } => {}
            Merge::Reentry { path, .. } => all.push(AnyTarget {
                step,
                fetch: 0,
                path: path.clone(),
            }),
            Merge::Entities(fetches) => {
                for (fetch, targets) in fetches.iter().map(|fetch| &fetch.targets).enumerate() {
                    let paths = targets.iter().map(|target| target.path.clone());
                    all.extend(paths.map(|path| AnyTarget { step, fetch, path }));
                }
            }
        }
    }
    all
}

/// Two objects may hold one and the same entity if whatever completes the entity's own objects
/// later does so for both alike: the same fetch of the same step, with the same path below.
fn mark_sharing(plan: &mut Plan, targets: &[AnyTarget]) {
    for step in &mut plan.steps {
        let Merge::Entities(fetches) = &mut step.merge else {
            continue;
        };
        for fetch in fetches {
            let below: Vec<Option<Below>> = fetch
                .targets
                .iter()
                .map(|target| completed_below(&target.path, targets))
                .collect();
            let is_alike = below.iter().all(|set| set.is_some() && *set == below[0]);
            for (target, below) in fetch.targets.iter_mut().zip(&below) {
                target.may_share = below.is_some();
            }
            fetch.shares_across_targets = is_alike;
        }
    }
}

/// The fetches that complete something below `path`, with the rest of their paths; none where such
/// a path comes by other type conditions, so that it means only some of `path`'s objects.
fn completed_below(path: &[PathSegment], targets: &[AnyTarget]) -> Option<Below> {
    let keys: Place = keys_of(path).collect();
    let mut below = HashSet::new();
    for target in targets {
        let target_keys: Place = keys_of(&target.path).collect();
        if target_keys.len() <= keys.len() || !target_keys.starts_with(&keys) {
            continue;
        }
        let rest = target.path.strip_prefix(path)?;
        below.insert((target.step, target.fetch, format!("{rest:?}").into_bytes()));
    }
    Some(below)
}

/// Objects that steps complete are interned by their bytes, unless some path to them, or through
/// them, asks for a type on the way: then two objects alike may still be completed differently.
fn mark_interning(plan: &mut Plan, targets: &[AnyTarget]) {
    let targets: Vec<(Place, usize)> = targets
        .iter()
        .map(|target| {
            let first_type = target
                .path
                .iter()
                .position(|s| matches!(s, PathSegment::Type(_)));
            (
                keys_of(&target.path).collect(),
                first_type.unwrap_or(usize::MAX),
            )
        })
        .collect();
    let mut candidates: HashMap<ShapeId, bool> = HashMap::new();
    for index in 0..plan.steps.len() {
        for (base, shape, renames) in written_objects(plan, index) {
            visit_objects(plan, shape, &mut base.clone(), &mut |shape, place| {
                let through = targets.iter().filter(|(keys, _)| keys.starts_with(place));
                let ends_here = targets.iter().any(|(keys, _)| keys == place);
                let is_plain = through
                    .clone()
                    .all(|(_, first_type)| *first_type >= place.len());
                let may = ends_here && is_plain && renames.is_empty();
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
