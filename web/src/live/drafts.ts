// What was written and not sent yet, kept in this browser: it outlives Escape, another post, a reload and the
// browser itself. One draft for each place where one can write.

import type { Mark } from './seen';

const PREFIX = 'rejoinder.draft.';
const OUTGOING = 'outgoing.';
/** The oldest make room for new ones. */
const DRAFTS_MAX = 50;

export interface CommentDraft {
  text: string;
}

/** An edit, with what it began from. */
export interface EditDraft {
  text: string;
  postId: string;
  base: { text: string; updatedAt: string };
}

/** A reply to a comment. */
export interface ReplyDraft {
  text: string;
  postId: string;
}

export interface PostDraft {
  title: string;
  content: string;
  /** Of a post that is there already. */
  base?: { title: string; content: string; updatedAt: string };
}

/** A comment that is being sent. */
export interface OutgoingDraft {
  postId: string;
  /** The comment that it replies to. */
  parentId?: string;
  text: string;
  /** The name of a guest. */
  author: string | null;
  /** The name that the comment will carry. */
  shownAs: string;
  /** Who sends it: nobody else may. */
  person: string;
  /** The newest comment that was there before it. */
  after: Mark;
  /** In milliseconds since 1970. */
  at: number;
}

interface Drafts {
  [comment: `comment.${string}`]: CommentDraft;
  [edit: `edit.${string}`]: EditDraft;
  [reply: `reply.${string}`]: ReplyDraft;
  [post: `post.${string}`]: PostDraft;
  [outgoing: `outgoing.${string}`]: OutgoingDraft;
}

export type DraftKey = keyof Drafts & string;
export type DraftOf<Key extends DraftKey> = Drafts[Key];

interface Kept {
  at: number;
  draft: unknown;
}

/** For a browser that keeps nothing for pages: as long as the page is open, and it asks before that ends. */
const unkept = new Map<string, unknown>();
addEventListener('beforeunload', (event) => {
  if (unkept.size > 0) event.preventDefault();
});

export function readDraft<Key extends DraftKey>(key: Key): DraftOf<Key> | undefined {
  const kept = read(PREFIX + key)?.draft ?? unkept.get(key);
  return kept as DraftOf<Key> | undefined;
}

export function keepDraft<Key extends DraftKey>(key: Key, draft: DraftOf<Key>): void {
  unkept.delete(key);
  try {
    const isNew = localStorage.getItem(PREFIX + key) === null;
    localStorage.setItem(PREFIX + key, JSON.stringify({ at: Date.now(), draft } satisfies Kept));
    if (isNew) dropOldest();
  } catch {
    unkept.set(key, draft);
  }
}

export function dropDraft(key: DraftKey): void {
  unkept.delete(key);
  try {
    localStorage.removeItem(PREFIX + key);
  } catch {
    // Then it was never there.
  }
}

/** The comments that were being sent, by their keys, in the order in which they were written. */
export function outgoingDrafts(): [key: string, draft: OutgoingDraft][] {
  return keys()
    .filter((key): key is `outgoing.${string}` => key.startsWith(OUTGOING))
    .map((key): [string, OutgoingDraft | undefined] => [key.slice(OUTGOING.length), readDraft(key)])
    .filter((entry): entry is [string, OutgoingDraft] => typeof entry[1]?.text === 'string')
    .sort(([, one], [, other]) => one.at - other.at);
}

/**
 * Every text that was written about a post and not sent: of a new comment, of edits and replies, and of the post itself.
 */
export function textsAbout(postId: string): string[] {
  const post = readDraft(`post.${postId}`);
  const edits = keys()
    .filter(isAboutComment)
    .map((key) => readDraft(key))
    .filter((draft) => draft?.postId === postId);
  const sent = outgoingDrafts().filter(([, draft]) => draft.postId === postId);
  const texts = [
    readDraft(`comment.${postId}`)?.text,
    ...sent.map(([, draft]) => draft.text),
    ...edits.map((draft) => draft?.text),
    post?.content,
  ];
  return texts.filter((text): text is string => text !== undefined && text.trim() !== '');
}

/** Drops all that was written about a post. */
export function dropDraftsAbout(postId: string): void {
  dropDraft(`comment.${postId}`);
  dropDraft(`post.${postId}`);
  for (const [key, draft] of outgoingDrafts()) if (draft.postId === postId) dropDraft(`outgoing.${key}`);
  for (const key of keys()) {
    if (isAboutComment(key) && readDraft(key)?.postId === postId) dropDraft(key);
  }
}

/** An edit of a comment, or a reply to one. */
function isAboutComment(key: string): key is `edit.${string}` | `reply.${string}` {
  return key.startsWith('edit.') || key.startsWith('reply.');
}

function dropOldest(): void {
  // What is being sent goes by itself, or when its writer says so.
  const all = keys().filter((key) => !key.startsWith(OUTGOING));
  if (all.length <= DRAFTS_MAX) return;
  const at = (key: string) => read(PREFIX + key)?.at ?? 0;
  all
    .sort((one, other) => at(one) - at(other))
    .slice(0, all.length - DRAFTS_MAX)
    .forEach((key) => localStorage.removeItem(PREFIX + key));
}

function keys(): string[] {
  try {
    const kept = Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));
    return [...kept.map((key) => key.slice(PREFIX.length)), ...unkept.keys()];
  } catch {
    return [...unkept.keys()];
  }
}

function read(name: string): Kept | undefined {
  try {
    const kept = JSON.parse(localStorage.getItem(name) ?? 'null') as Kept | null;
    return typeof kept === 'object' ? (kept ?? undefined) : undefined;
  } catch {
    return undefined;
  }
}
