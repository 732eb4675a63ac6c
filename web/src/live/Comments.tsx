// A post's comments: written at the top, newest first, live.

import { useEffect, useRef, useState } from 'react';

import { CommentItem } from './CommentItem';
import { Composer } from './Composer';
import { followComments } from './graph/follow';
import type { CommentPartsFragment } from './graph/generated';
import { Failure } from './Notices';
import type { OpenPost } from './PostPage';
import { useVisible } from './useVisible';

/** The comments that arrived while the page was open: how many, and the last of them by their ids. */
interface Arrived {
  count: number;
  recent: ReadonlySet<string>;
}

const NONE: Arrived = { count: 0, recent: new Set() };
/** More are not told apart from the others: nobody saw them arrive one by one. */
const RECENT_MAX = 50;

interface CommentsProps {
  post: OpenPost;
  loadingOlder: boolean;
  /** Why the older comments did not come. */
  error: unknown;
  onOlder: () => void;
}

export function Comments({ post, loadingOlder, error, onOlder }: CommentsProps) {
  const [arrived, setArrived] = useState(NONE);
  const head = useRef<HTMLDivElement>(null);
  const headVisible = useVisible(head);

  // Where to follow from: as it was first read. The subscription itself knows where it goes on.
  const [cursor] = useState(post.commentChangesCursor);
  useEffect(
    () => followComments(post.id, cursor, (id) => setArrived((before) => withOneMore(before, id))),
    [post.id, cursor],
  );

  // What arrives while the newest comments are out of view is counted until the reader is back.
  const [seen, setSeen] = useState(0);
  if (headVisible && seen !== arrived.count) setSeen(arrived.count);
  const unseen = arrived.count - seen;

  const comments = post.comments.edges.map((edge) => edge.node as CommentPartsFragment);
  return (
    <section className="comments" aria-labelledby="comments-title">
      <div className="comments-head" ref={head}>
        <h2 id="comments-title" tabIndex={-1}>
          {post.commentCount === 0
            ? 'Comments'
            : post.commentCount === 1
              ? '1 comment'
              : `${post.commentCount.toLocaleString()} comments`}
        </h2>
      </div>
      <Composer postId={post.id} />
      {unseen > 0 && (
        <button
          type="button"
          className="button arrivals"
          onClick={() => head.current?.scrollIntoView({ block: 'start' })}
        >
          ↑ {unseen === 1 ? '1 new comment' : `${unseen} new comments`}
        </button>
      )}
      <p className="unseen" role="status">
        {arrived.count > 0 &&
          `${arrived.count} new ${arrived.count === 1 ? 'comment' : 'comments'} since you opened the post`}
      </p>
      {comments.length === 0 && <p className="empty">No comments yet. Yours could be the first.</p>}
      <ol className="comment-list">
        {comments.map((comment) => (
          <CommentItem key={comment.id} comment={comment} isNew={arrived.recent.has(comment.id)} />
        ))}
      </ol>
      {error !== undefined && <Failure error={error} onRetry={onOlder} />}
      {error === undefined && post.comments.pageInfo.hasNextPage && (
        <button type="button" className="more" disabled={loadingOlder} onClick={onOlder}>
          {loadingOlder ? 'Loading…' : 'Older comments'}
        </button>
      )}
    </section>
  );
}

function withOneMore({ count, recent }: Arrived, id: string): Arrived {
  return { count: count + 1, recent: new Set([...recent, id].slice(-RECENT_MAX)) };
}
