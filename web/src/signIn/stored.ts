// Who is signed in, as this tab remembers it. Each tab is a person of its own: two windows show two of them side by
// side. A reload keeps the session, and so does the way to the other pages.

export interface Session {
  /** As the token says it: others read it. */
  name: string;
  /** As it was typed: the service is asked for another token with it. */
  typed: string;
  /** As which servers know this person: by the token's subject, alone or after its issuer and a blank. */
  ids: readonly string[];
  moderator: boolean;
  token: string;
  /** By this device's clock, in milliseconds since 1970. */
  expiresAt: number;
  /** From the token's arrival to its end. */
  lifetimeMs: number;
}

/** Whether two sessions are of the same person, with the same rights. */
export function isSamePerson(one: Session | undefined, other: Session | undefined): boolean {
  if (!one || !other) return one === other;
  const texts = ({ name, ids, moderator }: Session) => JSON.stringify([name, ids, moderator]);
  return texts(one) === texts(other);
}

const KEY = 'rejoinder.session';

// A browser that keeps nothing for pages throws: then the session ends with the page.
export function storedSession(): Session | undefined {
  try {
    const stored: unknown = JSON.parse(sessionStorage.getItem(KEY) ?? 'null');
    return isSession(stored) ? stored : undefined;
  } catch {
    return undefined;
  }
}

export function storeSession(session: Session | undefined): void {
  try {
    if (session) sessionStorage.setItem(KEY, JSON.stringify(session));
    else sessionStorage.removeItem(KEY);
  } catch {
    // See above.
  }
}

function isSession(value: unknown): value is Session {
  const { name, typed, ids, moderator, token, expiresAt, lifetimeMs } = (value ?? {}) as Partial<Session>;
  return (
    typeof name === 'string' &&
    typeof typed === 'string' &&
    Array.isArray(ids) &&
    typeof moderator === 'boolean' &&
    typeof token === 'string' &&
    typeof expiresAt === 'number' &&
    typeof lifetimeMs === 'number'
  );
}
