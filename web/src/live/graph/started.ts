// The page's first questions, sent while its code is still on the way, or answered in the page itself. Nothing large is
// imported here: this module is the first to run.

import { fetchSigned } from '../../signIn/session';
import { orderOfNow } from '../commentOrder';
import { commentsAfter, postsAfter } from '../part';
import { routeOf } from '../route';
import { isWide } from '../wide';
import type { StartCommentsQuery, StartQuery } from './generated';
import { COMMENTS_PAGE, firstComments, firstPosts, POSTS_PAGE } from './pageSizes';
import query from './start.graphql?raw';

export const GRAPHQL_PATH = '/graphql';
/** On a network that fell silent a request would hang for minutes, and another try would wait for it. */
export const ANSWERED_WITHIN_MS = 15_000;

const route = routeOf(location);
/** The id of the post in the page's first address. */
export const chosenAtStart = route.at === 'post' ? route.id : undefined;
/** Where the lists of the page's first address begin. */
export const postsBegin = postsAfter();
export const commentsBegin = chosenAtStart === undefined ? undefined : commentsAfter(chosenAtStart);

const shown = {
  id: chosenAtStart ?? '',
  showsChosen: chosenAtStart !== undefined,
  // Beside the newest posts there is room for one of them.
  showsNewest: route.at === 'list' && postsBegin === undefined && isWide(),
};

/** The answers that the page service has put into the page (pages/src/render.rs). */
interface Handed {
  /** Where the list of posts begins, or that of the post's comments. */
  after: string | null;
  start: StartQuery;
  comments?: StartCommentsQuery;
}

// They may be some seconds old, or much older where the browser goes back to a page that it has kept. What is missing
// comes when the subscriptions stand, as after an interruption.
const handed = takeHanded();

/** What came, once; `undefined` when it could not be had. Then each part is asked for by itself. */
export const started: Promise<StartQuery | undefined> = handed
  ? Promise.resolve(handed.start)
  : ask<StartQuery>('Start', { posts: firstPosts(), after: postsBegin ?? null, ...shown });
/** The comments of the post that is shown, in the first order. */
export const startedComments: Promise<StartCommentsQuery | undefined> = startComments();

async function startComments(): Promise<StartCommentsQuery | undefined> {
  if (!shown.showsChosen && !shown.showsNewest) return undefined;
  // Another order is asked for by the page itself.
  if (orderOfNow() !== 'NEWEST_FIRST') return undefined;
  const variables = { comments: firstComments(), after: commentsBegin ?? null, ...shown };
  return handed?.comments ?? ask<StartCommentsQuery>('StartComments', variables);
}

/** Nothing where the page shows more than the first page of each list, another part of one, or another post. */
function takeHanded(): Handed | undefined {
  const root = document.getElementById('root');
  const json = root?.dataset.start;
  root?.removeAttribute('data-start');
  const isEnough = firstPosts() === POSTS_PAGE && firstComments() === COMMENTS_PAGE && !shown.showsNewest;
  if (json === undefined || !isEnough) return undefined;
  try {
    const read = JSON.parse(json) as Handed;
    const begin = chosenAtStart === undefined ? postsBegin : commentsBegin;
    const isSamePart = read.after === (begin ?? null);
    return isSamePart && read.start.chosen?.id === chosenAtStart ? read : undefined;
  } catch {
    return undefined;
  }
}

async function ask<Data>(
  operationName: string,
  variables: Record<string, unknown>,
): Promise<Data | undefined> {
  try {
    const response = await fetchSigned(GRAPHQL_PATH, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'application/graphql-response+json, application/json',
      },
      body: JSON.stringify({ query, operationName, variables }),
      signal: AbortSignal.timeout(ANSWERED_WITHIN_MS),
    });
    const { data, errors } = (await response.json()) as { data?: Data | null; errors?: unknown };
    return errors === undefined ? (data ?? undefined) : undefined;
  } catch {
    return undefined;
  }
}

/** The post that was asked for beside the list: the chosen one, which may not be there, or the newest. */
export function openPostOf<Post>(answer: {
  chosen?: Post | null;
  newest?: { edges: { node: Post }[] };
}): Post | null | undefined {
  return answer.chosen ?? answer.newest?.edges[0]?.node;
}
