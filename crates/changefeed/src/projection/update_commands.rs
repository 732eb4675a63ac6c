//! Updates of many targets as `update` commands that the server takes.
//!
//! A command that is sent as one document has the limit of a document, 16 MB: the 48 MB of a message
//! hold only for a driver's own bulk writes, which need MongoDB 8.0 to be one transaction's.

use bson::{Bson, RawArrayBuf, RawDocumentBuf, cstr, doc};

use super::fold::Statement;

/// Statements in one command, at most.
const STATEMENTS_MAX: usize = 2_000;
/// Bytes of statements in one command, at most; a single larger one still has a command of its own.
const BYTES_MAX: usize = 8 << 20;
/// Bytes of the largest statement that fits a command of 16 MB, with room for what the driver adds.
/// The server closes the connection on a larger one, without a word of the reason.
const STATEMENT_BYTES_MAX: usize = (16 << 20) - (64 << 10);

/// A statement that no command can hold.
#[derive(Debug)]
pub(crate) struct Unsendable {
    pub target: Box<Bson>,
    pub reason: String,
}

/// The commands that carry out the statements in their order, each with its part of them.
pub(crate) fn update_commands<'s>(
    collection: &str,
    statements: &'s [Statement],
) -> impl Iterator<Item = Result<(RawDocumentBuf, &'s [Statement]), Unsendable>> {
    let mut rest = statements;
    let mut held: Option<RawDocumentBuf> = None;
    std::iter::from_fn(move || {
        let (mut updates, mut bytes, mut taken) = (RawArrayBuf::new(), 0, 0);
        for statement in rest.iter().take(STATEMENTS_MAX) {
            let encoded = match held.take().map_or_else(|| encode(statement), Ok) {
                Ok(encoded) => encoded,
                Err(unsendable) => {
                    rest = &[];
                    return Some(Err(unsendable));
                }
            };
            let length = encoded.as_bytes().len();
            if taken > 0 && bytes + length > BYTES_MAX {
                held = Some(encoded);
                break;
            }
            updates.push(encoded);
            bytes += length;
            taken += 1;
        }
        if taken == 0 {
            return None;
        }
        let (part, left) = rest.split_at(taken);
        rest = left;
        let mut command = RawDocumentBuf::new();
        command.append(cstr!("update"), collection);
        command.append(cstr!("updates"), updates);
        command.append(cstr!("ordered"), true);
        Some(Ok((command, part)))
    })
}

fn encode(statement: &Statement) -> Result<RawDocumentBuf, Unsendable> {
    let unsendable = |reason| Unsendable {
        target: Box::new(statement.target.clone()),
        reason,
    };
    let update = doc! { "q": { "_id": &statement.target }, "u": &statement.update };
    let encoded =
        RawDocumentBuf::try_from(&update).map_err(|error| unsendable(error.to_string()))?;
    let length = encoded.as_bytes().len();
    if length > STATEMENT_BYTES_MAX {
        return Err(unsendable(format!("its update has {length} bytes")));
    }
    Ok(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(target: i32, bytes: usize) -> Statement {
        Statement {
            target: Bson::from(target),
            update: Bson::from(doc! { "$set": { "text": "x".repeat(bytes) } }),
            may_go_stale: None,
        }
    }

    fn parts(statements: &[Statement]) -> Vec<Result<usize, Bson>> {
        update_commands("posts", statements)
            .take(10)
            .map(|command| match command {
                Ok((command, part)) => {
                    assert!(command.as_bytes().len() <= 16 << 20, "the server takes it");
                    Ok(part.len())
                }
                Err(unsendable) => Err(*unsendable.target),
            })
            .collect()
    }

    #[test]
    fn statements_are_cut_into_commands_by_number_and_by_bytes() {
        let small: Vec<Statement> = (0..4_500).map(|target| statement(target, 10)).collect();
        assert_eq!(parts(&small), [Ok(2_000), Ok(2_000), Ok(500)]);
        let large: Vec<Statement> = (0..5).map(|target| statement(target, 3 << 20)).collect();
        assert_eq!(parts(&large), [Ok(2), Ok(2), Ok(1)]);
        let over: Vec<Statement> = [1 << 20, 12 << 20, 1 << 20]
            .into_iter()
            .map(|bytes| statement(1, bytes))
            .collect();
        assert_eq!(parts(&over), [Ok(1), Ok(1), Ok(1)]);
        assert!(parts(&[]).is_empty());
    }

    #[test]
    fn a_statement_that_no_command_can_hold_is_named() {
        let statements = [statement(1, 10), statement(2, 17 << 20)];
        assert_eq!(parts(&statements[1..])[0], Err(Bson::from(2)));
    }
}
