//! Computes the cost of an operation: each field counts once for each object that may have it.
//!
//! Fields with the same response key count once, because they are executed once. Of the object
//! types that an interface or a union allows, the most expensive one counts. What `@skip` and
//! `@include` leave out does not count.

use apollo_compiler::{
    ExecutableDocument, Name, Node as Ast,
    ast::{DirectiveList, VariableDefinition},
    executable::{Field, Operation, OperationType, Selection, SelectionSet},
    schema::FieldDefinition,
};
use federation::{TypeId, TypeSet};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    MUTATION,
    formula::{Node, OperationCost, SlicingFault, Term, times},
    size::{Lengths, VariableListSize},
};
use crate::{
    authorization::field_view::FieldView,
    coerce::Variables,
    error::{Code, RequestError},
    graph::{
        Graph,
        costs::{FieldCosts, ListSize},
    },
    prepare::plan::Condition,
};

/// Computes the cost of a valid operation. `fields_max` bounds the work that nested type conditions
/// can cause. What the client may not see costs nothing.
///
/// # Errors
/// `MAX_SELECTIONS_EXCEEDED` above `fields_max`.
pub fn of<'a>(
    graph: &'a Graph,
    document: &'a ExecutableDocument,
    operation: &'a Operation,
    view: &'a FieldView<'a>,
    fields_max: usize,
) -> Result<OperationCost, RequestError> {
    let mut counter = CostCounter::new(graph, document, &operation.variables, fields_max);
    counter.view = (!view.is_whole()).then_some(view);
    let root = Part {
        set: &operation.selection_set,
        conditions: Vec::new(),
    };
    let selection = counter.selection(operation.object_type(), &[root], &[], false)?;
    let begin = match operation.operation_type {
        OperationType::Mutation => MUTATION,
        OperationType::Query | OperationType::Subscription => 0.0,
    };
    let cost = counter.sum(begin, vec![selection]);
    Ok(OperationCost::new(counter.nodes, cost, counter.fault))
}

/// Builds the cost formula of an operation.
pub struct CostCounter<'a> {
    pub(super) graph: &'a Graph,
    pub(super) variables: &'a [Ast<VariableDefinition>],
    pub(super) nodes: Vec<Node>,
    document: &'a ExecutableDocument,
    fields_left: usize,
    /// What the client may see; `None` for all.
    view: Option<&'a FieldView<'a>>,
    fault: Option<SlicingFault>,
    /// The costs of variables as arguments: by the variable, the argument's type and weight.
    pub(super) inputs: FxHashMap<(usize, Name, Option<u64>), Term>,
    /// The costs computed so far, by everything that they depend on.
    known: FxHashMap<Origin, Term>,
}

/// What a selection's cost depends on: the declared type, the address and conditions of each part,
/// the list sizes given above, and whether the type's own weight counts.
type Origin = (
    Name,
    Vec<(usize, Vec<Condition>)>,
    Vec<(Vec<String>, TermKey)>,
    bool,
);

/// A selection set that belongs to a selection under some conditions.
#[derive(Clone)]
struct Part<'a> {
    set: &'a SelectionSet,
    conditions: Vec<Condition>,
}

/// The length that a field above gives to the list at a path.
#[derive(Clone)]
struct SizedList<'a> {
    path: &'a [String],
    length: Term,
}

/// An occurrence of a field in the parts, with fragments expanded.
struct Occurrence<'a> {
    field: &'a Ast<Field>,
    /// The object types for which it is selected; `None` for all.
    types: Option<TypeSet>,
    conditions: Vec<Condition>,
}

type TermKey = (bool, u64);

fn key(term: Term) -> TermKey {
    match term {
        Term::Constant(number) => (false, number.to_bits()),
        Term::Node(index) => (true, index.into()),
    }
}

impl<'a> CostCounter<'a> {
    /// A counter for an operation with these variables.
    pub fn new(
        graph: &'a Graph,
        document: &'a ExecutableDocument,
        variables: &'a [Ast<VariableDefinition>],
        fields_max: usize,
    ) -> Self {
        Self {
            graph,
            variables,
            nodes: Vec::new(),
            document,
            fields_left: fields_max,
            view: None,
            fault: None,
            inputs: FxHashMap::default(),
            known: FxHashMap::default(),
        }
    }

    /// The cost of an object of a declared type, with its selection.
    fn selection(
        &mut self,
        declared: &Name,
        parts: &[Part<'a>],
        sizes: &[SizedList<'a>],
        has_weight: bool,
    ) -> Result<Term, RequestError> {
        let origin: Origin = (
            declared.clone(),
            parts
                .iter()
                .map(|part| {
                    (
                        std::ptr::from_ref(part.set) as usize,
                        part.conditions.clone(),
                    )
                })
                .collect(),
            sizes
                .iter()
                .map(|size| (size.path.to_vec(), key(size.length)))
                .collect(),
            has_weight,
        );
        if let Some(term) = self.known.get(&origin) {
            return Ok(*term);
        }
        let mut occurrences = Vec::new();
        for part in parts {
            self.flatten(part.set, None, &part.conditions, &mut occurrences);
        }
        let graph = self.graph;
        let id = graph.types().id(declared).unwrap_or(TypeId::UNKNOWN);
        // Types with the same selected fields cost the same, unless the schema gives them other
        // weights.
        let mut counted: FxHashSet<(Vec<usize>, u64, Option<TypeId>)> = FxHashSet::default();
        let mut terms = Vec::new();
        for id in graph.types().visible_objects(id).iter() {
            let Ok(type_name) = Name::new(graph.types().name(id)) else {
                continue;
            };
            let applies = |it: &Occurrence<'_>| {
                it.types.as_ref().is_none_or(|it| it.contains(id))
                    && self.view.is_none_or(|view| view.sees(id, &it.field.name))
            };
            let fields: Vec<usize> = (0..occurrences.len())
                .filter(|index| applies(&occurrences[*index]))
                .collect();
            let weight = match has_weight {
                true => graph.costs.of_type(graph.api(), &type_name),
                false => 0.0,
            };
            let is_special = fields.iter().any(|index| {
                let field = &occurrences[*index].field.name;
                graph.costs.field(&type_name, field).is_some()
            });
            let same = (fields.clone(), weight.to_bits(), is_special.then_some(id));
            if counted.insert(same) {
                let of_type: Vec<&Occurrence<'a>> =
                    fields.iter().map(|index| &occurrences[*index]).collect();
                terms.push(self.object(&type_name, weight, &of_type, sizes)?);
            }
        }
        let term = self.max(terms);
        self.known.insert(origin, term);
        Ok(term)
    }

    /// The cost of an object of one type: its weight and its fields.
    fn object(
        &mut self,
        type_name: &Name,
        weight: f64,
        occurrences: &[&Occurrence<'a>],
        sizes: &[SizedList<'a>],
    ) -> Result<Term, RequestError> {
        let mut by_key: Vec<(&Name, Vec<&Occurrence<'a>>)> = Vec::new();
        for occurrence in occurrences {
            let key = occurrence.field.response_key();
            match by_key.iter_mut().find(|(other, _)| *other == key) {
                Some((_, same)) => same.push(occurrence),
                None => by_key.push((key, vec![occurrence])),
            }
        }
        self.spend(by_key.len())?;
        let mut terms = Vec::with_capacity(by_key.len());
        for (_, same) in by_key {
            let term = self.field(type_name, &same, sizes)?;
            terms.push(self.when(&same, term));
        }
        Ok(self.sum(weight, terms))
    }

    fn field(
        &mut self,
        type_name: &Name,
        same: &[&Occurrence<'a>],
        sizes: &[SizedList<'a>],
    ) -> Result<Term, RequestError> {
        let field = same[0].field;
        if field.name.starts_with("__") {
            return Ok(Term::Constant(0.0));
        }
        let graph = self.graph;
        let costs = graph.costs.field(type_name, &field.name);
        let definition = definition_of(graph, type_name, field);
        let list_size = costs.and_then(|costs| costs.list_size.as_ref());
        let own_size = list_size.map(|said| self.size(said, field, definition));
        let mut below = Vec::new();
        let mut given = None;
        for size in sizes {
            match size.path {
                [name] if *name == *field.name.as_str() => given = Some(size.length),
                [name, path @ ..] if *name == *field.name.as_str() => below.push(SizedList {
                    path,
                    ..size.clone()
                }),
                _ => {}
            }
        }
        if let (Some(said), Some(length)) = (list_size, own_size) {
            below.extend(said.sized.iter().map(|path| SizedList { path, length }));
        }
        let own_size = own_size.filter(|_| list_size.is_some_and(|said| said.sized.is_empty()));
        let assumed = Term::Constant(graph.settings.limits.list_size_assumed as f64);
        // In a list of lists, only the outer one has a length.
        let instances = match definition.ty.is_list() {
            true => given.or(own_size).unwrap_or(assumed),
            false => Term::Constant(1.0),
        };
        let type_name = definition.ty.inner_named_type();
        let weight = costs.and_then(|costs| costs.weight);
        let is_leaf = graph.types().id(type_name).is_none();
        let value = match is_leaf {
            true => Term::Constant(
                weight.unwrap_or_else(|| graph.costs.of_type(graph.api(), type_name)),
            ),
            false => {
                let parts = parts_below(same);
                let selection = self.selection(type_name, &parts, &below, weight.is_none())?;
                self.sum(weight.unwrap_or(0.0), vec![selection])
            }
        };
        let all = self.product(instances, value);
        let arguments = self.arguments(field, definition, costs);
        if arguments == Term::Constant(0.0) {
            return Ok(all);
        }
        let both = self.sum(0.0, vec![all, arguments]);
        // A negative weight of an argument may reduce the cost of its own field only.
        Ok(self.max(vec![both]))
    }

    fn size(&mut self, said: &'a ListSize, field: &Field, definition: &FieldDefinition) -> Term {
        let assumed = self.graph.settings.limits.list_size_assumed as f64;
        let size = VariableListSize::of(said, field, definition, self.variables, assumed);
        if !size.is_constant() {
            return self.node(Node::Size(size));
        }
        let (length, fault) = size.length(&Variables::default(), &mut Lengths::default());
        if self.fault.is_none() {
            self.fault = fault;
        }
        Term::Constant(length)
    }

    /// The cost of a field's arguments.
    pub(super) fn arguments(
        &mut self,
        field: &Field,
        definition: &FieldDefinition,
        costs: Option<&FieldCosts>,
    ) -> Term {
        let mut terms = Vec::new();
        for argument in &field.arguments {
            if let Some(defined) = definition.argument_by_name(&argument.name) {
                let weight = costs.and_then(|costs| costs.arguments.get(&argument.name).copied());
                terms.push(self.input(&argument.value, &defined.ty, weight));
            }
        }
        self.sum(0.0, terms)
    }

    fn flatten(
        &self,
        set: &'a SelectionSet,
        types: Option<&TypeSet>,
        conditions: &[Condition],
        occurrences: &mut Vec<Occurrence<'a>>,
    ) {
        for selection in &set.selections {
            let Some(conditions) = self.conditions(selection.directives(), conditions) else {
                continue;
            };
            let (condition, set) = match selection {
                Selection::Field(field) => {
                    occurrences.push(Occurrence {
                        field,
                        types: types.cloned(),
                        conditions,
                    });
                    continue;
                }
                Selection::InlineFragment(it) => (it.type_condition.as_ref(), &it.selection_set),
                Selection::FragmentSpread(spread) => {
                    let Some(fragment) = spread.fragment_def(self.document) else {
                        continue;
                    };
                    (Some(fragment.type_condition()), &fragment.selection_set)
                }
            };
            let narrowed = condition.map(|condition| {
                let id = self.graph.types().id(condition).unwrap_or(TypeId::UNKNOWN);
                let wanted = self.graph.types().visible_objects(id);
                types.map_or_else(|| wanted.clone(), |types| types.intersection(&wanted))
            });
            let types = narrowed.as_ref().or(types);
            self.flatten(set, types, &conditions, occurrences);
        }
    }

    /// The conditions with those of `directives` added; `None` if they can never hold.
    fn conditions(
        &self,
        directives: &DirectiveList,
        outer: &[Condition],
    ) -> Option<Vec<Condition>> {
        let mut conditions = outer.to_vec();
        for (name, expected) in [("skip", false), ("include", true)] {
            let directive = directives.get(name);
            let Some(value) = directive.and_then(|it| it.specified_argument_by_name("if")) else {
                continue;
            };
            if let Some(constant) = value.to_bool() {
                if constant != expected {
                    return None;
                }
            } else if let Some(variable) = value.as_variable()
                && let Some(variable) = self.variables.iter().position(|it| it.name == *variable)
            {
                let condition = Condition { variable, expected };
                if !conditions.contains(&condition) {
                    conditions.push(condition);
                }
            }
        }
        Some(conditions)
    }

    fn spend(&mut self, fields: usize) -> Result<(), RequestError> {
        let left = self.fields_left.checked_sub(fields);
        self.fields_left = left.ok_or_else(|| {
            let message = "the operation has too many type conditions";
            RequestError::new(Code::MaxSelections, message)
        })?;
        Ok(())
    }

    pub(super) fn node(&mut self, node: Node) -> Term {
        self.nodes.push(node);
        Term::Node(self.nodes.len() as u32 - 1)
    }

    pub(super) fn sum(&mut self, begin: f64, terms: Vec<Term>) -> Term {
        let mut known = begin;
        let mut parts = Vec::new();
        for term in terms {
            match term {
                Term::Constant(number) => known += number,
                Term::Node(_) => parts.push(term),
            }
        }
        match *parts {
            [] => Term::Constant(known),
            [only] if known == 0.0 => only,
            _ => self.node(Node::Sum(known, parts.into())),
        }
    }

    fn product(&mut self, one: Term, other: Term) -> Term {
        match (one, other) {
            (Term::Constant(one), Term::Constant(other)) => Term::Constant(times(one, other)),
            (Term::Constant(1.0), it) | (it, Term::Constant(1.0)) => it,
            // A length is kept even then, because a missing slicing argument is an error.
            _ => self.node(Node::Product(one, other)),
        }
    }

    fn max(&mut self, terms: Vec<Term>) -> Term {
        let mut known: f64 = 0.0;
        let mut parts = Vec::new();
        for term in terms {
            match term {
                Term::Constant(number) => known = known.max(number),
                Term::Node(_) => parts.push(term),
            }
        }
        if parts.is_empty() {
            return Term::Constant(known);
        }
        parts.push(Term::Constant(known));
        self.node(Node::Max(parts.into()))
    }

    /// The term, under the conditions of the field's occurrences.
    fn when(&mut self, same: &[&Occurrence<'_>], term: Term) -> Term {
        if same.iter().any(|it| it.conditions.is_empty()) || term == Term::Constant(0.0) {
            return term;
        }
        let any = same.iter().map(|it| it.conditions.clone()).collect();
        self.node(Node::When(any, term))
    }
}

/// The selection sets of a field. If all have the field's own conditions, these need not be checked
/// again.
fn parts_below<'a>(same: &[&Occurrence<'a>]) -> Vec<Part<'a>> {
    let first = &same[0].conditions;
    let is_same = same.iter().all(|it| it.conditions == *first);
    let parts = same.iter().map(|it| Part {
        set: &it.field.selection_set,
        conditions: match is_same {
            true => Vec::new(),
            false => it.conditions.clone(),
        },
    });
    parts.collect()
}

/// The object type's own definition of a field, which may be stricter than the interface's.
pub(super) fn definition_of<'a>(
    graph: &'a Graph,
    type_name: &Name,
    field: &'a Field,
) -> &'a FieldDefinition {
    let object = graph.api().get_object(type_name);
    let defined = object.and_then(|object| object.fields.get(&field.name));
    defined.map_or(&*field.definition, |defined| defined)
}
