// Subscriptions as server-sent events, by `EventSource` or by `fetch` (the protocol graphql-sse, distinct connections).

import { isRecord, type SubscriptionRequest } from './contract.js';
import type { Sink, Transport } from './resume.js';
import { EventReader } from './eventReader.js';

// The types of browsers are spelled out: not every project has them.

/** Such as a `URL`. */
export interface Address {
  readonly href: string;
}

/** What is used of an `EventSource`. */
export interface EventSourceLike {
  addEventListener(type: string, listener: (event: { data: string; lastEventId: string }) => void): void;
  close(): void;
}

/** Such as a `Headers`. */
export type HeadersLike = Record<string, string> | Iterable<[string, string]>;

export interface EventSourceOptions {
  withCredentials?: boolean | undefined;
  /** Another one than the browser's. */
  EventSource?: (new (url: string, init: { withCredentials: boolean }) => EventSourceLike) | undefined;
}

/**
 * Each subscription is an EventSource, with the request in its address. When it fails, another one is opened: the
 * browser's own would come back with the cursor of its first request.
 */
export function eventSource(url: string | Address, options: EventSourceOptions = {}): Transport {
  return (request, sink) => {
    const Source = options.EventSource ?? EventSource;
    const address = addressOf(url, request.toJSON());
    const source: EventSourceLike = new Source(address, {
      withCredentials: options.withCredentials ?? false,
    });
    let lastId = '';
    source.addEventListener('next', ({ data, lastEventId }: { data: string; lastEventId: string }) => {
      // An event without an id has the one of the last event that had one.
      const id = lastEventId === lastId ? undefined : lastEventId;
      lastId = lastEventId;
      take(sink, data, id);
    });
    source.addEventListener('open', () => sink.open());
    source.addEventListener('complete', () => sink.complete());
    source.addEventListener('error', () => sink.error(new Error('The event stream was lost, or refused.')));
    return () => source.close();
  };
}

export interface FetchOptions {
  /** Asked for each request: a new token may be among them. */
  headers?: HeadersLike | (() => HeadersLike | Promise<HeadersLike>) | undefined;
  credentials?: 'omit' | 'same-origin' | 'include' | undefined;
  /** Another one than the global one. */
  fetch?: ((url: string, init: never) => Promise<unknown>) | undefined;
  /**
   * A stream on which nothing comes for so long is dead; 45,000 if nothing else is said. A server has to send its
   * keep-alives more often.
   */
  silenceMs?: number | undefined;
}

const SILENCE_MS = 45_000;
/** Of an answer that is no event stream. */
const ANSWER_CHARS_MAX = 64 * 1_024;

/** Each subscription is a POST request, whose answer is an event stream. */
export function fetchEvents(url: string | Address, options: FetchOptions = {}): Transport {
  return (request, sink) => {
    const abort = new AbortController();
    void follow(url, request, sink, options, abort).catch((error: unknown) => sink.error(error));
    return () => abort.abort();
  };
}

async function follow(
  url: string | Address,
  request: { toJSON(): SubscriptionRequest },
  sink: Sink,
  options: FetchOptions,
  abort: AbortController,
): Promise<void> {
  let silence: ReturnType<typeof setTimeout> | undefined;
  const heard = () => {
    clearTimeout(silence);
    // Not an abort alone: the headers may be what does not come. The sink ends this.
    const end = () => sink.error(new Error('Nothing has come for too long.'));
    silence = setTimeout(end, options.silenceMs ?? SILENCE_MS);
  };
  // Ended by its reader: the timer would keep a program running.
  abort.signal.addEventListener('abort', () => clearTimeout(silence));
  heard();
  try {
    const { headers } = options;
    const own = new Headers((typeof headers === 'function' ? await headers() : headers) as HeadersInit);
    own.set('content-type', 'application/json');
    own.set('accept', 'text/event-stream');
    abort.signal.throwIfAborted();
    // Called as a plain function, as browsers demand.
    const send = (options.fetch ?? fetch) as typeof fetch;
    const response = await send(textOfAddress(url), {
      method: 'POST',
      headers: own,
      body: JSON.stringify(request),
      cache: 'no-store',
      credentials: options.credentials ?? 'same-origin',
      signal: abort.signal,
    });
    const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') ?? false;
    if (!response.ok || !isStream || !response.body) return sink.error(await errorsOf(response));
    sink.open();
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    const events = new EventReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) throw new Error('The event stream has ended.');
      heard();
      for (const event of events.read(decoder.decode(value, { stream: true }))) {
        if (event.type === 'complete') return sink.complete();
        if (event.type === 'next') take(sink, event.data, event.id);
      }
    }
  } finally {
    clearTimeout(silence);
    abort.abort();
  }
}

function take(sink: Sink, data: string, id: string | undefined): void {
  let message: unknown;
  try {
    message = JSON.parse(data);
  } catch {
    return sink.error(new Error('The server sent an event that is not JSON.'));
  }
  sink.next(message, id);
}

/** Why there is no event stream: GraphQL errors if the answer has some, with the time to wait. */
async function errorsOf(response: Response): Promise<readonly object[]> {
  const wait = Number(response.headers.get('retry-after') ?? '');
  const retryAfter = Number.isFinite(wait) && wait > 0 ? { retryAfter: wait } : {};
  let errors: unknown;
  try {
    const answer: unknown = JSON.parse(await textOf(response));
    if (isRecord(answer)) ({ errors } = answer);
  } catch {
    // A proxy's page.
  }
  if (!Array.isArray(errors) || errors.length === 0)
    return [{ message: `The server answered with status ${response.status}.`, extensions: retryAfter }];
  return errors.filter(isRecord).map((error) => ({
    ...error,
    extensions: { ...retryAfter, ...(isRecord(error.extensions) ? error.extensions : {}) },
  }));
}

/** As much of the text as errors need. */
async function textOf(response: Response): Promise<string> {
  const reader = response.body?.getReader();
  const decoder = new TextDecoder();
  let text = '';
  while (reader && text.length < ANSWER_CHARS_MAX) {
    const { done, value } = await reader.read();
    if (done) break;
    text += decoder.decode(value, { stream: true });
  }
  return text;
}

function textOfAddress(url: string | Address): string {
  return typeof url === 'string' ? url : url.href;
}

function addressOf(
  url: string | Address,
  { query, operationName, variables, extensions }: SubscriptionRequest,
): string {
  const parameters = new URLSearchParams({ query });
  if (operationName) parameters.set('operationName', operationName);
  if (variables) parameters.set('variables', JSON.stringify(variables));
  if (extensions) parameters.set('extensions', JSON.stringify(extensions));
  const address = textOfAddress(url);
  return `${address}${address.includes('?') ? '&' : '?'}${parameters}`;
}
