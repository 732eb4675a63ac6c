// Finding posts by their words: a field above the list, and what is found in the list's place.

import { useQuery } from '@apollo/client/react';
import { useDeferredValue, useEffect, useState } from 'react';

import { type PostSummaryFragment, SearchPostsDocument, type SearchPostsQuery } from './graph/generated';
import { POSTS_PAGE } from './graph/pageSizes';
import { Failure, ListSkeleton } from './Notices';
import { Row } from './PostList';

/** What the server takes. */
const WORDS_CHARS_MAX = 200;
/** Whoever goes on typing wants no answer yet. */
const TYPING_PAUSE_MS = 250;

interface SearchFieldProps {
  words: string;
  onWords: (words: string) => void;
}

export function SearchField({ words, onWords }: SearchFieldProps) {
  return (
    <form role="search" className="search" onSubmit={(event) => event.preventDefault()}>
      <input
        type="search"
        aria-label="Search posts"
        placeholder="Search posts"
        maxLength={WORDS_CHARS_MAX}
        value={words}
        onChange={(event) => onWords(event.target.value)}
        onKeyDown={(event) => {
          if (event.key === 'Escape') onWords('');
        }}
      />
    </form>
  );
}

interface FoundProps {
  words: string;
  open: string | undefined;
}

export function Found({ words, open }: FoundProps) {
  const query = usePaused(words.trim());
  const { data, error, loading, refetch, fetchMore } = useQuery(SearchPostsDocument, {
    variables: { query, first: POSTS_PAGE },
    // What was found before is shown at once, and found again.
    fetchPolicy: 'cache-and-network',
    skip: query === '',
  });
  const [failed, setFailed] = useState<{ query: string; error: unknown }>();
  const [isLoadingMore, setLoadingMore] = useState(false);
  const failure = failed?.query === query ? failed.error : undefined;
  const shown = useDeferredValue(data);
  const posts = shown?.searchPosts.edges.map((edge) => edge.node as PostSummaryFragment) ?? [];
  const { hasNextPage, endCursor } = data?.searchPosts.pageInfo ?? {};

  const loadMore = async () => {
    if (isLoadingMore) return;
    setFailed(undefined);
    setLoadingMore(true);
    try {
      await fetchMore({ variables: { after: endCursor }, updateQuery: withMore });
    } catch (thrown) {
      setFailed({ query, error: thrown });
    } finally {
      setLoadingMore(false);
    }
  };

  if (!data && error) return <Failure what="What was found" error={error} onRetry={() => void refetch()} />;
  if (!shown) return <ListSkeleton />;
  return (
    <>
      <p className={posts.length === 0 ? 'empty' : 'unseen'} role="status">
        {posts.length === 0
          ? 'No post has these words.'
          : `${posts.length}${hasNextPage ? ' or more' : ''} found`}
      </p>
      <ul className="posts" aria-busy={loading}>
        {posts.map((post) => (
          <Row key={post.id} post={post} isOpen={post.id === open} />
        ))}
      </ul>
      {failure !== undefined && <Failure what="More posts" error={failure} onRetry={() => void loadMore()} />}
      {failure === undefined && hasNextPage && (
        <button type="button" className="more" aria-disabled={isLoadingMore} onClick={() => void loadMore()}>
          {isLoadingMore ? 'Loading…' : 'More posts'}
        </button>
      )}
    </>
  );
}

/** A post whose words were changed meanwhile can be found on two pages: it is shown once. */
function withMore(
  before: SearchPostsQuery,
  { fetchMoreResult: more }: { fetchMoreResult: SearchPostsQuery },
): SearchPostsQuery {
  const known = new Set(before.searchPosts.edges.map(({ node }) => (node as PostSummaryFragment).id));
  const added = more.searchPosts.edges.filter(({ node }) => !known.has((node as PostSummaryFragment).id));
  return {
    searchPosts: { ...more.searchPosts, edges: [...before.searchPosts.edges, ...added] },
  };
}

/** The words once nobody has typed for a moment. */
function usePaused(words: string): string {
  const [paused, setPaused] = useState(words);
  useEffect(() => {
    const timer = setTimeout(() => setPaused(words), TYPING_PAUSE_MS);
    return () => clearTimeout(timer);
  }, [words]);
  return paused;
}
