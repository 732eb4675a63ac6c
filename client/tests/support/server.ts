// A server of subscriptions that does what a test says, over a real WebSocket and over server-sent events: by the
// contract, without knowing it, or against it.

import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

import { WebSocketServer, type WebSocket } from 'ws';

import type { SubscriptionRequest } from '../../src/index.js';

/** One subscription, from the server's side. */
export interface Served {
  request: SubscriptionRequest;
  /** `extensions.delivery` of the request. */
  delivery: Record<string, unknown>;
  /** A message; over server-sent events with an id. */
  next(message: unknown, id?: string): void;
  /** Errors that end it. */
  fail(...errors: object[]): void;
  complete(): void;
  /** Breaks the connection. */
  cut(): void;
  /** Sends text as it is. */
  raw(text: string): void;
  isOver: boolean;
}

export type Answer = (served: Served) => void;

export class FakeServer {
  readonly subscriptions: Served[] = [];
  /** What is done with each subscription. */
  answer: Answer = () => {};
  /** Refuses event streams before they begin. */
  refuse: ((response: ServerResponse) => void) | undefined;
  /** The same for WebSockets. */
  refuseSocket: ((socket: WebSocket) => void) | undefined;
  #silent = new WeakSet<WebSocket>();
  #sockets = new Set<Socket>();

  private constructor(
    readonly http: Server,
    readonly webSockets: WebSocketServer,
  ) {
    http.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    http.on('request', (request, response) => void this.#stream(request, response));
    webSockets.on('connection', (socket, request) => this.#speak(socket, request));
  }

  static async start(): Promise<FakeServer> {
    const http = createServer();
    const webSockets = new WebSocketServer({ server: http, handleProtocols: () => 'graphql-transport-ws' });
    http.listen(0, '127.0.0.1');
    await once(http, 'listening');
    return new FakeServer(http, webSockets);
  }

  get url(): string {
    return `http://127.0.0.1:${(this.http.address() as AddressInfo).port}/graphql`;
  }

  /** The WebSockets of now stay open, and nothing comes over them any more. */
  silence(): void {
    this.webSockets.clients.forEach((socket) => this.#silent.add(socket));
  }

  /** Breaks all connections. */
  cut(): void {
    this.#sockets.forEach((socket) => socket.destroy());
  }

  async stop(): Promise<void> {
    this.cut();
    this.http.close();
    await once(this.http, 'close');
  }

  #serve(request: SubscriptionRequest, out: Omit<Served, 'request' | 'delivery' | 'isOver'>): Served {
    const delivery = (request.extensions?.delivery ?? {}) as Record<string, unknown>;
    const served: Served = { request, delivery, isOver: false, ...out };
    this.subscriptions.push(served);
    queueMicrotask(() => this.answer(served));
    return served;
  }

  #speak(socket: WebSocket, request: IncomingMessage): void {
    if (this.refuseSocket) return this.refuseSocket(socket);
    const running = new Map<string, Served>();
    const send = (message: object) => {
      if (!this.#silent.has(socket)) socket.send(JSON.stringify(message));
    };
    socket.on('close', () => running.forEach((served) => (served.isOver = true)));
    socket.on('message', (text) => {
      const { type, id, payload } = JSON.parse(String(text)) as {
        type: string;
        id: string;
        payload: SubscriptionRequest;
      };
      const over = running.get(id);
      if (type === 'connection_init') send({ type: 'connection_ack' });
      if (type === 'ping') send({ type: 'pong' });
      if (type === 'complete' && over) over.isOver = true;
      if (type !== 'subscribe') return;
      const served = this.#serve(payload, {
        next: (message) => send({ type: 'next', id, payload: message }),
        fail: (...errors) => send({ type: 'error', id, payload: errors }),
        complete: () => send({ type: 'complete', id }),
        cut: () => void request.socket.end(),
        raw: (raw) => socket.send(raw),
      });
      running.set(id, served);
    });
  }

  async #stream(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.refuse) return this.refuse(response);
    const asked = request.method === 'GET' ? inAddress(request.url ?? '') : await inBody(request);
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(':\n\n');
    const end = () => response.end('event: complete\ndata:\n\n');
    const next = (message: unknown, id?: string) => {
      response.write(
        `event: next\n${id === undefined ? '' : `id: ${id}\n`}data: ${JSON.stringify(message)}\n\n`,
      );
    };
    const served = this.#serve(asked, {
      next,
      fail(...errors) {
        next({ errors });
        end();
      },
      complete: end,
      // What was sent before arrives.
      cut: () => void response.socket?.end(),
      raw: (text) => void response.write(text),
    });
    response.on('close', () => (served.isOver = true));
  }
}

function inAddress(address: string): SubscriptionRequest {
  const parameters = new URL(address, 'http://server').searchParams;
  const object = (name: string) => JSON.parse(parameters.get(name) ?? '{}') as Record<string, unknown>;
  return {
    query: parameters.get('query') ?? '',
    variables: object('variables'),
    extensions: object('extensions'),
  };
}

async function inBody(request: IncomingMessage): Promise<SubscriptionRequest> {
  let body = '';
  for await (const chunk of request) body += String(chunk);
  return JSON.parse(body) as SubscriptionRequest;
}

/** The first frame of a server that keeps what it is asked for. */
export function frame(cursor?: string, kept = 'AT_LEAST_ONCE', status?: string): object {
  const delivery = { version: 1, asked: 'AT_LEAST_ONCE', kept, ...(status !== undefined && { status }) };
  return { data: null, extensions: { delivery, ...(cursor !== undefined && { cursor }) } };
}

/** A status frame. */
export function status(status: string): object {
  return { data: null, extensions: { delivery: { version: 1, status } } };
}

/** An event of a server that keeps the contract. */
export function event(number: number): object {
  return { data: { ticks: { number } }, extensions: { cursor: `c${number}` } };
}

/** Keeps the contract: a log of events, which can be followed after each of them. */
export class Log {
  #count = 0;
  #following = new Set<Served>();

  readonly answer: Answer = (served) => {
    const { after } = served.delivery;
    let at = typeof after === 'string' ? Number(after.slice(1)) : this.#count;
    served.next(frame(`c${at}`), `c${at}`);
    while (at < this.#count) served.next(event(++at), `c${at}`);
    this.#following.add(served);
  };

  /** Another event. */
  tick(): void {
    const number = ++this.#count;
    for (const served of this.#following) {
      if (served.isOver) this.#following.delete(served);
      else served.next(event(number), `c${number}`);
    }
  }
}
