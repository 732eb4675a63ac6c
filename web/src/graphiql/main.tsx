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

import { activeTab, endedByReader, EventsBridge, eventsTab, noteTabs } from './eventsTab';
import { planTab } from './planTab';
import { fetchWithPlan } from './plans';
import { withLog } from './runs';
import { firstTabs, newestPost, sharedTab } from './tabs';

const GRAPHQL_PATH = '/graphql';

const fetcher = createGraphiQLFetcher({
  url: GRAPHQL_PATH,
  fetch: fetchWithPlan,
  wsClient: createClient({ url: GRAPHQL_PATH }),
});
const plugins = [HISTORY_PLUGIN, explorerPlugin(), eventsTab, planTab];

const root = document.getElementById('root');
if (!root) throw new Error('graphiql.html has no #root');

const shared = sharedTab(location.search);
createRoot(root).render(
  <GraphiQL
    fetcher={withLog(fetcher, activeTab, endedByReader)}
    plugins={plugins}
    defaultTabs={[...(shared ? [shared] : []), ...firstTabs(await newestPost(GRAPHQL_PATH))]}
    {...(shared && { initialQuery: shared.query, initialVariables: shared.variables ?? '' })}
    onTabChange={noteTabs}
    shouldPersistHeaders={false}
  >
    <GraphiQL.Logo>
      <a className="home" href="/">
        <img src="/favicon.svg" alt="" width="24" height="24" />
        Rejoinder
      </a>
    </GraphiQL.Logo>
    <GraphiQL.Footer>
      <EventsBridge />
    </GraphiQL.Footer>
  </GraphiQL>,
);
