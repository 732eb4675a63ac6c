// Comments on their way to the server: they stand in the list at once, and are sent one after the other, in the order
// in which they were written.
//
// What fails for a passing reason is tried again, always with the same key, so that a comment whose answer got lost is
// not doubled. What cannot succeed goes back to the field. All of it is kept in this browser until it is sent or
// discarded: a reload goes on where the page was.

import { currentSession, onSession, PersonChanged, type Session } from '../signIn/session';
import { orderOfNow } from './commentOrder';
import { dropDraft, keepDraft, type OutgoingDraft, outgoingDrafts } from './drafts';
import { client, connection } from './graph/client';
import { retryDelay } from './graph/connection';
import { type CommentPartsFragment, CreateCommentDocument, PostCommentsDocument } from './graph/generated';
import { insertComment } from './graph/lists';
import { COMMENTS_PAGE } from './graph/pageSizes';
import { newIdempotencyKey } from './idempotencyKey';
import { type Mark, newestOf } from './seen';
import { hasCode, mayPass, retryAfterMs } from './words';

/** What a person can have on its way at once. */
const ENTRIES_MAX = 20;
/** A comment is tried for so long; then a person decides. The time without a network does not count. */
const TRIED_FOR_MS = 2 * 60_000;
/** After a reload, older ones do not go out by themselves: their writer may have thought better of it. */
const RESUMED_WITHIN_MS = 10 * 60_000;
/** What was never sent, of somebody who did not come back, is thrown away after this. */
const KEPT_FOR_MS = 30 * 24 * 60 * 60_000;

/**
 * `queued`: others are before it, or it is being sent. `waiting`: a try failed, and the next one comes by itself.
 * `offline`: the device has no network; it goes out when that is back. `failed`: a person decides.
 */
export type State = 'queued' | 'waiting' | 'offline' | 'failed';

export interface Outgoing extends OutgoingDraft {
  /** The idempotency key of every try. */
  key: string;
  state: State;
  /** Why the last try failed. */
  error: unknown;
}

/** Takes what comes of a post's comments; see `attend`. */
export interface Attendant {
  /** The text is taken back to where it was written: tells whether there was room. */
  takeBack: (entry: Outgoing) => boolean;
  /** A comment waits for a moderator. */
  held: () => void;
  /** A comment is sent, and not in the part of the list that is loaded. */
  elsewhere: (commentId: string) => void;
}

/** It was not sent before the page was closed. */
export class LeftBehind extends Error {}

let entries: readonly Outgoing[] = [];
/** When each was last wanted to be sent, and how often that was tried since. */
const tries = new Map<string, { wantedAt: number; count: number }>();
const listeners = new Set<() => void>();
const attendants = new Map<string, Attendant>();
/** The ids of the comments that were sent from here. */
const sent = new Set<string>();
/** What was taken back to the field: sent again unchanged, it keeps its key. */
let takenBack: Outgoing | undefined;
let isSending = false;
/** The first in line waits for its next try, and the others with it. */
let pause: { key: string; timer: ReturnType<typeof setTimeout> } | undefined;

/** All that is on its way; another array at each change. */
export function outgoing(): readonly Outgoing[] {
  return entries;
}

/** Calls `listener` at each change, until the returned function is called. */
export function onOutgoing(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Hears of what comes of a post's comments, until the returned function is called. */
export function attend(postId: string, attendant: Attendant): () => void {
  attendants.set(postId, attendant);
  return () => {
    if (attendants.get(postId) === attendant) attendants.delete(postId);
  };
}

/** Whether a comment was sent from this page. */
export function wasSentHere(commentId: string): boolean {
  return sent.has(commentId);
}

/** Sends a comment, or a reply to one. False where too many are on their way. */
export function send(postId: string, text: string, author: string | null, parentId?: string): boolean {
  if (entries.length >= ENTRIES_MAX) return false;
  const session = currentSession();
  const draft: OutgoingDraft = {
    postId,
    ...(parentId !== undefined && { parentId }),
    text,
    author,
    shownAs: session?.name ?? author ?? 'Anonymous',
    person: nameOf(session),
    after: newestOn(postId),
    at: Date.now(),
  };
  const isSame =
    takenBack?.postId === postId &&
    takenBack.parentId === parentId &&
    takenBack.text === text &&
    takenBack.shownAs === draft.shownAs;
  const key = isSame && takenBack ? takenBack.key : newIdempotencyKey();
  takenBack = undefined;
  keepDraft(`outgoing.${key}`, draft);
  want(key);
  set([...entries, { ...draft, key, state: 'queued', error: undefined }]);
  sendNext();
  return true;
}

/** Tries what failed again. */
export function sendAgain(key: string): void {
  want(key);
  change(key, { state: 'queued', error: undefined });
  if (pause?.key === key) endPause();
  sendNext();
}

/** Takes an entry's text for another place. */
export function takeOut(entry: Outgoing): void {
  // A key that is in conflict with another comment would be again.
  takenBack = hasCode(entry.error, 'CONFLICT') ? undefined : entry;
  discard(entry.key);
}

export function discard(key: string): void {
  dropDraft(`outgoing.${key}`);
  forget((entry) => entry.key === key);
}

/** Forgets what was on its way to a post that is gone; its texts were dropped with the drafts. */
export function forgetPost(postId: string): void {
  forget((entry) => entry.postId === postId);
}

/** Whether the reader of now wrote it. */
export function isOfNow(entry: Outgoing): boolean {
  return entry.person === nameOf(currentSession());
}

function sendNext(): void {
  if (isSending) return;
  const next = entries.find(({ state }) => state !== 'failed');
  if (!next || pause?.key === next.key) return;
  endPause();
  if (!isOfNow(next)) {
    fail(next, new PersonChanged());
    return sendNext();
  }
  if (isOffline()) return waitForNetwork();
  isSending = true;
  change(next.key, { state: 'queued' });
  void attempt(next)
    .catch((error: unknown) => failed(next.key, error))
    .finally(() => {
      isSending = false;
      sendNext();
    });
}

async function attempt({ key, postId, parentId, text, author }: Outgoing): Promise<void> {
  const input = { postId, ...(parentId !== undefined && { parentId }), text, author, idempotencyKey: key };
  const { data } = await client.mutate({ mutation: CreateCommentDocument, variables: { input } });
  if (!data) throw new Error('the answer has no data');
  const { id, status } = data.createComment.comment;
  sent.add(id);
  // It may have been discarded meanwhile, and is there all the same.
  if (status === 'VISIBLE' && !insertComment(postId, id) && !isListed(postId, id))
    attendants.get(postId)?.elsewhere(id);
  if (status === 'HELD') attendants.get(postId)?.held();
  discard(key);
}

function failed(key: string, error: unknown): void {
  const entry = entries.find((each) => each.key === key);
  if (!entry) return;
  if (!passes(error)) return fail(entry, error);
  change(key, { error });
  if (isOffline()) return waitForNetwork();
  const count = (tries.get(key)?.count ?? 0) + 1;
  const wantedAt = tries.get(key)?.wantedAt ?? 0;
  const wait = Math.max(retryDelay(count - 1), retryAfterMs(error));
  if (Date.now() + wait - wantedAt > TRIED_FOR_MS) return fail(entry, error);
  tries.set(key, { wantedAt, count });
  change(key, { state: 'waiting' });
  pause = { key, timer: setTimeout(wake, wait) };
}

/** The server asks the writer of too many comments to stop, not to wait in line. */
function passes(error: unknown): boolean {
  return mayPass(error) && !(error instanceof PersonChanged) && !hasCode(error, 'TOO_MANY_COMMENTS');
}

function fail(entry: Outgoing, error: unknown): void {
  const stopped: Outgoing = { ...entry, state: 'failed', error };
  // A reply waits below its parent, where its form was.
  const isReply = entry.parentId !== undefined;
  if (!passes(error) && !isReply && attendants.get(entry.postId)?.takeBack(stopped)) takeOut(stopped);
  else change(entry.key, stopped);
}

/** A device without a network may still reach a server of its own. */
function isOffline(): boolean {
  return !navigator.onLine && !connection.isOpen;
}

function waitForNetwork(): void {
  for (const { key, state } of entries) if (state !== 'failed') change(key, { state: 'offline' });
}

/** The network is back, or something that was waited for: the next try is made at once. */
function wake(): void {
  if (isOffline()) return;
  endPause();
  for (const { key, state } of entries) {
    if (state !== 'offline') continue;
    want(key);
    change(key, { state: 'queued' });
  }
  sendNext();
}

function endPause(): void {
  clearTimeout(pause?.timer);
  pause = undefined;
}

function want(key: string): void {
  tries.set(key, { wantedAt: Date.now(), count: 0 });
}

function change(key: string, changed: Partial<Outgoing>): void {
  set(entries.map((entry) => (entry.key === key ? { ...entry, ...changed } : entry)));
}

function forget(isForgotten: (entry: Outgoing) => boolean): void {
  const kept = entries.filter((entry) => !isForgotten(entry));
  if (kept.length === entries.length) return;
  for (const { key } of entries.filter(isForgotten)) tries.delete(key);
  set(kept);
  // What the others waited for may be gone.
  sendNext();
}

function set(changed: readonly Outgoing[]): void {
  entries = changed;
  listeners.forEach((listener) => listener());
}

/** The newest comment of a post that the page knows. */
function newestOn(postId: string): Mark {
  return newestOf(listOf(postId));
}

function isListed(postId: string, commentId: string): boolean {
  return listOf(postId).some(({ id }) => id === commentId);
}

/** A post's comments, as far as they are loaded. */
function listOf(postId: string): CommentPartsFragment[] {
  const variables = { id: postId, first: COMMENTS_PAGE, orderBy: orderOfNow() };
  const edges = client.readQuery({ query: PostCommentsDocument, variables })?.post?.comments.edges ?? [];
  return edges.map(({ node }) => node as CommentPartsFragment);
}

/** A person, as far as it matters who sends. */
function nameOf(session: Session | undefined): string {
  return session ? JSON.stringify([session.name, session.ids]) : '';
}

function start(): void {
  const isMine = ({ person }: OutgoingDraft) => person === nameOf(currentSession());
  const drafts = outgoingDrafts();
  for (const [key, draft] of drafts)
    if (!isMine(draft) && Date.now() - draft.at > KEPT_FOR_MS) dropDraft(`outgoing.${key}`);
  entries = drafts
    .filter(([, draft]) => isMine(draft))
    .slice(0, ENTRIES_MAX)
    .map(([key, draft]) => {
      const isOld = Date.now() - draft.at > RESUMED_WITHIN_MS;
      want(key);
      return isOld
        ? { ...draft, key, state: 'failed', error: new LeftBehind() }
        : { ...draft, key, state: 'queued', error: undefined };
    });
  addEventListener('online', wake);
  connection.onOpen(() => entries.some(({ state }) => state === 'offline') && wake());
  addEventListener('offline', () => {
    if (!isSending) sendNext();
  });
  // Another tab has sent it, or its writer has discarded it there.
  addEventListener('storage', ({ key, newValue }) => {
    if (newValue === null) forget((entry) => key?.endsWith(`.outgoing.${entry.key}`) ?? false);
  });
  onSession((change) => {
    if (change !== 'person') return;
    for (const entry of entries)
      if (!isOfNow(entry) && (entry.state === 'waiting' || entry.state === 'offline'))
        fail(entry, new PersonChanged());
    sendNext();
  });
  sendNext();
}

start();
