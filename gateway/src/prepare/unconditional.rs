//! A second try for operations that the planner gives up on: the same without conditions.
//!
//! The planner knows no plan for some combinations of `@skip` and `@include` with union conditions
//! or requirements. What conditions leave out is also left out when the answer is written, so
//! asking for too much changes nothing for the client. A mutation's own fields keep theirs: they
//! must not happen.

use apollo_compiler::{
    Node,
    ast::{Definition, Directive, DirectiveList, Document, Field, OperationType, Selection},
    name,
};

/// The document without conditions; none if it is not one. `root` is the operation's root type.
pub fn without_conditions(text: &str, root: &str) -> Option<String> {
    let mut document = Document::parse(text, "").ok()?;
    for definition in &mut document.definitions {
        match definition {
            Definition::OperationDefinition(operation) => {
                let operation = operation.make_mut();
                let keeps = operation.operation_type == OperationType::Mutation;
                strip(&mut operation.selection_set, keeps);
            }
            Definition::FragmentDefinition(fragment) => {
                let fragment = fragment.make_mut();
                // Where the root is no mutation's, nothing happens by asking too much.
                let keeps = fragment.type_condition == root;
                strip(&mut fragment.selection_set, keeps);
            }
            _ => {}
        }
    }
    Some(document.to_string())
}

fn strip(selections: &mut Vec<Selection>, keeps_conditions: bool) {
    selections.retain(|selection| !is_never(directives(selection)));
    for selection in selections.iter_mut() {
        match selection {
            Selection::Field(field) => {
                let field = field.make_mut();
                strip_from(&mut field.directives, keeps_conditions);
                if !field.selection_set.is_empty() {
                    strip(&mut field.selection_set, false);
                }
            }
            Selection::InlineFragment(fragment) => {
                let fragment = fragment.make_mut();
                strip_from(&mut fragment.directives, keeps_conditions);
                strip(&mut fragment.selection_set, keeps_conditions);
            }
            Selection::FragmentSpread(spread) => {
                strip_from(&mut spread.make_mut().directives, keeps_conditions);
            }
        }
    }
    if selections.is_empty() {
        // The object is still asked for: it is there, if only empty.
        selections.push(Selection::Field(Node::new(Field {
            alias: None,
            name: name!("__typename"),
            arguments: Vec::new(),
            directives: DirectiveList::default(),
            selection_set: Vec::new(),
        })));
    }
}

fn directives(selection: &Selection) -> &DirectiveList {
    match selection {
        Selection::Field(field) => &field.directives,
        Selection::InlineFragment(fragment) => &fragment.directives,
        Selection::FragmentSpread(spread) => &spread.directives,
    }
}

fn strip_from(directives: &mut DirectiveList, keeps_conditions: bool) {
    if !keeps_conditions {
        directives
            .0
            .retain(|directive| directive.name != "skip" && directive.name != "include");
    }
}

/// Whether a condition is written out that can never hold.
fn is_never(directives: &DirectiveList) -> bool {
    let has = |directive: &Node<Directive>, name: &str, value: bool| {
        directive.name == name
            && directive
                .specified_argument_by_name("if")
                .and_then(|it| it.to_bool())
                == Some(value)
    };
    directives
        .iter()
        .any(|it| has(it, "skip", true) || has(it, "include", false))
}

#[cfg(test)]
mod tests {
    use super::without_conditions;

    fn stripped(text: &str) -> String {
        let text = without_conditions(text, "Mutation").expect("a document");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn conditions_go_and_what_can_never_be_goes_with_them() {
        let text =
            "query($a: Boolean!) { x @include(if: $a) { y @skip(if: true) } ...F @skip(if: $a) }
                    fragment F on Thing { z @include(if: false) w @include(if: true) }";
        assert_eq!(
            stripped(text),
            "query($a: Boolean!) { x { __typename } ...F } fragment F on Thing { w }"
        );
    }

    #[test]
    fn a_mutation_keeps_those_of_its_own_fields() {
        let text = "mutation($a: Boolean!) { x @include(if: $a) { y @skip(if: $a) } ... @skip(if: $a) { z @skip(if: $a) } }";
        assert_eq!(
            stripped(text),
            "mutation($a: Boolean!) { x @include(if: $a) { y } ... @skip(if: $a) { z @skip(if: $a) } }"
        );
    }
}
