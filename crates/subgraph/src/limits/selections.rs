//! What the parsed document asks for once its fragments are written out, counted without writing them out:
//! each fragment is counted once, and the counts are multiplied where it is spread.

use std::collections::HashMap;

use async_graphql::parser::types::{
    Directive, ExecutableDocument, Field, FragmentSpread, Selection, SelectionSet,
};
use async_graphql::{Name, Pos, Positioned};
use async_graphql_value::{ConstValue, Value};

use super::{LimitError, LimitSettings, TypeNames};

/// Arguments of one field or directive.
const ARGUMENTS_MAX: usize = 64;
/// Variables of one operation.
const VARIABLES_MAX: usize = 500;
/// How often one path of an introspection query may ask for a list of types' parts.
const INTROSPECTION_LISTS_MAX: u64 = 2;
/// The search for conflicting fields follows the fragments of each selection set: so many times the limit
/// of selections may it take steps.
const MERGE_STEPS_FACTOR: u64 = 8;

/// What a selection set comes to. Sums saturate: a limit is far below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// Fields, spreads and inline fragments.
    selections: u64,
    /// Those of the set itself and of the fragments in it, not of its fields' sets.
    flat: u64,
    /// Fields of the set itself and of the fragments in it.
    fields: u64,
    aliases: u64,
    /// Arguments, directives and values.
    values: u64,
    /// Bytes of the texts in arguments, which validation copies.
    bytes: u64,
    /// Levels of selection sets and of spreads below this one.
    depth: usize,
    /// The most lists of types' parts on one path.
    type_lists: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.selections = self.selections.saturating_add(other.selections);
        self.flat = self.flat.saturating_add(other.flat);
        self.fields = self.fields.saturating_add(other.fields);
        self.aliases = self.aliases.saturating_add(other.aliases);
        self.values = self.values.saturating_add(other.values);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.depth = self.depth.max(other.depth);
        self.type_lists = self.type_lists.max(other.type_lists);
    }
}

/// Checks a document.
///
/// # Errors
/// When a limit is exceeded, or a fragment contains itself, is unknown or is never used, or a variable's
/// type is unknown.
pub(super) fn check(
    document: &ExecutableDocument,
    limits: &LimitSettings,
    types: Option<&TypeNames>,
) -> Result<(), LimitError> {
    let mut counter = Counter {
        document,
        limits,
        fragments: HashMap::new(),
        merge_steps: 0,
    };
    let mut all = Counts::default();
    for (_, operation) in document.operations.iter() {
        let operation = &operation.node;
        let definitions = &operation.variable_definitions;
        if definitions.len() > VARIABLES_MAX {
            return Err(LimitError::Variables {
                reason: format!("an operation may have {VARIABLES_MAX}"),
            });
        }
        if let Some(types) = types {
            definitions.iter().try_for_each(|it| types.check(it))?;
        }
        let mut counts = Counts::default();
        for definition in definitions {
            counts.add(counter.directives(&definition.node.directives)?);
            if let Some(default) = &definition.node.default_value {
                counts.values += const_values(&default.node);
            }
        }
        counts.add(counter.directives(&operation.directives)?);
        counts.add(counter.selection_set(&operation.selection_set.node, 1)?);
        if counts.aliases > limits.aliases_max as u64 {
            return Err(LimitError::Aliases {
                max: limits.aliases_max,
            });
        }
        all.add(counts);
        if all.fields > limits.root_fields_max as u64 {
            return Err(LimitError::RootFields {
                max: limits.root_fields_max,
            });
        }
        counter.check_size(&all)?;
    }
    // The others would be validated as well.
    let mut fragments = document.fragments.iter();
    match fragments.find(|(name, _)| !counter.fragments.contains_key(name)) {
        Some((name, fragment)) => Err(LimitError::Unused {
            fragment: name.to_string(),
            position: fragment.pos,
        }),
        None => Ok(()),
    }
}

struct Counter<'d> {
    document: &'d ExecutableDocument,
    limits: &'d LimitSettings,
    /// None while the fragment is being counted.
    fragments: HashMap<&'d Name, Option<Counts>>,
    merge_steps: u64,
}

impl<'d> Counter<'d> {
    /// Counts a selection set at a level, the operation's own being 1.
    fn selection_set(&mut self, set: &'d SelectionSet, level: usize) -> Result<Counts, LimitError> {
        if level > self.limits.depth_max {
            return Err(self.too_deep());
        }
        let mut counts = Counts::default();
        for selection in &set.items {
            counts.add(match &selection.node {
                Selection::Field(field) => self.field(field, level)?,
                Selection::FragmentSpread(spread) => self.spread(spread, level)?,
                Selection::InlineFragment(fragment) => {
                    let directives = self.directives(&fragment.node.directives)?;
                    let inner = self.selection_set(&fragment.node.selection_set.node, level + 1)?;
                    within(inner, directives)
                }
            });
        }
        self.merge_steps = self.merge_steps.saturating_add(counts.flat);
        self.check_size(&counts)?;
        Ok(counts)
    }

    fn field(&mut self, field: &'d Positioned<Field>, level: usize) -> Result<Counts, LimitError> {
        let Positioned { node: field, pos } = field;
        if field.arguments.len() > ARGUMENTS_MAX {
            return Err(LimitError::Arguments {
                max: ARGUMENTS_MAX,
                position: *pos,
            });
        }
        let mut counts = Counts {
            selections: 1,
            flat: 1,
            fields: 1,
            aliases: u64::from(field.alias.is_some()),
            ..Counts::default()
        };
        counts.add(self.directives(&field.directives)?);
        counts.add(arguments(&field.arguments));
        if !field.selection_set.node.items.is_empty() {
            let inner = self.selection_set(&field.selection_set.node, level + 1)?;
            counts.selections = counts.selections.saturating_add(inner.selections);
            counts.aliases = counts.aliases.saturating_add(inner.aliases);
            counts.values = counts.values.saturating_add(inner.values);
            counts.bytes = counts.bytes.saturating_add(inner.bytes);
            counts.depth = inner.depth + 1;
            counts.type_lists = inner.type_lists;
        }
        match field.name.node.as_str() {
            "fields" | "inputFields" | "interfaces" | "possibleTypes" => counts.type_lists += 1,
            "__schema" | "__type" if counts.type_lists > INTROSPECTION_LISTS_MAX => {
                return Err(LimitError::Introspection);
            }
            _ => {}
        }
        Ok(counts)
    }

    fn spread(
        &mut self,
        spread: &'d Positioned<FragmentSpread>,
        level: usize,
    ) -> Result<Counts, LimitError> {
        let directives = self.directives(&spread.node.directives)?;
        let name = &spread.node.fragment_name.node;
        if self.fragments.get(name) == Some(&None) {
            return Err(LimitError::Cycle {
                fragment: name.to_string(),
                position: spread.pos,
            });
        }
        Ok(within(
            self.fragment(name, spread.pos, level + 1)?,
            directives,
        ))
    }

    /// Counts a fragment the first time.
    fn fragment(
        &mut self,
        name: &'d Name,
        position: Pos,
        level: usize,
    ) -> Result<Counts, LimitError> {
        if let Some(Some(known)) = self.fragments.get(name) {
            return match level + known.depth > self.limits.depth_max {
                true => Err(self.too_deep()),
                false => Ok(*known),
            };
        }
        let Some(fragment) = self.document.fragments.get(name) else {
            return Err(LimitError::UnknownFragment {
                fragment: name.to_string(),
                position,
            });
        };
        self.fragments.insert(name, None);
        // Its own directives are validated once, but this is simpler and no less.
        let directives = self.directives(&fragment.node.directives)?;
        let mut counts = self.selection_set(&fragment.node.selection_set.node, level)?;
        counts.add(directives);
        self.fragments.insert(name, Some(counts));
        Ok(counts)
    }

    fn directives(&self, directives: &[Positioned<Directive>]) -> Result<Counts, LimitError> {
        if directives.len() > self.limits.directives_max {
            return Err(LimitError::Directives {
                max: self.limits.directives_max,
            });
        }
        let mut counts = Counts::default();
        for Positioned { node, pos } in directives {
            if node.arguments.len() > ARGUMENTS_MAX {
                return Err(LimitError::Arguments {
                    max: ARGUMENTS_MAX,
                    position: *pos,
                });
            }
            counts.values += 1;
            counts.add(arguments(&node.arguments));
        }
        Ok(counts)
    }

    fn check_size(&self, counts: &Counts) -> Result<(), LimitError> {
        let selections_max = self.limits.selections_max as u64;
        if counts.selections > selections_max
            || self.merge_steps > selections_max.saturating_mul(MERGE_STEPS_FACTOR)
        {
            return Err(LimitError::Selections {
                max: self.limits.selections_max,
            });
        }
        if counts.values > self.limits.tokens_max as u64 {
            return Err(LimitError::Tokens {
                max: self.limits.tokens_max,
            });
        }
        if counts.bytes > self.limits.document_bytes_max as u64 {
            return Err(LimitError::ArgumentBytes {
                max: self.limits.document_bytes_max,
            });
        }
        Ok(())
    }

    fn too_deep(&self) -> LimitError {
        LimitError::Depth {
            max: self.limits.depth_max,
        }
    }
}

/// A spread or an inline fragment around what it contains.
fn within(inner: Counts, directives: Counts) -> Counts {
    Counts {
        selections: inner.selections.saturating_add(1),
        flat: inner.flat.saturating_add(1),
        values: inner.values.saturating_add(directives.values),
        bytes: inner.bytes.saturating_add(directives.bytes),
        depth: inner.depth + 1,
        ..inner
    }
}

/// The values and the bytes of arguments.
fn arguments(arguments: &[(Positioned<Name>, Positioned<Value>)]) -> Counts {
    let mut counts = Counts::default();
    for (_, value) in arguments {
        counts.values += 1 + values(&value.node);
        counts.bytes += text_bytes(&value.node);
    }
    counts
}

fn text_bytes(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::List(items) => items.iter().map(text_bytes).sum(),
        Value::Object(members) => members.values().map(text_bytes).sum(),
        _ => 0,
    }
}

/// A value and those in it.
fn values(value: &Value) -> u64 {
    1 + match value {
        Value::List(items) => items.iter().map(values).sum(),
        Value::Object(members) => members.values().map(values).sum(),
        _ => 0_u64,
    }
}

fn const_values(value: &ConstValue) -> u64 {
    1 + match value {
        ConstValue::List(items) => items.iter().map(const_values).sum(),
        ConstValue::Object(members) => members.values().map(const_values).sum(),
        _ => 0_u64,
    }
}

#[cfg(test)]
pub(super) fn counted(document: &ExecutableDocument) -> Result<[u64; 4], LimitError> {
    let limits = LimitSettings::default();
    let mut counter = Counter {
        document,
        limits: &limits,
        fragments: HashMap::new(),
        merge_steps: 0,
    };
    let (_, operation) = document.operations.iter().next().expect("an operation");
    let counts = counter.selection_set(&operation.node.selection_set.node, 1)?;
    Ok([
        counts.selections,
        counts.fields,
        counts.aliases,
        counts.depth as u64,
    ])
}
