//! The cost of an operation: the objects and leaves of its answer, where every page is full.
//!
//! A field costs 1 and what is below it; a list costs that for each of its items. What does not depend on
//! variables is added up once, when the document is parsed; each request then multiplies only the sizes of
//! its lists in. async-graphql's own measure knows neither the number of representations nor how large a
//! leaf is, and follows every fragment.

use std::collections::HashMap;

use async_graphql::parser::types::{
    Directive, ExecutableDocument, Field, OperationType, Selection, SelectionSet,
    VariableDefinition,
};
use async_graphql::{Name, Positioned, Variables};
use async_graphql_value::{ConstValue, Value};

use super::LimitError;
use super::variables::{each_variable, literal_weight, weight};

/// Bytes of arguments that cost as much as one field. They are copied for each object.
const ARGUMENT_BYTES: u64 = 256;

/// What a field costs that is more than one leaf or one object.
#[derive(Clone, Copy, Debug)]
pub enum FieldCost {
    /// A list whose size the client chooses.
    List {
        /// The arguments that give it: the first that is there and not null.
        sizes: &'static [&'static str],
        /// The size without one.
        default: usize,
        /// The largest size; any other than 0 to this costs as much.
        max: usize,
        /// What an item costs before anything is asked of it.
        item: usize,
    },
    /// `_entities`: a list with one item for each representation.
    Entities {
        /// What an entity costs before anything is asked of it.
        item: usize,
    },
    /// A leaf that may be large: 1 for about each 1.5 KB.
    Leaf(usize),
}

/// What the fields of a subgraph cost, by their names, whatever their type; others cost 1.
pub type FieldCosts = &'static [(&'static str, FieldCost)];

/// About what introspection's lists have: the types of a small schema, and the parts of one type.
const INTROSPECTION: FieldCosts = &[
    ("types", introspected(48)),
    ("directives", introspected(16)),
    ("fields", introspected(8)),
    ("inputFields", introspected(4)),
    ("enumValues", introspected(4)),
    ("possibleTypes", introspected(4)),
    ("args", introspected(2)),
    ("interfaces", introspected(1)),
    ("locations", introspected(4)),
];

const fn introspected(size: usize) -> FieldCost {
    FieldCost::List {
        sizes: &[],
        default: size,
        max: size,
        item: 0,
    }
}

/// The cost of one operation, as far as it is known without the variables.
#[derive(Debug)]
pub(super) struct OperationCost {
    name: Option<Name>,
    operation_type: OperationType,
    /// The variables that matter, with their defaults.
    variables: Vec<(Name, Option<ConstValue>)>,
    selected: Cost,
}

/// What an operation comes to with its variables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Total {
    pub(super) cost: u64,
    pub(super) representations: u64,
}

/// A sum: what is fixed, and the lists.
#[derive(Debug, Default)]
struct Cost {
    fixed: u64,
    /// Arguments of fields that are variables, as indexes.
    arguments: Vec<usize>,
    lists: Vec<ListCost>,
}

#[derive(Debug)]
struct ListCost {
    size: Size,
    item: u64,
    selected: Cost,
}

#[derive(Debug)]
enum Size {
    /// The first argument that is there and not null, or else the default; at most `max`.
    Chosen {
        arguments: Vec<Argument>,
        default: u64,
        max: u64,
    },
    /// The length of a list.
    Entities(Argument),
}

#[derive(Debug)]
enum Argument {
    Literal(ArgumentValue),
    /// The index of the variable among those of the operation.
    Variable(usize),
    /// The representations, some of which are variables.
    Length(u64),
}

/// What matters of a value.
#[derive(Clone, Copy, Debug, Default)]
struct ArgumentValue {
    /// As a size, where it is one; none where it is null or missing.
    size: Option<u64>,
    /// As a list's length; a single value stands for a list of one.
    length: u64,
    weight: u64,
}

/// The costs of all operations, in the document's order.
///
/// # Errors
/// When an operation refers to a variable that it does not define.
pub(super) fn of_operations(
    document: &ExecutableDocument,
    fields: FieldCosts,
) -> Result<Vec<OperationCost>, LimitError> {
    let operations = document.operations.iter();
    operations
        .map(|(name, operation)| {
            let definitions = operation.node.variable_definitions.iter();
            let mut compiler = Compiler {
                document,
                definitions: definitions
                    .map(|it| (it.node.name.node.as_str(), &it.node))
                    .collect(),
                indexes: HashMap::new(),
                variables: Vec::new(),
            };
            let mut selected = Cost::default();
            compiler.check_directives(&operation.node.directives)?;
            compiler.add_set(&operation.node.selection_set.node, fields, &mut selected)?;
            Ok(OperationCost {
                name: name.cloned(),
                operation_type: operation.node.ty,
                variables: compiler.variables,
                selected,
            })
        })
        .collect()
}

impl OperationCost {
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(super) fn operation_type(&self) -> OperationType {
        self.operation_type
    }

    /// The cost with the variables of a request.
    pub(super) fn total(&self, variables: &Variables) -> Total {
        let values: Vec<_> = self
            .variables
            .iter()
            .map(|(name, default)| match variables.get(name) {
                Some(value) => ArgumentValue::of(value),
                None => default.as_ref().map(ArgumentValue::of).unwrap_or_default(),
            })
            .collect();
        self.selected.total(&values)
    }
}

/// Written out, fragments included: the limits of selections and of depth hold already.
struct Compiler<'d> {
    document: &'d ExecutableDocument,
    definitions: HashMap<&'d str, &'d VariableDefinition>,
    /// Where `variables` has each of them.
    indexes: HashMap<&'d str, usize>,
    variables: Vec<(Name, Option<ConstValue>)>,
}

impl<'d> Compiler<'d> {
    fn add_set(
        &mut self,
        set: &'d SelectionSet,
        fields: FieldCosts,
        cost: &mut Cost,
    ) -> Result<(), LimitError> {
        for selection in &set.items {
            self.check_directives(selection.node.directives())?;
            match &selection.node {
                Selection::Field(field) => self.add_field(&field.node, fields, cost)?,
                Selection::InlineFragment(fragment) => {
                    self.add_set(&fragment.node.selection_set.node, fields, cost)?;
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    if let Some(fragment) = self.document.fragments.get(name) {
                        self.check_directives(&fragment.node.directives)?;
                        self.add_set(&fragment.node.selection_set.node, fields, cost)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn check_directives(&self, directives: &[Positioned<Directive>]) -> Result<(), LimitError> {
        let mut arguments = directives.iter().flat_map(|it| &it.node.arguments);
        arguments.try_for_each(|(_, value)| self.check_variables(value))
    }

    /// async-graphql reports each undefined variable, each time with the operation's name.
    fn check_variables(&self, value: &Positioned<Value>) -> Result<(), LimitError> {
        let mut undefined = None;
        each_variable(&value.node, &mut |name| {
            if undefined.is_none() && !self.definitions.contains_key(name.as_str()) {
                undefined = Some(name.to_string());
            }
        });
        match undefined {
            None => Ok(()),
            Some(variable) => Err(LimitError::UndefinedVariable {
                variable,
                position: value.pos,
            }),
        }
    }

    fn add_field(
        &mut self,
        field: &'d Field,
        fields: FieldCosts,
        cost: &mut Cost,
    ) -> Result<(), LimitError> {
        cost.fixed += 1;
        for (_, value) in &field.arguments {
            self.check_variables(value)?;
            cost.fixed += literal_weight(&value.node) / ARGUMENT_BYTES;
            each_variable(&value.node, &mut |name| {
                let index = self.variable(name);
                cost.arguments.push(index);
            });
        }
        let name = field.name.node.as_str();
        let below = match name {
            "__schema" | "__type" => INTROSPECTION,
            _ => fields,
        };
        let set = &field.selection_set.node;
        let known = fields.iter().find(|(known, _)| *known == name);
        let (size, item) = match known.map(|(_, cost)| *cost) {
            None => return self.add_set(set, below, cost),
            Some(FieldCost::Leaf(leaf)) => {
                cost.fixed += leaf as u64;
                return self.add_set(set, below, cost);
            }
            Some(FieldCost::List {
                sizes,
                default,
                max,
                item,
            }) => {
                let arguments = sizes
                    .iter()
                    .filter_map(|size| field.get_argument(size))
                    .map(|value| self.argument(&value.node))
                    .collect();
                let (default, max) = (default as u64, max as u64);
                let size = Size::Chosen {
                    arguments,
                    default,
                    max,
                };
                (size, item)
            }
            Some(FieldCost::Entities { item }) => {
                let argument = field.get_argument("representations");
                let argument = argument.map(|value| self.argument(&value.node));
                (
                    Size::Entities(argument.unwrap_or(Argument::Length(0))),
                    item,
                )
            }
        };
        let mut selected = Cost::default();
        self.add_set(set, below, &mut selected)?;
        cost.lists.push(ListCost {
            size,
            item: item as u64,
            selected,
        });
        Ok(())
    }

    fn argument(&mut self, value: &'d Value) -> Argument {
        match value {
            Value::Variable(name) => Argument::Variable(self.variable(name)),
            Value::List(items) => Argument::Length(items.len() as u64),
            Value::Object(_) => Argument::Length(1),
            value => {
                let value = value.clone().into_const().unwrap_or_default();
                Argument::Literal(ArgumentValue::of(&value))
            }
        }
    }

    fn variable(&mut self, name: &'d Name) -> usize {
        *self.indexes.entry(name.as_str()).or_insert_with(|| {
            let definition = self.definitions.get(name.as_str());
            let default = definition.and_then(|it| it.default_value.as_ref());
            self.variables
                .push((name.clone(), default.map(|default| default.node.clone())));
            self.variables.len() - 1
        })
    }
}

impl ArgumentValue {
    fn of(value: &ConstValue) -> Self {
        Self {
            size: match value {
                ConstValue::Null => None,
                ConstValue::Number(number) => Some(number.as_u64().unwrap_or(u64::MAX)),
                _ => Some(u64::MAX),
            },
            length: match value {
                ConstValue::Null => 0,
                ConstValue::List(items) => items.len() as u64,
                _ => 1,
            },
            weight: weight(value),
        }
    }
}

impl Argument {
    fn value(&self, variables: &[ArgumentValue]) -> ArgumentValue {
        match *self {
            Self::Literal(value) => value,
            Self::Variable(index) => variables.get(index).copied().unwrap_or_default(),
            Self::Length(length) => ArgumentValue {
                size: Some(u64::MAX),
                length,
                weight: 0,
            },
        }
    }
}

impl Cost {
    fn total(&self, variables: &[ArgumentValue]) -> Total {
        let arguments = self.arguments.iter().filter_map(|it| variables.get(*it));
        let mut total = Total {
            cost: arguments.fold(self.fixed, |sum, argument| {
                sum.saturating_add(argument.weight / ARGUMENT_BYTES)
            }),
            representations: 0,
        };
        for list in &self.lists {
            let (size, representations) = list.size.of(variables);
            let inner = list.selected.total(variables);
            let of_item = list.item.saturating_add(inner.cost);
            total.cost = total.cost.saturating_add(size.saturating_mul(of_item));
            total.representations = total
                .representations
                .saturating_add(representations)
                .saturating_add(inner.representations);
        }
        total
    }
}

impl Size {
    /// The size, and how many representations it is.
    fn of(&self, variables: &[ArgumentValue]) -> (u64, u64) {
        match self {
            Self::Chosen {
                arguments,
                default,
                max,
            } => {
                let mut sizes = arguments.iter().map(|it| it.value(variables).size);
                let size = sizes.find_map(|size| size).unwrap_or(*default);
                (size.min(*max), 0)
            }
            Self::Entities(argument) => {
                let length = argument.value(variables).length;
                (length, length)
            }
        }
    }
}
