// The list of posts, newest first, with counts that follow the comments.

import { useEffect, useRef } from 'react';

import { followPost } from './graph/follow';
import { PostsDocument, type PostSummaryFragment } from './graph/generated';
import { POSTS_PAGE } from './graph/pageSizes';
import { readList, readOlderPosts } from './graph/read';
import { Link } from './Link';
import { Failure, ListSkeleton } from './Notices';
import { Ago } from './Ago';
import { useOlder } from './useOlder';
import { useReading } from './useReading';
import { useVisible } from './useVisible';

interface PostListProps {
  open: string | undefined;
  /** Hears which post is the newest; null when there is none. */
  onNewest: (id: string | null) => void;
}

export function PostList({ open, onNewest }: PostListProps) {
  const { data, error, retry } = useReading(PostsDocument, { first: POSTS_PAGE }, 'posts', readList);
  const posts = data?.posts.edges.map((edge) => edge.node as PostSummaryFragment) ?? [];
  const newest = data && (posts[0]?.id ?? null);
  useEffect(() => {
    if (newest !== undefined) onNewest(newest);
  }, [newest, onNewest]);

  const { hasNextPage, endCursor } = data?.posts.pageInfo ?? {};
  const older = useOlder(() => readOlderPosts(endCursor ?? null));
  return (
    <>
      <div className="side-head">
        <h2 id="posts-title" tabIndex={-1}>
          Posts
        </h2>
        <Link to={{ at: 'new' }} className="button quiet">
          New post
        </Link>
      </div>
      {!data && error !== undefined && <Failure error={error} onRetry={retry} />}
      {!data && error === undefined && <ListSkeleton />}
      {data && posts.length === 0 && (
        <p className="empty">
          Nothing here yet. <Link to={{ at: 'new' }}>Write the first post.</Link>
        </p>
      )}
      <ul className="posts">
        {posts.map((post) => (
          <Row key={post.id} post={post} isOpen={post.id === open} />
        ))}
      </ul>
      {older.error !== undefined && <Failure error={older.error} onRetry={older.load} />}
      {older.error === undefined && hasNextPage && (
        <button type="button" className="more" disabled={older.isLoading} onClick={older.load}>
          {older.isLoading ? 'Loading…' : 'Older posts'}
        </button>
      )}
    </>
  );
}

function Row({ post, isOpen }: { post: PostSummaryFragment; isOpen: boolean }) {
  const row = useRef<HTMLLIElement>(null);
  // Only what is in view is followed, so that a long list costs no more than a short one.
  const isVisible = useVisible(row);
  useEffect(() => (isVisible ? followPost(post.id) : undefined), [isVisible, post.id]);

  return (
    <li ref={row}>
      <Link to={{ at: 'post', id: post.id }} aria-current={isOpen ? 'page' : undefined}>
        <span className="row-title">{post.title}</span>
        <span className="row-text">{post.content}</span>
        <span className="meta">
          <span className="name">{post.author}</span>
          <Ago time={post.createdAt} />
          <Count key={post.commentCount} count={post.commentCount} />
        </span>
      </Link>
    </li>
  );
}

/** A new key mounts it anew, which plays its animation. */
function Count({ count }: { count: number }) {
  return <span className="count">{count === 1 ? '1 comment' : `${count.toLocaleString()} comments`}</span>;
}
