// The live page.

import { ApolloProvider } from '@apollo/client/react';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

import { App } from './App';
import { client } from './graph/client';
import { prefetch } from './graph/prefetch';
import { keep, keepPlaces } from './place';
import { drawsAhead } from './prose/ahead';
import { postsAfter } from './part';
import { commentOf, hrefOf, routeOf } from './route';
import { isWide } from './wide';

/** What was rendered may stay for so long before the page shows by itself what it waits for. */
const RENDERED_STAYS_MS = 3_000;

const root = document.getElementById('root');
if (!root) throw new Error('index.html has no #root');

const route = routeOf(location);
// An address of before gets its present form.
if (location.pathname === '/' && location.search !== '' && (route.at === 'post' || route.at === 'new'))
  history.replaceState(history.state, '', hrefOf(route) + location.hash);
// What fails here is asked for again by the component that shows it, and told there.
const prefetched = prefetch(
  route.at === 'post' ? route.id : undefined,
  route.at === 'list' && postsAfter() === undefined && isWide(),
).catch(() => {});

// The page service has rendered the page: it stays until the same can be shown, so that nothing flickers, and the
// reader stays where they are.
const isRendered = root.hasChildNodes();
if (isRendered) {
  const given = new Promise((resolve) => setTimeout(resolve, RENDERED_STAYS_MS));
  await Promise.race([Promise.all([prefetched, drawsAhead]), given]);
}
keepPlaces();
// To a comment of the address the page goes by itself.
if (isRendered && scrollY > 0 && commentOf(location.hash) === undefined) keep();

createRoot(root).render(
  <StrictMode>
    <ApolloProvider client={client}>
      <App />
    </ApolloProvider>
  </StrictMode>,
);
