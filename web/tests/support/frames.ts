// What a page sends and hears over its WebSocket.

import type { Page } from 'playwright-core';

import { eventually } from './waiting';

export interface Frame {
  from: 'page' | 'server';
  id: string;
  type: string;
  payload?: { query?: string; variables?: Record<string, unknown>; data?: Record<string, unknown> };
}

export class Frames {
  readonly all: Frame[] = [];

  /** For a page that has not gone to its address yet. */
  constructor(page: Page) {
    page.on('websocket', (socket) => {
      socket.on('framesent', ({ payload }) => this.#add('page', payload));
      socket.on('framereceived', ({ payload }) => this.#add('server', payload));
    });
  }

  /** The first frame that fits, as soon as it is there. */
  waitFor(fits: (frame: Frame) => boolean): Promise<Frame> {
    return eventually(async () => {
      const found = this.all.find(fits);
      if (!found) throw new Error(`the frame did not come in time; there were ${JSON.stringify(this.all)}`);
      return found;
    });
  }

  /** Each time the page asked for this subscription. */
  subscribes(field: string): Frame[] {
    return this.all.filter(({ type, payload }) => type === 'subscribe' && payload?.query?.includes(field));
  }

  #add(from: Frame['from'], payload: string | Buffer): void {
    this.all.push({ from, ...(JSON.parse(String(payload)) as Omit<Frame, 'from'>) });
  }
}
