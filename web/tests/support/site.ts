// Another site, on an origin of its own, whose pages a test writes.

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface SitePage {
  /** Of a page, the content of its body. */
  body: string;
  head?: string;
  type?: string;
  headers?: Record<string, string>;
}

export class Site {
  readonly #pages = new Map<string, SitePage>();
  #server = createServer((request, response) => {
    const page = this.#pages.get(new URL(request.url ?? '/', 'http://site').pathname);
    if (!page) return void response.writeHead(404).end();
    const { type = 'text/html; charset=utf-8', headers = {}, head = '', body } = page;
    response.writeHead(200, { 'content-type': type, ...headers });
    const html = `<!doctype html><html lang="en"><head><meta name="viewport" content="width=device-width, initial-scale=1"><title>Another site</title>${head}</head><body>${body}</body></html>`;
    response.end(page.type === undefined ? html : body);
  });

  static async start(): Promise<Site> {
    const site = new Site();
    site.#server.listen(0, '127.0.0.1');
    await once(site.#server, 'listening');
    return site;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Serves a page, and returns its address. */
  serve(path: string, page: SitePage | string): string {
    this.#pages.set(path, typeof page === 'string' ? { body: page } : page);
    return `${this.url}${path}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
