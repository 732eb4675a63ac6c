// A post's comments: written at the top, newest first, live.

import { useEffect, useRef, useState } from 'react';

import { CommentItem } from './CommentItem';
import { Composer } from './Composer';
import { followComments } from './graph/follow';
import type { CommentPartsFragment } from './graph/generated';
import type { OpenPost } from './PostPage';
import { useVisible } from './useVisible';

interface CommentsProps {
  post: OpenPost;
  loadingOlder: boolean;
  onOlder: () => void;
}

export function Comments({ post, loadingOlder, onOlder }: CommentsProps) {
  const [arrived, setArrived] = useState<readonly string[]>([]);
  const head = useRef<HTMLDivElement>(null);
  const headVisible = useVisible(head);

  // Where to follow from: as it was first read. The subscription itself knows where it goes on.
  const [cursor] = useState(post.commentChangesCursor);
  useEffect(
    () => followComments(post.id, cursor, (id) => setArrived((ids) => [...ids, id])),
    [post.id, cursor],
  );

  // What arrives while the newest comments are out of view is counted until the reader is back.
  const [seen, setSeen] = useState(0);
  if (headVisible && seen !== arrived.length) setSeen(arrived.length);
  const unseen = arrived.length - seen;

  const comments = post.comments.edges.map((edge) => edge.node as CommentPartsFragment);
  return (
    <section className="comments" aria-labelledby="comments-title">
      <div className="comments-head" ref={head}>
        <h2 id="comments-title">
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
        {arrived.length > 0 &&
          `${arrived.length} new ${arrived.length === 1 ? 'comment' : 'comments'} since you opened the post`}
      </p>
      {comments.length === 0 && <p className="empty">No comments yet. Yours could be the first.</p>}
      <ol className="comment-list">
        {comments.map((comment) => (
          <CommentItem key={comment.id} comment={comment} isNew={arrived.includes(comment.id)} />
        ))}
      </ol>
      {post.comments.pageInfo.hasNextPage && (
        <button type="button" className="more" disabled={loadingOlder} onClick={onOlder}>
          {loadingOlder ? 'Loading…' : 'Older comments'}
        </button>
      )}
    </section>
  );
}
