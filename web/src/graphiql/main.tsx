// GraphiQL, whole and offline: its editor's workers and fonts come from this build.

import 'graphiql/setup-workers/vite';
import 'graphiql/style.css';
import '@graphiql/plugin-explorer/style.css';
import './graphiql.css';

import { explorerPlugin } from '@graphiql/plugin-explorer';
import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { GraphiQL, HISTORY_PLUGIN } from 'graphiql';
import { createClient } from 'graphql-ws';
import { createRoot } from 'react-dom/client';

import { planTab } from './planTab';
import { fetchWithPlan } from './plans';
import { firstTabs } from './tabs';

const GRAPHQL_PATH = '/graphql';

const fetcher = createGraphiQLFetcher({
  url: GRAPHQL_PATH,
  fetch: fetchWithPlan,
  wsClient: createClient({ url: GRAPHQL_PATH }),
});
const plugins = [HISTORY_PLUGIN, explorerPlugin(), planTab];

const root = document.getElementById('root');
if (!root) throw new Error('graphiql.html has no #root');

createRoot(root).render(
  <GraphiQL fetcher={fetcher} plugins={plugins} defaultTabs={firstTabs} shouldPersistHeaders={false}>
    <GraphiQL.Logo>
      <a className="home" href="/">
        Rejoinder
      </a>
    </GraphiQL.Logo>
  </GraphiQL>,
);
