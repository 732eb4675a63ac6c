// The live page.

import { ApolloProvider } from '@apollo/client/react';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

import { App } from './App';
import { client } from './graph/client';
import { prefetch } from './graph/prefetch';
import { routeOf } from './route';
import { isWide } from './wide';

const root = document.getElementById('root');
if (!root) throw new Error('index.html has no #root');

const route = routeOf(location.search);
// What fails here is asked for again by the component that shows it, and told there.
prefetch(route.at === 'post' ? route.id : undefined, route.at === 'list' && isWide()).catch(() => {});

createRoot(root).render(
  <StrictMode>
    <ApolloProvider client={client}>
      <App />
    </ApolloProvider>
  </StrictMode>,
);
