// The live page.

import { ApolloProvider } from '@apollo/client/react';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

import { App } from './App';
import { client } from './graph/client';
import { prefetch } from './graph/prefetch';
import { keepPlaces } from './place';
import { hrefOf, routeOf } from './route';
import { isWide } from './wide';

const root = document.getElementById('root');
if (!root) throw new Error('index.html has no #root');

const route = routeOf(location);
// An address of before gets its present form.
if (location.search !== '' && (route.at === 'post' || route.at === 'new'))
  history.replaceState(history.state, '', hrefOf(route) + location.hash);
keepPlaces();
// What fails here is asked for again by the component that shows it, and told there.
prefetch(route.at === 'post' ? route.id : undefined, route.at === 'list' && isWide()).catch(() => {});

createRoot(root).render(
  <StrictMode>
    <ApolloProvider client={client}>
      <App />
    </ApolloProvider>
  </StrictMode>,
);
