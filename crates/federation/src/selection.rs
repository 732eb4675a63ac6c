//! Selections as the planner walks them: fragments written out, equal fields merged.
//!
//! An operation and the field sets of a supergraph (`@key`, `@requires`, `@provides`) have the same
//! form, so that both are planned by the same rules.

use apollo_compiler::{
    ExecutableDocument, Name, Node,
    ast::{self, Argument, Directive, DirectiveList, DirectiveLocation},
    executable::{self, Operation, SelectionSet},
    name,
};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    ClientAliases, Supergraph,
    types::{TypeId, TypeTable},
};

/// A part of a selection.
#[derive(Clone, Debug)]
pub enum Selection {
    Field(Field),
    /// Only for some objects.
    On(On),
}

/// A field with its arguments, and what is selected of the objects that it holds.
#[derive(Clone, Debug)]
pub struct Field {
    /// What the schema calls it.
    pub name: Name,
    /// What the response calls it: the alias, if it has one.
    pub key: Name,
    /// In the order of the operation, with its variables.
    pub arguments: Vec<Node<Argument>>,
    /// Those of the subgraphs.
    pub directives: Vec<Node<Directive>>,
    /// Of the objects that it holds; empty for a leaf.
    pub set: Vec<Selection>,
}

impl Field {
    /// `__typename` under its own name.
    pub fn typename() -> Self {
        Self {
            name: name!("__typename"),
            key: name!("__typename"),
            arguments: Vec::new(),
            directives: Vec::new(),
            set: Vec::new(),
        }
    }

    /// Whether it is `__typename`, by whatever key.
    pub fn is_typename(&self) -> bool {
        self.name == "__typename"
    }
}

/// A selection for objects of a type, or under conditions, or both.
#[derive(Clone, Debug)]
pub struct On {
    /// The type condition, or the type of the place where only conditions stand.
    pub ty: TypeId,
    /// `@skip` and `@include` with variables, and directives of the subgraphs: those that stand at an
    /// inline fragment, at a fragment's spread or at its definition.
    pub when: Vec<Node<Directive>>,
    /// What is selected of such objects.
    pub set: Vec<Selection>,
}

/// The selections of an operation, with the keys that `aliases` gives to fields, without what the
/// gateway answers itself, and with the `__typename`s that it needs to keep hidden types from clients.
pub fn of_operation(
    document: &ExecutableDocument,
    operation: &Operation,
    supergraph: &Supergraph,
    aliases: &ClientAliases,
) -> Vec<Selection> {
    let types = supergraph.types();
    let reader = OperationReader {
        document,
        supergraph,
        types,
        aliases,
    };
    let root = types.id(operation.object_type()).unwrap_or(TypeId::UNKNOWN);
    let set = reader.set(root, &[&operation.selection_set]);
    without_own_fields(set)
}

/// Whether it is a field of introspection, which stands wherever an object is the query type's.
fn is_introspection(name: &Name) -> bool {
    matches!(name.as_str(), "__schema" | "__type")
}

/// Without `__typename`, too, which the gateway answers itself at the root.
fn without_own_fields(set: Vec<Selection>) -> Vec<Selection> {
    set.into_iter()
        .filter_map(|selection| match selection {
            Selection::Field(field) => {
                (!field.name.starts_with("__")).then_some(Selection::Field(field))
            }
            Selection::On(on) => {
                let set = without_own_fields(on.set);
                (!set.is_empty()).then_some(Selection::On(On { set, ..on }))
            }
        })
        .collect()
}

struct OperationReader<'d> {
    document: &'d ExecutableDocument,
    supergraph: &'d Supergraph,
    types: &'d TypeTable,
    aliases: &'d ClientAliases,
}

/// What is gathered for one object, in the order in which it is first met.
enum Gathered<'d> {
    Field(
        &'d executable::Field,
        Vec<Node<Directive>>,
        Vec<&'d SelectionSet>,
    ),
    On(TypeId, Vec<Node<Directive>>, Vec<&'d SelectionSet>),
    /// A field under conditions.
    Single(Vec<Node<Directive>>, &'d executable::Field),
}

/// All that is gathered for one object.
#[derive(Default)]
struct AllGathered<'d> {
    in_order: Vec<Gathered<'d>>,
    /// Where the fields without conditions are, by their keys.
    fields: FxHashMap<Name, usize>,
}

impl<'d> OperationReader<'d> {
    fn set(&self, ty: TypeId, sets: &[&'d SelectionSet]) -> Vec<Selection> {
        let mut gathered = AllGathered::default();
        for set in sets {
            self.gather(ty, &set.selections, &mut gathered);
        }
        let asks_nothing = gathered.in_order.is_empty() && self.asks_schema(sets);
        let mut selections: Vec<Selection> = gathered
            .in_order
            .into_iter()
            .map(|gathered| match gathered {
                Gathered::Field(field, directives, sets) => {
                    Selection::Field(self.field(field, directives, &sets))
                }
                Gathered::On(ty, when, sets) => Selection::On(On {
                    set: self.set(ty, &sets),
                    ty,
                    when,
                }),
                Gathered::Single(when, field) => {
                    let directives = self.passed_on(&field.directives, DirectiveLocation::Field);
                    let field = self.field(field, directives, &[&field.selection_set]);
                    Selection::On(On {
                        ty,
                        when,
                        set: vec![Selection::Field(field)],
                    })
                }
            })
            .collect();
        // Where all was introspection, whether there is an object is still to be found out.
        if self.types.hides_members(ty) || asks_nothing {
            selections.insert(0, Selection::Field(Field::typename()));
        }
        selections
    }

    /// Those of a list that the subgraphs know.
    fn passed_on(&self, all: &DirectiveList, at: DirectiveLocation) -> Vec<Node<Directive>> {
        let passes = |it: &&Node<Directive>| self.supergraph.passes_on(&it.name, at);
        all.iter().filter(passes).cloned().collect()
    }

    fn field(
        &self,
        field: &'d executable::Field,
        directives: Vec<Node<Directive>>,
        sets: &[&'d SelectionSet],
    ) -> Field {
        let inner = field.ty().inner_named_type();
        Field {
            name: field.name.clone(),
            key: self.aliases.key_of(field).clone(),
            arguments: field.arguments.clone(),
            directives,
            set: match self.types.id(inner) {
                Some(inner) => self.set(inner, sets),
                None => Vec::new(),
            },
        }
    }

    fn gather(
        &self,
        ty: TypeId,
        selections: &'d [executable::Selection],
        gathered: &mut AllGathered<'d>,
    ) {
        for selection in selections {
            let Some(when) = self.when(selection) else {
                continue;
            };
            let (condition, set) = match selection {
                executable::Selection::Field(field) if is_introspection(&field.name) => continue,
                executable::Selection::Field(field) if when.is_empty() => {
                    self.gather_field(field, gathered);
                    continue;
                }
                executable::Selection::Field(field) => {
                    gathered.in_order.push(Gathered::Single(when, field));
                    continue;
                }
                executable::Selection::InlineFragment(fragment) => {
                    (fragment.type_condition.as_ref(), &fragment.selection_set)
                }
                executable::Selection::FragmentSpread(spread) => {
                    let Some(fragment) = spread.fragment_def(self.document) else {
                        continue;
                    };
                    (Some(fragment.type_condition()), &fragment.selection_set)
                }
            };
            let condition = condition.and_then(|name| self.types.id(name));
            let always = |condition| self.types.satisfies(ty, condition);
            let condition = condition.filter(|condition| !always(*condition));
            if condition.is_none() && when.is_empty() {
                self.gather(ty, &set.selections, gathered);
                continue;
            }
            let condition = condition.unwrap_or(ty);
            let same = gathered.in_order.iter_mut().find_map(|other| match other {
                Gathered::On(ty, other, sets) if *ty == condition && *other == when => Some(sets),
                _ => None,
            });
            match same {
                Some(sets) => sets.push(set),
                None => gathered
                    .in_order
                    .push(Gathered::On(condition, when, vec![set])),
            }
        }
    }

    /// The directives under which a selection stands: its conditions, and those of a fragment that the subgraphs
    /// know; none if one of the conditions never holds.
    fn when(&self, selection: &executable::Selection) -> Option<Vec<Node<Directive>>> {
        let mut when = conditions(selection.directives())?;
        match selection {
            executable::Selection::Field(_) => {}
            executable::Selection::InlineFragment(fragment) => {
                let at = DirectiveLocation::InlineFragment;
                when.extend(self.passed_on(&fragment.directives, at));
            }
            executable::Selection::FragmentSpread(spread) => {
                let at = DirectiveLocation::FragmentSpread;
                when.extend(self.passed_on(&spread.directives, at));
                if let Some(fragment) = spread.fragment_def(self.document) {
                    let at = DirectiveLocation::FragmentDefinition;
                    self.add_directives(&mut when, self.passed_on(&fragment.directives, at));
                }
            }
        }
        Some(when)
    }

    /// Whether fields of introspection stand in selection sets, in their fragments too.
    fn asks_schema(&self, sets: &[&'d SelectionSet]) -> bool {
        let mut open = sets.to_vec();
        // Each fragment once: here, it does not matter how often it is spread.
        let mut seen: FxHashSet<&Name> = FxHashSet::default();
        while let Some(set) = open.pop() {
            for selection in &set.selections {
                match selection {
                    executable::Selection::Field(field) if is_introspection(&field.name) => {
                        return true;
                    }
                    executable::Selection::Field(_) => {}
                    executable::Selection::InlineFragment(fragment) => {
                        open.push(&fragment.selection_set);
                    }
                    executable::Selection::FragmentSpread(spread) => {
                        if seen.insert(&spread.fragment_name)
                            && let Some(fragment) = spread.fragment_def(self.document)
                        {
                            open.push(&fragment.selection_set);
                        }
                    }
                }
            }
        }
        false
    }

    fn gather_field(&self, field: &'d executable::Field, gathered: &mut AllGathered<'d>) {
        let key = self.aliases.key_of(field).clone();
        let directives = self.passed_on(&field.directives, DirectiveLocation::Field);
        let next = gathered.in_order.len();
        let place = *gathered.fields.entry(key).or_insert(next);
        let Some(Gathered::Field(_, known, sets)) = gathered.in_order.get_mut(place) else {
            let sets = vec![&field.selection_set];
            let field = Gathered::Field(field, directives, sets);
            return gathered.in_order.push(field);
        };
        sets.push(&field.selection_set);
        self.add_directives(known, directives);
    }

    /// Adds directives to those of the same field or fragment, as far as they may stand together.
    fn add_directives(&self, known: &mut Vec<Node<Directive>>, more: Vec<Node<Directive>>) {
        for directive in more {
            let is_known =
                |other: &Node<Directive>| match self.supergraph.may_be_repeated(&directive.name) {
                    true => *other == directive,
                    false => other.name == directive.name,
                };
            if !known.iter().any(is_known) {
                known.push(directive);
            }
        }
    }
}

/// The conditions that depend on variables; none if one of the others never holds.
fn conditions(directives: &DirectiveList) -> Option<Vec<Node<Directive>>> {
    let mut when = Vec::new();
    for directive in directives.iter() {
        let never = match directive.name.as_str() {
            "skip" => true,
            "include" => false,
            _ => continue,
        };
        let value = directive.specified_argument_by_name("if");
        match value.and_then(|value| value.to_bool()) {
            Some(value) if value == never => return None,
            Some(_) => {}
            None => when.push(directive.clone()),
        }
    }
    Some(when)
}

/// The selections of a field set (`id owner { id } ... on Book { isbn }`) on objects of type `ty`.
/// `key_of` gives a field's key. None where it is no field set.
pub fn of_field_set(
    text: &str,
    ty: TypeId,
    field: &impl Fn(TypeId, &ast::Field) -> (Name, TypeId),
    types: &TypeTable,
) -> Option<Vec<Selection>> {
    let document = ast::Document::parse(format!("{{ {text} }}"), "field set").ok()?;
    match document.definitions.as_slice() {
        [ast::Definition::OperationDefinition(operation)] => {
            Some(field_set(&operation.selection_set, ty, field, types))
        }
        _ => None,
    }
}

fn field_set(
    selections: &[ast::Selection],
    ty: TypeId,
    field: &impl Fn(TypeId, &ast::Field) -> (Name, TypeId),
    types: &TypeTable,
) -> Vec<Selection> {
    let selections = selections.iter().filter_map(|selection| match selection {
        ast::Selection::Field(it) => {
            let (key, inner) = field(ty, it);
            Some(Selection::Field(Field {
                name: it.name.clone(),
                key,
                arguments: it.arguments.clone(),
                directives: Vec::new(),
                set: field_set(&it.selection_set, inner, field, types),
            }))
        }
        ast::Selection::InlineFragment(it) => {
            let condition = it.type_condition.as_ref();
            let condition = condition.map_or(Some(ty), |name| types.id(name))?;
            Some(Selection::On(On {
                ty: condition,
                when: Vec::new(),
                set: field_set(&it.selection_set, condition, field, types),
            }))
        }
        ast::Selection::FragmentSpread(_) => None,
    });
    merged(selections.collect::<Vec<_>>().iter())
}

/// One selection that has all of several.
pub fn merged<'s>(selections: impl IntoIterator<Item = &'s Selection>) -> Vec<Selection> {
    let mut all: Vec<Selection> = Vec::new();
    for selection in selections {
        let same = all.iter_mut().find_map(|other| match (other, selection) {
            (Selection::Field(one), Selection::Field(other)) if one.key == other.key => {
                Some((&mut one.set, &other.set))
            }
            (Selection::On(one), Selection::On(other))
                if one.ty == other.ty && one.when == other.when =>
            {
                Some((&mut one.set, &other.set))
            }
            _ => None,
        });
        match same {
            Some((one, other)) => *one = merged(std::mem::take(one).iter().chain(other)),
            None => all.push(selection.clone()),
        }
    }
    all
}

/// Whether two field sets cannot be in one representation: they have a field with other arguments.
pub fn are_exclusive(one: &[Selection], other: &[Selection]) -> bool {
    one.iter().any(|one| {
        other.iter().any(|other| match (one, other) {
            (Selection::Field(one), Selection::Field(other)) => {
                one.name == other.name
                    && (one.key != other.key || are_exclusive(&one.set, &other.set))
            }
            (Selection::On(one), other) => are_exclusive(&one.set, std::slice::from_ref(other)),
            (one, Selection::On(other)) => are_exclusive(std::slice::from_ref(one), &other.set),
        })
    })
}
