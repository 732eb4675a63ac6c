//! Subscriptions that can resume after an interruption: those to a field with an `after` argument
//! whose events have a `cursor`.
//!
//! The gateway selects the cursor of every event, under response keys that clients cannot use, and
//! does not send it to clients that did not select it. It selects only the types that the subgraph
//! itself knows, because other subgraphs may have further members of a union.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use apollo_compiler::{
    Name, Node,
    ast::{
        Argument, Definition, Document, Field, InlineFragment, OperationDefinition, Selection,
        Value, VariableDefinition,
    },
};
use federation::SubgraphIndex;
use serde_json::value::RawValue;

use crate::graph::resumable_fields::{AFTER, CURSOR, ResumableField, ResumableFields};

/// The name of the variable for the cursor, unless the client has one of that name.
const CURSOR_VARIABLE: &str = "_resumeAfter";

/// The two operations of a subscription that can resume, as sent to the subgraph.
pub struct Resume {
    /// The operation that starts where the client asked, with each event's cursor selected.
    pub first: String,
    /// The same operation with the cursor to start after in a further variable.
    pub resumed: String,
    /// The name of that variable, which none of the client's variables has.
    pub cursor_variable: String,
    /// The response key of the subscription's root field.
    pub field_key: String,
    /// The response keys below it under which a cursor can be found.
    pub cursor_keys: Vec<String>,
    /// The cursor that the client itself starts after, if any.
    pub begin: Option<Begin>,
}

impl Resume {
    /// The cursor of an event, if it has one.
    pub fn cursor_of(&self, payload: &[u8]) -> Option<Arc<str>> {
        let mut value: &RawValue = serde_json::from_slice(payload).ok()?;
        for key in ["data", &self.field_key] {
            value = members(value)?.get(key)?;
        }
        let event = members(value)?;
        let mut cursors = self.cursor_keys.iter().filter_map(|key| {
            let cursor = event.get(key.as_str())?;
            serde_json::from_str::<String>(cursor.get()).ok()
        });
        cursors.next().map(Into::into)
    }
}

fn members(object: &RawValue) -> Option<HashMap<Cow<'_, str>, &RawValue>> {
    serde_json::from_str(object.get()).ok()
}

/// Where a client's own cursor is found.
#[derive(Debug, PartialEq, Eq)]
pub enum Begin {
    /// A string in the operation's text.
    Text(String),
    /// The value of the variable with this name.
    Variable(String),
}

/// Adds cursors to a subscription's operation; `None` if it cannot be resumed.
pub fn resume(
    fields: &ResumableFields,
    subgraph: SubgraphIndex,
    operation: &str,
) -> Option<Resume> {
    let document = Document::parse(operation, "subscription").ok()?;
    let index = document
        .definitions
        .iter()
        .position(|definition| matches!(definition, Definition::OperationDefinition(_)))?;
    let mut first = document.clone();
    let (field, variables) = root_field(&mut first, index)?;
    let resumable = fields.field(&field.name, subgraph)?;
    let cursor_variable = unused_variable(variables)?;
    ask_for_cursor(resumable, field);
    let field_key = field.response_name().to_string();
    let mut resumed = first.clone();
    let (field, variables) = root_field(&mut resumed, index)?;
    let begin = begin_after_cursor(resumable, field, variables, &cursor_variable);
    let text = |document: &Document| document.serialize().no_indent().to_string();
    Some(Resume {
        first: text(&first),
        resumed: text(&resumed),
        cursor_variable: cursor_variable.to_string(),
        field_key,
        cursor_keys: resumable.cursor_keys(),
        begin,
    })
}

/// Longer than all of the client's variables that begin alike, if need be.
fn unused_variable(declared: &[Node<VariableDefinition>]) -> Option<Name> {
    let mut name = String::from(CURSOR_VARIABLE);
    while declared.iter().any(|it| it.name == name.as_str()) {
        name.push('_');
    }
    Name::new(&name).ok()
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

fn ask_for_cursor(resumable: &ResumableField, field: &mut Field) {
    for (event, key) in &resumable.events {
        let cursor = Selection::Field(Node::new(Field {
            alias: Some(key.clone()),
            name: Name::new_static_unchecked(CURSOR),
            arguments: Vec::new(),
            directives: Default::default(),
            selection_set: Vec::new(),
        }));
        field.selection_set.push(match resumable.is_plain {
            true => cursor,
            false => Selection::InlineFragment(Node::new(InlineFragment {
                type_condition: Some(event.clone()),
                directives: Default::default(),
                selection_set: vec![cursor],
            })),
        });
    }
}

/// Replaces the client's own cursor, which is returned, with the variable.
fn begin_after_cursor(
    resumable: &ResumableField,
    field: &mut Field,
    definitions: &mut Vec<Node<VariableDefinition>>,
    variable: &Name,
) -> Option<Begin> {
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
    // An operation with an unused variable is invalid.
    if let Some(Begin::Variable(clients)) = &begin
        && !uses(&field.to_string(), clients)
    {
        definitions.retain(|definition| definition.name != clients.as_str());
    }
    definitions.push(Node::new(VariableDefinition {
        name: variable.clone(),
        ty: resumable.after.clone(),
        default_value: None,
        directives: Default::default(),
    }));
    begin
}

/// Whether GraphQL text uses a variable.
pub(super) fn uses(text: &str, variable: &str) -> bool {
    text.split('$').skip(1).any(|rest| {
        rest.strip_prefix(variable)
            .is_some_and(|rest| !rest.starts_with(|c: char| c == '_' || c.is_ascii_alphanumeric()))
    })
}

#[cfg(test)]
mod tests {
    use apollo_compiler::Schema;
    use federation::Supergraph;

    use super::*;

    const SUPERGRAPH: &str = r#"
        schema { query: Query subscription: Subscription }
        enum join__Graph { A @join__graph(name: "a", url: "") B @join__graph(name: "b", url: "") }
        type Query @join__type(graph: A) @join__type(graph: B) { a: Int @join__field(graph: A) }
        type Subscription @join__type(graph: A) {
            changes(topic: ID!, after: String): Change!
            ticks(after: ID): Tick
            plain: Tick
            elsewhere(after: String): Foreign
        }
        union Change @join__type(graph: A) @join__unionMember(graph: A, member: "Added")
          @join__unionMember(graph: A, member: "Removed") @join__unionMember(graph: A, member: "Nothing")
          = Added | Removed | Nothing
        type Added @join__type(graph: A) { cursor: String! text: String }
        type Removed @join__type(graph: A) { cursor: String! }
        type Nothing @join__type(graph: A) { n: Int }
        type Tick @join__type(graph: A) { cursor: String n: Int }
        type Foreign @join__type(graph: A) @join__type(graph: B) { cursor: String @join__field(graph: B) }"#;

    fn resume(operation: &str) -> Option<Resume> {
        let schema = Schema::parse(SUPERGRAPH, "supergraph").expect("SDL");
        let supergraph = Supergraph::read(&schema).expect("a supergraph");
        let fields = ResumableFields::of(&supergraph, &schema);
        super::resume(&fields, SubgraphIndex(0), operation)
    }

    #[test]
    fn an_events_cursor_has_one_of_several_keys() {
        let resume = Resume {
            first: String::new(),
            resumed: String::new(),
            cursor_variable: String::new(),
            field_key: "c".to_owned(),
            cursor_keys: vec!["_resumeCursor".to_owned(), "_resumeCursor1".to_owned()],
            begin: None,
        };
        let cursor = |payload: &[u8]| resume.cursor_of(payload).map(|it| it.to_string());
        let first = br#"{"data":{"c":{"_resumeCursor":"x"}}}"#;
        assert_eq!(cursor(first).as_deref(), Some("x"));
        let second = br#"{"data":{"c":{"_resumeCursor":null,"_resumeCursor1":"y"}}}"#;
        assert_eq!(cursor(second).as_deref(), Some("y"));
        assert_eq!(cursor(br#"{"data":{"c":{"cursor":"z"}}}"#), None);
        assert_eq!(cursor(br#"{"data":{"c":null}}"#), None);
    }

    #[test]
    fn a_clients_own_variable_of_that_name_is_left_alone() {
        let operation = "subscription($_resumeAfter: ID, $_resumeAfter_: Int) { ticks(after: $_resumeAfter) { n @own(of: $_resumeAfter_) } }";
        let resume = resume(operation).expect("it resumes");
        assert_eq!(resume.cursor_variable, "_resumeAfter__");
        assert_eq!(
            resume.resumed,
            "subscription($_resumeAfter_: Int, $_resumeAfter__: ID) { ticks(after: $_resumeAfter__) { n @own(of: $_resumeAfter_) _resumeCursor: cursor } }"
        );
        assert_eq!(
            resume.begin,
            Some(Begin::Variable("_resumeAfter".to_owned()))
        );
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
