//! Making an operation smaller while something about it stays true.

use apollo_compiler::ast::{Definition, Document, Selection};

/// Every document with one selection less, or with a fragment's selections in its place.
pub fn smaller(operation: &str) -> Vec<String> {
    let Ok(document) = Document::parse(operation, "operation") else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for target in 0.. {
        let mut changed = document.clone();
        let mut left = target;
        if !changed
            .definitions
            .iter_mut()
            .any(|it| remove(selections(it), &mut left))
        {
            break;
        }
        all.push(tidy(changed));
    }
    all
}

fn selections(definition: &mut Definition) -> &mut Vec<Selection> {
    match definition {
        Definition::OperationDefinition(operation) => &mut operation.make_mut().selection_set,
        Definition::FragmentDefinition(fragment) => &mut fragment.make_mut().selection_set,
        _ => panic!("an operation has nothing else"),
    }
}

/// Takes out selection number `left`, counted from the outside in.
fn remove(selections: &mut Vec<Selection>, left: &mut usize) -> bool {
    for index in 0..selections.len() {
        if *left == 0 {
            selections.remove(index);
            return true;
        }
        *left -= 1;
        let below = match &mut selections[index] {
            Selection::Field(field) => &mut field.make_mut().selection_set,
            Selection::InlineFragment(fragment) => &mut fragment.make_mut().selection_set,
            Selection::FragmentSpread(_) => continue,
        };
        if remove(below, left) {
            return true;
        }
    }
    false
}

/// Without fragments and variables that nothing uses any more.
fn tidy(mut document: Document) -> String {
    loop {
        let text = document.to_string();
        let before = document.definitions.len();
        document.definitions.retain(|definition| match definition {
            Definition::FragmentDefinition(it) => text
                .split("...")
                .skip(1)
                .any(|rest| rest.split_whitespace().next() == Some(it.name.as_str())),
            _ => true,
        });
        if document.definitions.len() == before {
            break;
        }
    }
    let text = document.to_string();
    for definition in &mut document.definitions {
        if let Definition::OperationDefinition(operation) = definition {
            operation.make_mut().variables.retain(|variable| {
                let name = format!("${}", variable.name);
                let is_use = |(at, _): (usize, &str)| {
                    let rest = text[at + name.len()..].trim_start();
                    !rest.starts_with(':')
                        && !text[at + name.len()..].starts_with(|c: char| c.is_alphanumeric())
                };
                text.match_indices(&name).any(is_use)
            });
        }
    }
    document.to_string()
}
