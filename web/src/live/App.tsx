// The page's frame: header, the list of posts, and the post that is open.

import { useEffect, useState, useSyncExternalStore } from 'react';

import { ConnectionBadge } from './ConnectionBadge';
import { followPosts } from './graph/follow';
import { Link } from './Link';
import { NewPost } from './NewPost';
import { PostList } from './PostList';
import { PostPage } from './PostPage';
import { navigate, useRoute } from './route';

/** From this width on, the list stands beside the post. */
export const wide = matchMedia('(min-width: 60rem)');

export function App() {
  const route = useRoute();
  const isWide = useSyncExternalStore(listenToWidth, () => wide.matches);
  const [newest, setNewest] = useState<string>();
  useEffect(followPosts, []);

  // Beside the list there is room for a post: the newest, until the reader chooses.
  const open = route.at === 'post' ? route.id : route.at === 'list' && isWide ? newest : undefined;
  const showsList = isWide || route.at === 'list';

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
      <div className="columns" data-at={route.at}>
        <aside className="side" aria-label="Posts" hidden={!showsList}>
          <PostList open={open} onNewest={setNewest} />
        </aside>
        <main id="main" tabIndex={-1} hidden={!isWide && route.at === 'list'}>
          {route.at === 'new' ? (
            <NewPost onDone={(id) => navigate(id ? { at: 'post', id } : { at: 'list' })} />
          ) : (
            open && <PostPage key={open} id={open} chosen={route.at === 'post'} />
          )}
        </main>
      </div>
      <footer className="foot">
        <Tools />
      </footer>
    </>
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

function listenToWidth(changed: () => void): () => void {
  wide.addEventListener('change', changed);
  return () => wide.removeEventListener('change', changed);
}
