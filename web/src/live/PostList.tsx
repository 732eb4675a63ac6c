// The list of posts, newest first or by a search, with counts that follow the comments.

import { useEffect, useRef, useState } from 'react';

import { Ago } from './Ago';
import { followPost } from './graph/follow';
import { PostsDocument, type PostSummaryFragment } from './graph/generated';
import { POSTS_PAGE } from './graph/pageSizes';
import { isContentStale, postsName, readList, readOlderPosts } from './graph/read';
import { rereadPostSoon } from './graph/reread';
import { Link } from './Link';
import { Newest } from './Newest';
import { Failure, ListSkeleton, Slow } from './Notices';
import { placeOfNow, returnTo } from './place';
import { Found, SearchField } from './Search';
import { useOlder } from './useOlder';
import { useReading } from './useReading';
import { usePostsAfter } from './useRoute';
import { useVisible } from './useVisible';

interface PostListProps {
  open: string | undefined;
  /** Hears which post is the newest; null when there is none. */
  onNewest: (id: string | null) => void;
}

export function PostList({ open, onNewest }: PostListProps) {
  const after = usePostsAfter();
  const variables = { first: POSTS_PAGE };
  const { data, error, isSlow, retry } = useReading(PostsDocument, variables, postsName(after), readList);
  const posts = data?.posts.edges.map((edge) => edge.node as PostSummaryFragment) ?? [];
  const newest = data && after === undefined ? (posts[0]?.id ?? null) : undefined;
  useEffect(() => {
    if (newest !== undefined) onNewest(newest);
  }, [newest, onNewest]);
  const isThere = data !== undefined;
  useEffect(() => {
    const place = placeOfNow();
    if (isThere && place) returnTo(place);
  }, [isThere]);

  const [words, setWords] = useState('');
  const { hasNextPage, endCursor } = data?.posts.pageInfo ?? {};
  const list = useRef<HTMLUListElement>(null);
  const older = useOlder(list, async () => {
    (await readOlderPosts(endCursor ?? null)).filter(isContentStale).forEach(rereadPostSoon);
  });
  const newestFirst = (
    <>
      {!data && error !== undefined && <Failure what="The posts" error={error} onRetry={retry} byItself />}
      {!data && error === undefined && (
        <>
          <ListSkeleton />
          {isSlow && <Slow what="The posts" />}
        </>
      )}
      {data && posts.length === 0 && after === undefined && (
        <p className="empty">
          Nothing here yet. <Link to={{ at: 'new' }}>Write the first post.</Link>
        </p>
      )}
      <ul className="posts" ref={list}>
        {posts.map((post) => (
          <Row key={post.id} post={post} isOpen={post.id === open} />
        ))}
      </ul>
      {after !== undefined && <Newest of="posts" to={{ at: 'list' }} />}
      {older.error !== undefined && <Failure what="Older posts" error={older.error} onRetry={older.load} />}
      {older.error === undefined && hasNextPage && (
        <button type="button" className="more" aria-disabled={older.isLoading} onClick={older.load}>
          {older.isLoading ? 'Loading…' : 'Older posts'}
        </button>
      )}
    </>
  );
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
      <SearchField words={words} onWords={setWords} />
      {words.trim() === '' ? newestFirst : <Found words={words} open={open} />}
    </>
  );
}
export function Row({ post, isOpen }: { post: PostSummaryFragment; isOpen: boolean }) {
  const row = useRef<HTMLLIElement>(null);
  // Only what is in view is followed, so that a long list costs no more than a short one.
  const isVisible = useVisible(row);
  useEffect(() => (isVisible ? followPost(post.id) : undefined), [isVisible, post.id]);

  return (
    <li ref={row}>
      {/* Named by its title alone; the style sheet makes the whole row its target. */}
      <Link to={{ at: 'post', id: post.id }} className="row-title" aria-current={isOpen ? 'page' : undefined}>
        {post.title}
      </Link>
      <p className="row-text">{post.excerpt}</p>
      <div className="meta">
        <span className="name">{post.author}</span>
        <Ago time={post.createdAt} />
        <Count count={post.commentCount} />
      </div>
    </li>
  );
}

function Count({ count }: { count: number }) {
  const [atFirst] = useState(count);
  return (
    // A new key mounts it again, which plays its animation: not when the page loads.
    <span key={count} className="count" data-changed={count !== atFirst || undefined}>
      {count === 1 ? '1 comment' : `${count.toLocaleString()} comments`}
    </span>
  );
}
