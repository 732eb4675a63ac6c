// The page's frame: header, the list of posts, and the post that is open.

import { useCallback, useEffect, useState, useSyncExternalStore } from 'react';

import { ConnectionBadge } from './ConnectionBadge';
import { followPosts } from './graph/follow';
import { newestKnown } from './graph/prefetch';
import { Link } from './Link';
import { NewPost } from './NewPost';
import { PostList } from './PostList';
import { PostPage } from './PostPage';
import { navigate } from './route';
import { useRoute } from './useRoute';
import { isWide, listenToWidth } from './wide';

export function App() {
  const route = useRoute();
  const hasRoom = useSyncExternalStore(listenToWidth, isWide);
  const [newest, setNewest] = useState<string | null | undefined>(newestKnown);
  useEffect(followPosts, []);

  // Beside the list there is room for a post: the newest, until the reader chooses. It stays when
  // newer ones come, so that nobody's reading or writing is taken away.
  const [beside, setBeside] = useState<string>();
  if (beside === undefined && route.at === 'list' && newest) setBeside(newestKnown() ?? newest);
  if (beside !== undefined && route.at !== 'list') setBeside(undefined);
  const leaveBeside = useCallback(() => setBeside(undefined), []);
  const open = route.at === 'post' ? route.id : route.at === 'list' && hasRoom ? beside : undefined;
  const showsList = hasRoom || route.at === 'list';

  return (
    <>
      <a className="skip" href="#main">
        Skip to the post
      </a>
      <header className="top">
        <Link to={{ at: 'list' }} className="brand">
          <img src="/favicon.svg" alt="" width="28" height="28" />
          Rejoinder
        </Link>
        <Tools />
        <ConnectionBadge />
      </header>
      <div className="columns">
        <aside className="side" aria-label="Posts" hidden={!showsList}>
          <PostList open={open} onNewest={setNewest} />
        </aside>
        <main id="main" tabIndex={-1} hidden={!hasRoom && route.at === 'list'}>
          {route.at === 'new' ? (
            <NewPost onDone={(id) => navigate(id ? { at: 'post', id } : { at: 'list' })} />
          ) : (
            open && (
              <PostPage
                key={open}
                id={open}
                chosen={route.at === 'post'}
                onGone={route.at === 'list' ? leaveBeside : undefined}
              />
            )
          )}
          {route.at === 'list' && newest === null && <NothingYet />}
        </main>
      </div>
      <footer className="foot">
        <Tools />
      </footer>
    </>
  );
}

function NothingYet() {
  return (
    <div className="quiet-page">
      <h1>Nothing here yet</h1>
      <p>What you write appears at once in every open window.</p>
      <Link to={{ at: 'new' }} className="button">
        Write the first post
      </Link>
    </div>
  );
}

function Tools() {
  return (
    <nav aria-label="Tools">
      <a href="/graphql">GraphiQL</a>
      <a href="/stats.html">Statistics</a>
    </nav>
  );
}
