//! Which documents can be read, and who may change them: the check in Rust and the server's agree on any BSON.

use std::collections::BTreeSet;

use bson::oid::ObjectId;
use bson::{Binary, Bson, Document, RawDocument, RawDocumentBuf, Regex, Timestamp, doc};
use changefeed::FromDocument;
use fastrand::Rng;
use futures_util::TryStreamExt;
use mongodb::Collection;
use subgraph::author;
use subgraph::owner::{AUTHOR_ID, GUEST};
use subgraph::readable::Shape;
use subgraph::stored_comment::{SHAPE, TEXT_BYTES_MAX};
use subgraph::viewer::exact;
use subgraph::{AnonymousWrites, DateTime, Owner, Person, StoredComment, Viewer};

const RANDOM_DOCUMENTS: usize = 4_000;
/// What a random document begins from, so that many differ from a comment in one field only.
const FIELDS: [&str; 10] = [
    "_id",
    "postId",
    "parentId",
    "text",
    "author",
    "authorId",
    "guest",
    "createdAt",
    "updatedAt",
    "edited",
];

/// Inserts the documents and compares the two judgements of each.
async fn compare(documents: Vec<RawDocumentBuf>) -> usize {
    let throwaway = embedded_mongo::test_database().await;
    let raw: Collection<RawDocumentBuf> = throwaway.database().collection("comments");
    let count = documents.len();
    for document in documents {
        raw.insert_one(document)
            .await
            .expect("the server takes any document");
    }
    let stored: Vec<RawDocumentBuf> = raw
        .find(doc! {})
        .sort(doc! { "$natural": 1 })
        .await
        .expect("found")
        .try_collect()
        .await
        .expect("read");
    let judge =
        doc! { "$project": { "_id": 0, "ok": SHAPE.expression(), "blamed": SHAPE.blamed() } };
    let judged: Vec<Document> = raw
        .aggregate([judge])
        .with_type::<Document>()
        .await
        .expect("the server fails at no document")
        .try_collect()
        .await
        .expect("read");
    assert_eq!((stored.len(), judged.len()), (count, count));
    let mut readable = 0;
    for (document, judged) in stored.iter().zip(&judged) {
        let ours = StoredComment::from_document(document);
        let told = judged.get_bool("ok").expect("a judgement");
        assert_eq!(
            ours.is_ok(),
            told,
            "{ours:?} {judged} {:?}",
            document.as_bytes()
        );
        let blamed = judged.get_str("blamed").expect("a field");
        assert_eq!(
            ours.as_ref().err().map_or("", |it| it.field.as_ref()),
            blamed
        );
        readable += usize::from(told);
    }
    let filtered = raw.count_documents(SHAPE.filter()).await.expect("counted");
    assert_eq!(filtered, readable as u64);
    compare_rights(&raw, &stored).await;
    readable
}

fn owner(document: &RawDocument) -> Owner {
    let [author_id, guest] = Shape([AUTHOR_ID, GUEST])
        .read(document)
        .expect("anything can be read");
    Owner::read(author_id, guest)
}

/// Compares who may change which of the documents: guests, moderators, and some of those to whom they belong.
async fn compare_rights(raw: &Collection<RawDocumentBuf>, stored: &[RawDocumentBuf]) {
    let owners = stored
        .iter()
        .filter_map(|document| owner(document).id().cloned());
    let owners: BTreeSet<String> = owners.map(|id| id.to_string()).collect();
    let people = owners.iter().take(10).map(|id| Some((id.as_str(), false)));
    let people = people.chain([None, Some(("moderator", true)), Some(("$authorId", false))]);
    for person in people {
        for anonymous_writes in [AnonymousWrites::Create, AnonymousWrites::Change] {
            let person = person.map(|(id, is_moderator)| Person {
                id: id.into(),
                name: "Ann".to_owned(),
                is_moderator,
            });
            let viewer = Viewer::new(person, anonymous_writes);
            let ours = stored
                .iter()
                .filter(|document| viewer.may_change(&owner(document)))
                .filter(|document| viewer.moderates(&owner(document)).is_none());
            let ours: Vec<&RawDocumentBuf> = ours.collect();
            let mut filter = doc! {};
            viewer.limit_to_unmoderated(&mut filter);
            let found = raw
                .find(filter)
                .collation(exact())
                .sort(doc! { "$natural": 1 });
            let found: Vec<RawDocumentBuf> = found
                .await
                .expect("the server fails at no document")
                .try_collect()
                .await
                .expect("read");
            assert_eq!(found.iter().collect::<Vec<_>>(), ours, "{viewer:?}");
        }
    }
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).expect("a document")
}

/// Replaces bytes of a document by as many others.
fn with_bytes(document: &Document, from: &[u8], to: &[u8]) -> RawDocumentBuf {
    let mut bytes = raw(document).into_bytes();
    let place = bytes.windows(from.len()).position(|window| window == from);
    let place = place.expect("the bytes are there");
    bytes[place..place + to.len()].copy_from_slice(to);
    RawDocumentBuf::from_bytes(bytes).expect("framed")
}

fn comment() -> Document {
    doc! { "_id": ObjectId::new(), "postId": ObjectId::new(), "text": "text" }
}

fn with(changes: Document) -> Document {
    let mut document = comment();
    document.extend(changes);
    document
}

#[tokio::test(flavor = "multi_thread")]
async fn every_edge_is_judged_alike() {
    let hex = ObjectId::new().to_hex();
    let millis = bson::DateTime::from_millis;
    let (first, last) = (
        DateTime::RFC3339_FIRST.timestamp_millis(),
        DateTime::RFC3339_LAST.timestamp_millis(),
    );
    let readable = [
        comment(),
        with(doc! { "postId": &hex }),
        with(
            doc! { "text": Bson::Null, "author": Bson::Null, "createdAt": Bson::Null, "edited": Bson::Null },
        ),
        with(doc! { "text": "x".repeat(TEXT_BYTES_MAX), "author": "x".repeat(author::BYTES_MAX) }),
        with(doc! { "createdAt": millis(first), "updatedAt": millis(last), "edited": true }),
        with(doc! { "text": "", "idempotency": 5, "more": { "a": [1] } }),
        with(doc! { "createdAt": bson::DateTime::now(), "edited": false }),
        with(doc! { "authorId": "ann", "guest": true }),
        with(doc! { "authorId": "ANN" }),
        with(doc! { "authorId": ["ann"], "guest": 1 }),
        with(doc! { "authorId": "x".repeat(512) }),
        with(doc! { "authorId": "", "guest": "true" }),
        with(doc! { "authorId": Bson::Null, "guest": true }),
        with(doc! { "authorId": Bson::Undefined }),
        with(doc! { "authorId": ObjectId::new() }),
        with(doc! { "parentId": ObjectId::new() }),
        with(doc! { "parentId": &hex }),
        with(doc! { "parentId": [ObjectId::new()] }),
        with(doc! { "parentId": 5 }),
    ];
    let mut documents: Vec<RawDocumentBuf> = readable.iter().map(raw).collect();
    documents.push(with_bytes(
        &with(doc! { "text": "aXYb" }),
        b"aXYb",
        b"a\xFF\xFEb",
    ));
    documents.push(with_bytes(
        &with(doc! { "text": "x", "XYZ": 1, "author": "x" }),
        b"XYZ",
        b"\xFF\xFEZ",
    ));
    documents.push(with_bytes(
        &with(doc! { "authorId": "aXYb" }),
        b"aXYb",
        b"a\xFF\xFEb",
    ));
    documents.push(with_bytes(
        &with(doc! { "authorId": "ann", "AuthorId": "bob" }),
        b"AuthorId",
        b"authorId",
    ));
    // A field that stands twice: the first one counts.
    documents.push(with_bytes(&with(doc! { "xext": 5 }), b"xext", b"text"));
    let count = documents.len();
    let unreadable = [
        doc! { "_id": "text", "postId": ObjectId::new() },
        doc! { "_id": ObjectId::new() },
        with(doc! { "_id": 5 }),
        with(doc! { "_id": { "a": 1 } }),
        with(doc! { "postId": [ObjectId::new()] }),
        with(
            doc! { "postId": hex.to_uppercase().replace(|digit: char| digit.is_ascii_digit(), "A") },
        ),
        with(doc! { "postId": "not an id" }),
        with(doc! { "postId": "" }),
        with(doc! { "postId": Bson::Null }),
        with(doc! { "postId": { "$oid": &hex } }),
        with(doc! { "text": 5 }),
        with(doc! { "text": ["text"] }),
        with(doc! { "text": { "text": "text" } }),
        with(doc! { "text": Bson::Symbol("text".to_owned()) }),
        with(doc! { "text": Bson::Undefined }),
        with(
            doc! { "text": Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1] } },
        ),
        with(doc! { "text": "x".repeat(TEXT_BYTES_MAX + 1) }),
        with(doc! { "text": "x".repeat(7 << 20) }),
        with(doc! { "text": "é".repeat(TEXT_BYTES_MAX / 2 + 1) }),
        with(doc! { "author": "x".repeat(author::BYTES_MAX + 1) }),
        with(doc! { "author": true }),
        with(doc! { "createdAt": "2026-01-01T00:00:00Z" }),
        with(doc! { "createdAt": 0_i64 }),
        with(doc! { "createdAt": [bson::DateTime::now()] }),
        with(doc! { "createdAt": millis(first - 1) }),
        with(doc! { "createdAt": millis(last + 1) }),
        with(doc! { "createdAt": bson::DateTime::MIN }),
        with(doc! { "createdAt": bson::DateTime::MAX }),
        with(doc! { "createdAt": Timestamp { time: 1, increment: 1 } }),
        with(doc! { "updatedAt": 5.5 }),
        with(doc! { "updatedAt": bson::DateTime::MAX }),
        with(doc! { "edited": "yes" }),
        with(doc! { "edited": 1 }),
        with(doc! { "edited": Bson::MinKey }),
    ];
    documents.extend(unreadable.iter().map(raw));
    documents.push(with_bytes(
        &with(doc! { "postId": hex.as_str() }),
        &hex.as_bytes()[..2],
        b"\xFF\xFE",
    ));
    documents.push(with_bytes(
        &doc! { "_id": ObjectId::new(), "postId": ObjectId::new(), "text": 5, "xext": "x" },
        b"xext",
        b"text",
    ));
    assert_eq!(compare(documents).await, count);
}

#[tokio::test(flavor = "multi_thread")]
async fn random_documents_are_judged_alike() {
    let mut random = Rng::with_seed(12);
    let documents = (0..RANDOM_DOCUMENTS).map(|_| random_document(&mut random));
    let readable = compare(documents.collect()).await;
    assert!(readable > RANDOM_DOCUMENTS / 20, "{readable} can be read");
    assert!(
        readable < RANDOM_DOCUMENTS * 19 / 20,
        "{readable} can be read"
    );
}

/// A comment with some fields replaced, left out, doubled or spoiled in their bytes.
fn random_document(random: &mut Rng) -> RawDocumentBuf {
    let mut document = with(doc! {
        "author": "Ada", "createdAt": bson::DateTime::now(), "updatedAt": bson::DateTime::now(), "edited": false,
    });
    for _ in 0..random.usize(0..3) {
        let field = FIELDS[random.usize(0..FIELDS.len())];
        match random.usize(0..4) {
            0 if field != "_id" => {
                document.remove(field);
            }
            // Each document has an `_id` of its own.
            _ if field == "_id" => {
                let number = random.i64(..);
                let ids: [Bson; 3] = [
                    number.into(),
                    number.to_string().into(),
                    doc! { "_id": number }.into(),
                ];
                document.insert("_id", ids[random.usize(0..3)].clone());
            }
            _ => {
                document.insert(field, random_value(random, 2));
            }
        }
    }
    for _ in 0..random.usize(0..3) {
        document.insert(format!("other{}", random.u8(..)), random_value(random, 2));
    }
    if random.u8(0..5) == 0 {
        // Takes the place of a second field of that name.
        let field = FIELDS[random.usize(1..FIELDS.len())];
        let other = field.replace(|_: char| true, "~");
        document.insert(&other, random_value(random, 1));
        return with_bytes(&document, other.as_bytes(), field.as_bytes());
    }
    raw(&document)
}

fn random_value(random: &mut Rng, depth: usize) -> Bson {
    let text = |random: &mut Rng| {
        let length = random.usize(0..30);
        (0..length)
            .map(|_| random.char(..))
            .filter(|c| *c != '~')
            .collect::<String>()
    };
    match random.u8(0..20) {
        0 => Bson::Null,
        1 => random.i32(..).into(),
        2 => random.i64(..).into(),
        3 => random.f64().into(),
        4 => random.bool().into(),
        5..7 => text(random).into(),
        7 => ObjectId::new().into(),
        8 => ObjectId::new().to_hex().into(),
        9 => ObjectId::new().to_hex().to_uppercase().into(),
        10 => bson::DateTime::from_millis(random.i64(..)).into(),
        11 => {
            bson::DateTime::from_millis(random.i64(-99_999_999_999_999..299_999_999_999_999)).into()
        }
        12 => Timestamp {
            time: random.u32(1..),
            increment: random.u32(..),
        }
        .into(),
        13 => Bson::Undefined,
        14 => Bson::Symbol(text(random)),
        15 => Regex {
            pattern: bson::cstr!("a").into(),
            options: bson::cstr!("").into(),
        }
        .into(),
        16 => Binary {
            subtype: bson::spec::BinarySubtype::Generic,
            bytes: text(random).into_bytes(),
        }
        .into(),
        17 if depth > 0 => Bson::Array(
            (0..random.usize(0..3))
                .map(|_| random_value(random, depth - 1))
                .collect(),
        ),
        18 if depth > 0 => {
            doc! { "a": random_value(random, depth - 1), "_id": random_value(random, depth - 1) }
                .into()
        }
        _ => Bson::MaxKey,
    }
}
