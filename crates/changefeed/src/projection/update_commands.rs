//! Updates of many targets as `update` commands that the server takes.
//!
//! A command that is sent as one document has the limit of a document, 16 MB: the 48 MB of a message
//! hold only for a driver's own bulk writes, which need MongoDB 8.0 to be one transaction's.

use bson::{RawArrayBuf, RawDocumentBuf, cstr};

use super::fold::Statement;

/// Statements in one command, at most.
const STATEMENTS_MAX: usize = 2_000;
/// Bytes of statements in one command, at most; a single larger one still has a command of its own.
/// A command is a copy of its statements, and the driver makes another one.
const BYTES_MAX: usize = 1 << 20;

/// The commands that carry out the statements in their order, each with its part of them.
///
/// What the projection writes is its own field: a validator of the collection's owner that knows nothing of
/// it is passed by, where the user has the right to (`bypass_validation`).
pub(crate) fn update_commands<'s>(
    collection: &str,
    statements: &'s [Statement],
    bypass_validation: bool,
) -> impl Iterator<Item = (RawDocumentBuf, &'s [Statement])> {
    let mut rest = statements;
    std::iter::from_fn(move || {
        let (mut bytes, mut taken) = (0, 0);
        for statement in rest.iter().take(STATEMENTS_MAX) {
            bytes += statement.bytes();
            if taken > 0 && bytes > BYTES_MAX {
                break;
            }
            taken += 1;
        }
        if taken == 0 {
            return None;
        }
        let (part, left) = rest.split_at(taken);
        rest = left;
        let mut updates = RawArrayBuf::new();
        for statement in part {
            updates.push(statement.encoded.as_ref());
        }
        let mut command = RawDocumentBuf::new();
        command.append(cstr!("update"), collection);
        command.append(cstr!("updates"), updates);
        command.append(cstr!("ordered"), true);
        if bypass_validation {
            command.append(cstr!("bypassDocumentValidation"), true);
        }
        Some((command, part))
    })
}

#[cfg(test)]
mod tests {
    use bson::{Bson, doc};

    use super::*;
    use crate::projection::fold::Unsendable;

    fn try_statement(target: i32, bytes: usize) -> Result<Statement, Unsendable> {
        let update = Bson::from(doc! { "$set": { "text": "x".repeat(bytes) } });
        Statement::new(&Bson::from(target), update, None)
    }

    fn statement(target: i32, bytes: usize) -> Statement {
        try_statement(target, bytes).expect("a command can hold it")
    }

    fn parts(statements: &[Statement]) -> Vec<usize> {
        update_commands("posts", statements, true)
            .map(|(command, part)| {
                assert!(command.as_bytes().len() <= 16 << 20, "the server takes it");
                part.len()
            })
            .collect()
    }

    #[test]
    fn statements_are_cut_into_commands_by_number_and_by_bytes() {
        let small: Vec<Statement> = (0..4_500).map(|target| statement(target, 10)).collect();
        assert_eq!(parts(&small), [2_000, 2_000, 500]);
        let large: Vec<Statement> = (0..5).map(|target| statement(target, 400 << 10)).collect();
        assert_eq!(parts(&large), [2, 2, 1]);
        let over: Vec<Statement> = [1 << 20, 12 << 20, 1 << 20]
            .into_iter()
            .map(|bytes| statement(1, bytes))
            .collect();
        assert_eq!(parts(&over), [1, 1, 1]);
        assert!(parts(&[]).is_empty());
    }

    #[test]
    fn a_statement_that_no_command_can_hold_is_named() {
        let unsendable = try_statement(2, 17 << 20).expect_err("17 MB");
        assert_eq!(*unsendable.target, Bson::from(2));
    }
}
