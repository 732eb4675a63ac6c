//! Who asks, and what they may write: the person that a gateway's claims name, or a guest.

use std::sync::Arc;

use async_graphql::context::DataContext;
use async_graphql::{ID, SimpleObject};
use bson::{Bson, Document, doc};
use mongodb::options::Collation;

use crate::{Code, InputError, Owner, author};

/// The `extensions.reason` of [`AccessError::Blocked`].
const AUTHOR_BLOCKED: &str = "AUTHOR_BLOCKED";

/// Whoever is signed in.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
#[graphql(name = "Viewer", shareable)]
pub struct Person {
    /// Your id: the subject (`sub`) of your token. It is the `authorId` of what you write.
    pub id: ID,
    /// Your name (`name` in your token); "Anonymous" if it has none. It is the `author` of what you write.
    pub name: String,
    /// Whether you may edit and delete what others wrote: your token has the scope `moderate`.
    pub is_moderator: bool,
}

/// What may be written without a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum AnonymousWrites {
    /// Nothing.
    #[default]
    Off,
    /// New posts and comments, which are marked as a guest's. Guests change nothing afterwards.
    #[value(aliases = ["true", "on"])]
    Create,
    /// As before there were owners: everybody writes, and changes what has no owner.
    Change,
}

/// Who asks, and what they may write. It is in the data of each request. Clones are cheap.
#[derive(Clone, Debug, Default)]
pub struct Viewer {
    person: Option<Arc<Person>>,
    anonymous_writes: AnonymousWrites,
}

/// Why somebody may not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// A guest may not write.
    #[error("you are not signed in: only who is signed in may write")]
    GuestWrites,
    /// A guest may not change this.
    #[error("you are not signed in: only its author or a moderator may change or delete this")]
    GuestChanges,
    /// It belongs to somebody else, or to nobody.
    #[error("this is not yours: only its author or a moderator may change or delete it")]
    Forbidden,
    /// A guest may not report.
    #[error("you are not signed in: only who is signed in may report")]
    GuestReports,
    /// A guest may not react.
    #[error("you are not signed in: only who is signed in may react to comments")]
    GuestReacts,
    /// A guest may not moderate.
    #[error("you are not signed in: only moderators may do this")]
    GuestModerates,
    /// The viewer is no moderator.
    #[error("only moderators may do this")]
    NotModerator,
    /// A moderator has blocked the viewer.
    #[error("a moderator has blocked you: you may delete what you wrote, and write nothing")]
    Blocked,
}

impl AccessError {
    /// The code that clients may rely on.
    pub fn code(self) -> Code {
        match self {
            Self::GuestWrites
            | Self::GuestChanges
            | Self::GuestReports
            | Self::GuestReacts
            | Self::GuestModerates => Code::Unauthenticated,
            Self::Forbidden | Self::NotModerator | Self::Blocked => Code::Forbidden,
        }
    }

    /// What tells it from other errors of the same code, for `extensions.reason`.
    pub fn reason(self) -> Option<&'static str> {
        (self == Self::Blocked).then_some(AUTHOR_BLOCKED)
    }
}

impl Viewer {
    /// A person, or a guest.
    pub fn new(person: Option<Person>, anonymous_writes: AnonymousWrites) -> Self {
        Self {
            person: person.map(Arc::new),
            anonymous_writes,
        }
    }

    /// Who has sent the request. Where nothing says so, a guest that may write nothing.
    pub fn of<'c>(context: &impl DataContext<'c>) -> Self {
        context.data_opt::<Self>().cloned().unwrap_or_default()
    }

    /// Whoever is signed in; none for a guest.
    pub fn person(&self) -> Option<&Person> {
        self.person.as_deref()
    }

    /// The author and the owner of what the viewer writes. The name that the client gives counts for a guest only.
    ///
    /// # Errors
    /// When the viewer may not write, or a guest's name is blank or too long.
    pub fn author<E>(&self, given: Option<String>) -> Result<(String, Owner), E>
    where
        E: From<AccessError> + From<InputError>,
    {
        match &self.person {
            Some(person) => Ok((person.name.clone(), Owner::Person(person.id.clone()))),
            None if self.anonymous_writes == AnonymousWrites::Off => {
                Err(AccessError::GuestWrites.into())
            }
            None => Ok((author::check(given)?, Owner::Guest)),
        }
    }

    /// The moderator who asks.
    ///
    /// # Errors
    /// [`AccessError::GuestModerates`] and [`AccessError::NotModerator`].
    pub fn require_moderator(&self) -> Result<&Person, AccessError> {
        let person = self.person().ok_or(AccessError::GuestModerates)?;
        match person.is_moderator {
            true => Ok(person),
            false => Err(AccessError::NotModerator),
        }
    }

    /// Refuses a viewer that may change nothing, whatever it is, before anything is looked up.
    ///
    /// # Errors
    /// [`AccessError::GuestChanges`].
    pub fn require_any_change(&self) -> Result<(), AccessError> {
        match self.person {
            None if !self.changes_unowned() => Err(AccessError::GuestChanges),
            _ => Ok(()),
        }
    }

    /// Whether the viewer may change and delete what belongs to `owner`. The database decides the same by
    /// [`Viewer::limit_to_unmoderated`], and for what is left by [`Viewer::moderates`].
    pub fn may_change(&self, owner: &Owner) -> bool {
        match owner {
            _ if self.is_moderator() => true,
            Owner::Person(_) => self.is_author(owner),
            Owner::Nobody | Owner::Guest => self.changes_unowned(),
            Owner::Unknown => false,
        }
    }

    /// The moderator, if the viewer changes what belongs to `owner` as one: everything that is not the viewer's own,
    /// also where everybody may change it.
    pub fn moderates(&self, owner: &Owner) -> Option<&Person> {
        let moderator = self.person().filter(|person| person.is_moderator)?;
        (!self.is_author(owner)).then_some(moderator)
    }

    /// Whether the viewer is the person to whom something belongs.
    pub fn is_author(&self, owner: &Owner) -> bool {
        self.person()
            .is_some_and(|person| owner.id() == Some(&person.id))
    }

    /// Why the viewer may not change something.
    pub fn refusal(&self) -> AccessError {
        match self.person {
            Some(_) => AccessError::Forbidden,
            None => AccessError::GuestChanges,
        }
    }

    /// Adds to the filter of a write that the viewer may change the document without moderating: of moderators' writes
    /// it leaves those to their own. The write needs [`exact`] texts.
    pub fn limit_to_unmoderated(&self, filter: &mut Document) {
        // Expressions, because a filter `{ authorId: id }` also matches a list with this id in it.
        let own = self.person().map(|person| {
            // Literal, because an id may begin with `$`.
            doc! { "$eq": ["$authorId", { "$literal": person.id.as_str() }] }
        });
        let unowned = (self.changes_unowned() && !self.is_moderator())
            .then(|| doc! { "$in": [{ "$type": "$authorId" }, ["missing", "null"]] });
        let ways: Vec<Bson> = own.into_iter().chain(unowned).map(Bson::from).collect();
        filter.insert("$and", [doc! { "$expr": { "$or": ways } }]);
    }

    /// Whether the viewer may moderate.
    pub fn is_moderator(&self) -> bool {
        self.person().is_some_and(|person| person.is_moderator)
    }

    /// The same viewer, who may not moderate.
    #[must_use]
    pub fn without_moderation(&self) -> Self {
        let person = self.person().map(|person| Person {
            is_moderator: false,
            ..person.clone()
        });
        Self::new(person, self.anonymous_writes)
    }

    fn changes_unowned(&self) -> bool {
        self.anonymous_writes == AnonymousWrites::Change
    }
}

/// Compares texts byte by byte. A collection may have been created with a collation for which `Ann` and `ann` are
/// equal.
pub fn exact() -> Collation {
    Collation::builder().locale("simple").build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn viewer(id: Option<(&str, bool)>, anonymous_writes: AnonymousWrites) -> Viewer {
        let person = id.map(|(id, is_moderator)| Person {
            id: id.into(),
            name: "Ann".to_owned(),
            is_moderator,
        });
        Viewer::new(person, anonymous_writes)
    }

    #[test]
    fn who_may_change_what() {
        use AnonymousWrites::{Change, Create, Off};
        let owners = [
            Owner::Person("ann".into()),
            Owner::Person("bob".into()),
            Owner::Guest,
            Owner::Nobody,
            Owner::Unknown,
        ];
        for (id, writes, expected) in [
            (None, Off, [false; 5]),
            (None, Create, [false; 5]),
            (None, Change, [false, false, true, true, false]),
            (
                Some(("ann", false)),
                Off,
                [true, false, false, false, false],
            ),
            (
                Some(("ann", false)),
                Create,
                [true, false, false, false, false],
            ),
            (
                Some(("ann", false)),
                Change,
                [true, false, true, true, false],
            ),
            (Some(("eve", true)), Off, [true; 5]),
        ] {
            let viewer = viewer(id, writes);
            let may = owners.each_ref().map(|owner| viewer.may_change(owner));
            assert_eq!(may, expected, "{id:?} {writes:?}");
            assert!(viewer.require_any_change().is_ok() || may == [false; 5]);
        }
    }

    #[test]
    fn a_name_that_the_client_gives_counts_for_a_guest_only() {
        #[derive(Debug, PartialEq, thiserror::Error)]
        enum Error {
            #[error(transparent)]
            Access(#[from] AccessError),
            #[error(transparent)]
            Input(#[from] InputError),
        }
        let given = || Some(" Eve ".to_owned());
        let author = |viewer: Viewer, given| viewer.author::<Error>(given);
        let ann = || viewer(Some(("ann", false)), AnonymousWrites::Off);
        let own = Ok(("Ann".to_owned(), Owner::Person("ann".into())));
        assert_eq!(author(ann(), given()), own);
        assert_eq!(author(ann(), Some("x".repeat(1_000))), own);
        let guest = |writes| viewer(None, writes);
        for writes in [AnonymousWrites::Create, AnonymousWrites::Change] {
            let written = Ok(("Eve".to_owned(), Owner::Guest));
            assert_eq!(author(guest(writes), given()), written);
            assert!(author(guest(writes), Some(" ".to_owned())).is_err());
        }
        let refused = Err(AccessError::GuestWrites.into());
        assert_eq!(author(guest(AnonymousWrites::Off), given()), refused);
        assert_eq!(author(Viewer::default(), None), refused);
    }
}
