// The page's first question, sent while its code is still on the way. Nothing large is imported
// here: this module is the first to run.

import { routeOf } from '../route';
import { isWide } from '../wide';
import type { StartQuery, StartQueryVariables } from './generated';
import { COMMENTS_PAGE, POSTS_PAGE } from './pageSizes';
import query from './start.graphql?raw';

export const GRAPHQL_PATH = '/graphql';

const route = routeOf(location.search);
const chosen = route.at === 'post' ? route.id : undefined;

/** What came, once; `undefined` when it could not be had. Then each part is asked for by itself. */
export const started: Promise<StartQuery | undefined> = ask({
  posts: POSTS_PAGE,
  comments: COMMENTS_PAGE,
  id: chosen ?? '',
  showsChosen: chosen !== undefined,
  // Beside the list there is room for a post.
  showsNewest: route.at === 'list' && isWide(),
}).catch(() => undefined);

async function ask(variables: StartQueryVariables): Promise<StartQuery | undefined> {
  const response = await fetch(GRAPHQL_PATH, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/graphql-response+json, application/json',
    },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = (await response.json()) as { data?: StartQuery | null; errors?: unknown };
  return errors === undefined ? (data ?? undefined) : undefined;
}

/** The post that was asked for beside the list: the chosen one, which may not be there, or the newest. */
export function openPostOf({ chosen, newest }: StartQuery): StartQuery['chosen'] {
  return chosen ?? newest?.edges[0]?.node;
}

/** The id of the post in the page's first address. */
export const chosenAtStart = chosen;
