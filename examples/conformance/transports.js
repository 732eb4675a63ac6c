// One subscription over each transport, without a GraphQL library: what the server sends is seen as it is.

import WebSocket from 'ws';

/** What came of one subscription: `messages` are GraphQL responses, of server-sent events with their `id`. */
class Subscription {
  messages = [];
  ended = false;
  #wake = () => {};

  constructor(cut) {
    this.cut = cut;
  }

  take(message) {
    this.messages.push(message);
    this.#wake();
  }

  end() {
    this.ended = true;
    this.#wake();
  }

  /** Waits for so many messages in all, or for the end. */
  async until(count, patienceMs) {
    const deadline = Date.now() + patienceMs;
    while (this.messages.length < count && !this.ended) {
      const left = deadline - Date.now();
      if (left <= 0) return false;
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => (clearTimeout(timer), resolve());
      });
    }
    return this.messages.length >= count;
  }
}

function overSocket(url, request, headers) {
  const socket = new WebSocket(url.replace(/^http/, 'ws'), 'graphql-transport-ws', { headers });
  const subscription = new Subscription(() => socket.terminate());
  const send = (message) => socket.send(JSON.stringify(message));
  socket.on('open', () => send({ type: 'connection_init', payload: headers }));
  socket.on('message', (text) => {
    const { type, payload } = JSON.parse(text);
    if (type === 'connection_ack') send({ type: 'subscribe', id: '1', payload: request });
    else if (type === 'ping') send({ type: 'pong' });
    else if (type === 'next') subscription.take(payload);
    else if (type === 'error') subscription.take({ errors: payload });
    if (type === 'error' || type === 'complete') subscription.end();
  });
  socket.on('error', () => {});
  socket.on('close', () => subscription.end());
  return subscription;
}

/** Reads a streamed response piece by piece; `split` takes whole pieces off the text and returns the rest. */
function overHttp(url, init, split) {
  const controller = new AbortController();
  const subscription = new Subscription(() => controller.abort());
  const read = async () => {
    const response = await fetch(url, { ...init, signal: controller.signal });
    const decoder = new TextDecoder();
    let text = '';
    for await (const piece of response.body)
      text = split(text + decoder.decode(piece, { stream: true }), subscription);
    if (text.startsWith('{')) subscription.take(JSON.parse(text)); // A refusal that is no stream.
  };
  read().then(
    () => subscription.end(),
    () => subscription.end(),
  );
  return subscription;
}

function splitEvents(text, subscription) {
  const blocks = text.split(/\r?\n\r?\n/);
  for (const block of blocks.slice(0, -1)) {
    const fields = block.split(/\r?\n/).map((line) => /^(\w+): ?(.*)$/.exec(line)?.slice(1) ?? []);
    const { event, data, id } = Object.fromEntries(fields.filter(([name]) => name));
    if (event === 'next') subscription.take({ ...JSON.parse(data), id });
    if (event === 'complete') subscription.end();
  }
  return blocks.at(-1);
}

function splitParts(text, subscription) {
  const parts = text.split('--graphql');
  for (const part of parts.slice(0, -1)) {
    const json = part.slice(part.indexOf('\r\n\r\n') + 4).trim();
    const { payload, errors } = json.startsWith('{') ? JSON.parse(json) : {};
    if (payload) subscription.take(payload);
    else if (errors) subscription.take({ errors });
  }
  return parts.at(-1);
}

/** By GET, as an EventSource does it. */
function overEvents(url, request, headers) {
  const parameters = Object.entries(request).map(([name, value]) => [
    name,
    typeof value === 'string' ? value : JSON.stringify(value),
  ]);
  const address = `${url}?${new URLSearchParams(parameters)}`;
  return overHttp(address, { headers: { ...headers, accept: 'text/event-stream' } }, splitEvents);
}

function overParts(url, request, headers) {
  const accept = 'multipart/mixed;subscriptionSpec=1.0';
  const init = { method: 'POST', headers: { ...headers, accept, 'content-type': 'application/json' } };
  return overHttp(url, { ...init, body: JSON.stringify(request) }, splitParts);
}

export const TRANSPORTS = { ws: overSocket, sse: overEvents, multipart: overParts };
