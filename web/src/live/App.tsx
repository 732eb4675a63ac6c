// The page's frame: header, the list of posts, and the post that is open.

import { lazy, Suspense, useEffect, useLayoutEffect, useState, useSyncExternalStore } from 'react';

import { useSession } from '../signIn/useSession';
import { Account } from './Account';
import { ConnectionBadge } from './ConnectionBadge';
import { followPosts } from './graph/follow';
import { newestKnown } from './graph/prefetch';
import { Link } from './Link';
import { NewPost } from './NewPost';
import { NotFound } from './NotFound';
import { CommentsSkeleton } from './Notices';
import { placeOfNow, returnTo } from './place';
import { PostList } from './PostList';
import { PostPage } from './PostPage';
import { navigate, redirect, wentByItself } from './route';
import { usePostsAfter, useRoute } from './useRoute';
import { isWide, listenToWidth } from './wide';

/** Few readers need it. */
const Moderation = lazy(async () => ({ default: (await import('./moderation/Moderation')).Moderation }));

export function App() {
  const route = useRoute();
  const hasRoom = useSyncExternalStore(listenToWidth, isWide);
  const [newest, setNewest] = useState<string | null | undefined>(newestKnown);
  useEffect(followPosts, []);

  // Beside the list there is room for a post: the newest, at its own address. It stays when newer ones come, so
  // that nobody's reading or writing is taken away.
  const isPart = usePostsAfter() !== undefined;
  const beside = route.at === 'list' && hasRoom && !isPart && newest ? newest : undefined;
  useLayoutEffect(() => {
    if (beside !== undefined) redirect({ at: 'post', id: newestKnown() ?? beside });
  }, [beside]);
  const open = route.at === 'post' ? route.id : undefined;
  const showsList = hasRoom || route.at === 'list';
  const isAlone = !hasRoom && route.at === 'list';
  useEffect(() => {
    const place = placeOfNow();
    if (isAlone && place) returnTo(place);
  }, [isAlone]);

  return (
    <>
      <a className="skip" href="#main">
        Skip to the post
      </a>
      <header className="top">
        <Link to={{ at: 'list' }} className="brand">
          <img src="/favicon.svg" alt="" width="28" height="28" />
          <span className="brand-name">Rejoinder</span>
        </Link>
        <Tools />
        <Account />
        <ConnectionBadge />
      </header>
      <div className="columns">
        <aside className="side" aria-label="Posts" hidden={!showsList}>
          <PostList open={open} onNewest={setNewest} />
        </aside>
        <main id="main" tabIndex={-1} hidden={isAlone}>
          {route.at === 'new' ? (
            <NewPost onDone={(id) => navigate(id ? { at: 'post', id } : { at: 'list' })} />
          ) : (
            open && (
              <PostPage
                key={open}
                id={open}
                chosen={!wentByItself()}
                onGone={wentByItself() ? backToList : undefined}
              />
            )
          )}
          {route.at === 'moderation' && (
            <Suspense fallback={<CommentsSkeleton />}>
              <Moderation />
            </Suspense>
          )}
          {route.at === 'nowhere' && (
            <article className="post">
              <NotFound wasThere={false} />
            </article>
          )}
          {route.at === 'list' && isPart && <ToChoose />}
          {route.at === 'list' && !isPart && newest === null && <NothingYet />}
        </main>
      </div>
      <footer className="foot">
        <Tools />
      </footer>
    </>
  );
}

const backToList = () => redirect({ at: 'list' });

/** Beside an older part of the list: none of its posts is the one to begin with. */
function ToChoose() {
  return (
    <div className="quiet-page">
      <p>Choose a post to read it here.</p>
    </div>
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
  const session = useSession();
  return (
    <nav aria-label="Tools">
      {session?.moderator && <Link to={{ at: 'moderation' }}>Moderation</Link>}
      <a href="/graphql">GraphiQL</a>
      <a href="/stats.html">Statistics</a>
    </nav>
  );
}
