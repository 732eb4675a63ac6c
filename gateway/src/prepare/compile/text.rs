//! Writes the text of subgraph requests, and their bytes as far as they are known at planning time.

use std::fmt::Write as _;

use apollo_compiler::{
    Node,
    ast::{Argument, Directive, DirectiveLocation, Value, VariableDefinition},
};
use bytes::Bytes;
use federation::{ContextArgument, Field, Operation, Selection, Supergraph, TypeId};

use super::{
    contexts::BETWEEN,
    fetch_selection::{FetchSelection, FetchSelectionItem},
};
use crate::{json::write, prepare::plan::RequestTemplate};

/// Writes the text of one operation for a subgraph.
pub struct OperationText<'p> {
    graph: &'p Supergraph,
    /// The client's directives that subgraphs define too.
    directives: &'p [Node<Directive>],
    declared: &'p [Node<VariableDefinition>],
    /// The lists that use each of the declared variables; none where the operation does not.
    used: Vec<Vec<ListIndex>>,
    body: String,
    /// Definitions of named fragments, for directives that an inline fragment may not have, and the list that
    /// spreads each of them.
    fragments: Vec<(ListIndex, String)>,
    /// The list that is being written.
    list: ListIndex,
    /// The start of the names of a numbered list's variables.
    list_variable: String,
}

/// Marks where a list's number belongs, so that the text can be split there. No GraphQL text has
/// this character: in strings, it is escaped.
pub const NUMBER: char = '\u{1}';

/// A numbered list, in the order of [`OperationText::begin_list`]; none for what is part of the whole operation.
pub type ListIndex = Option<usize>;

/// The name of the variable for a context's value, without its list's number.
pub fn context_variable(list_variable: &str, field: &str, argument: &str) -> String {
    format!("{list_variable}{field}_{argument}_")
}

/// Where a directive of a fragment is written: on an inline fragment if it may be there.
fn place(graph: &Supergraph, directive: &Directive) -> DirectiveLocation {
    let places = [
        DirectiveLocation::FragmentSpread,
        DirectiveLocation::FragmentDefinition,
    ];
    let is_inline = ["skip", "include"].contains(&directive.name.as_str())
        || graph.passes_on(&directive.name, DirectiveLocation::InlineFragment);
    let mut places = places.into_iter();
    let other = places.find(|place| !is_inline && graph.passes_on(&directive.name, *place));
    other.unwrap_or(DirectiveLocation::InlineFragment)
}

/// Whether a fragment with these directives must be a named one.
pub fn needs_a_name(graph: &Supergraph, when: &[Node<Directive>]) -> bool {
    let mut places = when.iter().map(|it| place(graph, it));
    places.any(|place| place != DirectiveLocation::InlineFragment)
}

impl<'p> OperationText<'p> {
    /// An empty operation, for a client's operation with these variables and directives.
    pub fn new(
        graph: &'p Supergraph,
        declared: &'p [Node<VariableDefinition>],
        directives: &'p [Node<Directive>],
    ) -> Self {
        Self {
            graph,
            directives,
            declared,
            used: vec![Vec::new(); declared.len()],
            body: String::new(),
            fragments: Vec::new(),
            list: None,
            list_variable: String::new(),
        }
    }

    /// Begins a numbered list, and sets the start of its variables' names.
    pub fn begin_list(&mut self, list_variable: &str) {
        self.list = Some(self.list.map_or(0, |last| last + 1));
        self.list_variable = list_variable.to_owned();
    }

    /// Adds `key: _entities(representations: $variable){...}`.
    pub fn entities(&mut self, key: &str, variable: &str, asked: &FetchSelection<'_>) {
        self.separate();
        if key != "_entities" {
            let _ = write!(self.body, "{key}: ");
        }
        let _ = write!(self.body, "_entities(representations: ${variable}){{");
        self.items(asked);
        self.body.push('}');
    }

    /// Adds a list of entities, separated from others by a mark.
    pub fn numbered_entities(&mut self, head: &str, asked: &FetchSelection<'_>) {
        if !self.body.is_empty() {
            self.body.push(BETWEEN);
        }
        self.body.push_str(head);
        self.body.push('{');
        self.items(asked);
        self.body.push('}');
    }

    /// Adds the selections of a fetch.
    pub fn items(&mut self, asked: &FetchSelection<'_>) {
        for item in asked {
            self.separate();
            match item {
                FetchSelectionItem::Field {
                    field,
                    key,
                    contexts,
                    below,
                } => {
                    if *key != field.name {
                        let _ = write!(self.body, "{key}: ");
                    }
                    self.body.push_str(&field.name);
                    match contexts {
                        [] => self.arguments(&field.arguments),
                        contexts => self.arguments_with_contexts(field, contexts),
                    }
                    self.directives(&field.directives);
                    if let Some(below) = below {
                        self.body.push('{');
                        self.items(below);
                        self.body.push('}');
                    }
                }
                FetchSelectionItem::On {
                    ty: Some(ty),
                    when,
                    below,
                } if needs_a_name(self.graph, when) => self.named_fragment(*ty, when, below),
                FetchSelectionItem::On { ty, when, below } => {
                    self.body.push_str("...");
                    if let Some(ty) = ty {
                        let _ = write!(self.body, "on {}", self.graph.name(*ty));
                    }
                    self.directives(when);
                    self.body.push('{');
                    self.items(below);
                    self.body.push('}');
                }
            }
        }
    }

    /// Adds the spread of a fragment, and keeps its definition for the end. In a numbered list, the fragment's
    /// name has the list's number, because the variables in it have one.
    fn named_fragment(&mut self, ty: TypeId, when: &[Node<Directive>], below: &FetchSelection<'_>) {
        let number = self.fragments.len();
        self.fragments.push((self.list, String::new()));
        let name = match self.list {
            Some(_) => format!("F{number}_{NUMBER}"),
            None => format!("F{number}"),
        };
        let of_definition =
            |it: &Directive| place(self.graph, it) == DirectiveLocation::FragmentDefinition;
        let (definition, spread): (Vec<_>, Vec<_>) =
            when.iter().cloned().partition(|it| of_definition(it));
        let _ = write!(self.body, "...{name}");
        self.directives(&spread);
        let body = std::mem::take(&mut self.body);
        let _ = write!(self.body, "fragment {name} on {}", self.graph.name(ty));
        self.directives(&definition);
        self.body.push('{');
        self.items(below);
        self.body.push('}');
        self.fragments[number].1 = std::mem::replace(&mut self.body, body);
    }

    /// Adds selections as the client wrote them, for the normal form.
    fn selections(&mut self, set: &[Selection]) {
        for selection in set {
            self.separate();
            let below = match selection {
                Selection::Field(field) => {
                    let _ = write!(self.body, "{}: {}", field.key, field.name);
                    self.arguments(&field.arguments);
                    self.directives(&field.directives);
                    &field.set
                }
                Selection::On(on) => {
                    let _ = write!(self.body, "...on {}", self.graph.name(on.ty));
                    self.directives(&on.when);
                    &on.set
                }
            };
            self.body.push('{');
            self.selections(below);
            self.body.push('}');
        }
    }

    fn separate(&mut self) {
        if !self.body.is_empty() && !self.body.ends_with('{') {
            self.body.push(' ');
        }
    }

    fn directives(&mut self, directives: &[Node<Directive>]) {
        for directive in directives {
            let _ = write!(self.body, " @{}", directive.name);
            self.arguments(&directive.arguments);
        }
    }

    fn arguments(&mut self, arguments: &[Node<Argument>]) {
        for (index, argument) in arguments.iter().enumerate() {
            self.body.push_str(if index == 0 { "(" } else { ", " });
            let value = argument.value.serialize().no_indent();
            let _ = write!(self.body, "{}: {value}", argument.name);
            self.note_variables(&argument.value);
        }
        if !arguments.is_empty() {
            self.body.push(')');
        }
    }

    fn arguments_with_contexts(&mut self, field: &Field, contexts: &[ContextArgument]) {
        self.arguments(&field.arguments);
        match self.body.pop() {
            Some(')') => self.body.push_str(", "),
            last => {
                self.body.extend(last);
                self.body.push('(');
            }
        }
        for (index, argument) in contexts.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let variable = context_variable(&self.list_variable, &field.name, &argument.name);
            let name = &argument.name;
            let _ = write!(self.body, "{separator}{name}: ${variable}{NUMBER}");
        }
        self.body.push(')');
    }

    fn note_variables(&mut self, value: &Value) {
        match value {
            Value::Variable(name) => {
                let mut declared = self.declared.iter();
                if let Some(index) = declared.position(|it| it.name == *name)
                    && self.used[index].last() != Some(&self.list)
                {
                    self.used[index].push(self.list);
                }
            }
            Value::List(items) => items.iter().for_each(|item| self.note_variables(item)),
            Value::Object(members) => {
                members
                    .iter()
                    .for_each(|(_, value)| self.note_variables(value));
            }
            _ => {}
        }
    }

    /// The client's directives that an operation of this kind may have, as text.
    fn operation_directives(&mut self, kind: &str) -> String {
        let at = match kind {
            "mutation" => DirectiveLocation::Mutation,
            "subscription" => DirectiveLocation::Subscription,
            _ => DirectiveLocation::Query,
        };
        let body = std::mem::take(&mut self.body);
        self.list = None;
        for directive in self.directives {
            if self.graph.passes_on(&directive.name, at) {
                self.directives(std::slice::from_ref(directive));
            }
        }
        std::mem::replace(&mut self.body, body)
    }

    /// The template of the request. `representations` are the names of the variables that the
    /// executor writes.
    pub fn finish(self, kind: &str, representations: &[String]) -> RequestTemplate {
        let parts = self.into_parts(kind);
        let own = representations
            .iter()
            .map(|variable| format!("${variable}:[_Any!]!"));
        let definitions: Vec<String> = own.chain(parts.definitions).collect();
        let mut operation = String::new();
        if kind != "query" || !definitions.is_empty() || !parts.directives.is_empty() {
            operation.push_str(kind);
        }
        if !definitions.is_empty() {
            let _ = write!(operation, "({})", definitions.join(", "));
        }
        let _ = write!(operation, "{}{{{}}}", parts.directives, parts.body);
        for (_, fragment) in &parts.fragments {
            let _ = write!(operation, " {fragment}");
        }
        let mut head = String::from("{\"query\":");
        write::string(&mut head, &operation);
        let is_constant = definitions.is_empty();
        RequestTemplate {
            operation: operation.into(),
            constant: is_constant.then(|| Bytes::from(format!("{head}}}"))),
            head: Bytes::from(head),
            variables: parts.variables,
            by_context: None,
        }
    }

    /// Splits the operation into its parts.
    pub fn into_parts(mut self, kind: &str) -> OperationParts {
        let directives = self.operation_directives(kind);
        let mut definitions = Vec::new();
        let mut variables = Vec::new();
        let mut uses = Vec::new();
        for (index, definition) in self.declared.iter().enumerate() {
            if self.used[index].is_empty() {
                continue;
            }
            uses.push(std::mem::take(&mut self.used[index]));
            let mut text = format!("${}:{}", definition.name, definition.ty);
            if let Some(value) = &definition.default_value {
                let _ = write!(text, "={}", value.serialize().no_indent());
            }
            for directive in &definition.directives.0 {
                if self
                    .graph
                    .passes_on(&directive.name, DirectiveLocation::VariableDefinition)
                {
                    let _ = write!(text, " {}", directive.serialize().no_indent());
                }
            }
            definitions.push(text);
            let name = format!("\"{}\":", definition.name);
            variables.push((name.into_bytes().into_boxed_slice(), index));
        }
        OperationParts {
            directives,
            definitions,
            uses,
            variables,
            body: self.body,
            fragments: self.fragments,
        }
    }
}

/// The parts of an operation's text.
pub struct OperationParts {
    /// The directives of the operation, each after a space.
    pub directives: String,
    /// The definitions of the client's variables that it uses.
    pub definitions: Vec<String>,
    /// The lists that use each of them.
    pub uses: Vec<Vec<ListIndex>>,
    /// The client's variables that it uses, as in [`RequestTemplate::variables`].
    pub variables: Vec<(Box<[u8]>, usize)>,
    /// The selections, without the outer braces.
    pub body: String,
    /// The definitions of fragments, each with the list that spreads it.
    pub fragments: Vec<(ListIndex, String)>,
}

/// The normal form of an operation: operations with the same selections in the same order have
/// equal ones.
pub fn normal_form(graph: &Supergraph, operation: &Operation) -> String {
    let mut text = OperationText::new(graph, &[], &[]);
    text.directives(&operation.directives);
    text.selections(&operation.selections);
    text.body
}
