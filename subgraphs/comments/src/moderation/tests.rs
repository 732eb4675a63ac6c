//! The check in Rust and the server's agree on what is an entry.

use bson::oid::ObjectId;
use bson::{Bson, RawDocumentBuf};

use super::*;

/// Entries that differ in one field from what a service writes, and in two.
fn documents() -> Vec<Document> {
    let post = ObjectId::new();
    let comment = |comment: Document| Bson::from(comment);
    let odd: [(&str, Vec<Bson>); 8] = [
        ("postId", vec![5.into(), post.to_hex().into()]),
        ("state", STATES.map(Bson::from).to_vec()),
        ("state", vec!["odd".into(), vec!["HELD"].into(), 5.into()]),
        ("list", ["OPEN", "HIDDEN", "odd"].map(Bson::from).to_vec()),
        (
            "createdAt",
            vec!["now".into(), Bson::Null, bson::DateTime::MAX.into()],
        ),
        (
            "reason",
            vec![5.into(), "x".repeat(5_000).into(), "spam".into()],
        ),
        ("moderator", vec![doc! {}.into(), "Eve".into()]),
        (
            "comment",
            vec![
                5.into(),
                vec![comment(doc! { "postId": post })].into(),
                comment(doc! {}),
                comment(doc! { "_id": ObjectId::new(), "postId": post }),
                comment(doc! { "_id": Bson::Null, "postId": post, "text": "own" }),
                comment(doc! { "_id": Bson::Null, "postId": post, "text": 5 }),
                comment(doc! { "_id": Bson::Null, "postId": post, "createdAt": "now" }),
            ],
        ),
    ];
    let odd: Vec<_> = odd
        .into_iter()
        .flat_map(|(field, values)| values.into_iter().map(move |value| (field, value)))
        .collect();
    let mut documents = Vec::new();
    for (first, one) in &odd {
        for (second, other) in &odd {
            let id = ObjectId::new();
            let mut document = doc! { "_id": id, "postId": post, "state": "HELD", "list": "OPEN",
            "createdAt": bson::DateTime::now(), "comment": { "_id": id, "postId": post } };
            document.insert(*first, one.clone());
            document.insert(*second, other.clone());
            if let Ok(comment) = document.get_document_mut("comment")
                && comment.get("_id") == Some(&Bson::Null)
            {
                comment.insert("_id", id);
            }
            documents.push(document);
        }
    }
    documents
}

#[tokio::test]
async fn the_server_reads_the_same_documents() {
    let throwaway = embedded_mongo::test_database().await;
    let stored = throwaway.database().collection::<Document>("entries");
    let documents = documents();
    stored.insert_many(&documents).await.expect("inserted");
    let judge = doc! { "$project": { "ok": readable() } };
    let judged = stored.aggregate([judge]).await.expect("judged");
    let judged: Vec<Document> = futures_util::TryStreamExt::try_collect(judged)
        .await
        .expect("read");
    assert_eq!(judged.len(), documents.len());
    let mut read = 0;
    for (document, judged) in documents.iter().zip(&judged) {
        let raw = RawDocumentBuf::try_from(document).expect("a document");
        let ours = ModerationEntry::from_document(&raw);
        let told = judged.get_bool("ok").expect("a judgement");
        assert_eq!(ours.is_ok(), told, "{document} {ours:?}");
        read += usize::from(told);
    }
    assert!((10..documents.len() - 10).contains(&read), "{read}");
}

/// What a feed holds of entries is bounded by what it counts.
#[test]
fn an_entry_holds_no_more_of_the_heap_than_is_counted() {
    /// What the allocator adds to an allocation.
    const ALLOCATION: usize = 16;
    let id = ObjectId::new();
    for text in ["", "x", "a longer text"] {
        let report = doc! { "by": text, "reason": text, "at": bson::DateTime::now() };
        let entry = doc! {
            "_id": id, "postId": id, "state": "VISIBLE",
            "reports": vec![report; REPORTS_MAX], "reporters": vec![text; REPORTERS_MAX],
        };
        let document = RawDocumentBuf::try_from(&entry).expect("a document");
        let read = ModerationEntry::from_document(&document).expect("an entry");
        let reported = read.reports.iter().flat_map(|it| [&it.by, &it.reason]);
        let texts = reported.chain(&read.reporters);
        let texts: usize = texts.map(|text| text.capacity() + ALLOCATION).sum();
        let lists = read.reports.capacity() * size_of::<Report>()
            + read.reporters.capacity() * size_of::<String>();
        let (held, bytes) = (texts + lists, document.as_bytes().len());
        let counted = bytes * ModerationEntry::HEAP_PER_BYTE;
        assert!(held <= counted, "{held} of {counted}, {bytes} bytes");
    }
}
