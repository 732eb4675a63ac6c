// GraphiQL, whole and offline: its editor's workers and fonts come from this build.

import './workers';
import 'graphiql/style.css';
import '@graphiql/plugin-explorer/style.css';
import './graphiql.css';

import { explorerPlugin } from '@graphiql/plugin-explorer';
import { createGraphiQLFetcher, type Fetcher } from '@graphiql/toolkit';
import { GraphiQL, HISTORY_PLUGIN } from 'graphiql';
import { createRoot } from 'react-dom/client';

import { tokenService } from '../signIn/session';
import { clientFor } from './authorization';
import { activeTab, endedByReader, EventsBridge, eventsTab, noteTabs } from './eventsTab';
import { planTab } from './planTab';
import { fetchWithPlan } from './plans';
import { withLog } from './runs';
import { HeadersBridge, signInTab } from './signInTab';
import { storageWithoutHeaders } from './storage';
import { firstTabs, newestPost, sharedTab } from './tabs';

const GRAPHQL_PATH = '/graphql';

// A client for each content of the headers editor: a subscription sends it when its socket opens.
const fetcher: Fetcher = (params, options) =>
  createGraphiQLFetcher({
    url: GRAPHQL_PATH,
    fetch: fetchWithPlan,
    wsClient: clientFor(GRAPHQL_PATH, options?.headers),
  })(params, options);
const [newest, canSignIn] = await Promise.all([newestPost(GRAPHQL_PATH), tokenService()]);
const plugins = [
  HISTORY_PLUGIN,
  explorerPlugin(),
  eventsTab,
  planTab,
  ...(canSignIn === undefined ? [] : [signInTab]),
];

const storage = storageWithoutHeaders(localStorage);
const root = document.getElementById('root');
if (!root) throw new Error('graphiql.html has no #root');

const shared = sharedTab(location.search);
createRoot(root).render(
  <GraphiQL
    fetcher={withLog(fetcher, activeTab, endedByReader)}
    plugins={plugins}
    defaultTabs={[...(shared ? [shared] : []), ...firstTabs(newest)]}
    {...(shared && { initialQuery: shared.query, initialVariables: shared.variables ?? '' })}
    onTabChange={noteTabs}
    shouldPersistHeaders={false}
    storage={storage}
  >
    <GraphiQL.Logo>
      <a className="home" href="/">
        <img src="/favicon.svg" alt="" width="24" height="24" />
        Rejoinder
      </a>
    </GraphiQL.Logo>
    <GraphiQL.Footer>
      <EventsBridge />
      <HeadersBridge />
    </GraphiQL.Footer>
  </GraphiQL>,
);
