// Errors in words for the reader, and whether trying again can help.

import { CombinedGraphQLErrors, ServerError } from '@apollo/client';

import { PersonChanged } from '../signIn/session';

const BUSY = 'The server has too much to do right now.';
const TROUBLE = 'The server has a problem right now.';
const SILENT = 'A part of the server does not answer.';
const TOO_LARGE = 'The server finds this too large.';

/** What the reader can do about it is said beside; a code that is not here is trouble of the server's own. */
const BY_CODE: Record<string, string> = {
  BAD_USER_INPUT: 'The server did not accept this text.',
  CONFLICT: 'Somebody else changed this at the same time.',
  CSRF_REFUSED: 'The server does not accept requests from this page.',
  FORBIDDEN: 'You are not allowed to do this.',
  NOT_FOUND: 'This is not here any more.',
  OVERLOADED: BUSY,
  RATE_LIMITED: 'You are quicker than the server allows. Wait a moment.',
  REQUEST_TIMEOUT: 'The server takes too long to answer.',
  SEARCH_UNAVAILABLE: 'The server is still getting ready to search.',
  SUBGRAPH_OVERLOADED: BUSY,
  SUBGRAPH_UNAVAILABLE: SILENT,
  SUBREQUEST_HTTP_ERROR: SILENT,
  SUBREQUEST_TIMEOUT: SILENT,
  UNAUTHENTICATED: 'You have to sign in to do this.',
};

const TOO_MANY_REPLIES = 'TOO_MANY_REPLIES';

/** Why something is forbidden, or cannot be had. */
const BY_REASON: Record<string, string> = {
  AUTHOR_BLOCKED: 'A moderator has blocked you: you can only delete what you wrote.',
  COMMENT_HIDDEN: 'A moderator has hidden this comment.',
  [TOO_MANY_REPLIES]: 'There are too many replies to count. Sort by “Newest” or “Oldest”.',
};

/** The same request fails again, however often it is sent. */
const FINAL = new Set([
  'BAD_REQUEST',
  'BAD_USER_INPUT',
  'CONFLICT',
  'CSRF_REFUSED',
  'FORBIDDEN',
  'GRAPHQL_PARSE_FAILED',
  'GRAPHQL_VALIDATION_FAILED',
  'NOT_FOUND',
  'UNAUTHENTICATED',
]);

export function wordsFor(error: unknown): string {
  if (!navigator.onLine) return 'Your device is offline.';
  if (error instanceof PersonChanged) return 'You are signed out, or somebody else by now. Nothing was sent.';
  if (CombinedGraphQLErrors.is(error)) {
    const code = codeOf(error) ?? '';
    if (code === 'TOO_MANY_COMMENTS')
      return `You have written a lot in a short time. Try again ${laterFor(error)}.`;
    return BY_REASON[reasonOf(error)] ?? BY_CODE[code] ?? (code.startsWith('MAX_') ? TOO_LARGE : TROUBLE);
  }
  if (ServerError.is(error)) {
    if (error.statusCode === 413) return TOO_LARGE;
    return error.statusCode === 429 || error.statusCode === 503 ? BUSY : TROUBLE;
  }
  if (error instanceof DOMException && error.name === 'TimeoutError')
    return 'The server takes too long to answer.';
  return 'The server cannot be reached.';
}

/** How long the server asks to wait before the next try, in milliseconds; 0 where it does not say. */
export function retryAfterMs(error: unknown): number {
  const seconds = CombinedGraphQLErrors.is(error)
    ? error.errors[0]?.extensions?.retryAfter
    : ServerError.is(error) && error.response.headers.get('retry-after');
  return Math.max(0, Number(seconds) || 0) * 1_000;
}

/** Whether the page tries again by itself; what costs the server too much is left to the reader. */
export function isTriedAgain(error: unknown): boolean {
  const isCostly = CombinedGraphQLErrors.is(error) && reasonOf(error) === TOO_MANY_REPLIES;
  return mayPass(error) && !isCostly;
}

/** Whether the same request may succeed later. */
export function mayPass(error: unknown): boolean {
  if (CombinedGraphQLErrors.is(error)) {
    const code = codeOf(error) ?? '';
    return !FINAL.has(code) && !code.startsWith('MAX_');
  }
  if (ServerError.is(error)) return error.statusCode >= 500 || [408, 425, 429].includes(error.statusCode);
  return true;
}

export function hasCode(error: unknown, code: string): boolean {
  return CombinedGraphQLErrors.is(error) && error.errors.some((each) => each.extensions?.code === code);
}

/** When to try again, in words. */
function laterFor(error: unknown): string {
  const seconds = Math.ceil(retryAfterMs(error) / 1_000);
  if (seconds === 0) return 'later';
  const [count, unit] = seconds < 100 ? [seconds, 'second'] : [Math.ceil(seconds / 60), 'minute'];
  return `in ${count} ${unit}${count === 1 ? '' : 's'}`;
}

function reasonOf(error: CombinedGraphQLErrors): string {
  return String(error.errors[0]?.extensions?.reason ?? '');
}

function codeOf(error: CombinedGraphQLErrors): string | undefined {
  const code = error.errors[0]?.extensions?.code;
  return typeof code === 'string' ? code : undefined;
}
