// The session of this tab: signing in and out, and a token that is renewed before it ends.
//
// The gateway says at /sign-in.json which service gives tokens, if there is one. The page sends it a name and gets a
// token, and asks again with the same name before that token ends.

import { isSamePerson, type Session, storedSession, storeSession } from './stored';

export type { Session } from './stored';

const TOLD_AT = '/sign-in.json';
const ANSWERED_WITHIN_MS = 10_000;
/** A token is renewed so long before its end, or in the last third of a short one. */
const RENEWED_BEFORE_MS = 60_000;
/** A token with less time is not sent: it may end on its way. */
const SENT_BEFORE_MS = 250;
const RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 30_000;
/** Browsers take no longer times for a timer. */
const LONGEST_TIMER_MS = 24 * 60 * 60 * 1_000;

/** What changed: who is signed in, or the same person's token. */
export type SessionChange = 'person' | 'token';

/** The service did not give a token; the message is for the reader. */
export class SignInError extends Error {
  constructor(
    message: string,
    /** The same request fails again. */
    readonly isFinal: boolean,
  ) {
    super(message);
  }
}

/** Whoever began it is not the one who is signed in now: it was not sent. */
export class PersonChanged extends Error {}

let current = storedSession();
/** The server did not accept the token, though it has not ended by this device's clock. */
let isRefused = false;
let service: Promise<string | undefined> | undefined;
/** Whether there is a service; undefined until that is known. */
let isOffered: boolean | undefined;
let renewing: Promise<void> | undefined;
let failures = 0;
let timer: ReturnType<typeof setTimeout> | undefined;
const listeners = new Set<(change: SessionChange) => void>();
const offerListeners = new Set<() => void>();

export function currentSession(): Session | undefined {
  return current;
}

/** Calls `listener` at each change, until the function that it returns is called. */
export function onSession(listener: (change: SessionChange) => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** The address of the service that gives tokens; none where nobody can sign in. */
export function tokenService(): Promise<string | undefined> {
  service ??= askForService()
    .catch(() => {
      // Asked again when it is needed.
      service = undefined;
      return undefined;
    })
    .then((url) => {
      isOffered = url !== undefined;
      offerListeners.forEach((listener) => listener());
      return url;
    });
  return service;
}

/** Whether people can sign in here; undefined until that is known. */
export function signInIsOffered(): boolean | undefined {
  return isOffered;
}

/** Asks whether people can sign in, and calls `listener` when that is known, until the function that it returns is called. */
export function onSignInOffer(listener: () => void): () => void {
  offerListeners.add(listener);
  if (isOffered === undefined) void tokenService();
  return () => offerListeners.delete(listener);
}

export async function signIn(name: string, moderator: boolean): Promise<void> {
  enter(await askForToken(name, moderator));
}

export function signOut(): void {
  enter(undefined);
}

/**
 * The token to send for this person, a new one where the known one ends. If none can be had, the known one: its refusal
 * is tried again. Fails with `PersonChanged` once somebody else is signed in, or nobody.
 */
export async function sessionToken(person = current): Promise<string | undefined> {
  if (person && isSamePerson(person, current) && !isUsable()) await renew();
  if (!isSamePerson(person, current)) throw new PersonChanged();
  return current?.token;
}

/** The server refuses this token: the next one that is sent will be new. */
export function noteRefusal(token: string | undefined): void {
  if (token !== undefined && token === current?.token) isRefused = true;
}

/**
 * `fetch` with the token of the session. A request that is refused for its token was not executed: it is sent again. What
 * one person has begun is never sent as another, nor as nobody.
 */
export async function fetchSigned(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  // Without a pause where there is a token: a request at the page's end has no time for one.
  const person = current;
  const token = person && isUsable() ? person.token : await sessionToken(person);
  const response = await fetch(input, withToken(init, token));
  if (response.status !== 401 || token === undefined) return response;
  noteRefusal(token);
  const renewed = await sessionToken(person).catch(() => undefined);
  return renewed !== undefined && renewed !== token ? fetch(input, withToken(init, renewed)) : response;
}

function withToken(init: RequestInit | undefined, token: string | undefined): RequestInit | undefined {
  if (token === undefined) return init;
  const headers = new Headers(init?.headers);
  headers.set('authorization', `Bearer ${token}`);
  return { ...init, headers };
}

function isUsable(): boolean {
  return current !== undefined && !isRefused && current.expiresAt - Date.now() > SENT_BEFORE_MS;
}

/** Gets a new token for the same person; all who need it wait for the same one. */
function renew(): Promise<void> {
  renewing ??= askAgain().finally(() => {
    renewing = undefined;
    schedule();
  });
  return renewing;
}

async function askAgain(): Promise<void> {
  const person = current;
  if (!person) return;
  try {
    const renewed = await askForToken(person.typed, person.moderator);
    if (current === person) enter(renewed);
  } catch (error) {
    failures++;
    // Nobody by this name may sign in any more.
    if (current === person && error instanceof SignInError && error.isFinal) enter(undefined);
  }
}

function enter(session: Session | undefined): void {
  const isSame = isSamePerson(session, current);
  current = session;
  isRefused = false;
  failures = 0;
  storeSession(session);
  schedule();
  listeners.forEach((listener) => listener(isSame ? 'token' : 'person'));
}

function schedule(): void {
  clearTimeout(timer);
  if (!current) return;
  const { expiresAt, lifetimeMs } = current;
  const due = expiresAt - Math.min(RENEWED_BEFORE_MS, lifetimeMs / 3) - Date.now();
  const pause = failures > 0 ? Math.min(LONGEST_RETRY_MS, RETRY_MS * 2 ** (failures - 1)) : 0;
  const wait = Math.max(due, pause);
  timer = setTimeout(
    () => (wait > LONGEST_TIMER_MS ? schedule() : void renew()),
    Math.min(wait, LONGEST_TIMER_MS),
  );
}

async function askForService(): Promise<string | undefined> {
  const response = await fetch(TOLD_AT, {
    headers: { accept: 'application/json' },
    signal: AbortSignal.timeout(ANSWERED_WITHIN_MS),
  });
  if (response.status >= 500) throw new Error(`${TOLD_AT}: ${response.status}`);
  // A server that knows nothing of it may answer with a page.
  if (!response.ok || !/json/.test(response.headers.get('content-type') ?? '')) return undefined;
  const { tokenUrl } = (await response.json()) as { tokenUrl?: unknown };
  return typeof tokenUrl === 'string' ? tokenUrl : undefined;
}

interface TokenAnswer {
  access_token?: unknown;
  expires_in?: unknown;
  error_description?: unknown;
}

async function askForToken(name: string, moderator: boolean): Promise<Session> {
  const url = await tokenService();
  if (url === undefined) throw new SignInError('Nobody can sign in here.', service !== undefined);
  let status: number;
  let answer: TokenAnswer;
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json' },
      body: JSON.stringify({ name, moderator }),
      signal: AbortSignal.timeout(ANSWERED_WITHIN_MS),
    });
    status = response.status;
    answer = ((await response.json()) ?? {}) as TokenAnswer;
  } catch {
    throw new SignInError('The sign-in service does not answer.', false);
  }
  const { access_token: token, expires_in: seconds, error_description: reason } = answer;
  if (status !== 200 || typeof token !== 'string' || typeof seconds !== 'number' || !(seconds > 0)) {
    const isFinal = status >= 400 && status < 500 && ![408, 425, 429].includes(status);
    const words = typeof reason === 'string' ? ` ${reason}.` : '';
    throw new SignInError(`The sign-in service gave no token.${words}`, isFinal);
  }
  const lifetimeMs = seconds * 1_000;
  const expiresAt = Date.now() + lifetimeMs;
  return { name, typed: name, ids: [], ...personIn(token), moderator, token, expiresAt, lifetimeMs };
}

/** Who a token names: its name is the one that others will read. */
function personIn(token: string): { name?: string; ids?: string[] } {
  try {
    const part = (token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/');
    const bytes = Uint8Array.from(atob(part), (character) => character.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    const { iss, sub, name } = claims;
    return {
      ...(typeof name === 'string' && name !== '' && { name }),
      ...(typeof sub === 'string' && { ids: [sub, `${String(iss)} ${sub}`] }),
    };
  } catch {
    return {};
  }
}

schedule();
