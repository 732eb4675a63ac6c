// Up to which comment of each post the reader has seen them, kept in this browser.

const KEY = 'rejoinder.seen';
/** The posts that were read last. */
const POSTS_MAX = 200;

/** A comment's place in time. */
export interface Mark {
  createdAt: string;
  id: string;
}

/** Before the first comment. */
export const NOTHING: Mark = { createdAt: '', id: '' };

export function isAfter(one: Mark, other: Mark): boolean {
  return one.createdAt === other.createdAt ? one.id > other.id : one.createdAt > other.createdAt;
}

/** The newest of some comments. */
export function newestOf(comments: readonly Mark[]): Mark {
  return comments.reduce((newest, each) => (isAfter(each, newest) ? each : newest), NOTHING);
}

/** Undefined for a post that was not read here before. */
export function readSeen(postId: string): Mark | undefined {
  const found = read().find(([id]) => id === postId);
  return found && { createdAt: found[1], id: found[2] };
}

export function keepSeen(postId: string, { createdAt, id }: Mark): void {
  const before = read();
  const known = before.find(([post]) => post === postId);
  // Another tab may have seen more.
  if (known && !isAfter({ createdAt, id }, { createdAt: known[1], id: known[2] })) return;
  const others = before.filter(([post]) => post !== postId);
  try {
    localStorage.setItem(KEY, JSON.stringify([...others, [postId, createdAt, id]].slice(-POSTS_MAX)));
  } catch {
    // A browser that keeps nothing for pages: what is new is known until the page is left.
  }
}

type Entry = [postId: string, createdAt: string, id: string];

function read(): Entry[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEY) ?? '[]');
    return Array.isArray(kept) ? kept.filter(isEntry) : [];
  } catch {
    return [];
  }
}

function isEntry(value: unknown): value is Entry {
  return Array.isArray(value) && value.length === 3 && value.every((part) => typeof part === 'string');
}
