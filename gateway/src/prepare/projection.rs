//! The projection: the fields of the response as the client selected them, in the operation's
//! order.
//!
//! Fragments are expanded, and fields with the same response key are merged as in the
//! specification's CollectFields, once for each set of types with the same fields.

use apollo_compiler::{
    Name, Node, Schema,
    executable::{ExecutableDocument, Field, Operation, Selection as Ast, SelectionSet},
    schema::{ExtendedType, Type},
};
use federation::{ClientAliases, TypeId, TypeSet, TypeTable};
use rustc_hash::FxHashMap;

use super::{
    compile::keys::ResponseKeys,
    plan::{Condition, ResponseKey},
};
use crate::{
    authorization::field_view::FieldView,
    coerce::Variables,
    error::{Code, RequestError},
    json::scan::key_token,
};

/// All selections of an operation.
#[derive(Debug, Default)]
pub struct Projection {
    /// The selections by [`SelectionId`]; the first is the operation's root.
    pub selections: Vec<Selection>,
    /// The places at which clients may not see a field: the number of [`ProjectedValue::Unauthorized`].
    pub cuts: u32,
}

/// A selection, by its index in [`Projection::selections`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SelectionId(pub u32);

/// The fields that are selected of an object, by its type.
#[derive(Debug)]
pub struct Selection {
    /// The object type, if the schema allows only one here.
    pub only_type: Option<TypeId>,
    /// The list of fields for each object type: (type, index in [`Self::lists`]), sorted by type.
    pub lists_by_type: Vec<(TypeId, u32)>,
    /// The distinct lists of fields.
    pub lists: Vec<Vec<ProjectedField>>,
    /// The list of the fields that every type has, typed as the declared type says: for objects of
    /// unknown type.
    pub untold: Option<u32>,
}

/// A field of the client's response.
#[derive(Clone, Debug)]
pub struct ProjectedField {
    /// The key under which the merged data has it.
    pub key: ResponseKey,
    /// The client's response key, ready to be written: `"key":`.
    pub key_json: Box<[u8]>,
    /// The field is present if any of these sets of conditions holds completely; if there are none,
    /// always.
    pub conditions: Vec<Vec<Condition>>,
    /// None of these sets may hold: the field is then written at an earlier position.
    pub unless: Vec<Vec<Condition>>,
    /// The kind of its value.
    pub value: ProjectedValue,
    /// Where it may be null, and where it is a list.
    pub nullability: Nullability,
    /// The field's name in the schema, for messages.
    pub name: Box<str>,
}

impl ProjectedField {
    /// Whether the client may not see it.
    pub fn is_unauthorized(&self) -> bool {
        matches!(self.value, ProjectedValue::Unauthorized(_))
    }

    /// Whether the response has the field at this position, with these variables.
    #[inline]
    pub fn applies(&self, variables: &Variables) -> bool {
        let holds = |all: &Vec<Condition>| all.iter().all(|condition| condition.holds(variables));
        (self.conditions.is_empty() || self.conditions.iter().any(holds))
            && !self.unless.iter().any(holds)
    }
}

/// The kind of a field's value, inside its lists.
#[derive(Clone, Debug)]
pub enum ProjectedValue {
    /// `__typename`: the name of the object's type.
    Typename,
    /// `__schema` or `__type`: the introspection answer with this index.
    Introspection(usize),
    /// A scalar or an enum value.
    Leaf(LeafKind),
    /// Objects with this selection.
    Object(SelectionId),
    /// A field that the client may not see: null, and an error. The number counts such places.
    Unauthorized(u32),
}

/// The type of a leaf, as far as its JSON is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeafKind {
    /// `String`: a JSON string.
    String,
    /// `ID`: a JSON string, or an integer, which becomes a string.
    Id,
    /// `Int`: an integer of 32 bits.
    Int,
    /// `Float`: any JSON number.
    Float,
    /// `Boolean`: `true` or `false`.
    Boolean,
    /// An enum: one of these names, which are sorted.
    Enum(Vec<Box<str>>),
    /// A custom scalar: any JSON value.
    Custom,
}

/// The lists and non-null markers of a type, from the outside in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nullability {
    /// Whether null is an error at this level.
    pub non_null: bool,
    /// The nullability of the items, for a list.
    pub item: Option<Box<Nullability>>,
}

impl Nullability {
    fn of(ty: &Type) -> Self {
        let item = ty.is_list().then(|| Box::new(Self::of(ty.item_type())));
        Self {
            non_null: ty.is_non_null(),
            item,
        }
    }
}

/// The occurrences of one introspection field, each with its conditions. Together they are the
/// field.
pub type Introspected<'a> = Vec<(&'a Node<Field>, Vec<Condition>)>;

/// Compiles the operation's selections. Returns also its introspection fields. `keys` receives the
/// response keys. `fields_max` bounds the work that nested type conditions can cause.
///
/// # Errors
/// `MAX_SELECTIONS_EXCEEDED` above `fields_max` fields.
#[expect(
    clippy::too_many_arguments,
    reason = "each is a different part of one input"
)]
pub fn compile<'a>(
    schema: &'a Schema,
    types: &'a TypeTable,
    document: &'a ExecutableDocument,
    operation: &'a Operation,
    variables: &'a [String],
    aliases: &'a ClientAliases,
    keys: &mut ResponseKeys,
    view: &FieldView<'_>,
    fields_max: usize,
) -> Result<(Projection, Vec<Introspected<'a>>), RequestError> {
    let mut builder = Builder {
        schema,
        types,
        document,
        variables,
        aliases,
        keys,
        view,
        fields_left: fields_max,
        projection: Projection::default(),
        introspected: Vec::new(),
        known: FxHashMap::default(),
    };
    let root = Part {
        set: &operation.selection_set,
        conditions: Vec::new(),
    };
    builder.selection(operation.object_type(), vec![root])?;
    Ok((builder.projection, builder.introspected))
}

/// Identifies a selection: the declared type, and the address and conditions of each part.
type Origin = (Name, Vec<(usize, Vec<Condition>)>);

struct Builder<'a, 'k> {
    schema: &'a Schema,
    types: &'a TypeTable,
    document: &'a ExecutableDocument,
    variables: &'a [String],
    aliases: &'a ClientAliases,
    keys: &'k mut ResponseKeys,
    view: &'k FieldView<'k>,
    fields_left: usize,
    projection: Projection,
    introspected: Vec<Introspected<'a>>,
    /// The selections compiled so far: equal parts make equal selections.
    known: FxHashMap<Origin, SelectionId>,
}

/// A selection set that belongs to a selection under some conditions.
struct Part<'a> {
    set: &'a SelectionSet,
    conditions: Vec<Condition>,
}

/// An occurrence of a field in the parts, with fragments expanded.
struct Occurrence<'a> {
    field: &'a Node<Field>,
    /// The object types for which it is selected; `None` for all.
    types: Option<TypeSet>,
    conditions: Vec<Condition>,
}

/// A field of one object type's list.
#[derive(PartialEq, Eq, Hash)]
struct ListedField<'a> {
    /// Of its occurrence.
    index: usize,
    /// As the object type declares it; `None` if its interface's declaration counts.
    ty: Option<&'a Type>,
    /// Whether the client may see it.
    is_seen: bool,
}

impl<'a> Builder<'a, '_> {
    fn selection(
        &mut self,
        declared: &Name,
        parts: Vec<Part<'a>>,
    ) -> Result<SelectionId, RequestError> {
        let identity = |part: &Part<'a>| {
            (
                std::ptr::from_ref(part.set) as usize,
                part.conditions.clone(),
            )
        };
        let known = (declared.clone(), parts.iter().map(identity).collect());
        if let Some(id) = self.known.get(&known) {
            return Ok(*id);
        }
        let id = SelectionId(self.projection.selections.len() as u32);
        self.known.insert(known, id);
        self.projection.selections.push(Selection {
            only_type: None,
            lists_by_type: Vec::new(),
            lists: Vec::new(),
            untold: None,
        });
        let mut occurrences = Vec::new();
        for part in &parts {
            self.flatten(part.set, None, &part.conditions, &mut occurrences);
        }
        let selection = self.lists(declared, &occurrences)?;
        self.projection.selections[id.0 as usize] = selection;
        Ok(id)
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
            match selection {
                Ast::Field(field) => occurrences.push(Occurrence {
                    field,
                    types: types.cloned(),
                    conditions,
                }),
                Ast::InlineFragment(fragment) => {
                    let narrowed = self.narrow(types, fragment.type_condition.as_ref());
                    self.flatten(
                        &fragment.selection_set,
                        narrowed.as_ref(),
                        &conditions,
                        occurrences,
                    );
                }
                Ast::FragmentSpread(spread) => {
                    if let Some(fragment) = spread.fragment_def(self.document) {
                        let narrowed = self.narrow(types, Some(fragment.type_condition()));
                        let set = &fragment.selection_set;
                        self.flatten(set, narrowed.as_ref(), &conditions, occurrences);
                    }
                }
            }
        }
    }

    fn narrow(&self, types: Option<&TypeSet>, condition: Option<&Name>) -> Option<TypeSet> {
        let Some(condition) = condition else {
            return types.cloned();
        };
        let id = self.types.id(condition).unwrap_or(TypeId::UNKNOWN);
        let wanted = self.types.visible_objects(id);
        Some(types.map_or_else(|| wanted.clone(), |types| types.intersection(&wanted)))
    }

    /// The conditions with those of `directives` added; `None` if they can never hold.
    fn conditions(
        &self,
        directives: &apollo_compiler::ast::DirectiveList,
        outer: &[Condition],
    ) -> Option<Vec<Condition>> {
        let mut conditions = outer.to_vec();
        for (name, expected) in [("skip", false), ("include", true)] {
            let Some(value) = directives
                .get(name)
                .and_then(|d| d.specified_argument_by_name("if"))
            else {
                continue;
            };
            if let Some(constant) = value.to_bool() {
                if constant != expected {
                    return None;
                }
            } else if let Some(variable) = value.as_variable() {
                let variable = self
                    .variables
                    .iter()
                    .position(|name| name == variable.as_str());
                let condition = Condition {
                    variable: variable.unwrap_or(usize::MAX),
                    expected,
                };
                let opposite = Condition {
                    expected: !expected,
                    ..condition
                };
                if conditions.contains(&opposite) {
                    return None;
                }
                if !conditions.contains(&condition) {
                    conditions.push(condition);
                }
            }
        }
        Some(conditions)
    }

    fn lists(
        &mut self,
        declared: &Name,
        occurrences: &[Occurrence<'a>],
    ) -> Result<Selection, RequestError> {
        let declared = self.types.id(declared).unwrap_or(TypeId::UNKNOWN);
        let mut lists = Vec::new();
        let mut lists_by_type = Vec::new();
        let mut list_by_fields: FxHashMap<Vec<ListedField<'a>>, u32> = FxHashMap::default();
        for id in self.types.visible_objects(declared).iter() {
            // The object type's own field definition counts: it may be stricter than the
            // interface's.
            let fields: Vec<ListedField<'a>> = occurrences
                .iter()
                .enumerate()
                .filter(|(_, occurrence)| {
                    occurrence
                        .types
                        .as_ref()
                        .is_none_or(|types| types.contains(id))
                })
                .map(|(index, occurrence)| ListedField {
                    index,
                    ty: self.field_type(id, &occurrence.field.name),
                    is_seen: self.sees(id, &occurrence.field.name),
                })
                .collect();
            let list = match list_by_fields.get(&fields) {
                Some(list) => *list,
                None => {
                    lists.push(self.list(occurrences, &fields)?);
                    let list = lists.len() as u32 - 1;
                    list_by_fields.insert(fields, list);
                    list
                }
            };
            lists_by_type.push((id, list));
        }
        let mut untold = None;
        // An interface without implementations has no list; its interface objects have no other
        // type.
        if lists.len() != 1 {
            let visible = self.types.visible_objects(declared);
            let fields: Vec<ListedField<'a>> = occurrences
                .iter()
                .enumerate()
                .filter(|(_, it)| {
                    let types = it.types.as_ref();
                    types.is_none_or(|types| types.intersection(&visible) == visible)
                })
                .map(|(index, it)| ListedField {
                    index,
                    ty: None,
                    is_seen: self.sees(declared, &it.field.name)
                        && visible.iter().all(|id| self.sees(id, &it.field.name)),
                })
                .collect();
            lists.push(self.list(occurrences, &fields)?);
            untold = Some(lists.len() as u32 - 1);
        }
        Ok(Selection {
            only_type: self.types.is_object(declared).then_some(declared),
            lists_by_type,
            lists,
            untold,
        })
    }

    /// Whether the client may see a field of an object type. `__typename` and introspection are for all.
    fn sees(&self, ty: TypeId, field: &Name) -> bool {
        self.view.is_whole() || self.view.sees(ty, field)
    }

    fn field_type(&self, object: TypeId, field: &Name) -> Option<&'a Type> {
        let object = self.schema.get_object(self.types.name(object))?;
        Some(&object.fields.get(field)?.ty)
    }

    fn list(
        &mut self,
        occurrences: &[Occurrence<'a>],
        fields: &[ListedField<'a>],
    ) -> Result<Vec<ProjectedField>, RequestError> {
        let mut merged: Vec<(&'a Name, &ListedField<'a>, Vec<&Occurrence<'a>>)> = Vec::new();
        for listed in fields {
            let occurrence = &occurrences[listed.index];
            let key = occurrence.field.response_key();
            match merged.iter_mut().find(|(other, _, _)| *other == key) {
                Some((_, _, same)) => same.push(occurrence),
                None => merged.push((key, listed, vec![occurrence])),
            }
        }
        let merged_length = merged.len();
        let mut list = Vec::with_capacity(merged_length);
        for (key, listed, same) in merged {
            self.spend(1)?;
            list.push((key, self.field(key, listed, &same)?));
        }
        let places = fields.iter().map(|listed| &occurrences[listed.index]);
        let list = at_each_place(list, places);
        self.spend(list.len().saturating_sub(merged_length))?;
        Ok(list)
    }

    fn spend(&mut self, fields: usize) -> Result<(), RequestError> {
        self.fields_left = self.fields_left.checked_sub(fields).ok_or_else(|| {
            RequestError::new(
                Code::MaxSelections,
                "the operation has too many type conditions",
            )
        })?;
        Ok(())
    }

    fn field(
        &mut self,
        key: &Name,
        listed: &ListedField<'a>,
        same: &[&Occurrence<'a>],
    ) -> Result<ProjectedField, RequestError> {
        let field = same[0].field;
        let ty = listed.ty.unwrap_or(field.ty());
        let always = same
            .iter()
            .any(|occurrence| occurrence.conditions.is_empty());
        let mut conditions: Vec<Vec<Condition>> = Vec::new();
        if !always {
            for occurrence in same {
                if !conditions.contains(&occurrence.conditions) {
                    conditions.push(occurrence.conditions.clone());
                }
            }
        }
        let value = match field.name.as_str() {
            "__typename" => ProjectedValue::Typename,
            "__schema" | "__type" => {
                let places = same.iter().map(|it| (it.field, it.conditions.clone()));
                self.introspected.push(places.collect());
                ProjectedValue::Introspection(self.introspected.len() - 1)
            }
            // All fields with one key are the same field of an object.
            _ if !listed.is_seen => {
                self.projection.cuts += 1;
                ProjectedValue::Unauthorized(self.projection.cuts - 1)
            }
            _ => self.value(ty, same, conditions.len() == 1)?,
        };
        Ok(ProjectedField {
            key: self.keys.intern(self.aliases.key_of(field)),
            key_json: key_token(key),
            conditions,
            unless: Vec::new(),
            value,
            nullability: Nullability::of(ty),
            name: field.name.as_str().into(),
        })
    }

    fn value(
        &mut self,
        ty: &Type,
        same: &[&Occurrence<'a>],
        one_condition: bool,
    ) -> Result<ProjectedValue, RequestError> {
        let name = ty.inner_named_type();
        let leaf = match self.schema.types.get(name) {
            Some(ExtendedType::Scalar(_)) => match name.as_str() {
                "String" => LeafKind::String,
                "ID" => LeafKind::Id,
                "Int" => LeafKind::Int,
                "Float" => LeafKind::Float,
                "Boolean" => LeafKind::Boolean,
                _ => LeafKind::Custom,
            },
            Some(ExtendedType::Enum(enumeration)) => {
                let mut values: Vec<Box<str>> = enumeration
                    .values
                    .keys()
                    .map(|value| value.as_str().into())
                    .collect();
                values.sort_unstable();
                LeafKind::Enum(values)
            }
            _ => {
                let parts = same.iter().map(|occurrence| Part {
                    set: &occurrence.field.selection_set,
                    // If the field itself has exactly these conditions, its content need not check
                    // them again.
                    conditions: if one_condition {
                        Vec::new()
                    } else {
                        occurrence.conditions.clone()
                    },
                });
                return Ok(ProjectedValue::Object(
                    self.selection(name, parts.collect())?,
                ));
            }
        };
        Ok(ProjectedValue::Leaf(leaf))
    }
}

/// Orders the fields as CollectFields does: a field is at the position of its first occurrence
/// whose conditions hold. So it gets an entry for each occurrence that can be the first.
fn at_each_place<'a>(
    list: Vec<(&'a Name, ProjectedField)>,
    places: impl Iterator<Item = &'a Occurrence<'a>> + Clone,
) -> Vec<ProjectedField> {
    if places.clone().all(|place| place.conditions.is_empty()) {
        return list.into_iter().map(|(_, field)| field).collect();
    }
    let mut passed: Vec<Vec<Vec<Condition>>> = vec![Vec::new(); list.len()];
    let mut ordered: Vec<(usize, ProjectedField)> = Vec::with_capacity(list.len());
    for place in places {
        let key = place.field.response_key();
        let Some(index) = list.iter().position(|(other, _)| *other == key) else {
            continue;
        };
        let holds_before = |earlier: &Vec<Condition>| {
            earlier
                .iter()
                .all(|condition| place.conditions.contains(condition))
        };
        if passed[index].iter().any(holds_before) {
            continue;
        }
        match ordered.last_mut() {
            Some((last, entry)) if *last == index => {
                if place.conditions.is_empty() {
                    entry.conditions.clear();
                } else {
                    entry.conditions.push(place.conditions.clone());
                }
            }
            _ => {
                let mut entry = list[index].1.clone();
                entry.unless.clone_from(&passed[index]);
                entry.conditions = match &*place.conditions {
                    [] => Vec::new(),
                    all => vec![all.to_vec()],
                };
                ordered.push((index, entry));
            }
        }
        passed[index].push(place.conditions.clone());
    }
    ordered.into_iter().map(|(_, entry)| entry).collect()
}
