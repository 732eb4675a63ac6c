// A subscriber that stays for the whole of a walk, and a writer who keeps an account of what it has to receive.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

import { createClient } from 'graphql-ws';
import { subscribe } from 'rejoinder-client';
import { graphqlWs } from 'rejoinder-client/graphql-ws';
import WebSocket from 'ws';

import type { Graph } from '../tests/support/graph';
import { eventually } from '../tests/support/waiting';

const CHANGES = `subscription ($postId: ID!, $after: String) {
  commentChanges(postId: $postId, after: $after) { ... on CommentAdded { cursor comment { text } } }
}`;
const CURSOR = 'query ($id: ID!) { post(id: $id) { commentChangesCursor } }';
const WRITE = 'mutation ($input: CreateCommentInput!) { createComment(input: $input) { comment { id } } }';

const WRITE_EVERY_MS = 100;

interface Event {
  commentChanges: { comment?: { text: string } };
}

export class Follower {
  private readonly received: string[] = [];
  private readonly written: string[] = [];
  private gaps = 0;
  private failure: unknown;

  private constructor(
    private readonly graph: Graph,
    private readonly postId: string,
    private readonly stopAll: () => void,
  ) {}

  /** Subscribes to a new post over a WebSocket. */
  static async begin(graph: Graph): Promise<Follower> {
    const postId = await graph.createPost('Followed through everything');
    const { post } = await graph.run<{ post: { commentChangesCursor: string } }>(CURSOR, { id: postId });
    const client = createClient({
      url: new URL('/graphql', graph.base).href.replace(/^http/, 'ws'),
      webSocketImpl: WebSocket,
      keepAlive: 10_000,
      shouldRetry: () => true,
      retryAttempts: Infinity,
    });
    let stop = () => {};
    const follower = new Follower(graph, postId, () => {
      stop();
      // It may be about to connect again, to what is gone by then.
      Promise.resolve(client.dispose()).catch(() => {});
    });
    const listener = {
      next: ({ data }: { data?: Event | null }) => {
        const text = data?.commentChanges.comment?.text;
        if (text !== undefined) follower.received.push(text);
      },
      gap: () => void follower.gaps++,
      error: (failure: unknown) => void (follower.failure = failure),
    };
    const options = { after: post.commentChangesCursor };
    stop = subscribe<Event>(graphqlWs(client), { query: CHANGES, variables: { postId } }, listener, options);
    await follower.write();
    await follower.hasAll();
    return follower;
  }

  /**
   * Writes one comment after the other while something is done. Then it waits for all of them to arrive: each once, in
   * order, without a gap. Gives the longest time, in milliseconds, that a writer had to wait.
   */
  async during(act: () => Promise<unknown>): Promise<number> {
    let isDone = false;
    let longest = 0;
    const acting = act().finally(() => (isDone = true));
    // It may fail while a comment is written; that is reported below.
    acting.catch(() => {});
    do {
      const begun = Date.now();
      await this.write();
      longest = Math.max(longest, Date.now() - begun);
      await sleep(WRITE_EVERY_MS);
    } while (!isDone);
    await acting;
    await this.write();
    await this.hasAll();
    return longest;
  }

  get count(): number {
    return this.received.length;
  }

  stop(): void {
    this.stopAll();
  }

  /** Tries by the same key until it is written. */
  private async write(): Promise<void> {
    const text = `Number ${this.written.length + 1}`;
    const input = { postId: this.postId, text, idempotencyKey: `${this.postId} ${text}` };
    await eventually(() => this.graph.run(WRITE, { input }));
    this.written.push(text);
  }

  private hasAll(): Promise<void> {
    return eventually(async () => {
      assert.deepEqual(this.received, this.written);
      assert.equal(this.failure, undefined, 'the subscription goes on');
      assert.equal(this.gaps, 0, 'no gap was reported');
    });
  }
}
