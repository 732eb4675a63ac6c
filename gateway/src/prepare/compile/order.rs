//! Decides which step waits for which, and where objects may be shared.
//!
//! The planner's fetches come in waves, one after the other. A step need not wait for a whole wave,
//! only for the steps that write what it reads: the keys on the path to its objects, their types,
//! and the fields of its representations. Paths and shapes show what each step reads and writes.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Wave, keys_of};
use crate::prepare::plan::{
    ContextValue, FetchStep, Merge, PathSegment, Plan, Rename, Requirement, ResponseKey, ShapeId,
};

/// The entity fetches (step and index) that complete something below a path, each with the rest of
/// its path.
type FetchesBelow<'t> = FxHashSet<(usize, usize, &'t [PathSegment])>;

/// A path in the response by its keys alone, without list indexes and types: its number in
/// [`KeyPaths`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct KeyPath(u32);

/// The root of the response.
const ROOT: KeyPath = KeyPath(0);

/// A key path that a step reads.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Read {
    key_path: KeyPath,
    /// Whether an earlier step must write it.
    needs_writer: bool,
}

impl Read {
    fn required(key_path: KeyPath) -> Self {
        Self {
            key_path,
            needs_writer: true,
        }
    }

    fn optional(key_path: KeyPath) -> Self {
        Self {
            key_path,
            needs_writer: false,
        }
    }
}

/// All key paths found so far, by parent and key.
struct KeyPaths {
    below: FxHashMap<(KeyPath, ResponseKey), KeyPath>,
    /// The number of keys of each path.
    depths: Vec<usize>,
}

impl KeyPaths {
    fn new() -> Self {
        Self {
            below: FxHashMap::default(),
            depths: vec![0],
        }
    }

    /// The key path of a field of the object at `key_path`.
    fn below(&mut self, key_path: KeyPath, key: ResponseKey) -> KeyPath {
        let depth = self.depths[key_path.0 as usize] + 1;
        let depths = &mut self.depths;
        *self.below.entry((key_path, key)).or_insert_with(|| {
            depths.push(depth);
            KeyPath(depths.len() as u32 - 1)
        })
    }

    /// The key path of a plan's path.
    fn of(&mut self, path: &[PathSegment]) -> KeyPath {
        keys_of(path).fold(ROOT, |key_path, key| self.below(key_path, key))
    }

    fn depth(&self, key_path: KeyPath) -> usize {
        self.depths[key_path.0 as usize]
    }
}

/// Sets what the steps wait for, and which objects may be shared.
pub fn connect(plan: &mut Plan, waves: &[Wave]) {
    let mut key_paths = KeyPaths::new();
    connect_steps(plan, waves, &mut key_paths);
    let targets = Targets::of(plan, &mut key_paths);
    let contextual = contextual_key_paths(plan, &mut key_paths);
    mark_sharing(plan, &targets, &contextual, &mut key_paths);
    mark_interning(plan, &targets, &contextual, &mut key_paths);
}

fn connect_steps(plan: &mut Plan, waves: &[Wave], key_paths: &mut KeyPaths) {
    let mut writers: FxHashMap<KeyPath, Vec<usize>> = FxHashMap::default();
    for index in 0..plan.steps.len() {
        let mut written = FxHashSet::default();
        for (base, shape, renames) in written_objects(plan, index, key_paths) {
            collect_key_paths(plan, shape, base, renames, key_paths, &mut written);
        }
        for key_path in written {
            writers.entry(key_path).or_default().push(index);
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
        // Mutations run strictly in order, each after everything that follows from the ones before
        // it.
        waits.push(if is_mutation(plan, index) {
            earlier
        } else {
            let fallback_of = plan.steps[index].fallback_of;
            let mut found = wait_for(
                &read_key_paths(&plan.steps[index], key_paths),
                &writers,
                &earlier,
            );
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

/// The steps among `earlier` that write any of `needed`. If a needed path has no known writer, all
/// of them: the order of the waves is always correct.
fn wait_for(
    needed: &FxHashSet<Read>,
    writers: &FxHashMap<KeyPath, Vec<usize>>,
    earlier: &[usize],
) -> Vec<usize> {
    let mut waits = FxHashSet::default();
    for Read {
        key_path,
        needs_writer,
    } in needed
    {
        let found = writers.get(key_path).map_or(&[][..], |steps| steps);
        let mut found = found
            .iter()
            .filter(|step| earlier.contains(step))
            .peekable();
        if found.peek().is_none() && *needs_writer {
            return earlier.to_vec();
        }
        waits.extend(found.copied());
    }
    let mut waits: Vec<usize> = waits.into_iter().collect();
    waits.sort_unstable();
    waits
}

/// What a step writes: objects at key paths, each with its shape and the renames below it.
fn written_objects<'p>(
    plan: &'p Plan,
    step: usize,
    key_paths: &mut KeyPaths,
) -> Vec<(KeyPath, ShapeId, &'p [Rename])> {
    let step = &plan.steps[step];
    match &step.merge {
        Merge::Root { renames } => vec![(ROOT, step.shape, renames)],
        Merge::Reentry { path, renames } => vec![(key_paths.of(path), step.shape, renames)],
        Merge::Entities(fetches) => {
            let mut written = Vec::new();
            for fetch in fetches {
                if let Some(shape) = entity_shape(plan, step.shape, fetch.key) {
                    let targets = fetch.targets.iter();
                    written
                        .extend(targets.map(|it| (key_paths.of(&it.path), shape, &*fetch.renames)));
                }
            }
            written
        }
    }
}

fn entity_shape(plan: &Plan, root: ShapeId, key: ResponseKey) -> Option<ShapeId> {
    let fields = &plan.shapes[root.0 as usize].fields;
    fields.iter().find(|field| field.key == key)?.shape
}

fn collect_key_paths(
    plan: &Plan,
    shape: ShapeId,
    key_path: KeyPath,
    renames: &[Rename],
    key_paths: &mut KeyPaths,
    found: &mut FxHashSet<KeyPath>,
) {
    for field in &plan.shapes[shape.0 as usize].fields {
        let meant = renames
            .iter()
            .filter(|rename| rename.from == field.key)
            .map(|rename| rename.to);
        let typename = field.is_typename.then_some(ResponseKey::TYPENAME);
        for key in std::iter::once(field.key).chain(meant).chain(typename) {
            let key_path = key_paths.below(key_path, key);
            found.insert(key_path);
            if let Some(shape) = field.shape {
                collect_key_paths(plan, shape, key_path, renames, key_paths, found);
            }
        }
    }
}

/// The key paths that a step reads.
fn read_key_paths(step: &FetchStep, key_paths: &mut KeyPaths) -> FxHashSet<Read> {
    let mut read = FxHashSet::default();
    for (path, value) in context_values(step) {
        let key_path = key_paths.of(&path[..value.depth]);
        read_requirements(&value.selection, key_path, key_paths, &mut read);
    }
    match &step.merge {
        Merge::Root { .. } => {}
        Merge::Reentry { path, .. } => {
            read_path(path, key_paths, &mut read);
        }
        Merge::Entities(fetches) => {
            for fetch in fetches {
                for target in &fetch.targets {
                    let key_path = read_path(&target.path, key_paths, &mut read);
                    read_requirements(&fetch.requires, key_path, key_paths, &mut read);
                }
            }
        }
    }
    read
}

/// The values that a step takes from contexts, each with a path that passes its object.
fn context_values(step: &FetchStep) -> impl Iterator<Item = (&[PathSegment], &ContextValue)> {
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

/// The key paths whose objects depend on a context above them, starting at the context's object.
fn contextual_key_paths(plan: &Plan, key_paths: &mut KeyPaths) -> FxHashSet<KeyPath> {
    let mut contextual = FxHashSet::default();
    for (path, value) in plan.steps.iter().flat_map(context_values) {
        let mut key_path = key_paths.of(&path[..value.depth]);
        contextual.insert(key_path);
        for key in keys_of(&path[value.depth..]) {
            key_path = key_paths.below(key_path, key);
            contextual.insert(key_path);
        }
    }
    contextual
}

/// Adds what a path reads. Returns its key path.
fn read_path(
    path: &[PathSegment],
    key_paths: &mut KeyPaths,
    read: &mut FxHashSet<Read>,
) -> KeyPath {
    let mut key_path = ROOT;
    for segment in path {
        match segment {
            PathSegment::Key(key) => {
                key_path = key_paths.below(key_path, *key);
                read.insert(Read::required(key_path));
            }
            PathSegment::Type(_) => {
                read.insert(Read::optional(
                    key_paths.below(key_path, ResponseKey::TYPENAME),
                ));
            }
        }
    }
    key_path
}

fn read_requirements(
    requires: &[Requirement],
    key_path: KeyPath,
    key_paths: &mut KeyPaths,
    read: &mut FxHashSet<Read>,
) {
    read.insert(Read::optional(
        key_paths.below(key_path, ResponseKey::TYPENAME),
    ));
    for requirement in requires {
        match requirement {
            Requirement::Field {
                source, requires, ..
            } => {
                let below = key_paths.below(key_path, *source);
                read.insert(Read {
                    key_path: below,
                    needs_writer: *source != ResponseKey::TYPENAME,
                });
                if !requires.is_empty() {
                    read_requirements(requires, below, key_paths, read);
                }
            }
            Requirement::Fragment { requires, .. } => {
                read_requirements(requires, key_path, key_paths, read);
            }
        }
    }
}

/// A path at which a step completes objects, with the step and the index of its entity fetch.
struct PlanTarget {
    step: usize,
    fetch: usize,
    path: Vec<PathSegment>,
    /// The number of keys in the path.
    depth: usize,
}

/// The targets of all steps.
struct Targets {
    all: Vec<PlanTarget>,
    /// The targets by the key paths that their paths pass.
    by_key_path: FxHashMap<KeyPath, PassingTargets>,
}

/// The targets whose paths pass a key path.
#[derive(Default)]
struct PassingTargets {
    targets: Vec<usize>,
    /// Whether one of these paths ends here.
    ends_here: bool,
    /// The smallest number of segments before a type condition in these paths.
    first_type: Option<usize>,
}

impl Targets {
    fn of(plan: &Plan, key_paths: &mut KeyPaths) -> Self {
        let mut targets = Self {
            all: Vec::new(),
            by_key_path: FxHashMap::default(),
        };
        for (step, merge) in plan.steps.iter().map(|step| &step.merge).enumerate() {
            match merge {
                Merge::Root { .. } => {}
                Merge::Reentry { path, .. } => targets.add(step, 0, path, key_paths),
                Merge::Entities(fetches) => {
                    for (fetch, of_fetch) in fetches.iter().map(|it| &it.targets).enumerate() {
                        for target in of_fetch {
                            targets.add(step, fetch, &target.path, key_paths);
                        }
                    }
                }
            }
        }
        targets
    }

    fn add(&mut self, step: usize, fetch: usize, path: &[PathSegment], key_paths: &mut KeyPaths) {
        let is_type = |segment: &PathSegment| matches!(segment, PathSegment::Type(_));
        let first_type = path.iter().position(is_type);
        let depth = keys_of(path).count();
        let mut key_path = ROOT;
        for (index, key) in keys_of(path).enumerate() {
            key_path = key_paths.below(key_path, key);
            let passing = self.by_key_path.entry(key_path).or_default();
            passing.targets.push(self.all.len());
            passing.ends_here |= index + 1 == depth;
            let types = [passing.first_type, first_type];
            passing.first_type = types.into_iter().flatten().min();
        }
        self.all.push(PlanTarget {
            step,
            fetch,
            path: path.to_vec(),
            depth,
        });
    }

    /// The entity fetches that complete something below `path`, with the rest of their paths.
    /// `None` if one of their paths has other type conditions, so that it means only some of the
    /// objects at `path`.
    fn completed_below(&self, path: &[PathSegment], key_path: KeyPath) -> Option<FetchesBelow<'_>> {
        let depth = keys_of(path).count();
        let mut below = FxHashSet::default();
        let passing = self.by_key_path.get(&key_path).into_iter();
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

/// Two objects may share one entity if later steps complete the objects below it in the same way
/// for both: the same fetch of the same step, with the same path below, and without values from an
/// object above.
fn mark_sharing(
    plan: &mut Plan,
    targets: &Targets,
    contextual: &FxHashSet<KeyPath>,
    key_paths: &mut KeyPaths,
) {
    for step in &mut plan.steps {
        let Merge::Entities(fetches) = &mut step.merge else {
            continue;
        };
        for fetch in fetches {
            let below: Vec<Option<FetchesBelow<'_>>> = fetch
                .targets
                .iter()
                .map(|target| targets.completed_below(&target.path, key_paths.of(&target.path)))
                .collect();
            let is_alike = below.iter().all(|set| set.is_some() && *set == below[0]);
            for (target, below) in fetch.targets.iter_mut().zip(&below) {
                let key_path = key_paths.of(&target.path);
                target.may_share = below.is_some() && !contextual.contains(&key_path);
            }
            fetch.shares_across_targets = is_alike;
        }
    }
}

/// Objects that steps complete are interned by their bytes, with two exceptions. If a path to them,
/// or through them, has a type condition, equal objects may be completed differently. If two steps
/// fetch them, they are merged by their positions in lists.
fn mark_interning(
    plan: &mut Plan,
    targets: &Targets,
    contextual: &FxHashSet<KeyPath>,
    key_paths: &mut KeyPaths,
) {
    let mut bringers: FxHashMap<KeyPath, FxHashSet<usize>> = FxHashMap::default();
    for index in 0..plan.steps.len() {
        // A fallback step fetches nothing for an object that the other step has fetched.
        let bringer = plan.steps[index].fallback_of.unwrap_or(index);
        for (base, shape, _) in written_objects(plan, index, key_paths) {
            visit_objects(plan, shape, base, key_paths, &mut |_, key_path, _| {
                bringers.entry(key_path).or_default().insert(bringer);
            });
        }
    }
    let mut candidates: FxHashMap<ShapeId, bool> = FxHashMap::default();
    for index in 0..plan.steps.len() {
        for (base, shape, renames) in written_objects(plan, index, key_paths) {
            visit_objects(
                plan,
                shape,
                base,
                key_paths,
                &mut |shape, key_path, depth| {
                    let may = targets.by_key_path.get(&key_path).is_some_and(|passing| {
                        let is_plain = passing.first_type.is_none_or(|first| first >= depth);
                        let is_single = bringers.get(&key_path).is_none_or(|all| all.len() == 1);
                        let is_alone = !contextual.contains(&key_path);
                        passing.ends_here && is_plain && is_single && is_alone && renames.is_empty()
                    });
                    candidates
                        .entry(shape)
                        .and_modify(|all| *all &= may)
                        .or_insert(may);
                },
            );
        }
    }
    for (shape, intern) in candidates {
        plan.shapes[shape.0 as usize].intern = intern;
    }
}

/// Visits the key paths of all objects below one, with their number of keys.
fn visit_objects(
    plan: &Plan,
    shape: ShapeId,
    key_path: KeyPath,
    key_paths: &mut KeyPaths,
    visit: &mut impl FnMut(ShapeId, KeyPath, usize),
) {
    for field in &plan.shapes[shape.0 as usize].fields {
        if let Some(shape) = field.shape {
            let below = key_paths.below(key_path, field.key);
            visit(shape, below, key_paths.depth(below));
            visit_objects(plan, shape, below, key_paths, visit);
        }
    }
}
