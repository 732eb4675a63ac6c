//! What a document asks for at least, counted from its tokens: most documents beyond a limit are refused
//! before they are parsed, which takes longer than everything else about a refusal.
//!
//! Fragments count once here, wherever they are spread: [`selections`](super::selections) multiplies them,
//! once the document is parsed. A document that is no GraphQL may be refused for a limit as well.

use async_graphql::Pos;

use super::tokens::{Token, Tokens};
use super::{FRAGMENTS_MAX, LimitError, LimitSettings, OPERATIONS_MAX, TypeNames};

/// A document with no more fields that no type has gets an error for each. async-graphql makes one of every
/// such field, however many there are.
const UNKNOWN_FIELDS_MAX: usize = 50;

/// Counts the tokens of a document, comments among them, and looks at what they ask for.
///
/// # Errors
/// When the document is too long, or has too many tokens, too long a name, brackets nested too deep, or a
/// string without an end; when it has too many definitions, selections, aliases, root fields, or fields that
/// no type of the schema has, its fragments counted once.
pub(super) fn check(
    text: &str,
    limits: &LimitSettings,
    types: Option<&TypeNames>,
) -> Result<usize, LimitError> {
    if text.len() > limits.document_bytes_max {
        return Err(LimitError::DocumentBytes {
            bytes: text.len(),
            max: limits.document_bytes_max,
        });
    }
    let mut tokens = Tokens::of(text);
    let mut outline = Outline::new(limits, types);
    let mut count = 0;
    while let Some((offset, token)) = tokens.next()? {
        count += 1;
        if count > limits.tokens_max {
            return Err(LimitError::Tokens {
                max: limits.tokens_max,
            });
        }
        if token != Token::Comment {
            outline.add(offset, token)?;
        }
    }
    outline.finish(text)?;
    Ok(count)
}

/// The token before the current one, as far as it says what a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before<'t> {
    /// A field's name, or its alias, and where it begins.
    Field(usize, &'t str),
    /// The mark between an alias and its field.
    Alias,
    /// `...`, which begins a fragment spread or an inline fragment.
    Spread,
    /// `... on`: the name of a type follows.
    On,
    /// `@`: the name of a directive follows.
    Directive,
    Other,
}

struct Outline<'t> {
    limits: &'t LimitSettings,
    types: Option<&'t TypeNames>,
    before: Before<'t>,
    /// Brackets of each kind that are open.
    depth: usize,
    /// Those of arguments, of variables' definitions and of what is within them.
    depth_in_arguments: usize,
    /// Whether the current definition is a fragment.
    in_fragment: bool,
    /// Whether the current definition has begun: it begins with its first token.
    in_definition: bool,
    operations: usize,
    fragments: usize,
    selections: usize,
    root_fields: usize,
    /// Those of the current operation.
    aliases: usize,
    unknown: usize,
    first_unknown: Option<(usize, &'t str)>,
}

impl<'t> Outline<'t> {
    fn new(limits: &'t LimitSettings, types: Option<&'t TypeNames>) -> Self {
        Self {
            limits,
            types,
            before: Before::Other,
            depth: 0,
            depth_in_arguments: 0,
            in_fragment: false,
            in_definition: false,
            operations: 0,
            fragments: 0,
            selections: 0,
            root_fields: 0,
            aliases: 0,
            unknown: 0,
            first_unknown: None,
        }
    }

    fn add(&mut self, offset: usize, token: Token<'t>) -> Result<(), LimitError> {
        if self.depth == 0 && !self.in_definition {
            self.begin_definition(token)?;
        }
        let before = std::mem::replace(&mut self.before, Before::Other);
        if self.depth_in_arguments > 0 {
            return self.add_bracket(token);
        }
        if let (Before::Field(..), Token::Mark(b':')) = (before, token) {
            self.before = Before::Alias;
            return self.add_alias();
        }
        if let Before::Field(offset, name) = before {
            self.add_name(offset, name);
        }
        match (token, before) {
            (Token::Mark(b'@'), _) => self.before = Before::Directive,
            (_, _) if self.depth == 0 => {}
            (Token::Spread, _) => {
                self.before = Before::Spread;
                return self.add_selection();
            }
            (Token::Name("on"), Before::Spread) => self.before = Before::On,
            (Token::Name(_), Before::Spread | Before::On | Before::Directive) => {}
            (Token::Name(name), Before::Alias) => self.add_name(offset, name),
            (Token::Name(name), Before::Field(..) | Before::Other) => {
                self.before = Before::Field(offset, name);
                return self.add_field();
            }
            _ => {}
        }
        self.add_bracket(token)
    }

    fn begin_definition(&mut self, token: Token<'t>) -> Result<(), LimitError> {
        self.in_definition = true;
        self.in_fragment = token == Token::Name("fragment");
        if self.in_fragment {
            self.fragments += 1;
            within(self.fragments, FRAGMENTS_MAX, |max| LimitError::Fragments {
                max,
            })
        } else {
            self.operations += 1;
            self.aliases = 0;
            within(self.operations, OPERATIONS_MAX, |max| {
                LimitError::Operations { max }
            })
        }
    }

    fn add_bracket(&mut self, token: Token<'t>) -> Result<(), LimitError> {
        match token {
            Token::Mark(open @ (b'{' | b'[' | b'(')) => {
                self.depth += 1;
                if open == b'(' || self.depth_in_arguments > 0 {
                    self.depth_in_arguments += 1;
                }
                within(self.depth, self.limits.depth_max, |max| LimitError::Depth {
                    max,
                })
            }
            Token::Mark(close @ (b'}' | b']' | b')')) => {
                self.depth = self.depth.saturating_sub(1);
                self.depth_in_arguments = self.depth_in_arguments.saturating_sub(1);
                // The brace of its selection set ends a definition.
                if self.depth == 0 && close == b'}' {
                    self.in_definition = false;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn add_selection(&mut self) -> Result<(), LimitError> {
        self.selections += 1;
        within(self.selections, self.limits.selections_max, |max| {
            LimitError::Selections { max }
        })
    }

    fn add_field(&mut self) -> Result<(), LimitError> {
        if self.depth == 1 && !self.in_fragment {
            self.root_fields += 1;
            within(self.root_fields, self.limits.root_fields_max, |max| {
                LimitError::RootFields { max }
            })?;
        }
        self.add_selection()
    }

    fn add_alias(&mut self) -> Result<(), LimitError> {
        if self.in_fragment {
            return Ok(());
        }
        self.aliases += 1;
        within(self.aliases, self.limits.aliases_max, |max| {
            LimitError::Aliases { max }
        })
    }

    /// Adds the name of a field, its alias passed.
    fn add_name(&mut self, offset: usize, name: &'t str) {
        let Some(types) = self.types else { return };
        if !types.has_field(name) {
            self.unknown += 1;
            self.first_unknown.get_or_insert((offset, name));
        }
    }

    /// After the last token. The other limits come first, whatever their order in the text.
    fn finish(self, text: &str) -> Result<(), LimitError> {
        match self.first_unknown {
            Some((offset, name)) if self.unknown > UNKNOWN_FIELDS_MAX => {
                Err(LimitError::UnknownFields {
                    max: UNKNOWN_FIELDS_MAX,
                    name: name.to_owned(),
                    position: position(text, offset),
                })
            }
            _ => Ok(()),
        }
    }
}

fn within(
    count: usize,
    max: usize,
    error: impl FnOnce(usize) -> LimitError,
) -> Result<(), LimitError> {
    match count > max {
        true => Err(error(max)),
        false => Ok(()),
    }
}

/// The line and the column of a byte, from 1 on, as the parser counts them: a column is a character.
fn position(text: &str, offset: usize) -> Pos {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.rsplit(['\n', '\r']).next().unwrap_or_default();
    Pos {
        line: before.matches('\n').count() + 1,
        column: line.chars().count() + 1,
    }
}

/// Selections, root fields, aliases of the last operation and unknown fields of a document within the limits.
#[cfg(test)]
pub(super) fn counted(text: &str, types: &TypeNames) -> Result<[usize; 4], LimitError> {
    let limits = LimitSettings::default();
    let mut outline = Outline::new(&limits, Some(types));
    let mut tokens = Tokens::of(text);
    while let Some((offset, token)) = tokens.next()? {
        if token != Token::Comment {
            outline.add(offset, token)?;
        }
    }
    Ok([
        outline.selections,
        outline.root_fields,
        outline.aliases,
        outline.unknown,
    ])
}
