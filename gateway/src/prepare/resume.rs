//! Subscriptions that can continue after an interruption: a field with an `after` argument whose
//! events have a `cursor`.
//!
//! The subgraph is asked for the cursor of every event, whether the client wanted it or not, under a
//! response key that nobody else uses; what the client did not ask for is not in its answer.

use std::collections::HashMap;

use apollo_compiler::{
    Name, Node, Schema,
    ast::{
        Argument, Definition, Document, Field, InlineFragment, OperationDefinition, Selection,
        Type, Value, VariableDefinition,
    },
    schema::{ExtendedType, FieldDefinition},
};

/// The argument that takes a cursor.
const AFTER: &str = "after";
/// The field of an event that is its cursor.
const CURSOR: &str = "cursor";
/// The response key of the cursor in the subgraph's events.
pub const CURSOR_KEY: &str = "_resumeCursor";
/// The variable that takes the cursor.
pub const CURSOR_VARIABLE: &str = "_resumeAfter";

/// A subscription's operations in the subgraph's terms.
pub struct Resume {
    /// From where the client wanted it to begin, and with each event's cursor.
    pub first: String,
    /// The same with the cursor as an additional variable, `$_resumeAfter`.
    pub resumed: String,
    /// The response key of the subscription field; below it is [`CURSOR_KEY`].
    pub field_key: String,
    /// The cursor that the client itself begins after.
    pub begin: Option<Begin>,
}

/// Where a client's own cursor stands.
#[derive(Debug, PartialEq, Eq)]
pub enum Begin {
    /// In the operation's text.
    Text(String),
    /// In this variable.
    Variable(String),
}

/// The subscription fields of a supergraph that can be resumed.
#[derive(Default)]
pub struct ResumableFields(HashMap<Name, Resumable>);

struct Resumable {
    /// `after`'s type.
    after: Node<Type>,
    /// The types of events that have a cursor in the same subgraph.
    events: Vec<Name>,
    /// Whether the field's own type is among them, so that no condition is needed.
    is_plain: bool,
}

impl ResumableFields {
    /// Looks at every field of the supergraph's subscription type.
    pub fn of(supergraph: &Schema) -> Self {
        let root = supergraph.schema_definition.subscription.as_ref();
        let root = root.and_then(|name| supergraph.get_object(&name.name));
        let fields = root.into_iter().flat_map(|root| &root.fields);
        Self(
            fields
                .filter_map(|(name, field)| Some((name.clone(), resumable(supergraph, field)?)))
                .collect(),
        )
    }

    /// The operations that ask for cursors, if the subscription can be resumed.
    pub fn resume(&self, operation: &str) -> Option<Resume> {
        let document = Document::parse(operation, "subscription").ok()?;
        let index = document
            .definitions
            .iter()
            .position(|definition| matches!(definition, Definition::OperationDefinition(_)))?;
        let mut first = document.clone();
        let (field, _) = root_field(&mut first, index)?;
        let resumable = self.0.get(&field.name)?;
        ask_for_cursor(resumable, field);
        let field_key = field.response_name().to_string();
        let mut resumed = first.clone();
        let (field, variables) = root_field(&mut resumed, index)?;
        let begin = begin_after_cursor(resumable, field, variables);
        let text = |document: &Document| document.serialize().no_indent().to_string();
        Some(Resume {
            first: text(&first),
            resumed: text(&resumed),
            field_key,
            begin,
        })
    }
}

/// The one root field of the operation, and the operation's variables.
fn root_field(
    document: &mut Document,
    index: usize,
) -> Option<(&mut Field, &mut Vec<Node<VariableDefinition>>)> {
    let Definition::OperationDefinition(operation) = &mut document.definitions[index] else {
        return None;
    };
    let OperationDefinition {
        variables,
        selection_set,
        ..
    } = operation.make_mut();
    match selection_set.as_mut_slice() {
        [Selection::Field(field)] => Some((field.make_mut(), variables)),
        _ => None,
    }
}

fn ask_for_cursor(resumable: &Resumable, field: &mut Field) {
    let cursor = Selection::Field(Node::new(Field {
        alias: Some(Name::new_static_unchecked(CURSOR_KEY)),
        name: Name::new_static_unchecked(CURSOR),
        arguments: Vec::new(),
        directives: Default::default(),
        selection_set: Vec::new(),
    }));
    if resumable.is_plain {
        field.selection_set.push(cursor);
        return;
    }
    for event in &resumable.events {
        field
            .selection_set
            .push(Selection::InlineFragment(Node::new(InlineFragment {
                type_condition: Some(event.clone()),
                directives: Default::default(),
                selection_set: vec![cursor.clone()],
            })));
    }
}

/// Puts the variable in the place of the client's own cursor, which it returns.
fn begin_after_cursor(
    resumable: &Resumable,
    field: &mut Field,
    definitions: &mut Vec<Node<VariableDefinition>>,
) -> Option<Begin> {
    let variable = Name::new_static_unchecked(CURSOR_VARIABLE);
    let clients = field
        .arguments
        .iter()
        .find(|argument| argument.name == AFTER);
    let begin = clients.and_then(|argument| match &*argument.value {
        Value::Variable(name) => Some(Begin::Variable(name.to_string())),
        Value::String(text) => Some(Begin::Text(text.clone())),
        _ => None,
    });
    field.arguments.retain(|argument| argument.name != AFTER);
    field.arguments.push(Node::new(Argument {
        name: Name::new_static_unchecked(AFTER),
        value: Node::new(Value::Variable(variable.clone())),
    }));
    // A variable that is declared and not used makes an operation invalid.
    if let Some(Begin::Variable(clients)) = &begin
        && !uses(&field.to_string(), clients)
    {
        definitions.retain(|definition| definition.name != clients.as_str());
    }
    definitions.push(Node::new(VariableDefinition {
        name: variable,
        ty: resumable.after.clone(),
        default_value: None,
        directives: Default::default(),
    }));
    begin
}

/// Whether GraphQL text mentions a variable.
pub(super) fn uses(text: &str, variable: &str) -> bool {
    text.split('$').skip(1).any(|rest| {
        rest.strip_prefix(variable)
            .is_some_and(|rest| !rest.starts_with(|c: char| c == '_' || c.is_ascii_alphanumeric()))
    })
}

fn resumable(supergraph: &Schema, field: &FieldDefinition) -> Option<Resumable> {
    let after = field
        .arguments
        .iter()
        .find(|argument| argument.name == AFTER)?;
    let takes_text = matches!(after.ty.inner_named_type().as_str(), "String" | "ID");
    if !takes_text || after.ty.is_list() || field.ty.is_list() {
        return None;
    }
    let graphs: Vec<&str> = field
        .directives
        .get_all("join__field")
        .filter_map(|join| {
            join.specified_argument_by_name("graph")?
                .as_enum()
                .map(Name::as_str)
        })
        .collect();
    let declared = field.ty.inner_named_type();
    let has_cursor = |name: &Name| cursor_is_in(supergraph, name, &graphs);
    let (events, is_plain) = match supergraph.types.get(declared)? {
        ExtendedType::Union(union) => {
            let members = union.members.iter().map(|member| member.name.clone());
            (members.filter(has_cursor).collect(), false)
        }
        _ => (
            vec![declared.clone()]
                .into_iter()
                .filter(has_cursor)
                .collect::<Vec<_>>(),
            true,
        ),
    };
    (!events.is_empty()).then(|| Resumable {
        after: after.ty.clone(),
        events,
        is_plain,
    })
}

/// Whether the type has a cursor in the subgraphs that have the subscription.
fn cursor_is_in(supergraph: &Schema, type_name: &Name, graphs: &[&str]) -> bool {
    let cursor = match supergraph.types.get(type_name) {
        Some(ExtendedType::Object(object)) => object.fields.get(CURSOR),
        Some(ExtendedType::Interface(interface)) => interface.fields.get(CURSOR),
        _ => None,
    };
    let Some(cursor) = cursor else { return false };
    let is_text =
        matches!(cursor.ty.inner_named_type().as_str(), "String" | "ID") && !cursor.ty.is_list();
    let mut joins = cursor.directives.get_all("join__field").peekable();
    // Without a word it is in every subgraph that has the type.
    let everywhere = joins.peek().is_none();
    let here = everywhere
        || joins.any(|join| {
            let graph = join
                .specified_argument_by_name("graph")
                .and_then(|graph| graph.as_enum());
            let external = join
                .specified_argument_by_name("external")
                .and_then(|it| it.to_bool());
            external != Some(true)
                && graph.is_none_or(|graph| graphs.is_empty() || graphs.contains(&graph.as_str()))
        });
    is_text && here && cursor.arguments.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUPERGRAPH: &str = "
        directive @join__field(graph: join__Graph) repeatable on FIELD_DEFINITION
        enum join__Graph { A B }
        schema { query: Query subscription: Subscription }
        type Query { a: Int }
        type Subscription {
            changes(topic: ID!, after: String): Change! @join__field(graph: A)
            ticks(after: ID): Tick @join__field(graph: A)
            plain: Tick @join__field(graph: A)
            elsewhere(after: String): Foreign @join__field(graph: A)
        }
        union Change = Added | Removed | Nothing
        type Added { cursor: String! text: String }
        type Removed { cursor: String! }
        type Nothing { n: Int }
        type Tick { cursor: String n: Int }
        type Foreign { cursor: String @join__field(graph: B) }";

    fn resume(operation: &str) -> Option<Resume> {
        let schema = Schema::parse(SUPERGRAPH, "supergraph").expect("SDL");
        ResumableFields::of(&schema).resume(operation)
    }

    #[test]
    fn the_cursor_is_asked_for_and_sent_back() {
        let resume = resume("subscription($t: ID!, $after: String) { changes(topic: $t, after: $after) { __typename ... on Added { text } } }")
            .expect("it resumes");
        let cursors =
            "... on Added { _resumeCursor: cursor } ... on Removed { _resumeCursor: cursor }";
        assert_eq!(
            resume.first,
            format!(
                "subscription($t: ID!, $after: String) {{ changes(topic: $t, after: $after) {{ __typename ... on Added {{ text }} {cursors} }} }}"
            )
        );
        assert_eq!(
            resume.resumed,
            format!(
                "subscription($t: ID!, $_resumeAfter: String) {{ changes(topic: $t, after: $_resumeAfter) {{ __typename ... on Added {{ text }} {cursors} }} }}"
            )
        );
        assert_eq!(resume.field_key, "changes");
        assert_eq!(resume.begin, Some(Begin::Variable("after".to_owned())));
    }

    #[test]
    fn a_clients_cursor_in_the_text_is_replaced() {
        let resume = resume("subscription { t: ticks(after: \"c\") { n } }").expect("it resumes");
        assert_eq!(
            resume.first,
            "subscription { t: ticks(after: \"c\") { n _resumeCursor: cursor } }"
        );
        assert_eq!(
            resume.resumed,
            "subscription($_resumeAfter: ID) { t: ticks(after: $_resumeAfter) { n _resumeCursor: cursor } }"
        );
        assert_eq!(resume.field_key, "t");
        assert_eq!(resume.begin, Some(Begin::Text("c".to_owned())));
    }

    #[test]
    fn what_has_no_argument_or_no_cursor_there_cannot_resume() {
        assert!(resume("subscription { plain { n } }").is_none());
        assert!(resume("subscription { elsewhere { cursor } }").is_none());
    }
}
