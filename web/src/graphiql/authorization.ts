// The session's token in GraphiQL: it stands in the headers editor, where one can see and copy it. What a person writes
// there by hand is left as it is.

import type { CreateFetcherOptions } from '@graphiql/toolkit';
import { type Client, createClient } from 'graphql-ws';

import { currentSession, fetchSigned, onSession, sessionToken } from '../signIn/session';
import { isSamePerson } from '../signIn/stored';

type Headers = Record<string, unknown>;

const NAME = 'Authorization';
/** What this page has written there: the present token, and those of before in other tabs. */
const written = new Set<string>();

/** The text of the headers editor with this token, or without one; unchanged where a person has written something else. */
export function withToken(text: string, token: string | undefined): string {
  let headers: Headers;
  try {
    headers = (text.trim() === '' ? {} : JSON.parse(text)) as Headers;
  } catch {
    return text;
  }
  const name = nameIn(headers);
  if (name !== undefined && !isOurs(headers[name])) return text;
  if (token === undefined) {
    if (name === undefined) return text;
    const others = Object.entries(headers).filter(([other]) => other !== name);
    return others.length === 0 ? '' : JSON.stringify(Object.fromEntries(others), null, 2);
  }
  const value = `Bearer ${token}`;
  written.add(value);
  if (name !== undefined && headers[name] === value) return text;
  return JSON.stringify({ ...headers, [name ?? NAME]: value }, null, 2);
}

/** `fetch` that sends the session's token of now in the place of one that stands in an editor. */
export const fetchAuthorized: typeof fetch = (input, init) => {
  const headers = new Headers(init?.headers);
  if (!isOurs(headers.get(NAME))) return fetch(input, init);
  headers.delete(NAME);
  return fetchSigned(input, { ...init, headers });
};

/** The clients for subscriptions: one for each content of the headers editor, which is its `connection_init`. */
const clients = new Map<string, Client>();

export function clientFor(url: string, headers: Headers = {}): NonNullable<CreateFetcherOptions['wsClient']> {
  const name = nameIn(headers);
  const session = currentSession();
  const person = name !== undefined && isOurs(headers[name]) ? session : undefined;
  const isPerson = () => person !== undefined && isSamePerson(person, currentSession());
  const key = JSON.stringify(
    person && name ? { ...headers, [name]: [person.name, person.ids, person.moderator] } : headers,
  );
  const known = clients.get(key);
  if (known) return known;

  const payload = async () =>
    name !== undefined && person ? { ...headers, [name]: `Bearer ${await sessionToken(person)}` } : headers;
  const client = createClient({
    url,
    connectionParams: payload,
    shouldRetry: () => true,
    on: {
      connected: (opened) => {
        const socket = opened as WebSocket;
        // A new token before the old one ends: the subscriptions go on.
        const stop = onSession(() => {
          if (!isPerson()) return;
          // Nothing to renew once somebody else is signed in.
          const renew = (payload: Headers) => socket.send(JSON.stringify({ type: 'ping', payload }));
          void payload().then(renew, () => {});
        });
        socket.addEventListener('close', stop);
      },
    },
  });
  clients.set(key, client);
  return client;
}

function nameIn(headers: Headers): string | undefined {
  return Object.keys(headers).find((name) => name.toLowerCase() === NAME.toLowerCase());
}

function isOurs(value: unknown): boolean {
  return typeof value === 'string' && written.has(value);
}
