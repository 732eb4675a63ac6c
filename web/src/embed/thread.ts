// The comments of one post, as they are now: read once, then followed after the cursor that came with them. All embeds
// of a post share one.

import { type Connection, connectionTo, retryDelay, type SocketState, type Variables } from './connection';
import { type GraphqlError, GraphqlFailure, waitAskedFor } from './failure';
import * as graph from './graph/operations';

/** Comments of a page. */
const PAGE = 20;
/** So many comments may arrive before the list is cut to one page again: an open page never grows without end. */
const ARRIVALS_MAX = 500;
/** A subscription that was not refused for so long has been taken: the protocol has no word for it. */
const TAKEN_AFTER_MS = 500;

/** Errors that another try of the same subscription cannot cure. */
const FINAL = new Set([
  'BAD_USER_INPUT',
  'FORBIDDEN',
  'GRAPHQL_PARSE_FAILED',
  'GRAPHQL_VALIDATION_FAILED',
  'NOT_FOUND',
  'RESYNC_REQUIRED',
]);

export type Comment = graph.Comment;

/** What a view shows. */
export interface Shown {
  /** `missing`: there is no such post. `failed`: it could not be read, and is tried again. */
  phase: 'loading' | 'shown' | 'missing' | 'failed';
  /** The newest first. */
  comments: readonly Comment[];
  /** Of all comments, also of those that are not loaded. */
  count: number;
  hasOlder: boolean;
  live: SocketState;
  /** The name of the reader; nothing for a guest. */
  reader: string | undefined;
  /** Why it could not be read. */
  error: unknown;
}

/** A new comment, or one that waits for a moderator. */
export interface Written {
  id: string;
  isHeld: boolean;
}

const threads = new Map<string, Thread>();

/** Joins the readers of a post; `changed` is called at each change, and `arrived` for each comment that others write. */
export function joinThread(
  server: string,
  post: string,
  changed: () => void,
  arrived: (comment: Comment) => void,
): { thread: Thread; leave: () => void } {
  const key = `${server} ${post}`;
  const thread = threads.get(key) ?? new Thread(connectionTo(server), post);
  threads.set(key, thread);
  const reader = { changed, arrived };
  thread.readers.add(reader);
  return {
    thread,
    leave: () => {
      thread.readers.delete(reader);
      if (thread.readers.size > 0 || threads.get(key) !== thread) return;
      threads.delete(key);
      thread.end();
      const { connection } = thread;
      if (![...threads.values()].some((other) => other.connection === connection)) connection.forget();
    },
  };
}

export class Thread {
  readonly readers = new Set<{ changed: () => void; arrived: (comment: Comment) => void }>();
  #phase: Shown['phase'] = 'loading';
  #error: unknown;
  #comments: readonly Comment[] = [];
  #count = 0;
  #endCursor: string | null | undefined;
  #hasOlder = false;
  #reader: { id: string; name: string } | undefined;
  /** Where the changes go on. */
  #cursor = '';
  #arrivals = 0;
  /** What the reader wrote here: it is nothing new to them. */
  #own = new Set<string>();
  /** The subscription of the changes waits for its next try. */
  #isRefused = false;
  #reading = 0;
  #attempt = 0;
  /** Times that the changes could not go on, since the last one arrived. */
  #refusals = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #stops: (() => void)[] = [];
  #stopListening: () => void;
  #isEnded = false;

  constructor(
    readonly connection: Connection,
    readonly post: string,
  ) {
    this.#stopListening = connection.onChange((change) => {
      if (change === 'person') void this.read();
      else this.#tell();
    });
    void this.read();
  }

  get shown(): Shown {
    const { state } = this.connection;
    const isAll = this.#phase === 'shown' && !this.#hasOlder;
    return {
      phase: this.#phase,
      comments: this.#comments,
      count: isAll ? this.#comments.length : Math.max(this.#count, this.#comments.length),
      hasOlder: this.#hasOlder,
      live: state === 'live' && this.#isRefused ? 'waiting' : state,
      reader: this.#reader?.name,
      error: this.#error,
    };
  }

  /** Reads the newest comments, and follows them. Of two readings the later one counts. */
  async read(): Promise<void> {
    clearTimeout(this.#retry);
    const reading = ++this.#reading;
    const isOver = () => this.#isEnded || reading !== this.#reading;
    try {
      const { viewer, post } = await this.connection.ask<graph.Read>(graph.READ, {
        id: this.post,
        first: PAGE,
      });
      if (isOver()) return;
      this.#attempt = 0;
      this.#error = undefined;
      this.#reader = viewer ?? undefined;
      this.#stopFollowing();
      if (!post) return this.#enter('missing');
      this.#comments = post.comments.edges.map(({ node }) => node as Comment);
      this.#count = post.commentCount;
      this.#endCursor = post.comments.pageInfo.endCursor;
      this.#hasOlder = post.comments.pageInfo.hasNextPage;
      this.#cursor = post.commentChangesCursor;
      this.#arrivals = 0;
      this.#follow();
      this.#enter('shown');
    } catch (error) {
      if (isOver()) return;
      // Not the id of any post.
      if (error instanceof GraphqlFailure && error.code === 'BAD_USER_INPUT') return this.#enter('missing');
      // A browser does not say which of the two it is.
      if (this.#attempt === 0 && error instanceof TypeError)
        console.warn(
          `rejoinder: ${this.connection.server} cannot be reached, or its CORS_ORIGINS lacks ${location.origin}`,
        );
      this.#error = error;
      this.#retry = setTimeout(() => void this.read(), retryDelay(this.#attempt++, waitAskedFor(error)));
      // What is shown stays, and goes on as far as it can.
      if (this.#phase === 'shown') this.#tell();
      else this.#enter('failed');
    }
  }

  /** Loads the comments before the oldest that is loaded. Throws as `Connection.ask`. */
  async readOlder(): Promise<void> {
    const reading = this.#reading;
    const variables = { id: this.post, first: PAGE, after: this.#endCursor };
    const { post } = await this.connection.ask<graph.Older>(graph.OLDER, variables);
    // The list was read again meanwhile, and has another end.
    if (this.#isEnded || reading !== this.#reading || !post) return;
    const known = new Set(this.#comments.map(({ id }) => id));
    const older = post.comments.edges.map(({ node }) => node as Comment).filter(({ id }) => !known.has(id));
    this.#comments = [...this.#comments, ...older];
    this.#endCursor = post.comments.pageInfo.endCursor;
    this.#hasOlder = post.comments.pageInfo.hasNextPage;
    this.#tell();
  }

  /** Writes a comment. Another try with the same key writes it once. Throws as `Connection.ask`. */
  async write(text: string, author: string, idempotencyKey: string): Promise<Written> {
    const reader = this.#reader;
    const input = { postId: this.post, text, idempotencyKey, ...(!reader && author && { author }) };
    const { createComment } = await this.connection.ask<graph.Write>(graph.WRITE, { input }, reader?.id);
    const { status, ...comment } = createComment.comment as Comment & { status: string };
    this.#own.add(comment.id);
    if (status === 'VISIBLE') {
      this.#put(comment);
      this.#tell();
    }
    return { id: comment.id, isHeld: status !== 'VISIBLE' };
  }

  end(): void {
    this.#isEnded = true;
    clearTimeout(this.#retry);
    this.#stopFollowing();
    this.#stopListening();
  }

  #follow(): void {
    const changes: Variables = { postId: this.post, after: this.#cursor };
    this.#stops = [
      this.#subscribe<graph.Changes>(graph.CHANGES, changes, ({ commentChanges: change }) => {
        this.#refusals = 0;
        // A later server may have kinds of changes that were not asked for here: they come without a cursor.
        if ('cursor' in change) {
          this.#cursor = change.cursor;
          // Where graphql-ws goes on after a lost socket: it sends these variables again.
          changes.after = change.cursor;
        }
        switch (change.__typename) {
          case 'CommentAdded':
            this.#arrive(change.comment as Comment);
            break;
          case 'CommentEdited':
            this.#replace(change.comment as Comment);
            break;
          case 'CommentDeleted':
            this.#remove(change.commentId);
        }
        this.#tell();
        if (this.#arrivals > ARRIVALS_MAX) void this.read();
      }),
      this.#subscribe<graph.Count>(graph.COUNT, { id: this.post }, ({ postUpdated }) => {
        this.#count = postUpdated.commentCount;
        this.#tell();
      }),
    ];
  }

  /** Follows until the function that it returns is called. What the server refuses for now is tried again. */
  #subscribe<Data>(query: string, variables: Variables, event: (data: Data) => void): () => void {
    const isChanges = query === graph.CHANGES;
    let attempt = 0;
    let stop = () => {};
    let timer: ReturnType<typeof setTimeout> | undefined;
    const mark = (isRefused: boolean) => {
      if (!isChanges || this.#isRefused === isRefused) return;
      this.#isRefused = isRefused;
      this.#tell();
    };
    const taken = () => {
      clearTimeout(timer);
      attempt = 0;
      mark(false);
    };
    const start = () => {
      let isHeld = true;
      const refused = (errors: readonly GraphqlError[]) => {
        if (!isHeld) return;
        release();
        const failure = new GraphqlFailure(errors);
        const cursor = errors[0]?.extensions?.cursor;
        if (isChanges && cursor !== undefined) this.#cursor = variables.after = cursor;
        // A count that cannot be followed is read with the next list.
        const isLost = isChanges || failure.code === 'NOT_FOUND';
        if (FINAL.has(failure.code)) return isLost ? this.#readAfter(failure) : undefined;
        mark(true);
        timer = setTimeout(start, retryDelay(attempt++, failure.retryAfterMs));
      };
      const end = this.connection.socket.subscribe<Data, unknown>(
        { query, variables },
        {
          next: ({ data, errors }) => {
            if (!isHeld) return;
            if (!data) {
              // The gateway's word for a gap: the subscription goes on.
              const isGap = errors?.[0]?.extensions?.code === 'SUBSCRIPTION_INTERRUPTED';
              return isGap ? taken() : refused((errors ?? []) as GraphqlError[]);
            }
            taken();
            event(data);
          },
          error: (error) => refused(Array.isArray(error) ? (error as GraphqlError[]) : []),
          complete: () => refused([]),
        },
      );
      const release = () => {
        isHeld = false;
        clearTimeout(timer);
        end();
      };
      stop = release;
      timer = setTimeout(taken, TAKEN_AFTER_MS);
    };
    start();
    return () => {
      clearTimeout(timer);
      stop();
    };
  }

  /** The changes cannot go on where they were: what is there now is read. */
  #readAfter(failure: GraphqlFailure): void {
    this.#isRefused = true;
    this.#tell();
    const wait = this.#refusals === 0 && failure.code === 'RESYNC_REQUIRED' ? 0 : retryDelay(this.#refusals);
    this.#refusals++;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => void this.read(), wait);
  }

  #stopFollowing(): void {
    const stops = this.#stops;
    this.#stops = [];
    this.#isRefused = false;
    stops.forEach((stop) => stop());
  }

  #arrive(comment: Comment): void {
    const isNew = this.#put(comment);
    if (!isNew || this.#own.has(comment.id)) return;
    this.#arrivals++;
    this.readers.forEach((reader) => reader.arrived(comment));
  }

  /** Puts a comment at its place; tells whether it is new and shown. */
  #put(comment: Comment): boolean {
    if (this.#replace(comment)) return false;
    const place = this.#comments.findIndex((other) => isNewer(comment, other));
    // Its page is not loaded.
    if (place < 0 && this.#hasOlder) return false;
    const before = place < 0 ? this.#comments.length : place;
    this.#comments = [...this.#comments.slice(0, before), comment, ...this.#comments.slice(before)];
    return true;
  }

  #remove(id: string): void {
    this.#comments = this.#comments
      .filter((comment) => comment.id !== id)
      .map((comment) => (comment.parentId === id ? { ...comment, parent: null } : comment));
  }

  #replace(comment: Comment): boolean {
    const isKnown = this.#comments.some(({ id }) => id === comment.id);
    if (isKnown) this.#comments = this.#comments.map((known) => (known.id === comment.id ? comment : known));
    return isKnown;
  }

  #enter(phase: Shown['phase']): void {
    this.#phase = phase;
    this.#tell();
  }

  #tell(): void {
    if (!this.#isEnded) [...this.readers].forEach((reader) => reader.changed());
  }
}

/** By the second of the ids where the times are equal, as the server does. */
function isNewer(one: Comment, other: Comment): boolean {
  return one.createdAt === other.createdAt ? one.id > other.id : one.createdAt > other.createdAt;
}
