//! Compiles the planner's fetches into the gateway's plan: response keys become numbers, and the
//! bytes of each request are prepared.

mod contexts;
mod fetch_selection;
pub mod keys;
mod order;
mod shapes;
mod text;

use std::collections::BTreeSet;

use apollo_compiler::{
    Node,
    ast::{Directive, VariableDefinition},
    executable::OperationType,
};
use federation::{
    Plan as Planned, Selection, SubgraphIndex, Supergraph, TypeId, TypeSet, merged,
    plan::{Begin, Fetch, FetchId, PathId, PathStep, ROOT, SelectionSetId},
};

use super::plan::{
    Condition, EntityFetch, FetchStep, Merge, PathSegment, Plan, Rename, Requirement, ResponseKey,
    Target,
};
use crate::graph::viewer_fields::ViewerFields;
use fetch_selection::{FetchSelectionItem, FetchSelectionWriter, Renamed, RenamedStep};
use keys::ResponseKeys;
use shapes::{DataShape, Shapes};
use text::OperationText;
pub use text::normal_form;

/// The operation for which a plan is compiled.
pub struct CompileInput<'a> {
    /// The supergraph for which the operation was planned.
    pub graph: &'a Supergraph,
    /// The type of the operation.
    pub kind: OperationType,
    /// Its variables, in the order declared.
    pub variables: &'a [Node<VariableDefinition>],
    /// Its directives that subgraphs define too.
    pub directives: &'a [Node<Directive>],
    /// The fields whose values depend on who asks.
    pub viewer_fields: &'a ViewerFields,
}

/// Compiles a plan. `keys` has the projection's response keys; those of the plan are added.
pub fn compile(planned: &Planned<'_>, input: &CompileInput<'_>, keys: Vec<Box<str>>) -> Plan {
    let mut compiler = Compiler {
        planned,
        input,
        writer: FetchSelectionWriter {
            fetches: &planned.fetches,
            graph: input.graph,
            types: input.graph.types(),
        },
        representations: unused_variable(input.variables),
        keys: ResponseKeys::new(keys),
        shapes: Shapes::default(),
    };
    let mut steps = Vec::new();
    let mut waves = Vec::new();
    for group in fetch_groups(planned, input.variables) {
        let Wave { turn, depth } = group.wave;
        let index = steps.len();
        steps.push(compiler.step(&group, None));
        waves.push(Wave {
            turn,
            depth: 2 * depth,
        });
        if compiler.has_fallback(&group) {
            steps.push(compiler.step(&group, Some(index)));
            waves.push(Wave {
                turn,
                depth: 2 * depth + 1,
            });
        }
    }
    let mut plan = Plan {
        steps,
        keys: compiler.keys.into_names(),
        client_keys: Vec::new(),
        shapes: compiler.shapes.into_shapes(),
        forwards: false,
        depends_on_viewer: input.kind == OperationType::Subscription
            && input.viewer_fields.are_asked_by(&planned.fetches),
    };
    order::connect(&mut plan, &waves);
    plan
}

/// Fetches that are sent as one request.
struct FetchGroup {
    wave: Wave,
    /// The conditions that must hold for the request to be sent.
    conditions: Vec<Condition>,
    fetches: Vec<FetchId>,
}

/// When a request can start at the earliest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wave {
    /// The number of the mutation's root request to which it belongs.
    turn: usize,
    /// The number of requests that must be done before it, one after another.
    depth: usize,
}

/// All requests, none before one that it needs. Entity fetches to the same subgraph, in the same
/// wave and under the same conditions, are one request.
fn fetch_groups(planned: &Planned<'_>, variables: &[Node<VariableDefinition>]) -> Vec<FetchGroup> {
    let mut depths: Vec<Option<usize>> = planned.fetches.iter().map(|_| None).collect();
    let mut ordered: Vec<(Wave, FetchId)> = planned
        .fetches
        .iter()
        .filter(|(_, fetch)| !planned.fetches.is_empty(fetch.set))
        .map(|(id, fetch)| {
            let wave = Wave {
                turn: fetch.turn,
                depth: depth(planned, id, &mut depths),
            };
            (wave, id)
        })
        .collect();
    ordered.sort_unstable();
    let mut groups: Vec<FetchGroup> = Vec::new();
    for (wave, id) in ordered {
        let fetch = planned.fetches.get(id);
        let is_entities = |fetch: &Fetch<'_>| matches!(fetch.begin, Begin::Entities { .. });
        let conditions = conditions(planned, fetch, variables);
        let same = groups.iter_mut().find(|group| {
            let other = planned.fetches.get(group.fetches[0]);
            group.wave == wave
                && group.conditions == conditions
                && other.subgraph == fetch.subgraph
                && is_entities(other)
                && is_entities(fetch)
        });
        match same {
            Some(group) => group.fetches.push(id),
            None => groups.push(FetchGroup {
                wave,
                conditions,
                fetches: vec![id],
            }),
        }
    }
    groups
}

/// The conditions on the path to the objects that a fetch completes.
fn conditions(
    planned: &Planned<'_>,
    fetch: &Fetch<'_>,
    variables: &[Node<VariableDefinition>],
) -> Vec<Condition> {
    let (Begin::Entities { path, .. } | Begin::Reentry(path)) = fetch.begin else {
        return Vec::new();
    };
    let steps = planned.paths.steps(path).into_iter();
    let directives = steps.flat_map(|(step, _)| match step {
        PathStep::On(when) => when,
        PathStep::Field(_) => &[],
    });
    let conditions = directives.filter(|it| it.name == "skip" || it.name == "include");
    let conditions = conditions.filter_map(|directive| {
        let value = directive.specified_argument_by_name("if")?;
        let name = value.as_variable()?;
        Some(Condition {
            variable: variables.iter().position(|it| it.name == *name)?,
            expected: directive.name == "include",
        })
    });
    conditions.collect()
}

fn depth(planned: &Planned<'_>, id: FetchId, depths: &mut [Option<usize>]) -> usize {
    if let Some(depth) = depths[id.0] {
        return depth;
    }
    let fetch = planned.fetches.get(id);
    let after = fetch
        .after
        .iter()
        .map(|other| depth(planned, other, depths) + 1);
    let depth = after.max().unwrap_or(0);
    depths[id.0] = Some(depth);
    depth
}

/// A name for the variable with the representations, which none of the client's variables starts
/// with.
fn unused_variable(declared: &[Node<VariableDefinition>]) -> String {
    let mut name = String::from("representations");
    while declared.iter().any(|it| it.name.starts_with(&name)) {
        name.push('_');
    }
    name
}

struct Compiler<'p, 'a> {
    planned: &'p Planned<'a>,
    input: &'p CompileInput<'p>,
    writer: FetchSelectionWriter<'p, 'a>,
    representations: String,
    keys: ResponseKeys,
    shapes: Shapes,
}

/// Entities that a request fetches by one list of representations.
struct EntityList<'p> {
    /// The selection, by the type that the subgraph has for the entities.
    asked: Vec<FetchSelectionItem<'p>>,
    /// The text of the selection, if there are other lists to compare it with.
    text: Option<Box<str>>,
    /// The planner's selection sets, with the types that objects have there.
    sets: Vec<(SelectionSetId, TypeId)>,
    /// Whether the types of all its objects are known from their data.
    are_told: bool,
    fetch: EntityFetch,
}

/// What a step's request selects, and where the data goes.
struct StepContent {
    merge: Merge,
    data: DataShape,
    /// The names of the variables for representations.
    representations: Vec<String>,
}

impl<'p> Compiler<'p, '_> {
    /// Whether a request needs a fallback: some entities may lack what some of its fields require,
    /// and still have the others.
    fn has_fallback(&self, group: &FetchGroup) -> bool {
        let mut fetches = group.fetches.iter().map(|id| self.planned.fetches.get(*id));
        fetches.any(|fetch| {
            matches!(&fetch.begin, Begin::Entities { requires, contexts, .. } if requires.len() > 1 || !contexts.is_empty())
                && self.writer.write_plain(fetch.set, fetch.subgraph).is_some()
        })
    }

    fn step(&mut self, group: &FetchGroup, fallback_of: Option<usize>) -> FetchStep {
        let fetches = &group.fetches;
        let first = self.planned.fetches.get(fetches[0]);
        let is_root = matches!(first.begin, Begin::Root);
        let (kind, is_mutation) = match self.input.kind {
            OperationType::Mutation if is_root => ("mutation", true),
            OperationType::Subscription if is_root => ("subscription", false),
            _ => ("query", false),
        };
        let mut text = OperationText::new(
            self.input.graph,
            self.input.variables,
            self.input.directives,
        );
        if fallback_of.is_none() && self.has_contexts(group) {
            return self.step_by_contexts(group, text);
        }
        let content = match first.begin {
            Begin::Entities { .. } => {
                let lists = self.entity_lists(fetches, fallback_of.is_some());
                self.entities_content(lists, &mut text)
            }
            Begin::Root | Begin::Reentry(_) => self.root_content(first, &mut text),
        };
        FetchStep {
            subgraph: first.subgraph,
            is_mutation,
            conditions: group.conditions.clone(),
            fallback_of,
            waits_for: 0,
            wakes: Vec::new(),
            request: text.finish(kind, &content.representations),
            shape: content.data.shape,
            root_keys: content.data.root_keys,
            merge: content.merge,
        }
    }

    /// Writes the selections of a fetch at the root, or where the query type is found again.
    fn root_content(&mut self, fetch: &Fetch<'_>, text: &mut OperationText<'p>) -> StepContent {
        let (asked, renamed) = self.writer.write(fetch.set, fetch.subgraph);
        text.items(&asked);
        let data = self.shapes.add_root(&asked, &mut self.keys);
        let renames = self.renames(renamed);
        let merge = match fetch.begin {
            Begin::Reentry(path) => Merge::Reentry {
                path: self.path(path),
                renames,
            },
            _ => Merge::Root { renames },
        };
        StepContent {
            merge,
            data,
            representations: Vec::new(),
        }
    }

    /// Writes the lists of entities of a request.
    fn entities_content(
        &mut self,
        lists: Vec<EntityList<'p>>,
        text: &mut OperationText<'p>,
    ) -> StepContent {
        let is_single = lists.len() == 1;
        let mut named = Vec::new();
        for (index, list) in lists.iter().enumerate() {
            let (key, variable) = match is_single {
                true => ("_entities".to_owned(), self.representations.clone()),
                false => (
                    format!("_e{index}"),
                    format!("{}{index}", self.representations),
                ),
            };
            text.entities(&key, &variable, &list.asked);
            named.push((key, variable));
        }
        let asked = named
            .iter()
            .zip(&lists)
            .map(|((key, _), list)| (&**key, &list.asked));
        let data = self.shapes.add_entities(asked, &mut self.keys);
        let mut fetches = Vec::new();
        for ((key, variable), list) in named.iter().zip(lists) {
            fetches.push(EntityFetch {
                key: self.keys.intern(key),
                variable: format!("\"{variable}\":[").into_bytes().into(),
                ..list.fetch
            });
        }
        StepContent {
            merge: Merge::Entities(fetches),
            data,
            representations: named.into_iter().map(|(_, variable)| variable).collect(),
        }
    }

    /// The lists of entities in a request. Fetches with equal selections and representations share
    /// a list, and so do fetches for objects of different types.
    fn entity_lists(&mut self, fetches: &[FetchId], is_fallback: bool) -> Vec<EntityList<'p>> {
        let mut lists: Vec<EntityList<'p>> = Vec::new();
        for id in fetches {
            let Some(mut own) = self.entity_list(*id, is_fallback) else {
                continue;
            };
            if fetches.len() > 1 {
                own.text = Some(self.text_of(&own.asked));
            }
            let is_same = |list: &&mut EntityList<'p>| {
                list.text == own.text
                    && list.fetch.requires == own.fetch.requires
                    && list.fetch.renames == own.fetch.renames
            };
            match lists.iter_mut().find(is_same) {
                Some(list) => {
                    list.are_told &= own.are_told;
                    list.fetch.targets.extend(own.fetch.targets);
                }
                None => lists.push(own),
            }
        }
        let mut joined: Vec<EntityList<'p>> = Vec::new();
        let subgraph = self.planned.fetches.get(fetches[0]).subgraph;
        for list in lists {
            let can_join = |other: &&mut EntityList<'p>| self.can_be_one(other, &list, subgraph);
            match joined.iter_mut().find(can_join) {
                Some(other) => {
                    other.asked.extend(list.asked);
                    other.sets.extend(list.sets);
                    other.fetch.targets.extend(list.fetch.targets);
                    other.fetch.requires.extend(list.fetch.requires);
                }
                None => joined.push(list),
            }
        }
        joined
    }

    /// Whether two lists may become one: their objects have different, known types and the same key
    /// paths, and nothing in their data has to be renamed. Lists for different paths stay apart,
    /// because equal objects at one path are stored once, and those at two paths may differ later.
    fn can_be_one(
        &self,
        one: &EntityList<'p>,
        other: &EntityList<'p>,
        subgraph: SubgraphIndex,
    ) -> bool {
        let is_plain = |list: &EntityList<'p>| {
            let fetch = &list.fetch;
            list.are_told && fetch.typename_overrides.is_empty() && fetch.renames.is_empty()
        };
        let objects = |ty: TypeId| self.input.graph.objects(ty);
        let are_apart = |a: TypeId, b: TypeId| objects(a).intersection(objects(b)).is_empty();
        let places = |list: &EntityList<'p>| -> BTreeSet<Vec<ResponseKey>> {
            let targets = list.fetch.targets.iter();
            targets.map(|it| keys_of(&it.path).collect()).collect()
        };
        let mut pairs = one.sets.iter();
        let are_apart = pairs.all(|(_, a)| other.sets.iter().all(|(_, b)| are_apart(*a, *b)));
        let sets = one.sets.iter().chain(&other.sets).map(|(set, _)| *set);
        is_plain(one)
            && is_plain(other)
            && are_apart
            && places(one) == places(other)
            && !self.writer.has_conflicts(sets.collect(), subgraph)
    }

    fn entity_list(&mut self, id: FetchId, is_fallback: bool) -> Option<EntityList<'p>> {
        let fetch = self.planned.fetches.get(id);
        let Begin::Entities {
            path,
            view,
            requires,
            contexts,
        } = &fetch.begin
        else {
            return None;
        };
        let mut requires = &requires[..];
        let (below, renamed) = if is_fallback {
            let needs_more = requires.len() > 1 || !contexts.is_empty();
            requires = requires.get(..1).filter(|_| needs_more)?;
            self.writer.write_plain(fetch.set, fetch.subgraph)?
        } else {
            self.writer.write(fetch.set, fetch.subgraph)
        };
        let asked = vec![FetchSelectionItem::On {
            ty: Some(*view),
            when: &[],
            below,
        }];
        let requires = merged(requires.iter().copied().flatten());
        let list = EntityFetch {
            key: ResponseKey::TYPENAME,
            variable: Box::default(),
            targets: vec![Target {
                path: self.path(*path),
                may_share: false,
            }],
            shares_across_targets: false,
            requires: self.representation(*path, fetch.subgraph, *view, &requires),
            typename_overrides: self.typename_overrides(fetch, *view),
            renames: self.renames(renamed),
        };
        let paths = &self.planned.paths;
        Some(EntityList {
            text: None,
            asked,
            sets: vec![(fetch.set, paths.ty(*path))],
            are_told: !self.input.graph.is_object(paths.ty(paths.widest(*path))),
            fetch: list,
        })
    }

    fn text_of(&self, asked: &fetch_selection::FetchSelection<'_>) -> Box<str> {
        let input = self.input;
        let mut text = OperationText::new(input.graph, input.variables, input.directives);
        text.items(asked);
        text.finish("", &[]).operation
    }

    /// The content of the representations of the objects at a path.
    fn representation(
        &mut self,
        path: PathId,
        subgraph: SubgraphIndex,
        view: TypeId,
        requires: &[Selection],
    ) -> Vec<Requirement> {
        let graph = self.input.graph;
        let name = graph.name(view);
        // Entities of an interface object have the same representation whatever their types, so
        // paths with different types share one list.
        let ty = match graph.view(subgraph, view) {
            Some(here) if here.is_interface_object => view,
            _ => self.planned.paths.ty(path),
        };
        vec![Requirement::Fragment {
            types: self.meeting(ty),
            type_name: format!("\"{name}\"").into_bytes().into(),
            requires: self.requirements(requires),
        }]
    }

    fn requirements(&mut self, set: &[Selection]) -> Vec<Requirement> {
        set.iter()
            .map(|selection| match selection {
                Selection::Field(field) => {
                    let source = match field.is_typename() {
                        true => ResponseKey::TYPENAME,
                        false => self.keys.intern(&field.key),
                    };
                    Requirement::Field {
                        source,
                        name: format!("\"{}\":", field.name).into_bytes().into(),
                        requires: self.requirements(&field.set),
                    }
                }
                Selection::On(on) => Requirement::Fragment {
                    types: self.input.graph.types().satisfied_by(on.ty),
                    type_name: format!("\"{}\"", self.input.graph.name(on.ty))
                        .into_bytes()
                        .into(),
                    requires: self.requirements(&on.set),
                },
            })
            .collect()
    }

    /// The types whose objects may be of type `ty`, and the interfaces that may be all that is
    /// known of their type.
    fn meeting(&self, ty: TypeId) -> TypeSet {
        let mut types = self.input.graph.types().satisfied_by(ty);
        types.extend(&self.input.graph.types().satisfied_in_reverse(ty));
        types
    }

    /// A subgraph with an interface object knows its entities by the interface's name.
    fn typename_overrides(
        &self,
        fetch: &Fetch<'_>,
        view: TypeId,
    ) -> Vec<super::plan::TypenameOverride> {
        let here = self.input.graph.view(fetch.subgraph, view);
        if !here.is_some_and(|here| here.is_interface_object) {
            return Vec::new();
        }
        let name = format!("\"{}\"", self.input.graph.name(view));
        vec![(
            self.input.graph.types().satisfied_by(view),
            name.into_bytes().into(),
        )]
    }

    fn path(&mut self, path: PathId) -> Vec<PathSegment> {
        let mut segments = Vec::new();
        let mut last = Some(self.planned.paths.ty(ROOT));
        for (step, ty) in self.planned.paths.steps(path) {
            match step {
                PathStep::Field(field) => {
                    segments.push(PathSegment::Key(self.keys.intern(&field.key)));
                }
                PathStep::On(_) if last == Some(ty) => {}
                PathStep::On(_) => {
                    segments.push(PathSegment::Type(self.input.graph.types().satisfied_by(ty)));
                }
            }
            last = Some(ty);
        }
        segments
    }

    fn renames(&mut self, renamed: Vec<Renamed>) -> Vec<Rename> {
        renamed
            .into_iter()
            .map(|renamed| Rename {
                path: renamed
                    .path
                    .into_iter()
                    .map(|step| match step {
                        RenamedStep::Key(name) => PathSegment::Key(self.keys.intern(&name)),
                        RenamedStep::Type(ty) => {
                            PathSegment::Type(self.input.graph.types().satisfied_by(ty))
                        }
                    })
                    .collect(),
                from: self.keys.intern(&renamed.from),
                to: self.keys.intern(&renamed.to),
            })
            .collect()
    }
}

/// The keys of a path, without its type conditions.
fn keys_of(path: &[PathSegment]) -> impl Iterator<Item = ResponseKey> + '_ {
    path.iter().filter_map(|segment| match segment {
        PathSegment::Key(key) => Some(*key),
        PathSegment::Type(_) => None,
    })
}
