//! The selection of a fetch as it is written: without empty selection sets, with the `__typename`s
//! that distinguish objects, and with an alias where two types use one key for values that cannot
//! be merged.

use std::collections::{HashMap, HashSet};

use apollo_compiler::{
    Name, Node,
    ast::{Directive, Type},
};
use federation::{
    ContextArgument, Field, SubgraphIndex, Supergraph, TypeId, TypeTable,
    internal_names::of_other_type,
    plan::{Fetches, Item, SelectionSetId},
};

use super::text::needs_a_name;

/// What a fetch selects from an object.
pub type FetchSelection<'p> = Vec<FetchSelectionItem<'p>>;

/// One selection of a fetch.
pub enum FetchSelectionItem<'p> {
    /// A field, perhaps with selections below it.
    Field {
        /// The field, with its arguments.
        field: &'p Field,
        /// The response key in the request, which may be an internal alias.
        key: Name,
        /// The arguments whose values come from contexts.
        contexts: &'p [ContextArgument],
        /// What is selected from its objects; `None` for a leaf.
        below: Option<FetchSelection<'p>>,
    },
    /// A fragment: selections for some objects only.
    On {
        /// The type condition, if it narrows the type.
        ty: Option<TypeId>,
        /// The fragment's directives, such as `@skip`.
        when: &'p [Node<Directive>],
        /// The selections in the fragment.
        below: FetchSelection<'p>,
    },
}

/// A response key that has an internal alias in a request.
pub struct Renamed {
    /// The path to the objects that have it, from the start of the request.
    pub path: Vec<RenamedStep>,
    /// The internal alias in the request.
    pub from: Name,
    /// The response key that it stands for.
    pub to: Name,
}

/// A segment of the path to the objects of a [`Renamed`] key.
#[derive(Clone)]
pub enum RenamedStep {
    /// The value of a response key.
    Key(Name),
    /// Only objects of this type.
    Type(TypeId),
}

/// Writes the selections of fetches.
pub struct FetchSelectionWriter<'p, 'a> {
    /// All fetches of the plan.
    pub fetches: &'p Fetches<'a>,
    /// The supergraph for which they were planned.
    pub graph: &'p Supergraph,
    /// The supergraph's types, by number.
    pub types: &'p TypeTable,
}

/// The fields of one request that get an alias.
#[derive(Default)]
struct Aliases {
    by_item: HashMap<(SelectionSetId, usize), Name>,
    renamed: Vec<Renamed>,
}

impl<'p> FetchSelectionWriter<'p, '_> {
    /// The selection of a request to `subgraph`, and the aliases to undo in its response.
    pub fn write(
        &self,
        set: SelectionSetId,
        subgraph: SubgraphIndex,
    ) -> (FetchSelection<'p>, Vec<Renamed>) {
        let mut aliases = Aliases::default();
        if self.has_fragments(set) {
            self.find_conflicts(subgraph, &[(set, Vec::new())], &mut aliases);
        }
        (self.set(set, subgraph, &aliases), aliases.renamed)
    }

    /// The part of the selection that requires nothing from other subgraphs; `None` if that is
    /// everything or nothing.
    pub fn write_plain(
        &self,
        set: SelectionSetId,
        subgraph: SubgraphIndex,
    ) -> Option<(FetchSelection<'p>, Vec<Renamed>)> {
        let here = self.fetches.set(set);
        let requires = |item: &FetchSelectionItem<'_>| match item {
            FetchSelectionItem::Field { field, .. } => {
                let join = self.graph.join(subgraph, here.ty, &field.name);
                join.is_some_and(|join| !join.is_plain())
            }
            FetchSelectionItem::On { .. } => false,
        };
        let is_typename = |item: &FetchSelectionItem<'_>| matches!(item, FetchSelectionItem::Field { field, .. } if field.is_typename());
        let (mut asked, renamed) = self.write(set, subgraph);
        let whole = asked.len();
        asked.retain(|item| !requires(item));
        let has_more = asked.len() < whole && !asked.iter().all(is_typename);
        has_more.then_some((asked, renamed))
    }

    /// Whether selection sets for objects of different types cannot be in one selection without
    /// aliases.
    pub fn has_conflicts(&self, sets: Vec<SelectionSetId>, subgraph: SubgraphIndex) -> bool {
        let mut aliases = Aliases::default();
        let sets: Vec<_> = sets.into_iter().map(|set| (set, Vec::new())).collect();
        self.find_conflicts(subgraph, &sets, &mut aliases);
        !aliases.renamed.is_empty()
    }

    fn set(
        &self,
        set: SelectionSetId,
        subgraph: SubgraphIndex,
        aliases: &Aliases,
    ) -> FetchSelection<'p> {
        let here = self.fetches.set(set);
        let mut asked = Vec::new();
        let mut has_types = false;
        for (index, item) in here.items.iter().enumerate() {
            match item {
                Item::Field(_, Some(below)) if self.fetches.is_unneeded(*below) => {}
                Item::Field(field, below) => {
                    let alias = aliases.by_item.get(&(set, index));
                    asked.push(FetchSelectionItem::Field {
                        field,
                        key: alias.unwrap_or(&field.key).clone(),
                        contexts: self.contexts(subgraph, here.ty, field),
                        below: below.map(|below| {
                            let below = self.set(below, subgraph, aliases);
                            match below.is_empty() {
                                true => vec![self.typename()],
                                false => below,
                            }
                        }),
                    });
                }
                Item::On(when, below) => {
                    let ty = self.fetches.set(*below).ty;
                    let below = self.set(*below, subgraph, aliases);
                    if below.is_empty() {
                        continue;
                    }
                    has_types |= ty != here.ty;
                    let is_named = needs_a_name(self.graph, when);
                    let ty = (is_named || ty != here.ty).then_some(ty);
                    asked.push(FetchSelectionItem::On { ty, when, below });
                }
            }
        }
        let tells = |item: &FetchSelectionItem<'_>| matches!(item, FetchSelectionItem::Field { field, .. } if field.is_typename());
        if has_types && !asked.iter().any(tells) {
            asked.insert(0, self.typename());
        }
        asked
    }

    fn contexts(
        &self,
        subgraph: SubgraphIndex,
        view: TypeId,
        field: &Field,
    ) -> &'p [ContextArgument] {
        let join = match self.graph.has_contexts() {
            true => self.graph.join(subgraph, view, &field.name),
            false => None,
        };
        join.map_or(&[], |join| join.contexts.as_slice())
    }

    fn typename(&self) -> FetchSelectionItem<'p> {
        let field = self.graph.typename();
        FetchSelectionItem::Field {
            field,
            key: field.key.clone(),
            contexts: &[],
            below: None,
        }
    }

    /// Whether several sets select from the same object: only then can keys conflict.
    fn has_fragments(&self, set: SelectionSetId) -> bool {
        self.fetches.set(set).items.iter().any(|item| match item {
            Item::Field(_, below) => below.is_some_and(|below| self.has_fragments(below)),
            Item::On(..) => true,
        })
    }

    /// Compares the sets that select from the same object, and gives aliases to fields that cannot
    /// share one key.
    fn find_conflicts(
        &self,
        subgraph: SubgraphIndex,
        sets: &[(SelectionSetId, Vec<RenamedStep>)],
        aliases: &mut Aliases,
    ) {
        let mut all = Vec::new();
        for (set, path) in sets {
            self.flatten(*set, path, &mut all);
        }
        for group in self.groups_by_key(subgraph, all, aliases) {
            let below = self.alias_members(group, aliases);
            if !below.is_empty() {
                self.find_conflicts(subgraph, &below, aliases);
            }
        }
    }

    /// Groups occurrences of fields by the response key and type that they can share. Each further
    /// group of a key gets an alias.
    fn groups_by_key(
        &self,
        subgraph: SubgraphIndex,
        all: Vec<Met>,
        aliases: &mut Aliases,
    ) -> Vec<KeyGroup<'p>> {
        let mut by_key: Vec<KeyGroup<'p>> = Vec::new();
        let keys = all.iter().filter_map(|met| self.key_of(met));
        let mut keys: HashSet<Name> = keys.cloned().collect();
        for met in all {
            let Item::Field(field, _) = &self.fetches.set(met.set).items[met.index] else {
                continue;
            };
            let ty = self.type_of(subgraph, met.set, field);
            let same = by_key.iter().position(|group| {
                *group.key == field.key && can_share_a_key(self.types, group.ty, ty)
            });
            match same {
                Some(index) => by_key[index].members.push(met),
                None => {
                    let is_second = by_key.iter().any(|group| *group.key == field.key);
                    let numbers = aliases.renamed.len()..;
                    let mut names = numbers.map_while(|it| of_other_type(it, &field.key));
                    let alias = match is_second {
                        true => names.find(|name| keys.insert(name.clone())),
                        false => None,
                    };
                    if let Some(alias) = &alias {
                        // Added now to reserve the number.
                        aliases.renamed.push(Renamed {
                            path: met.path.clone(),
                            from: alias.clone(),
                            to: field.key.clone(),
                        });
                    }
                    by_key.push(KeyGroup {
                        key: &field.key,
                        ty,
                        alias,
                        members: vec![met],
                    });
                }
            }
        }
        by_key
    }

    /// Gives the members of a group its alias, if it has one. Returns the selection sets below them.
    fn alias_members(
        &self,
        group: KeyGroup<'_>,
        aliases: &mut Aliases,
    ) -> Vec<(SelectionSetId, Vec<RenamedStep>)> {
        let mut below = Vec::new();
        for (position, met) in group.members.into_iter().enumerate() {
            if let Some(alias) = &group.alias {
                aliases.by_item.insert((met.set, met.index), alias.clone());
                if position > 0 {
                    aliases.renamed.push(Renamed {
                        path: met.path.clone(),
                        from: alias.clone(),
                        to: group.key.clone(),
                    });
                }
            }
            if let Item::Field(field, Some(set)) = &self.fetches.set(met.set).items[met.index] {
                let mut path = met.path;
                // Aliases are undone in order, so the key has its real name by then.
                path.push(RenamedStep::Key(field.key.clone()));
                below.push((*set, path));
            }
        }
        below
    }

    fn key_of(&self, met: &Met) -> Option<&'p Name> {
        match &self.fetches.set(met.set).items[met.index] {
            Item::Field(field, _) => Some(&field.key),
            Item::On(..) => None,
        }
    }

    fn flatten(&self, set: SelectionSetId, path: &[RenamedStep], all: &mut Vec<Met>) {
        let here = self.fetches.set(set);
        for (index, item) in here.items.iter().enumerate() {
            match item {
                Item::Field(..) => all.push(Met {
                    set,
                    index,
                    path: path.to_vec(),
                }),
                Item::On(_, below) => {
                    let ty = self.fetches.set(*below).ty;
                    let mut path = path.to_vec();
                    if ty != here.ty {
                        path.push(RenamedStep::Type(ty));
                    }
                    self.flatten(*below, &path, all);
                }
            }
        }
    }

    fn type_of(
        &self,
        subgraph: SubgraphIndex,
        set: SelectionSetId,
        field: &Field,
    ) -> Option<&'p Type> {
        let view = self.fetches.set(set).ty;
        let join = self.graph.join(subgraph, view, &field.name)?;
        Some(&join.ty)
    }
}

/// Fields that share a response key.
struct KeyGroup<'p> {
    key: &'p Name,
    ty: Option<&'p Type>,
    alias: Option<Name>,
    members: Vec<Met>,
}

/// An occurrence of a field.
struct Met {
    set: SelectionSetId,
    index: usize,
    path: Vec<RenamedStep>,
}

/// Whether two types can share a response key. All object types can; other types must have the same
/// name; lists and non-null must be the same. Source:
/// <https://spec.graphql.org/September2025/#SameResponseShape()>
fn can_share_a_key(types: &TypeTable, one: Option<&Type>, other: Option<&Type>) -> bool {
    let (Some(one), Some(other)) = (one, other) else {
        return true;
    };
    match (one, other) {
        (Type::List(one), Type::List(other))
        | (Type::NonNullList(one), Type::NonNullList(other)) => {
            can_share_a_key(types, Some(one), Some(other))
        }
        (Type::Named(one), Type::Named(other))
        | (Type::NonNullNamed(one), Type::NonNullNamed(other)) => {
            one == other || (types.id(one).is_some() && types.id(other).is_some())
        }
        _ => false,
    }
}
