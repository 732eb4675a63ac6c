//! Which step waits for which, and where objects may be shared.
//!
//! The planner's requests come in waves: all of one, then all of the next. A step needs less: only
//! the steps that write what it reads (the keys on the way to its objects, their types, and what its
//! representations hold). What each step reads and writes is known from its paths and shapes.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Wave, keys_of};
use crate::prepare::plan::{
    ContextValue, Key, Merge, PathSegment, Plan, Rename, Requirement, ShapeId, Step,
};

/// The fetches (step and number) that complete something below a path, each with the rest of its
/// path.
type Below<'t> = FxHashSet<(usize, usize, &'t [PathSegment])>;

/// A place in the response: the keys from its root, lists passed through silently. By its number in
/// [`Places`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Place(u32);

/// The root of the response.
const ROOT: Place = Place(0);

/// All places that came up.
struct Places {
    below: FxHashMap<(Place, Key), Place>,
    /// How many keys lead to each.
    depths: Vec<usize>,
}

impl Places {
    fn new() -> Self {
        Self {
            below: FxHashMap::default(),
            depths: vec![0],
        }
    }

    /// The place of a field of the object at a place.
    fn below(&mut self, place: Place, key: Key) -> Place {
        let depth = self.depths[place.0 as usize] + 1;
        let depths = &mut self.depths;
        *self.below.entry((place, key)).or_insert_with(|| {
            depths.push(depth);
            Place(depths.len() as u32 - 1)
        })
    }

    /// The place that a path leads to.
    fn of(&mut self, path: &[PathSegment]) -> Place {
        keys_of(path).fold(ROOT, |place, key| self.below(place, key))
    }

    fn depth(&self, place: Place) -> usize {
        self.depths[place.0 as usize]
    }
}

/// Fills in what the steps wait for, and what they may share.
pub fn connect(plan: &mut Plan, waves: &[Wave]) {
    let mut places = Places::new();
    connect_steps(plan, waves, &mut places);
    let targets = Targets::of(plan, &mut places);
    let contextual = contextual_places(plan, &mut places);
    mark_sharing(plan, &targets, &contextual, &mut places);
    mark_interning(plan, &targets, &contextual, &mut places);
}

fn connect_steps(plan: &mut Plan, waves: &[Wave], places: &mut Places) {
    let mut writers: FxHashMap<Place, Vec<usize>> = FxHashMap::default();
    for index in 0..plan.steps.len() {
        let mut written = FxHashSet::default();
        for (base, shape, renames) in written_objects(plan, index, places) {
            collect_places(plan, shape, base, renames, places, &mut written);
        }
        for place in written {
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
            let mut found = wait_for(&read_places(&plan.steps[index], places), &writers, &earlier);
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
fn written_objects<'p>(
    plan: &'p Plan,
    step: usize,
    places: &mut Places,
) -> Vec<(Place, ShapeId, &'p [Rename])> {
    let step = &plan.steps[step];
    match &step.merge {
        Merge::Root { renames } => vec![(ROOT, step.shape, renames)],
        Merge::Reentry { path, renames } => vec![(places.of(path), step.shape, renames)],
        Merge::Entities(fetches) => {
            let mut written = Vec::new();
            for fetch in fetches {
                if let Some(shape) = entity_shape(plan, step.shape, fetch.key) {
                    let targets = fetch.targets.iter();
                    written.extend(targets.map(|it| (places.of(&it.path), shape, &*fetch.renames)));
                }
            }
            written
        }
    }
}

fn entity_shape(plan: &Plan, root: ShapeId, key: Key) -> Option<ShapeId> {
    let fields = &plan.shapes[root.0 as usize].fields;
    fields.iter().find(|field| field.key == key)?.shape
}

fn collect_places(
    plan: &Plan,
    shape: ShapeId,
    place: Place,
    renames: &[Rename],
    places: &mut Places,
    found: &mut FxHashSet<Place>,
) {
    for field in &plan.shapes[shape.0 as usize].fields {
        let meant = renames
            .iter()
            .filter(|rename| rename.from == field.key)
            .map(|rename| rename.to);
        let typename = field.is_typename.then_some(Key::TYPENAME);
        for key in std::iter::once(field.key).chain(meant).chain(typename) {
            let place = places.below(place, key);
            found.insert(place);
            if let Some(shape) = field.shape {
                collect_places(plan, shape, place, renames, places, found);
            }
        }
    }
}

/// What a step reads; true where there must be a writer before it.
fn read_places(step: &Step, places: &mut Places) -> FxHashSet<(Place, bool)> {
    let mut read = FxHashSet::default();
    for (path, value) in context_values(step) {
        let place = places.of(&path[..value.depth]);
        read_requirements(&value.selection, place, places, &mut read);
    }
    match &step.merge {
        Merge::Root { .. } => {}
        Merge::Reentry { path, .. } => {
            read_path(path, places, &mut read);
        }
        Merge::Entities(fetches) => {
            for fetch in fetches {
                for target in &fetch.targets {
                    let place = read_path(&target.path, places, &mut read);
                    read_requirements(&fetch.requires, place, places, &mut read);
                }
            }
        }
    }
    read
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
fn contextual_places(plan: &Plan, places: &mut Places) -> FxHashSet<Place> {
    let mut contextual = FxHashSet::default();
    for (path, value) in plan.steps.iter().flat_map(context_values) {
        let mut place = places.of(&path[..value.depth]);
        contextual.insert(place);
        for key in keys_of(&path[value.depth..]) {
            place = places.below(place, key);
            contextual.insert(place);
        }
    }
    contextual
}

/// Adds what a path reads; the place that it leads to.
fn read_path(
    path: &[PathSegment],
    places: &mut Places,
    read: &mut FxHashSet<(Place, bool)>,
) -> Place {
    let mut place = ROOT;
    for segment in path {
        match segment {
            PathSegment::Key(key) => {
                place = places.below(place, *key);
                read.insert((place, true));
            }
            PathSegment::Type(_) => {
                read.insert((places.below(place, Key::TYPENAME), false));
            }
        }
    }
    place
}

fn read_requirements(
    requires: &[Requirement],
    place: Place,
    places: &mut Places,
    read: &mut FxHashSet<(Place, bool)>,
) {
    read.insert((places.below(place, Key::TYPENAME), false));
    for requirement in requires {
        match requirement {
            Requirement::Field {
                source, requires, ..
            } => {
                let below = places.below(place, *source);
                read.insert((below, *source != Key::TYPENAME));
                if !requires.is_empty() {
                    read_requirements(requires, below, places, read);
                }
            }
            Requirement::Fragment { requires, .. } => {
                read_requirements(requires, place, places, read);
            }
        }
    }
}

/// A path that some step completes objects at, and which fetch of which step it is.
struct AnyTarget {
    step: usize,
    fetch: usize,
    path: Vec<PathSegment>,
    /// How many keys it has.
    depth: usize,
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
    fn of(plan: &Plan, places: &mut Places) -> Self {
        let mut targets = Self {
            all: Vec::new(),
            by_place: FxHashMap::default(),
        };
        for (step, merge) in plan.steps.iter().map(|step| &step.merge).enumerate() {
            match merge {
                Merge::Root { .. } => {}
                Merge::Reentry { path, .. } => targets.add(step, 0, path, places),
                Merge::Entities(fetches) => {
                    for (fetch, of_fetch) in fetches.iter().map(|it| &it.targets).enumerate() {
                        for target in of_fetch {
                            targets.add(step, fetch, &target.path, places);
                        }
                    }
                }
            }
        }
        targets
    }

    fn add(&mut self, step: usize, fetch: usize, path: &[PathSegment], places: &mut Places) {
        let is_type = |segment: &PathSegment| matches!(segment, PathSegment::Type(_));
        let first_type = path.iter().position(is_type);
        let depth = keys_of(path).count();
        let mut place = ROOT;
        for (index, key) in keys_of(path).enumerate() {
            place = places.below(place, key);
            let passing = self.by_place.entry(place).or_default();
            passing.targets.push(self.all.len());
            passing.ends_here |= index + 1 == depth;
            let types = [passing.first_type, first_type];
            passing.first_type = types.into_iter().flatten().min();
        }
        self.all.push(AnyTarget {
            step,
            fetch,
            path: path.to_vec(),
            depth,
        });
    }

    /// The fetches that complete something below `path`, with the rest of their paths; none where
    /// such a path comes by other type conditions, so that it means only some of `path`'s objects.
    fn completed_below(&self, path: &[PathSegment], place: Place) -> Option<Below<'_>> {
        let depth = keys_of(path).count();
        let mut below = FxHashSet::default();
        let passing = self.by_place.get(&place).into_iter();
        for target in passing.flat_map(|it| &it.targets) {
            let target = &self.all[*target];
            if target.depth > depth {
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
fn mark_sharing(
    plan: &mut Plan,
    targets: &Targets,
    contextual: &FxHashSet<Place>,
    places: &mut Places,
) {
    for step in &mut plan.steps {
        let Merge::Entities(fetches) = &mut step.merge else {
            continue;
        };
        for fetch in fetches {
            let below: Vec<Option<Below<'_>>> = fetch
                .targets
                .iter()
                .map(|target| targets.completed_below(&target.path, places.of(&target.path)))
                .collect();
            let is_alike = below.iter().all(|set| set.is_some() && *set == below[0]);
            for (target, below) in fetch.targets.iter_mut().zip(&below) {
                let place = places.of(&target.path);
                target.may_share = below.is_some() && !contextual.contains(&place);
            }
            fetch.shares_across_targets = is_alike;
        }
    }
}

/// Objects that steps complete are interned by their bytes, unless some path to them, or through
/// them, asks for a type on the way: then two objects alike may still be completed differently. So they
/// may where two steps bring them, which are put together by their places in lists.
fn mark_interning(
    plan: &mut Plan,
    targets: &Targets,
    contextual: &FxHashSet<Place>,
    places: &mut Places,
) {
    let mut bringers: FxHashMap<Place, FxHashSet<usize>> = FxHashMap::default();
    for index in 0..plan.steps.len() {
        // A fallback step brings nothing of an object that the other has asked about.
        let bringer = plan.steps[index].fallback_of.unwrap_or(index);
        for (base, shape, _) in written_objects(plan, index, places) {
            visit_objects(plan, shape, base, places, &mut |_, place, _| {
                bringers.entry(place).or_default().insert(bringer);
            });
        }
    }
    let mut candidates: FxHashMap<ShapeId, bool> = FxHashMap::default();
    for index in 0..plan.steps.len() {
        for (base, shape, renames) in written_objects(plan, index, places) {
            visit_objects(plan, shape, base, places, &mut |shape, place, depth| {
                let may = targets.by_place.get(&place).is_some_and(|passing| {
                    let is_plain = passing.first_type.is_none_or(|first| first >= depth);
                    let is_single = bringers.get(&place).is_none_or(|all| all.len() == 1);
                    let is_alone = !contextual.contains(&place);
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

/// Visits the places of objects below one, with how many keys lead there.
fn visit_objects(
    plan: &Plan,
    shape: ShapeId,
    place: Place,
    places: &mut Places,
    visit: &mut impl FnMut(ShapeId, Place, usize),
) {
    for field in &plan.shapes[shape.0 as usize].fields {
        if let Some(shape) = field.shape {
            let below = places.below(place, field.key);
            visit(shape, below, places.depth(below));
            visit_objects(plan, shape, below, places, visit);
        }
    }
}
