//! New comments are dated in the order in which they are inserted.

use std::time::Duration;

use futures_util::FutureExt;
use subgraph::database_calls::{CallLimits, CallMetrics};
use subgraph::{DateTime, Owner};
use tokio::sync::oneshot;

use super::*;
use crate::CommentStatus;
use crate::reaction::Reactions;

fn comment() -> Comment {
    Comment {
        id: CommentId::new(),
        post_id: PostId::new(),
        parent_id: None,
        text: "text".to_owned(),
        author: "author".to_owned(),
        owner: Owner::Guest,
        created_at: None,
        updated_at: None,
        edited: false,
        reactions: Reactions::default(),
        status: CommentStatus::Visible,
        trace: Default::default(),
    }
}

fn key(comment: &Comment) -> Idempotency {
    let (place, owner) = ((comment.post_id, None), &comment.owner);
    let key = comment.id.object_id().to_hex();
    Idempotency::new(key, owner, place, &comment.text, &comment.author)
}

/// Lists are ordered by date, and live events by the time of the insert.
#[tokio::test(flavor = "multi_thread")]
async fn a_comment_that_waits_for_its_turn_is_dated_after_those_that_were_faster() {
    let test = embedded_mongo::test_database().await;
    let limits = CallLimits {
        connections: 1,
        queue_max: 10,
        wait_max: Duration::from_secs(60),
    };
    let calls = DatabaseCalls::new(test.database(), limits, CallMetrics::default());
    let busy = Store::new(&calls, Unreadables::default());
    let free = DatabaseCalls::for_own_work(test.database());
    let free = Store::new(&free, Unreadables::default());
    for has_key in [false, true] {
        let (go, gone) = oneshot::channel::<()>();
        let mut turn = Box::pin(calls.run(|_| async move {
            gone.await.expect("released");
            Ok::<_, Error>(())
        }));
        assert!(turn.as_mut().now_or_never().is_none());
        let slow = comment();
        let idempotency = has_key.then(|| key(&slow));
        let mut slow = Box::pin(busy.insert_comment(slow, idempotency, None));
        assert!(slow.as_mut().now_or_never().is_none(), "it has no turn");

        let fast = free.insert_comment(comment(), None, None).await;
        let fast = fast.expect("inserted").value.created_at;
        while Some(DateTime::now()) <= fast {
            tokio::task::yield_now().await;
        }
        go.send(()).expect("it waits");
        turn.await.expect("released");
        let slow = slow.await.expect("inserted").value;
        assert!(slow.created_at > fast, "key: {has_key}");
        assert_eq!(slow.updated_at, slow.created_at);
        let stored = free.comments_by_id(&[slow.id]).await.expect("read");
        assert_eq!(stored[0].created_at, slow.created_at);
    }
}
