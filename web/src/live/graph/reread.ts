// Reads posts again whose events were missed: the list, or single posts of it.

import { client, connection } from './client';
import { retryDelay } from './connection';
import { PostDocument, PostsDocument, type PostsQuery } from './generated';
import { forgetPost, takeIn } from './lists';
import { LARGEST_PAGE, POSTS_PAGE } from './pageSizes';

/** Subscriptions start together, on a page's start and after a lost socket: one reading for them all. */
const GATHER_MS = 100;
/** More posts than this are read as a list, in one request. */
const SINGLE_POSTS_MAX = 3;

let listIsStale = false;
let stalePosts = new Set<string>();
let timer: ReturnType<typeof setTimeout> | undefined;
let isReading = false;
let attempt = 0;
const identity = {};

/** The list of posts may lack some. It is read again soon, and once more until that succeeds. */
export function rereadListSoon(): void {
  listIsStale = true;
  readSoon(GATHER_MS);
}

/** The post may have changed. */
export function rereadPostSoon(id: string): void {
  stalePosts.add(id);
  readSoon(GATHER_MS);
}

/** Reads the posts that are on the page, as many as there are; gives their ids. */
export async function readList(): Promise<string[]> {
  const loaded = client.readQuery({ query: PostsDocument, variables: { first: POSTS_PAGE } });
  const wanted = Math.max(POSTS_PAGE, loaded?.posts.edges.length ?? 0);
  let ids: string[] = [];
  await takeIn(
    () => readPages(wanted),
    (posts) => {
      client.writeQuery({ query: PostsDocument, variables: { first: POSTS_PAGE }, data: { posts } });
      ids = posts.edges.map((edge) => (edge.node as { id: string }).id);
    },
  );
  return ids;
}

/** Reads one post; tells whether it is there. One that is not there any more leaves the page. */
export async function readPost(id: string): Promise<boolean> {
  let isThere = false;
  await takeIn(
    async () => {
      const query = { query: PostDocument, variables: { id }, fetchPolicy: 'no-cache' } as const;
      return (await client.query(query)).data;
    },
    (data) => {
      isThere = data?.post != null;
      if (data?.post) client.writeQuery({ query: PostDocument, variables: { id }, data });
      else forgetPost(id);
    },
  );
  return isThere;
}

async function readPages(wanted: number): Promise<PostsQuery['posts']> {
  const edges: PostsQuery['posts']['edges'] = [];
  for (let after: string | null = null; ;) {
    const variables: { first: number; after: string | null } = {
      first: Math.min(LARGEST_PAGE, wanted - edges.length),
      after,
    };
    const { data } = await client.query({ query: PostsDocument, variables, fetchPolicy: 'no-cache' });
    if (!data) throw new Error('the list of posts came without data');
    edges.push(...data.posts.edges);
    const { hasNextPage, endCursor } = data.posts.pageInfo;
    if (!hasNextPage || edges.length >= wanted) return { ...data.posts, edges };
    after = endCursor ?? null;
  }
}

function readSoon(ms: number): void {
  if (!isReading) timer ??= setTimeout(() => void readStale(), ms);
}

async function readStale(): Promise<void> {
  timer = undefined;
  isReading = true;
  const [list, posts] = [listIsStale, stalePosts];
  [listIsStale, stalePosts] = [false, new Set()];
  let pause = GATHER_MS;
  try {
    const single = new Set(posts);
    // What was read with the list needs no reading of its own.
    if (list || posts.size > SINGLE_POSTS_MAX) for (const id of await readList()) single.delete(id);
    await Promise.all([...single].map(readPost));
    attempt = 0;
    connection.markInterrupted(identity, false);
  } catch {
    listIsStale ||= list;
    posts.forEach((id) => stalePosts.add(id));
    connection.markInterrupted(identity, true);
    pause = retryDelay(attempt++);
  }
  isReading = false;
  if (listIsStale || stalePosts.size > 0) readSoon(pause);
}
