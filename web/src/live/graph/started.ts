// The page's first questions, sent while its code is still on the way, or answered in the page itself. Nothing large is
// imported here: this module is the first to run.

import { fetchSigned } from '../../signIn/session';
import { orderOfNow } from '../commentOrder';
import { commentsAfter, postsAfter } from '../part';
import { placeOfNow } from '../place';
import { readsOn, routeOf } from '../route';
import { isWide } from '../wide';
import { isCut } from './cut';
import type { StartCommentsQuery, StartPostQuery, StartQuery } from './generated';
import {
  COMMENTS_PAGE,
  firstComments,
  firstListBytes,
  firstPosts,
  firstTextBytes,
  POSTS_PAGE,
} from './pageSizes';
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

/** Beside the newest posts there is room for one of them. */
const showsNewest = route.at === 'list' && postsBegin === undefined && isWide();

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

/** The newest post, where the page service has rendered the list, and the post is shown beside it. */
const newestHanded = showsNewest ? handed?.start.posts.edges[0]?.node.id : undefined;
const shownId = chosenAtStart ?? newestHanded;
const shown = {
  id: shownId ?? '',
  showsChosen: shownId !== undefined,
  showsNewest: showsNewest && handed === undefined,
};

/** What came, once; `undefined` when it could not be had. Then each part is asked for by itself. */
export const started: Promise<StartQuery | undefined> = start();
/** The comments of the post that is shown, in the first order. */
export const startedComments: Promise<StartCommentsQuery | undefined> = startComments();

async function start(): Promise<StartQuery | undefined> {
  const textBytes = readsOn() ? null : firstTextBytes(chosenAtStart !== undefined);
  if (!handed) {
    const list = { posts: firstPosts(), listBytes: firstListBytes(), after: postsBegin ?? null };
    return ask<StartQuery>('Start', { ...list, textBytes, ...shown });
  }
  if (newestHanded === undefined) return handed.start;
  const newest = await ask<StartPostQuery>('StartPost', { id: newestHanded, textBytes });
  return { ...handed.start, ...newest };
}

async function startComments(): Promise<StartCommentsQuery | undefined> {
  if (!shown.showsChosen && !shown.showsNewest) return undefined;
  // Another order is asked for by the page itself.
  if (orderOfNow() !== 'NEWEST_FIRST') return undefined;
  const variables = {
    comments: firstComments(),
    commentBytes: firstTextBytes(chosenAtStart !== undefined),
    after: commentsBegin ?? null,
    ...shown,
  };
  return handed?.comments ?? ask<StartCommentsQuery>('StartComments', variables);
}

/** Nothing where the page shows more than the first page of each list, another part of one, or another post. */
function takeHanded(): Handed | undefined {
  const root = document.getElementById('root');
  const json = root?.dataset.start;
  root?.removeAttribute('data-start');
  const isEnough = firstPosts() === POSTS_PAGE && firstComments() === COMMENTS_PAGE;
  if (json === undefined || !isEnough) return undefined;
  try {
    const read = JSON.parse(json) as Handed;
    const begin = chosenAtStart === undefined ? postsBegin : commentsBegin;
    const isSamePart = read.after === (begin ?? null);
    const isSame = isSamePart && read.start.chosen?.id === chosenAtStart;
    return isSame && !lacksSome(read) ? read : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a reader who comes back had more than this, which ends for its length. */
function lacksSome({ start: { posts, chosen }, comments }: Handed): boolean {
  const place = placeOfNow();
  const lacks = (list: List | undefined, had: number) =>
    list?.pageInfo.hasNextPage === true && list.edges.length < had;
  return (
    place !== undefined &&
    (lacks(posts, place.posts) ||
      lacks(comments?.chosen?.comments, place.comments) ||
      (place.isWhole === true && chosen != null && isCut(chosen)))
  );
}

interface List {
  edges: unknown[];
  pageInfo: { hasNextPage: boolean };
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
