//! Requests whose arguments come from contexts: they have one list of entities for each set of
//! context values.

use federation::{
    TypeId,
    plan::{Begin, FetchContext, FetchId},
};

use super::{
    Compiler, EntityList, FetchGroup,
    text::{NUMBER, OperationParts, OperationText, context_variable},
};
use crate::{
    json::write,
    prepare::plan::{
        ContextTemplate, ContextValue, EntityFetch, FetchStep, ListTemplate, Merge,
        RequestTemplate, Requirement,
    },
};

/// The largest number of lists of one kind in a request. Further context values need further
/// requests.
const LISTS_MAX: usize = 32;

/// A list of entities that may be repeated with a number.
struct NumberedList {
    keys: Vec<String>,
    /// The start of its variables' names.
    variable: String,
    definitions: String,
    /// The text before its selection set.
    selection: String,
}

impl<'p, 'a> Compiler<'p, 'a> {
    /// Whether any argument in a request comes from a context.
    pub(super) fn has_contexts(&self, group: &FetchGroup) -> bool {
        let mut fetches = group.fetches.iter();
        fetches.any(|id| !self.contexts_of(*id).is_empty())
    }

    fn contexts_of(&self, id: FetchId) -> &'p [FetchContext<'a>] {
        match &self.planned.fetches.get(id).begin {
            Begin::Entities { contexts, .. } => contexts,
            Begin::Root | Begin::Reentry(_) => &[],
        }
    }

    /// The step for a request with contexts. `text` must be empty.
    pub(super) fn step_by_contexts(
        &mut self,
        group: &FetchGroup,
        mut text: OperationText<'p>,
    ) -> FetchStep {
        let mut lists: Vec<EntityList<'p>> = Vec::new();
        let mut kinds = Vec::new();
        let mut templates = Vec::new();
        for (index, id) in group.fetches.iter().enumerate() {
            let Some(list) = self.entity_list(*id, false) else {
                continue;
            };
            let kind = self.kind(index, self.contexts_of(*id));
            text.begin_list(&kind.variable);
            text.numbered_entities(&kind.selection, &list.asked);
            templates.push(ListTemplate {
                keys: Vec::new(),
                definitions: parts(&kind.definitions),
                selection: Vec::new(),
                fragments: Vec::new(),
                variable: format!("\"{}", kind.variable).into_bytes().into(),
                contexts: self.context_values(*id, &kind.variable),
            });
            kinds.push(kind);
            lists.push(list);
        }
        let shaped = kinds.iter().zip(&lists);
        let shaped = shaped.map(|(kind, list)| (&*kind.keys, &list.asked));
        let data = self.shapes.add_numbered_entities(shaped, &mut self.keys);
        let parts_of_text = text.into_parts("query");
        let clients = clients(&parts_of_text, lists.len());
        let mut fetches = Vec::new();
        let mut selections = parts_of_text.body.split(BETWEEN);
        for (index, ((kind, list), template)) in
            kinds.iter().zip(lists).zip(&mut templates).enumerate()
        {
            template.fragments = parts(&fragments_of(index, &parts_of_text));
            template.keys = kind.keys.iter().map(|key| self.keys.intern(key)).collect();
            template.selection = parts(selections.next().unwrap_or_default());
            fetches.push(EntityFetch {
                key: template.keys[0],
                ..list.fetch
            });
        }
        let first = self.planned.fetches.get(group.fetches[0]);
        FetchStep {
            subgraph: first.subgraph,
            is_mutation: false,
            conditions: group.conditions.clone(),
            fallback_of: None,
            waits_for: 0,
            wakes: Vec::new(),
            request: template(&kinds, templates, clients, parts_of_text),
            shape: data.shape,
            root_keys: data.root_keys,
            merge: Merge::Entities(fetches),
        }
    }

    fn kind(&self, index: usize, contexts: &[FetchContext<'_>]) -> NumberedList {
        let variable = format!("{}{index}_", self.representations);
        let mut definitions = format!("${variable}{NUMBER}:[_Any!]!");
        for context in contexts {
            let argument = context.argument;
            let name = context_variable(&variable, context.field, &argument.name);
            definitions += &format!(", ${name}{NUMBER}:{}", argument.ty);
        }
        NumberedList {
            keys: (0..LISTS_MAX)
                .map(|number| format!("_e{index}_{number}"))
                .collect(),
            selection: format!(
                "_e{index}_{NUMBER}: _entities(representations: ${variable}{NUMBER})"
            ),
            variable,
            definitions,
        }
    }

    fn context_values(&mut self, id: FetchId, list_variable: &str) -> Vec<ContextValue> {
        let contexts = self.contexts_of(id);
        let values = contexts.iter().map(|context| {
            let name = context_variable(list_variable, context.field, &context.argument.name);
            let selection = self.requirements(&context.argument.selection);
            let ty = self.planned.paths.ty(context.path);
            ContextValue {
                variable: format!("\"{name}").into_bytes().into(),
                depth: self.path(context.path).len(),
                // Objects that can have only one type do not carry its name.
                selection: match self.input.graph.is_object(ty) {
                    true => of_type(selection, ty),
                    false => selection,
                },
            }
        });
        let mut values: Vec<ContextValue> = values.collect();
        values.sort_by_key(|value| value.depth);
        values
    }
}

/// The part of a selection that applies to objects of a type.
fn of_type(selection: Vec<Requirement>, ty: TypeId) -> Vec<Requirement> {
    let mut own = Vec::new();
    for requirement in selection {
        match requirement {
            Requirement::Fragment {
                types, requires, ..
            } => {
                if types.contains(ty) {
                    own.extend(of_type(requires, ty));
                }
            }
            field => own.push(field),
        }
    }
    own
}

/// Separates the lists of a request until the text is split.
pub(super) const BETWEEN: char = '\u{2}';

/// The definitions of the client's variables, each with the lists that use it. What the operation's directives
/// use is in every request.
fn clients(text: &OperationParts, lists: usize) -> Vec<(Box<[u8]>, Vec<usize>)> {
    let definitions = text.definitions.iter().zip(&text.uses);
    let definitions = definitions.map(|(definition, uses)| {
        let used = match uses.contains(&None) {
            true => (0..lists).collect(),
            false => uses.iter().copied().flatten().collect(),
        };
        (json(&format!(", {definition}")), used)
    });
    definitions.collect()
}

/// The definitions of the fragments that a list spreads, each after a space.
fn fragments_of(list: usize, text: &OperationParts) -> String {
    let own = text.fragments.iter().filter(|(of, _)| *of == Some(list));
    own.map(|(_, fragment)| format!(" {fragment}")).collect()
}

fn template(
    kinds: &[NumberedList],
    lists: Vec<ListTemplate>,
    clients: Vec<(Box<[u8]>, Vec<usize>)>,
    text: OperationParts,
) -> RequestTemplate {
    let first = |text: &str| text.replace(NUMBER, "0");
    let definitions = kinds.iter().map(|kind| first(&kind.definitions));
    let definitions: Vec<String> = definitions
        .chain(text.definitions.iter().cloned())
        .collect();
    let body = first(&text.body.replace(BETWEEN, " "));
    let mut operation = format!(
        "query({}){}{{{body}}}",
        definitions.join(", "),
        text.directives,
    );
    for (_, fragment) in &text.fragments {
        operation += &format!(" {}", first(fragment));
    }
    let by_context = ContextTemplate {
        start: "{\"query\":\"query(".as_bytes().into(),
        clients,
        middle: json(&format!("){}{{", text.directives)),
        lists,
    };
    RequestTemplate {
        operation: operation.into(),
        head: Default::default(),
        constant: None,
        variables: text.variables,
        by_context: Some(Box::new(by_context)),
    }
}

/// Splits text at the list's number, and escapes the parts for a JSON string.
fn parts(text: &str) -> Vec<Box<[u8]>> {
    text.split(NUMBER).map(json).collect()
}

fn json(text: &str) -> Box<[u8]> {
    let mut quoted = String::new();
    write::string(&mut quoted, text);
    quoted.as_bytes()[1..quoted.len() - 1].into()
}
