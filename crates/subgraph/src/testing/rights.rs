//! Who may change whose documents: one table, by which both subgraphs are tested.

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use serde_json::{Value, json};

/// A viewer and a document that the viewer tries to change or to delete.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The claims of the viewer; none for a guest.
    pub claims: Option<Value>,
    /// The fields of the document that say whose it is.
    pub owner: Document,
    /// The code of the error; none if the viewer may.
    pub code: Option<&'static str>,
}

/// All attempts at a subgraph with this setting of `ANONYMOUS_WRITES`.
pub fn attempts(anonymous_writes: &str) -> Vec<Attempt> {
    let is_open = anonymous_writes == "change";
    let named = |id: &str| (doc! { "authorId": id }, Some(id.to_owned()), false);
    let unowned = |document: Document| (document, None, true);
    // What no person's id can be, by another program.
    let unknown = |author_id: Bson| (doc! { "authorId": author_id }, None, false);
    let owners = [
        named("ann"),
        named("bob"),
        named("$authorId"),
        named("issuer ann"),
        (
            doc! { "authorId": "ann", "guest": true },
            Some("ann".to_owned()),
            false,
        ),
        unowned(doc! {}),
        unowned(doc! { "guest": true }),
        unowned(doc! { "guest": "yes" }),
        unowned(doc! { "authorId": Bson::Null }),
        unknown("".into()),
        unknown("x".repeat(600).into()),
        unknown(5.into()),
        unknown(vec!["ann", "bob"].into()),
        unknown(doc! { "sub": "ann" }.into()),
        unknown(ObjectId::new().into()),
        unknown(Bson::Undefined),
    ];
    let person = |sub: &str| Some(json!({ "sub": sub, "name": "Ann", "scope": "read" }));
    let viewers = [
        (None, None),
        (person("ann"), Some("ann")),
        // Equal for a collation that ignores case.
        (person("Ann"), Some("Ann")),
        // A field's path, if it were not taken literally.
        (person("$authorId"), Some("$authorId")),
        (
            Some(json!({ "sub": "ann", "iss": "issuer" })),
            Some("issuer ann"),
        ),
        (
            Some(json!({ "sub": "mod", "scope": "read moderate" })),
            None,
        ),
    ];
    let mut attempts = Vec::new();
    for (claims, id) in &viewers {
        let is_moderator = claims.is_some() && id.is_none();
        for (owner, owner_id, is_unowned) in &owners {
            let is_own = id.is_some() && owner_id.as_deref() == *id;
            let may = is_moderator || is_own || (is_open && *is_unowned);
            attempts.push(Attempt {
                claims: claims.clone(),
                owner: owner.clone(),
                code: match claims {
                    _ if may => None,
                    Some(_) => Some("FORBIDDEN"),
                    None => Some("UNAUTHENTICATED"),
                },
            });
        }
    }
    attempts
}
